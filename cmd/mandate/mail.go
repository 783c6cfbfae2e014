package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"mandate/delivery"
	"mandate/directory"
)

// devSender is whom mails of the example are from.
const devSender = "Mandate <no-reply@mandate.example>"

// mailConfig says where mails go: to an SMTP server, or into a folder. With neither, none is sent.
type mailConfig struct {
	SMTP         string `yaml:"smtp,omitempty"`
	From         string `yaml:"from,omitempty"`
	Username     string `yaml:"username,omitempty"`
	PasswordFile string `yaml:"password_file,omitempty"`
	Folder       string `yaml:"folder,omitempty"`
	Templates    string `yaml:"templates,omitempty"` // a folder; those built in when left out
}

func (c *mailConfig) addTo(flags *pflag.FlagSet) {
	flags.StringVar(&c.SMTP, "mail-smtp", c.SMTP, "host and port of the SMTP server for mails, which must speak TLS except on loopback (default: no mails)")
	flags.StringVar(&c.From, "mail-from", c.From, `sender of mails, such as "Mandate <no-reply@mandate.example>"`)
	flags.StringVar(&c.Username, "mail-username", c.Username, "user name at the SMTP server")
	flags.StringVar(&c.PasswordFile, "mail-password-file", c.PasswordFile, "file with the password at the SMTP server")
	flags.StringVar(&c.Folder, "mail-folder", c.Folder, "folder to write mails into instead of sending them")
	flags.StringVar(&c.Templates, "mail-templates", c.Templates, "folder of the templates of mails (default: those built in)")
}

func (c *mailConfig) check() (problems []error) {
	wrong := func(text string) { problems = append(problems, errors.New("mail: "+text)) }
	if c.SMTP != "" && c.Folder != "" {
		wrong("give one of smtp and folder")
	}
	if c.SMTP == "" && c.Folder == "" && *c != (mailConfig{}) {
		wrong("give smtp or folder, for without them no mail is sent")
	}
	if c.From == "" && (c.SMTP != "" || c.Folder != "") {
		wrong("from is missing")
	}
	if c.SMTP == "" && (c.Username != "" || c.PasswordFile != "") {
		wrong("username and password_file are for smtp")
	}
	if (c.Username == "") != (c.PasswordFile == "") {
		wrong("username and password_file go together")
	}
	return problems
}

// mailer sends mails as configured; nil when there is to be no mail.
func (c *mailConfig) mailer() (delivery.Mailer, error) {
	if c.SMTP == "" && c.Folder == "" {
		return nil, nil
	}
	templates, err := delivery.LoadTemplates(c.Templates)
	if err != nil {
		return nil, fmt.Errorf("mail.templates: %w", err)
	}
	if c.Folder != "" {
		folder, err := delivery.NewFolder(c.Folder, c.From, templates, time.Now)
		if err != nil {
			return nil, fmt.Errorf("mail: %w", err)
		}
		return folder, nil
	}
	var password directory.Secret
	if c.PasswordFile != "" {
		text, err := os.ReadFile(c.PasswordFile)
		if err != nil {
			return nil, fmt.Errorf("mail.password_file: %w", err)
		}
		password = directory.NewSecret(strings.TrimRight(string(text), "\r\n"))
	}
	server, err := delivery.NewSMTP(delivery.SMTPOptions{Address: c.SMTP, Username: c.Username, Password: password, From: c.From,
		Templates: templates, Now: time.Now})
	if err != nil {
		return nil, fmt.Errorf("mail: %w", err)
	}
	return server, nil
}

// forDev writes mails below the data folder unless they are to go elsewhere.
func (c *mailConfig) forDev(data string) {
	if c.SMTP == "" && c.Folder == "" {
		c.Folder, c.From = filepath.Join(data, "mail"), devSender
	}
}
