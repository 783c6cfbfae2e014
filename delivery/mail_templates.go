package delivery

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	htmltemplate "html/template"
	"io/fs"
	"os"
	"strings"
	texttemplate "text/template"
	"unicode"
)

//go:embed templates
var templateFiles embed.FS

const (
	maxValueBytes   = 2048 // of one value
	maxTemplateFile = 64 << 10
	maxSubjectChars = 150
	subjectPrefix   = "Subject: "
)

// sampleData has for each template all that it may show.
func sampleData() map[string]map[string]string {
	return map[string]map[string]string{
		templateInvitation: {"organization": "Acme Industries", "inviter": "alice@acme.example", "expires": "2 January 2026, 15:04 UTC",
			"link": "https://mandate.example/invitation/mdt_iv_x_sample", "host": "mandate.example"},
		templatePasswordReset: {"username": "alice", "expires": "2 January 2026, 15:04 UTC",
			"link": "https://mandate.example/reset/mdt_pr_x_sample", "host": "mandate.example"},
	}
}

// Templates are those of mails: of each a text, whose first line is "Subject: …", and HTML.
type Templates struct{ mails map[string]mailTemplate }

type mailTemplate struct {
	subject, text *texttemplate.Template
	html          *htmltemplate.Template
}

type rendered struct{ subject, text, html string }

// LoadTemplates reads the templates from a folder, or, when that is empty, those built in. Each must be there, and come out well
// with sample data.
func LoadTemplates(folder string) (*Templates, error) {
	files, err := fs.Sub(templateFiles, "templates")
	if err != nil {
		return nil, fmt.Errorf("open the mail templates: %w", err)
	}
	if folder != "" {
		files = os.DirFS(folder)
	}
	t := &Templates{mails: map[string]mailTemplate{}}
	var problems []error
	for name, sample := range sampleData() {
		loaded, err := loadTemplate(files, name)
		if err == nil {
			t.mails[name] = loaded
			_, err = t.render(name, sample)
		}
		if err != nil {
			problems = append(problems, err)
		}
	}
	if len(problems) > 0 {
		return nil, errors.Join(problems...)
	}
	return t, nil
}

func loadTemplate(files fs.FS, name string) (t mailTemplate, err error) {
	text, err := templateText(files, name+".txt")
	if err != nil {
		return t, err
	}
	first, body, _ := strings.Cut(text, "\n")
	subject, ok := strings.CutPrefix(strings.TrimSuffix(first, "\r"), subjectPrefix)
	if !ok {
		return t, fmt.Errorf("mail template %s.txt: the first line must begin with %q", name, subjectPrefix)
	}
	html, err := templateText(files, name+".html")
	if err != nil {
		return t, err
	}
	const missing = "missingkey=error"
	if t.subject, err = texttemplate.New(name + ".txt").Option(missing).Parse(subject); err != nil {
		return t, fmt.Errorf("mail %w", err)
	}
	// The empty line counts, so that errors name the lines of the file.
	if t.text, err = texttemplate.New(name + ".txt").Option(missing).Parse("\n" + body); err != nil {
		return t, fmt.Errorf("mail %w", err)
	}
	if t.html, err = htmltemplate.New(name + ".html").Option(missing).Parse(html); err != nil {
		return t, fmt.Errorf("mail %w", err)
	}
	return t, nil
}

func templateText(files fs.FS, name string) (string, error) {
	text, err := fs.ReadFile(files, name)
	if err != nil {
		return "", fmt.Errorf("read the mail template %s: %w", name, err)
	}
	if len(text) > maxTemplateFile {
		return "", fmt.Errorf("mail template %s: larger than %d KiB", name, maxTemplateFile>>10)
	}
	return string(text), nil
}

// render fills in a template. Of the data only printable characters remain, so that no value begins a line.
func (t *Templates) render(name string, data map[string]string) (r rendered, err error) {
	template, known := t.mails[name]
	if !known {
		return r, fmt.Errorf("there is no mail template %q", name)
	}
	plain := make(map[string]string, len(data))
	for key, value := range data {
		if len(value) > maxValueBytes {
			return r, fmt.Errorf("mail template %s: %s is longer than %d bytes", name, key, maxValueBytes)
		}
		plain[key] = printable(value)
	}
	var subject, text, html bytes.Buffer
	err = errors.Join(template.subject.Execute(&subject, plain), template.text.Execute(&text, plain), template.html.Execute(&html, plain))
	if err != nil {
		return r, fmt.Errorf("render a mail: %w", err)
	}
	// What looks like an encoded word (RFC 2047 §2) would be decoded by whoever reads the subject, line breaks and all.
	r = rendered{subject: strings.TrimSpace(strings.ReplaceAll(printable(subject.String()), "=?", "= ?")), text: strings.TrimLeft(text.String(), "\n"), html: html.String()}
	if chars := []rune(r.subject); len(chars) > maxSubjectChars {
		r.subject = string(chars[:maxSubjectChars]) + "…"
	}
	if r.subject == "" || strings.TrimSpace(r.text) == "" || strings.TrimSpace(r.html) == "" {
		return r, fmt.Errorf("mail template %s: the subject, the text or the HTML is empty", name)
	}
	return r, nil
}

// printable is s without control characters and those that turn text around or cannot be seen.
func printable(s string) string {
	return strings.Map(func(c rune) rune {
		if !unicode.IsPrint(c) {
			return -1
		}
		return c
	}, s)
}
