package delivery

import (
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net/mail"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"mandate/directory"
)

const sender = "Mandate <no-reply@mandate.example>"

func builtIn(t testing.TB) *Templates {
	t.Helper()
	templates, err := LoadTemplates("")
	if err != nil {
		t.Fatal(err)
	}
	return templates
}

// received is a mail as its reader gets it.
type received struct {
	header mail.Header
	names  []string // of the fields
	parts  map[string]string
}

func readMail(t testing.TB, text string) received {
	t.Helper()
	m, err := mail.ReadMessage(strings.NewReader(text))
	if err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	got := received{header: m.Header, parts: map[string]string{}}
	for name, values := range m.Header {
		for range values {
			got.names = append(got.names, name)
		}
	}
	slices.Sort(got.names)
	kind, parameters, err := mime.ParseMediaType(m.Header.Get("Content-Type"))
	if err != nil || kind != "multipart/alternative" {
		t.Fatalf("the mail is %s, %v", kind, err)
	}
	for parts := multipart.NewReader(m.Body, parameters["boundary"]); ; {
		part, err := parts.NextRawPart()
		if errors.Is(err, io.EOF) {
			return got
		}
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(quotedprintable.NewReader(part))
		if err != nil {
			t.Fatal(err)
		}
		kind := part.Header.Get("Content-Type")
		if got.parts[kind] != "" {
			t.Errorf("two parts are %s", kind)
		}
		got.parts[kind] = string(body)
	}
}

func (r received) subject(t testing.TB) string {
	t.Helper()
	decoded, err := (&mime.WordDecoder{}).DecodeHeader(r.header.Get("Subject"))
	if err != nil {
		t.Fatal(err)
	}
	return decoded
}

// oneMail is the only mail in the folder.
func oneMail(t testing.TB, folder string) received {
	t.Helper()
	files, err := os.ReadDir(folder)
	if err != nil || len(files) != 1 {
		t.Fatalf("the folder has %v, %v", files, err)
	}
	info, err := files[0].Info()
	if err != nil || info.Mode().Perm() != 0o600 || filepath.Ext(info.Name()) != ".eml" {
		t.Errorf("the file is %v, %v", info, err)
	}
	text, err := os.ReadFile(filepath.Join(folder, files[0].Name()))
	if err != nil {
		t.Fatal(err)
	}
	return readMail(t, string(text))
}

// TestHostileValuesStayInTheirPlace: whoever names an organization can add no field, no recipient, no part and no element.
func TestHostileValuesStayInTheirPlace(t *testing.T) {
	token := directory.NewSecret("mdt_iv_x_token")
	for _, row := range []struct{ name, organization, wantSubject, wantText, wantHTML string }{
		{"a plain name", "Acme Industries", "Invitation to Acme Industries", "invites you to Acme Industries at mandate.example.", "<bdi>Acme Industries</bdi>"},
		{"not ASCII", "Ångström 株式会社", "Invitation to Ångström 株式会社", "Ångström 株式会社", "Ångström 株式会社"},
		{"RFC 5322 §2.2: a field", "Acme\r\nBcc: eve@evil.example", "Invitation to AcmeBcc: eve@evil.example", "AcmeBcc: eve@evil.example", "AcmeBcc: eve@evil.example"},
		{"a bare line feed", "Acme\nTo: eve@evil.example", "Invitation to AcmeTo: eve@evil.example", "AcmeTo:", "AcmeTo:"},
		{"the end of the header", "Acme\r\n\r\nPay here: evil.example", "Invitation to AcmePay here: evil.example", "AcmePay here", "AcmePay here"},
		{"other line breaks", "Acme\u2028\u2029\u0085\v\f\x00Industries", "Invitation to AcmeIndustries", "AcmeIndustries", "AcmeIndustries"},
		{"text that is turned around", "Acme\u202e\u2066\u200bIndustries", "Invitation to AcmeIndustries", "AcmeIndustries", "AcmeIndustries"},
		{"an encoded word (RFC 2047)", "=?utf-8?q?Acme=0D=0ABcc:_eve@evil.example?=", "", "=?utf-8?q?Acme", "=?utf-8?q?Acme"},
		{"an element", `<script>alert(1)</script><a href="https://evil.example">`, "", `<script>alert(1)`, "&lt;script&gt;"},
		{"a boundary", "--boundary\r\nContent-Type: text/html", "", "--boundaryContent-Type", "--boundaryContent-Type"},
		{"a template", "{{.link}}", "Invitation to {{.link}}", "{{.link}}", "{{.link}}"},
		{"the end of a mail (RFC 5321 §4.1.1.4)", "Acme\r\n.\r\nMAIL FROM:<eve@evil.example>", "", "Acme.MAIL FROM", "Acme.MAIL FROM"},
	} {
		t.Run(row.name, func(t *testing.T) {
			folder := t.TempDir()
			mailer, err := NewFolder(folder, sender, builtIn(t), time.Now)
			if err != nil {
				t.Fatal(err)
			}
			m := Invitation("https://mandate.example", "bob@acme.example", row.organization, "alice@acme.example", token, time.Now())
			if err := mailer.Send(t.Context(), m); err != nil {
				t.Fatal(err)
			}
			got := oneMail(t, folder)
			want := []string{"Auto-Submitted", "Content-Transfer-Encoding", "Content-Type", "Date", "From", "Message-Id", "Mime-Version", "Subject", "To"}
			if !slices.Equal(slices.DeleteFunc(got.names, func(n string) bool { return n == "Content-Transfer-Encoding" }),
				slices.DeleteFunc(want, func(n string) bool { return n == "Content-Transfer-Encoding" })) {
				t.Errorf("the fields are %v", got.names)
			}
			if got.header.Get("To") != "<bob@acme.example>" || got.header.Get("From") != `"Mandate" <no-reply@mandate.example>` {
				t.Errorf("from %s to %s", got.header.Get("From"), got.header.Get("To"))
			}
			if subject := got.subject(t); (row.wantSubject != "" && subject != row.wantSubject) || strings.ContainsAny(subject, "\r\n") {
				t.Errorf("the subject is %q", subject)
			}
			text, html := got.parts["text/plain; charset=UTF-8"], got.parts["text/html; charset=UTF-8"]
			if len(got.parts) != 2 || !strings.Contains(text, row.wantText) || !strings.Contains(html, row.wantHTML) {
				t.Errorf("the parts are %q", got.parts)
			}
			for _, part := range []string{text, html} {
				if !strings.Contains(part, "https://mandate.example/invitation/mdt_iv_x_token") || strings.Contains(part, "<script") && part == html {
					t.Errorf("a part is %q", part)
				}
			}
		})
	}
}

// TestMailsThatAreNotSent: what is wrong with a message stays wrong.
func TestMailsThatAreNotSent(t *testing.T) {
	good := PasswordReset("https://mandate.example", "alice@acme.example", "alice", directory.NewSecret("x"), time.Now())
	for _, row := range []struct {
		name  string
		alter func(*Message)
	}{
		{"nobody", func(m *Message) { m.To = "" }},
		{"two recipients", func(m *Message) { m.To = "alice@acme.example, eve@evil.example" }},
		{"a name", func(m *Message) { m.To = "Alice <alice@acme.example>" }},
		{"a field", func(m *Message) { m.To = "alice@acme.example\r\nBcc: eve@evil.example" }},
		{"a command", func(m *Message) { m.To = "alice@acme.example>\r\nRCPT TO:<eve@evil.example" }},
		{"a Cyrillic а", func(m *Message) { m.To = "\u0430lice@acme.example" }},
		{"an unknown template", func(m *Message) { m.Template = "../invitation" }},
		{"a value that is missing", func(m *Message) { delete(m.Data, "link") }},
		{"a value without end", func(m *Message) { m.Data["username"] = strings.Repeat("x", maxValueBytes+1) }},
	} {
		folder := t.TempDir()
		mailer, err := NewFolder(folder, sender, builtIn(t), time.Now)
		if err != nil {
			t.Fatal(err)
		}
		m := good
		m.Data = map[string]string{}
		for key, value := range good.Data {
			m.Data[key] = value
		}
		row.alter(&m)
		err = mailer.Send(t.Context(), m)
		if !isPermanent(err) {
			t.Errorf("%s: %v", row.name, err)
		}
		if files, _ := os.ReadDir(folder); len(files) != 0 {
			t.Errorf("%s: the folder has %v", row.name, files)
		}
	}
	for _, from := range []string{"", "mandate", "a@mandate.example, b@mandate.example", "Mandate <no-reply@m\u0430ndate.example>"} {
		if _, err := NewFolder(t.TempDir(), from, builtIn(t), time.Now); err == nil {
			t.Errorf("the sender %q is taken", from)
		}
	}
}

// TestTemplatesOfAFolder: they replace those built in, all of them, and are refused by their names.
func TestTemplatesOfAFolder(t *testing.T) {
	for _, row := range []struct {
		name, file, text string // the file that is another one; without text it is missing
		want             string
	}{
		{"all are there", "", "", ""},
		{"another text", "password_reset.txt", "Subject: Neues Passwort für {{.username}}\n\n{{.link}}\n", ""},
		{"one is missing", "password_reset.html", "", "read the mail template password_reset.html"},
		{"no subject", "invitation.txt", "{{.link}}", `mail template invitation.txt: the first line must begin with "Subject: "`},
		{"an empty subject", "invitation.txt", "Subject: \n\n{{.link}}", "mail template invitation: the subject, the text or the HTML is empty"},
		{"nothing below the subject", "invitation.txt", "Subject: x", "the HTML is empty"},
		{"a syntax error", "invitation.txt", "Subject: x\n\n{{.link", "template: invitation.txt:3: unclosed action"},
		{"a syntax error in HTML", "invitation.html", "{{if}}", "template: invitation.html:1: missing value for if"},
		{"HTML that cannot be escaped", "invitation.html", "<a href='{{.link}}", "invitation.html"},
		{"a name that no data has", "password_reset.txt", "Subject: x\n\n{{.organization}}", `map has no entry for key "organization"`},
		{"a file without end", "invitation.html", strings.Repeat("x", maxTemplateFile+1), "mail template invitation.html: larger than 64 KiB"},
	} {
		folder := t.TempDir()
		if err := os.CopyFS(folder, os.DirFS("templates")); err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(folder, row.file)
		var err error
		switch {
		case row.text != "":
			err = os.WriteFile(file, []byte(row.text), 0o600)
		case row.file != "":
			err = os.Remove(file)
		}
		if err != nil {
			t.Fatal(err)
		}
		_, err = LoadTemplates(folder)
		if (err == nil) != (row.want == "") || (err != nil && !strings.Contains(err.Error(), row.want)) {
			t.Errorf("%s: %v, want %q", row.name, err, row.want)
		}
	}
	if _, err := LoadTemplates(filepath.Join(t.TempDir(), "nowhere")); err == nil {
		t.Error("a folder that is not there is taken")
	}
}

// TestInvitationOfNobody has no inviter: it was made by software.
func TestInvitationOfNobody(t *testing.T) {
	m := Invitation("https://mandate.example", "bob@acme.example", "Acme Industries", "", directory.NewSecret("mdt_iv_x_token"), time.Now())
	mail, err := builtIn(t).render(m.Template, m.Data)
	if err != nil || !strings.Contains(mail.text, "You are invited to Acme Industries at") ||
		!strings.Contains(mail.html, "<p>You are invited to <bdi>Acme Industries</bdi>") {
		t.Errorf("%+v, %v", mail, err)
	}
}
