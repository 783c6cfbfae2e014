package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mandate/delivery"
	"mandate/directory"
)

// TestMailConfiguration: exactly one place for mails, complete, and none at all when nothing is set.
func TestMailConfiguration(t *testing.T) {
	folder, password := filepath.Join(t.TempDir(), "mail"), filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(password, []byte("right\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	const from, smtp = "Mandate <no-reply@mandate.example>", "smtp.acme.example:587"
	for _, row := range []struct {
		name  string
		c     mailConfig
		wrong string
		sends bool
	}{
		{"nothing", mailConfig{}, "", false},
		{"a folder", mailConfig{Folder: folder, From: from}, "", true},
		{"a server", mailConfig{SMTP: smtp, From: from}, "", true},
		{"a server with a password", mailConfig{SMTP: smtp, From: from, Username: "mandate", PasswordFile: password}, "", true},
		{"both", mailConfig{SMTP: smtp, Folder: folder, From: from}, "give one of smtp and folder", false},
		{"neither, and a sender", mailConfig{From: from}, "give smtp or folder", false},
		{"no sender", mailConfig{SMTP: smtp}, "from is missing", false},
		{"a user name alone", mailConfig{SMTP: smtp, From: from, Username: "mandate"}, "username and password_file go together", false},
		{"a user name for a folder", mailConfig{Folder: folder, From: from, Username: "mandate", PasswordFile: password}, "are for smtp", false},
		{"a server without a port", mailConfig{SMTP: "smtp.acme.example", From: from}, "is not a host and a port", false},
		{"a sender that is no address", mailConfig{SMTP: smtp, From: "mandate"}, "is not an address", false},
		{"a password file that is not there", mailConfig{SMTP: smtp, From: from, Username: "mandate", PasswordFile: folder + "/none"}, "mail.password_file", false},
		{"templates that are not there", mailConfig{SMTP: smtp, From: from, Templates: folder + "/none"}, "mail.templates", false},
	} {
		problems := row.c.check()
		mailer, err := row.c.mailer()
		if err != nil {
			problems = append(problems, err)
		}
		var said strings.Builder
		for _, problem := range problems {
			said.WriteString(problem.Error() + "\n")
		}
		if (row.wrong == "") != (said.Len() == 0) || !strings.Contains(said.String(), row.wrong) {
			t.Errorf("%s: %q, want %q", row.name, said.String(), row.wrong)
		}
		if row.wrong == "" && (mailer != nil) != row.sends {
			t.Errorf("%s: the mailer is %v", row.name, mailer)
		}
	}
	c := mailConfig{}
	c.forDev(t.TempDir())
	mailer, err := c.mailer()
	if err != nil {
		t.Fatal(err)
	}
	m := delivery.PasswordReset("http://127.0.0.1:8080", "alice@acme.example", "alice", directory.NewSecret("x"), time.Now())
	if err := mailer.Send(t.Context(), m); err != nil {
		t.Error(err)
	}
	if files, err := os.ReadDir(c.Folder); err != nil || len(files) != 1 {
		t.Errorf("the folder of --dev has %v, %v", files, err)
	}
}
