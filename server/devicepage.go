package server

import (
	"errors"
	"net/http"

	"mandate/tokens"
)

const (
	devicePath        = "/device"
	deviceForm        = "device"
	deviceConsentForm = "device consent"
	maxUserCode       = 32
)

// enteringCode is what the page shows that asks for a user code.
type enteringCode struct{ Continue, UserCode string }

// device is the verification URI (RFC 8628 §3.3). A code that came with the link is confirmed like one that was typed (§5.4).
func (p *pages) device(v *visitor) error {
	code := string(v.c.Request().URI().QueryArgs().Peek("user_code"))
	if len(code) > maxUserCode || plainQuery(code) != nil {
		code = ""
	}
	if v.user == nil {
		return p.signInFirst(v, devicePath, code)
	}
	return p.showDevice(v, http.StatusOK, code, "")
}

func (p *pages) showDevice(v *visitor, status int, code, problem string) error {
	sealed, err := p.seal(v, visit{Form: deviceForm, Started: p.tenant.Now(), Session: p.sessionHash(v)})
	if err != nil {
		return err
	}
	return p.show(v, status, "device", page{Title: "Connect a device", Problem: problem, Content: enteringCode{sealed, code}})
}

// findDevice takes the code, and asks whether the device may have what it wants.
func (p *pages) findDevice(v *visitor) error {
	fields, state, err := p.form(v, deviceForm)
	if err != nil {
		return err
	}
	code := fields.get("user_code")
	var a *tokens.Authorization
	var refused *tokens.Error
	err = p.tenant.Authn.TryUserCode(v.user.Subject, func() (found bool, err error) {
		if a, err = p.tenant.Tokens.FindDevice(v.ctx, v.reading, code); errors.As(err, &refused) {
			return false, nil
		}
		return err == nil, err
	})
	if err != nil {
		return err
	}
	if refused != nil {
		return p.showDevice(v, http.StatusBadRequest, code, refused.Description)
	}
	state.UserCode = code
	return p.askForDevice(v, state, a, "")
}

func (p *pages) askForDevice(v *visitor, state visit, a *tokens.Authorization, problem string) error {
	offers, err := p.deviceOffers(v, a)
	if err != nil {
		return err
	}
	content, err := p.view(v, a, offers)
	if err != nil {
		return err
	}
	state.Form = deviceConsentForm
	content.Action, content.UserCode = devicePath+"/consent", state.UserCode
	return p.showAsking(v, state, offers, content, page{Title: content.Client + " asks for access on a device", Problem: problem})
}

// deviceOffers are what the device could have. A refusal is for the person: the device has no redirect URI.
func (p *pages) deviceOffers(v *visitor, a *tokens.Authorization) ([]tokens.Offer, error) {
	offers, err := p.tenant.Tokens.Offers(v.ctx, v.reading, v.policies, a, v.user)
	if refused := (*tokens.Redirect)(nil); errors.As(err, &refused) {
		return nil, refused.Refusal
	}
	return offers, err
}

// decideDevice takes the answer. Always somebody has to give one, whoever the client is (RFC 8628 §5.4).
func (p *pages) decideDevice(v *visitor) error {
	fields, state, err := p.form(v, deviceConsentForm)
	if err != nil {
		return err
	}
	a, err := p.tenant.Tokens.FindDevice(v.ctx, v.reading, state.UserCode)
	if err != nil {
		return err
	}
	if fields.get("decision") == "deny" {
		if err := p.tenant.Tokens.DenyDevice(v.ctx, state.UserCode); err != nil {
			return err
		}
		return p.redirect(v, p.public.Path+devicePath+"/done")
	}
	offers, err := p.deviceOffers(v, a)
	if err != nil {
		return err
	}
	org, problem, err := chosen(fields, state, offers)
	if err != nil {
		return err
	}
	if problem != "" {
		return p.askForDevice(v, state, a, problem)
	}
	if err := p.tenant.Tokens.ApproveDevice(v.ctx, v.reading, v.policies, state.UserCode, v.user, org); err != nil {
		return err
	}
	return p.redirect(v, p.public.Path+devicePath+"/done")
}

func (p *pages) deviceDone(v *visitor) error {
	return p.show(v, http.StatusOK, "devicedone", page{Title: "Your device has the answer"})
}
