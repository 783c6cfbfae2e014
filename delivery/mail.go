package delivery

import (
	"crypto/rand"
	"errors"
	"fmt"
	netmail "net/mail"
	"strings"
	"time"

	"github.com/wneessen/go-mail"

	"mandate/directory"
)

// ErrNoMail is the answer to what cannot be done without mail, where none is configured.
var ErrNoMail = errors.New("this installation sends no mail: set mail in its configuration")

// The templates of mails.
const (
	templateInvitation    = "invitation"
	templatePasswordReset = "password_reset"
)

// Invitation is the mail that invites somebody to an organization: the token, at the issuer's page, accepts.
func Invitation(issuer, to, organization, inviter string, token directory.Secret, expires time.Time) Message {
	return Message{To: to, Template: templateInvitation, Data: map[string]string{"organization": organization, "inviter": inviter,
		"link": issuer + "/invitation/" + token.Expose(), "expires": inWords(expires), "host": hostOf(issuer)}}
}

// PasswordReset is the mail with the link by which a user sets another password.
func PasswordReset(issuer, to, username string, token directory.Secret, expires time.Time) Message {
	return Message{To: to, Template: templatePasswordReset, Data: map[string]string{"username": username,
		"link": issuer + "/reset/" + token.Expose(), "expires": inWords(expires), "host": hostOf(issuer)}}
}

func inWords(t time.Time) string { return t.UTC().Format("2 January 2006, 15:04 UTC") }

func hostOf(issuer string) string {
	_, rest, _ := strings.Cut(issuer, "://")
	host, _, _ := strings.Cut(rest, "/")
	return host
}

// composer makes mails of messages. Whatever a message says, a mail is from one address, to one address, and has one part of
// text and one of HTML.
type composer struct {
	from      netmail.Address
	templates *Templates
	now       func() time.Time
}

func newComposer(from string, templates *Templates, now func() time.Time) (composer, error) {
	parsed, err := netmail.ParseAddress(from)
	if err != nil {
		return composer{}, fmt.Errorf("the sender %q is not an address such as Mandate <no-reply@mandate.example>", from)
	}
	if err := directory.CheckEmail(parsed.Address); err != nil {
		return composer{}, fmt.Errorf("the sender %q %w", parsed.Address, err)
	}
	return composer{*parsed, templates, now}, nil
}

// compose makes the mail. What is wrong with a message stays wrong, so its errors are permanent.
func (c composer) compose(m Message) (*mail.Msg, error) {
	if err := directory.CheckEmail(m.To); err != nil {
		return nil, &PermanentError{fmt.Errorf("the recipient of the mail %s %w", m.Template, err)}
	}
	rendered, err := c.templates.render(m.Template, m.Data)
	if err != nil {
		return nil, &PermanentError{err}
	}
	_, domain, _ := strings.Cut(c.from.Address, "@")
	msg := mail.NewMsg(mail.WithNoDefaultUserAgent())
	msg.FromMailAddress(&c.from)
	msg.ToMailAddress(&netmail.Address{Address: m.To})
	msg.Subject(rendered.subject)
	msg.SetDateWithValue(c.now())
	msg.SetMessageIDWithValue(rand.Text() + "@" + domain)
	msg.SetGenHeader("Auto-Submitted", "auto-generated") // RFC 3834 §5: no vacation answers, please
	msg.SetBodyString(mail.TypeTextPlain, rendered.text)
	msg.AddAlternativeString(mail.TypeTextHTML, rendered.html)
	return msg, nil
}
