package server

import (
	"context"
	"fmt"
	"net/http"

	"mandate/datastore"
	"mandate/delivery"
	"mandate/directory"
	"mandate/manage"
)

const (
	resetPath   = "/reset"
	resetForm   = "reset"
	newPassword = "new_password"
)

// Deliveries takes mail, to be sent once the transaction has been committed.
type Deliveries interface {
	Mail(ctx context.Context, tx datastore.Tx, m delivery.Message) error
}

// resetting is what the pages show by which a user who has forgotten a password sets another one.
type resetting struct {
	Continue string
	Username string
	Token    string // of the link, in a page whose Referrer-Policy lets it go nowhere
}

// resetRoutes are those of resets by mail; without mail there are none.
func (p *pages) resetRoutes() []pageRoute {
	if p.tenant.Deliveries == nil {
		return nil
	}
	return []pageRoute{
		{http.MethodGet, resetPath, p.reset},
		{http.MethodPost, resetPath, p.askReset},
		{http.MethodGet, resetPath + "/sent", p.resetSent},
		{http.MethodGet, resetPath + "/done", p.resetDone},
		{http.MethodGet, resetPath + "/:token", p.choosePassword},
		{http.MethodPost, resetPath + "/:token", p.setPassword},
	}
}

// reset asks who somebody is.
func (p *pages) reset(v *visitor) error {
	return p.showReset(v, http.StatusOK, "")
}

func (p *pages) showReset(v *visitor, status int, problem string) error {
	sealed, err := p.seal(v, visit{Form: resetForm, Started: p.tenant.Now()})
	if err != nil {
		return err
	}
	return p.show(v, status, "reset", page{Title: "Forgot your password?", Problem: problem, Content: resetting{Continue: sealed}})
}

// askReset mails a link to those who have the name. The answer and its cost are the same when there is nobody.
func (p *pages) askReset(v *visitor) error {
	fields, _, err := p.form(v, resetForm)
	if err != nil {
		return err
	}
	name := fields.get("username")
	if name == "" {
		return p.showReset(v, http.StatusBadRequest, "Enter your username or email address.")
	}
	if err := p.tenant.Authn.AdmitReset(p.server.address(v.c)); err != nil {
		return err
	}
	_, err = p.server.store.Update(v.ctx, func(tx datastore.Tx) error {
		resets, err := p.tenant.Authn.BeginResets(v.ctx, tx, name)
		if err != nil {
			return err
		}
		for _, r := range resets {
			mail := delivery.PasswordReset(p.tenant.Issuer, r.Email, r.Username, r.Secret, r.ExpiresAt)
			if err := p.tenant.Deliveries.Mail(v.ctx, tx, mail); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("begin the reset of a password: %w", err)
	}
	return p.redirect(v, p.public.Path+resetPath+"/sent")
}

func (p *pages) resetSent(v *visitor) error {
	return p.show(v, http.StatusOK, "resetsent", page{Title: "Look into your mailbox"})
}

// linkToken is that of the link that was mailed, copied, for it is kept while a password is hashed.
func linkToken(v *visitor) directory.Secret {
	return directory.NewSecret(string([]byte(v.c.Params("token"))))
}

// choosePassword is the page behind the link. Programs that look into mails open it too, so it changes nothing.
func (p *pages) choosePassword(v *visitor) error {
	return p.showPasswordChoice(v, http.StatusOK, "")
}

func (p *pages) showPasswordChoice(v *visitor, status int, problem string) error {
	token := linkToken(v)
	_, user, err := p.tenant.Authn.Resets(v.ctx, v.reading, token)
	if err != nil {
		return err
	}
	sealed, err := p.seal(v, visit{Form: newPassword, Started: p.tenant.Now()})
	if err != nil {
		return err
	}
	return p.show(v, status, "newpassword", page{Title: "Set another password", Problem: problem,
		Content: resetting{Continue: sealed, Username: plainName(user.Username, ""), Token: token.Expose()}})
}

func (p *pages) setPassword(v *visitor) error {
	fields, _, err := p.form(v, newPassword)
	if err != nil {
		return err
	}
	password := fields.secret(newPassword)
	if err := directory.CheckPassword(password); err != nil {
		return p.showPasswordChoice(v, http.StatusBadRequest, "The password "+err.Error()+".")
	}
	q := &manage.Request{Policies: v.policies, ID: p.server.decisions.next()}
	if err := p.tenant.Manage.FinishReset(v.ctx, v.reading, q, linkToken(v), password); err != nil {
		return err
	}
	return p.redirect(v, p.public.Path+resetPath+"/done")
}

func (p *pages) resetDone(v *visitor) error {
	return p.show(v, http.StatusOK, "resetdone", page{Title: "You have another password"})
}
