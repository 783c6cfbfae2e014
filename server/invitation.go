package server

import (
	"cmp"
	"net/http"

	"mandate/directory"
	"mandate/manage"
)

const (
	invitationPath = "/invitation"
	invitationForm = "invitation"
	newAccount     = "new_account"
)

// invited is what the pages show to somebody who has followed the link of an invitation.
type invited struct {
	Continue string
	Token    string // of the link, in a page whose Referrer-Policy lets it go nowhere
	Org      string
	Email    string
	Username string // who is signed in
}

// invitationRoutes are those by which the link of an invitation leads into the organization.
func (p *pages) invitationRoutes() []pageRoute {
	return []pageRoute{
		{http.MethodGet, invitationPath + "/done", p.invitationDone},
		{http.MethodGet, invitationPath + "/:token", p.invitation},
		{http.MethodPost, invitationPath + "/:token", p.acceptInvitation},
		{http.MethodPost, invitationPath + "/:token/account", p.makeAccount},
	}
}

// invitation is the page behind the link. Programs that look into mails open it too, so it changes nothing. Who has no account
// yet makes one, for which the link must have come by mail; others sign in first.
func (p *pages) invitation(v *visitor) error {
	return p.showInvitation(v, http.StatusOK, "")
}

func (p *pages) showInvitation(v *visitor, status int, problem string) error {
	token := linkToken(v)
	ref, i, err := p.tenant.Manage.FindInvitation(v.ctx, v.reading, token)
	if err != nil {
		return err
	}
	if i.RedirectURI != "" {
		v.target = formTarget(i.RedirectURI)
	}
	content, form := invited{Token: token.Expose(), Email: i.Email}, invitationForm
	if content.Org, err = p.orgName(v, ref.Org); err != nil {
		return err
	}
	if v.user == nil {
		known := false
		err := p.tenant.ID.UsersByEmail(v.ctx, v.reading, i.Email, func(string) error { known = true; return directory.ErrEnough })
		if err != nil {
			return err
		}
		if known || !i.Mailed {
			return p.signInFirst(v, invitationPath+"/"+token.Expose(), "")
		}
		form = newAccount
	} else {
		user, _, err := p.tenant.ID.User(v.user.Subject).Find(v.ctx, v.reading)
		if err != nil {
			return err
		}
		content.Username = plainName(user.Username, v.user.Subject)
	}
	content.Continue, err = p.seal(v, visit{Form: form, Started: p.tenant.Now(), Session: p.sessionHash(v)})
	if err != nil {
		return err
	}
	return p.show(v, status, "invitation", page{Title: "Join " + content.Org, Problem: problem, Content: content})
}

func (p *pages) acceptInvitation(v *visitor) error {
	if _, _, err := p.form(v, invitationForm); err != nil {
		return err
	}
	if v.user == nil {
		return p.signInFirst(v, invitationPath+"/"+linkToken(v).Expose(), "")
	}
	token := linkToken(v)
	ref, i, err := p.tenant.Manage.FindInvitation(v.ctx, v.reading, token)
	if err != nil {
		return err
	}
	q := &manage.Request{Caller: v.user, Policies: v.policies, ID: p.server.decisions.next()}
	if _, err := p.tenant.Manage.AcceptInvitation(v.ctx, q, ref.Org, ref.ID, "", token); err != nil {
		return err
	}
	return p.redirect(v, cmp.Or(i.RedirectURI, p.public.Path+invitationPath+"/done"))
}

// makeAccount makes the account of somebody who was invited by mail, and has none with that address.
func (p *pages) makeAccount(v *visitor) error {
	fields, _, err := p.form(v, newAccount)
	if err != nil {
		return err
	}
	token, password := linkToken(v), fields.secret(newPassword)
	if err := directory.CheckPassword(password); err != nil {
		return p.showInvitation(v, http.StatusBadRequest, "The password "+err.Error()+".")
	}
	if _, _, err := p.tenant.Manage.FindInvitation(v.ctx, v.reading, token); err != nil {
		return err // before it costs a hash
	}
	q := &manage.Request{Policies: v.policies, ID: p.server.decisions.next()}
	if err := p.tenant.Manage.RegisterInvited(v.ctx, q, token, password); err != nil {
		return err
	}
	return p.redirect(v, p.public.Path+invitationPath+"/"+token.Expose())
}

func (p *pages) invitationDone(v *visitor) error {
	return p.show(v, http.StatusOK, "invitationdone", page{Title: "You are a member now"})
}
