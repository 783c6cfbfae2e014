package server

import (
	"maps"
	"net/http"
	"slices"
	"time"

	"mandate/directory"
	"mandate/manage"
)

const (
	accountPath = "/account"
	accountForm = "account"
	// maxConsents bounds how many consents the page lists.
	maxConsents = 500
)

// accountView is what the account page shows.
type accountView struct {
	Continue, Logout string
	User             string
	Consents         []consentLine
}

// consentLine is what the user has let a client do, for one organization or, with Org empty, for none.
type consentLine struct {
	Client, ClientName string
	Org, OrgName       string
	Scopes             []scopeLine
	Since              string
}

// account shows the user what applications may do for it, to be taken back.
func (p *pages) account(v *visitor) error {
	if v.user == nil {
		return p.signInFirst(v, accountPath, "")
	}
	user, _, err := p.tenant.ID.User(v.user.Subject).Find(v.ctx, v.reading)
	if err != nil {
		return err
	}
	content := accountView{User: plainName(user.Username, v.user.Subject)}
	if content.Consents, err = p.consentLines(v); err != nil {
		return err
	}
	state := visit{Form: accountForm, Started: p.tenant.Now(), Session: p.sessionHash(v)}
	if content.Continue, err = p.seal(v, state); err != nil {
		return err
	}
	state.Form = logoutForm
	if content.Logout, err = p.seal(v, state); err != nil {
		return err
	}
	return p.show(v, http.StatusOK, "account", page{Title: "Your account", Content: content})
}

func (p *pages) consentLines(v *visitor) ([]consentLine, error) {
	var lines []consentLine
	err := p.tenant.ID.Consents(v.ctx, v.reading, v.user.Subject, func(client string, consent directory.Consent) error {
		record, _, err := p.tenant.ID.Client(client).Find(v.ctx, v.reading)
		if err != nil {
			return err
		}
		for org, given := range consent.Orgs {
			name, err := p.orgName(v, org)
			if err != nil {
				return err
			}
			line := consentLine{Client: client, ClientName: plainName(record.Name, client), Org: org, OrgName: name}
			for _, audience := range slices.Sorted(maps.Keys(given.Scopes)) {
				line.Scopes = append(line.Scopes, scopeLines(given.Scopes[audience])...)
			}
			if !given.GivenAt.IsZero() {
				line.Since = given.GivenAt.UTC().Format(time.DateOnly)
			}
			lines = append(lines, line)
		}
		if len(lines) > maxConsents {
			return directory.ErrEnough
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	slices.SortStableFunc(lines, func(a, b consentLine) int {
		return slices.Compare([]string{a.Client, a.Org}, []string{b.Client, b.Org})
	})
	return lines, nil
}

// revokeConsent takes a consent back: what rests on it is good for nothing from then on.
func (p *pages) revokeConsent(v *visitor) error {
	fields, _, err := p.form(v, accountForm)
	if err != nil {
		return err
	}
	q := &manage.Request{Caller: v.user, Policies: v.policies, ID: p.server.decisions.next()}
	if err := p.tenant.Manage.TakeConsentBack(v.ctx, q, v.user.Subject, fields.get("client"), fields.get("org")); err != nil {
		return err
	}
	return p.redirect(v, p.public.Path+accountPath)
}
