package tokens

import (
	"context"
	"errors"
	"time"

	"mandate/authn"
	"mandate/directory"
)

const (
	exchangeGrantType = "urn:ietf:params:oauth:grant-type:token-exchange"

	// Types of tokens that can be exchanged and asked for (RFC 8693 §3).
	accessTokenType = "urn:ietf:params:oauth:token-type:access_token"
	jwtType         = "urn:ietf:params:oauth:token-type:jwt"
)

// maxActors bounds the chain that a token can show.
const maxActors = 8

// tokenExchange is RFC 8693. Any credential that Mandate accepts as a bearer token can be exchanged. What it is, and who
// acts for whom, comes from the credential alone: parameters only ask for less.
type tokenExchange struct{}

func (tokenExchange) prove(ctx context.Context, i *Issuer, a *asked) (*basis, error) {
	if err := wellFormedExchange(a); err != nil {
		return nil, err
	}
	subject, err := i.exchanged(ctx, a, "subject_token", a.SubjectToken)
	if err != nil {
		return nil, err
	}
	b := &basis{subject: subject, org: subject.Org, grantID: subject.Grant, notAfter: expiry(subject), issuedType: accessTokenType}
	if !a.ActorToken.IsZero() {
		if b.actor, err = i.exchanged(ctx, a, "actor_token", a.ActorToken); err != nil {
			return nil, err
		}
		if b.actor.Type != authn.Client || b.actor.Subject != a.client.Subject || b.actor.Actor != nil {
			return nil, &Error{Code: "invalid_request", Description: "actor_token must be one that the client has got for itself"}
		}
		b.notAfter = earlier(b.notAfter, b.actor.Expires)
	}
	if subject.Grant != "" && subject.ClientID == a.client.Subject {
		b.audience = subject.Audience[0] // what somebody let the client have does not grow by coming here
	}
	b.act, err = chain(subject, a.client, b.actor != nil)
	return b, err
}

func wellFormedExchange(a *asked) error {
	bad := func(description string) error { return &Error{Code: "invalid_request", Description: description} }
	accepted := func(t string) bool { return t == accessTokenType || t == jwtType }
	const use = "use " + accessTokenType + " or " + jwtType
	switch {
	case a.client.Methods[0] == "none":
		return &Error{Code: "unauthorized_client", Description: "a client that does not authenticate cannot exchange tokens: who acts must be certain"}
	case a.SubjectToken.IsZero():
		return bad("the parameter subject_token is missing")
	case a.SubjectTokenType == "":
		return bad("the parameter subject_token_type is missing: " + use)
	case !accepted(a.SubjectTokenType):
		return bad("this subject_token_type cannot be exchanged: " + use)
	case a.ActorToken.IsZero() && a.ActorTokenType != "":
		return bad("actor_token_type came without actor_token")
	case !a.ActorToken.IsZero() && a.ActorTokenType == "":
		return bad("the parameter actor_token_type is missing: " + use)
	case a.ActorTokenType != "" && !accepted(a.ActorTokenType):
		return bad("this actor_token_type cannot be exchanged: " + use)
	case a.RequestedTokenType != "" && !accepted(a.RequestedTokenType):
		return bad("this requested_token_type cannot be issued: " + use)
	}
	return nil
}

// exchanged is whose token it is, with what the token is good for now. One that is not good is an invalid request (RFC 8693
// §2.2.2). The DPoP proof of a token request is not for the tokens in it (RFC 9449 §5), so one that is bound to a key is
// accepted from whoever has proved to hold that very key.
func (i *Issuer) exchanged(ctx context.Context, a *asked, parameter string, token directory.Secret) (*authn.Principal, error) {
	var failed *authn.Error
	p, err := i.o.Authn.Inspect(ctx, a.reading, token)
	if errors.As(err, &failed) { // not one of our own, or not a good one
		p, err = i.o.Authn.Authenticate(ctx, a.reading, authn.Presented{Authorization: []string{"Bearer " + token.Expose()}})
	}
	if err == nil {
		p, err = i.Current(ctx, a.reading, a.policies, p)
	}
	if errors.As(err, &failed) && failed.Kind != authn.Busy {
		return nil, &Error{Code: "invalid_request", Description: "the " + parameter + " is not good: " + failed.Detail}
	}
	if err != nil {
		return nil, err
	}
	if c := p.Confirms; c != nil && !boundTo(directory.Grant{Thumbprint: c.Thumbprint, CertHash: c.CertHash}, a.Confirms) {
		return nil, &Error{Code: "invalid_request", Description: "the " + parameter + " is bound to a key: send the request with a DPoP proof or the certificate of that key"}
	}
	return p, nil
}

// chain is the act claim (RFC 8693 §4.1). A token that somebody else was given shows who uses it now, and who did before,
// whether or not an actor_token came along. What the client has got itself, or its holder, stays what it was.
func chain(subject, client *authn.Principal, delegated bool) (*authn.Actor, error) {
	act := subject.Actor
	if before := subject.AuthorizedParty; before != "" && before != client.Subject && (act == nil || act.Subject != before) {
		act = &authn.Actor{Type: authn.Client, Subject: before, Actor: act}
	}
	if delegated || (subject.ClientID != "" && subject.ClientID != client.Subject) {
		act = &authn.Actor{Type: authn.Client, Subject: client.Subject, Actor: act}
	}
	actors := 0
	for link := act; link != nil; link = link.Actor {
		actors++
	}
	if actors > maxActors {
		return nil, &Error{Code: "invalid_request", Description: "the subject_token has come through too many hands already"}
	}
	return act, nil
}

// earlier is the earlier of two ends, of which the second is in seconds since 1970; zero is none.
func earlier(end time.Time, seconds int64) time.Time {
	if at := time.Unix(seconds, 0); seconds != 0 && (end.IsZero() || at.Before(end)) {
		return at
	}
	return end
}
