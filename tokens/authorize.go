package tokens

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"mandate/authn"
	"mandate/datastore"
	"mandate/datastore/memo"
	"mandate/directory"
	"mandate/engine"
)

// Authorization is a valid authorization request (RFC 6749 §4.1.1, OpenID Connect Core §3.1.2.1): who asks for what, before
// anybody has agreed.
type Authorization struct {
	Client      string
	Record      directory.Client
	RedirectURI string
	Scopes      []string // nil when none were asked for
	Org         string   // the organization asked for
	Prompts     []string // login, consent, none, select_account
	MaxAge      int64    // seconds since the login at most; -1 for no limit
	LoginHint   string

	audience  audience
	grantType string
	hint      string // the user that the client expects; empty for any
	state     string
	nonce     string
	challenge string
	jkt       string // thumbprint of the key that the code will be bound to
	given     bool   // whether the request named the redirect URI
	pushed    string
}

// Audience is the resource server that the client wants to reach: the audience of an API, or the issuer.
func (a *Authorization) Audience() string { return a.audience.value }

// Offer is what a user could let a client have, for one organization or, with Org empty, for none.
type Offer struct {
	Org      string
	Scopes   []string
	Agreed   bool  // nobody has to be asked: the policy wants no consent, or the user has given it before
	Lifetime int64 // seconds that an access token lasts
	Offline  bool  // the client can get new tokens while the user is away
}

// Redirect is a refusal that the client is told, by sending the browser To it (RFC 6749 §4.1.2.1).
type Redirect struct {
	Refusal *Error
	To      string
}

func (r *Redirect) Error() string { return r.Refusal.Error() }
func (r *Redirect) Unwrap() error { return r.Refusal }

const (
	maxOffers    = 50 // organizations that a user can choose from
	maxParameter = 4 << 10
)

// ReadAuthorization checks an authorization request. A refusal is a *Redirect, or an *Error for the person alone: where the
// client or its redirect URI is not good, nothing is sent there (RFC 6749 §4.1.2.1).
func (i *Issuer) ReadAuthorization(ctx context.Context, r *memo.Reading, parameters url.Values) (*Authorization, error) {
	a := &Authorization{MaxAge: -1, grantType: "authorization_code"}
	for name, values := range parameters {
		if !utf8.ValidString(name + strings.Join(values, "")) {
			return nil, &Error{Code: "invalid_request", Description: "a parameter is not UTF-8 (RFC 6749, appendix B)"}
		}
	}
	id, err := single(parameters, "client_id")
	if err != nil {
		return nil, err
	}
	client, found, err := i.o.Tenant.Client(id).Find(ctx, r)
	if err != nil {
		return nil, err
	}
	if !found || client.Status != directory.Active {
		return nil, &Error{Code: "invalid_request", Description: "the application that sent you here is not known here: client_id is missing or wrong"}
	}
	a.Client, a.Record = id, client
	if parameters, err = i.pushed(ctx, r, a, parameters); err != nil {
		return nil, err
	}
	if err := i.readTarget(a, parameters); err != nil {
		return nil, err
	}
	if refusal := i.readRest(ctx, r, a, parameters); refusal != nil {
		var known *Error
		if !errors.As(refusal, &known) {
			return nil, refusal
		}
		return nil, i.redirect(a, known)
	}
	return a, nil
}

// readTarget reads where the answer goes.
func (i *Issuer) readTarget(a *Authorization, parameters url.Values) error {
	named, err := single(parameters, "redirect_uri")
	if err != nil {
		return err
	}
	a.given, a.state = named != "", parameters.Get("state")
	a.RedirectURI, err = redirectURI(a.Record, named, slices.Contains(strings.Fields(parameters.Get("scope")), "openid"))
	return err
}

// single is a parameter that may be there once. Empty counts as absent (RFC 6749 §3.1).
func single(parameters url.Values, name string) (string, error) {
	if len(parameters[name]) > 1 {
		return "", &Error{Code: "invalid_request", Description: "the parameter " + name + " was sent more than once"}
	}
	value := parameters.Get(name)
	if len(value) > maxParameter {
		return "", &Error{Code: "invalid_request", Description: "the parameter " + name + " is too long"}
	}
	return value, nil
}

// redirectURI is where the answer goes: one that the client registered, compared character by character. Only the port of
// a native app's loopback address is free (RFC 8252 §7.3).
func redirectURI(client directory.Client, named string, openID bool) (string, error) {
	if named == "" {
		if len(client.RedirectURIs) == 1 && !openID {
			return client.RedirectURIs[0], nil
		}
		return "", &Error{Code: "invalid_request", Description: "the application that sent you here did not say where to send you back: redirect_uri is missing"}
	}
	for _, registered := range client.RedirectURIs {
		if registered == named || (client.Kind == "native" && sameLoopback(registered, named)) {
			return named, nil
		}
	}
	return "", &Error{Code: "invalid_request", Description: "the application that sent you here is not registered with this redirect_uri, so you are not sent there"}
}

func sameLoopback(registered, named string) bool {
	a, errA := url.Parse(registered)
	b, errB := url.Parse(named)
	if errA != nil || errB != nil || a.Scheme != "http" || !net.ParseIP(a.Hostname()).IsLoopback() {
		return false
	}
	if port := b.Port(); port != "" {
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 || strconv.FormatUint(n, 10) != port {
			return false
		}
	}
	// What is left when the ports are taken out must be the same text, not only the same URL.
	return strings.Replace(registered, "://"+a.Host, "://"+a.Hostname(), 1) == strings.Replace(named, "://"+b.Host, "://"+b.Hostname(), 1)
}

// readRest reads what the client may be told about.
func (i *Issuer) readRest(ctx context.Context, r *memo.Reading, a *Authorization, parameters url.Values) error {
	values := map[string]string{}
	for name := range parameters {
		if name == "resource" {
			continue
		}
		value, err := single(parameters, name)
		if err != nil && isOurs(name) {
			return err
		}
		values[name] = value
	}
	switch {
	case values["request"] != "":
		return &Error{Code: "request_not_supported", Description: "request objects are not supported: send the parameters, or push them (RFC 9126)"}
	case values["request_uri"] != "":
		return &Error{Code: "request_uri_not_supported", Description: "request_uri can only be one that the pushed authorization request endpoint gave"}
	case a.Record.RequirePushedRequests && a.pushed == "":
		return &Error{Code: "invalid_request", Description: "the client is registered to push its authorization requests (RFC 9126)"}
	case values["response_type"] == "":
		return &Error{Code: "invalid_request", Description: "the parameter response_type is missing"}
	case values["response_type"] != "code":
		return &Error{Code: "unsupported_response_type", Description: "response_type must be code"}
	case values["response_mode"] != "" && values["response_mode"] != "query":
		return &Error{Code: "invalid_request", Description: "response_mode must be query"}
	case !slices.Contains(a.Record.GrantTypes, "authorization_code"):
		return &Error{Code: "unauthorized_client", Description: "the client is not registered for the grant authorization_code"}
	case values["code_challenge"] == "":
		return &Error{Code: "invalid_request", Description: "code_challenge is missing: every client must use PKCE (RFC 7636)"}
	case values["code_challenge_method"] != "S256":
		return &Error{Code: "invalid_request", Description: "code_challenge_method must be S256"}
	case !wellFormedVerifier(values["code_challenge"]) || len(values["code_challenge"]) != 43:
		return &Error{Code: "invalid_request", Description: "code_challenge must be the base64url of a SHA-256 hash: 43 characters"}
	}
	if a.jkt = values["dpop_jkt"]; a.jkt != "" && (len(a.jkt) != 43 || !wellFormedVerifier(a.jkt)) {
		return &Error{Code: "invalid_request", Description: "dpop_jkt must be the base64url of a SHA-256 hash: 43 characters (RFC 9449 §10)"}
	}
	a.nonce, a.challenge, a.Org, a.LoginHint = values["nonce"], values["code_challenge"], values["org"], values["login_hint"]
	if a.Org == "" {
		a.Org = values["organization"]
	}
	a.Prompts = strings.Fields(values["prompt"])
	for _, prompt := range a.Prompts {
		if !slices.Contains([]string{"none", "login", "consent", "select_account"}, prompt) || (prompt == "none" && len(a.Prompts) > 1) {
			return &Error{Code: "invalid_request", Description: "prompt must be none alone, or some of login, consent and select_account"}
		}
	}
	if age := values["max_age"]; age != "" {
		seconds, err := strconv.ParseUint(age, 10, 31)
		if err != nil {
			return &Error{Code: "invalid_request", Description: "max_age must be a number of seconds"}
		}
		a.MaxAge = int64(seconds)
	}
	var err error
	if hint := values["id_token_hint"]; hint != "" {
		a.hint, err = i.o.Authn.IDTokenSubject(ctx, r, hint)
		if failed := (*authn.Error)(nil); errors.As(err, &failed) {
			return &Error{Code: "invalid_request", Description: "id_token_hint is no ID token of this server"}
		}
		if err != nil {
			return err
		}
	}
	if a.Scopes, err = parseScope(values["scope"]); err != nil {
		return err
	}
	a.audience, err = i.audience(ctx, &asked{Request: Request{Audience: values["audience"], Resources: parameters["resource"]}, reading: r,
		client: &authn.Principal{Type: authn.Client, Subject: a.Client}}, &basis{})
	return err
}

// isOurs says whether a parameter has a meaning here: others are ignored, however often they come.
func isOurs(name string) bool {
	return slices.Contains([]string{"client_id", "redirect_uri", "response_type", "response_mode", "scope", "state", "nonce", "code_challenge",
		"code_challenge_method", "prompt", "max_age", "login_hint", "id_token_hint", "audience", "org", "organization", "dpop_jkt", "request", "request_uri"}, name)
}

// Refuse sends the browser back to the client with a refusal, such as access_denied or login_required.
func (i *Issuer) Refuse(a *Authorization, code, description string) *Redirect {
	return i.redirect(a, &Error{Code: code, Description: description})
}

// Deny sends the browser back with the user's refusal, which is the end of a pushed request (RFC 9126 §4).
func (i *Issuer) Deny(ctx context.Context, a *Authorization) (to string, err error) {
	err = i.commit(ctx, "end a pushed authorization request", func(tx datastore.Tx) error {
		_, err := i.spendPushed(ctx, tx, a)
		return err
	})
	if err != nil {
		return "", err
	}
	return i.Refuse(a, "access_denied", "the user has refused").To, nil
}

func (i *Issuer) redirect(a *Authorization, refusal *Error) *Redirect {
	return &Redirect{Refusal: refusal, To: i.answer(a, url.Values{"error": {refusal.Code}, "error_description": {refusal.Description}})}
}

// answer is the redirect URI with the answer in its query: the state as it was sent, and who answers (RFC 9207 §2).
func (i *Issuer) answer(a *Authorization, answer url.Values) string {
	if a.state != "" {
		answer.Set("state", a.state)
	}
	answer.Set("iss", i.o.Issuer)
	separator := "?"
	if strings.Contains(a.RedirectURI, "?") {
		separator = "&"
	}
	return a.RedirectURI + separator + answer.Encode()
}

// Offers says what the user could let the client have, an offer for each organization that comes into question. The refusal
// of all of them is a *Redirect.
func (i *Issuer) Offers(ctx context.Context, r *memo.Reading, policies *engine.PolicySet, a *Authorization, user *authn.Principal) ([]Offer, error) {
	orgs, err := i.candidates(ctx, r, a, user)
	if err != nil {
		return nil, err
	}
	var offers []Offer
	refusal := &Error{Code: "access_denied", Description: "the user has no organization for which this could be allowed"}
	for _, org := range orgs {
		offer, err := i.offer(ctx, r, policies, a, user, org)
		var refused *Error
		switch {
		case err == nil:
			offers = append(offers, *offer)
		case errors.As(err, &refused):
			refusal = refused
		default:
			return nil, err
		}
	}
	if len(offers) == 0 {
		return nil, i.redirect(a, refusal)
	}
	return offers, nil
}

// candidates are the organizations that the user could mean.
func (i *Issuer) candidates(ctx context.Context, r *memo.Reading, a *Authorization, user *authn.Principal) ([]string, error) {
	if a.Org != "" {
		return []string{a.Org}, nil
	}
	if user.Org != "" {
		return []string{user.Org}, nil
	}
	var orgs []string
	err := i.o.Tenant.OrgsOf(ctx, r, user.Subject, func(org string) error {
		if orgs = append(orgs, org); len(orgs) == maxOffers {
			return directory.ErrEnough
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if len(orgs) == 0 {
		orgs = []string{""}
	}
	return orgs, nil
}

// consentNeeded is the obligation of the token policy to ask the user first.
const consentNeeded = "consent"

func (i *Issuer) offer(ctx context.Context, r *memo.Reading, policies *engine.PolicySet, a *Authorization, user *authn.Principal, org string) (*Offer, error) {
	if a.hint != "" && a.hint != user.Subject { // OpenID Connect Core §3.1.2.1
		return nil, &Error{Code: "login_required", Description: "another user is signed in than the one of id_token_hint"}
	}
	// Whoever signed in by a connection is known for its organization only.
	if (a.Org != "" && org != a.Org) || (user.Org != "" && org != user.Org) {
		return nil, &Error{Code: "access_denied", Description: "this is not the organization that was asked for, or not one of the user"}
	}
	subject := *user
	subject.Org, subject.AuthorizedParty = org, a.Client
	decision, err := i.ask(ctx, r, policies, policyInput{Principal: &subject, Caller: &authn.Principal{Type: authn.Client, Subject: a.Client},
		Request: policyRequest{Stage: stageAuthorize, GrantType: a.grantType, Issuer: i.o.Issuer, Audience: a.audience.value, API: a.audience.api,
			Scopes: a.Scopes, Org: org, DefaultLifetime: int64(i.o.Lifetime.Seconds())}})
	if err != nil {
		return nil, err
	}
	obliged, err := decision.Obliges(consentNeeded)
	if err != nil {
		return nil, refused(err)
	}
	offline := slices.Contains(a.Record.GrantTypes, "refresh_token") &&
		(!slices.Contains(decision.Scopes, "openid") || slices.Contains(decision.Scopes, "offline_access"))
	// Any program on a device can pass for one that has no secret and is reached there, and a device may be somebody else's, so
	// neither ever gets on without a person (RFC 8252 §8.6, RFC 8628 §5.4), who finds it among what was allowed.
	unassured := a.grantType == deviceGrantType || (a.Record.TokenEndpointAuthMethod == "none" && !strings.HasPrefix(a.RedirectURI, "https://"))
	return &Offer{Org: decision.Org, Scopes: decision.Scopes, Agreed: !obliged && !unassured, Lifetime: int64(decision.Lifetime.Seconds()), Offline: offline}, nil
}

// Authorize gives the client a code for the offer of that organization, which the user has agreed to or need not, and returns
// where to send the browser. Refusals are a *Redirect.
func (i *Issuer) Authorize(ctx context.Context, r *memo.Reading, policies *engine.PolicySet, a *Authorization, user *authn.Principal, org string) (to string, err error) {
	offer, err := i.offer(ctx, r, policies, a, user, org)
	if refused := (*Error)(nil); errors.As(err, &refused) {
		return "", i.redirect(a, refused)
	}
	if err != nil {
		return "", err
	}
	id, err := randomID()
	if err != nil {
		return "", err
	}
	now := i.o.Now()
	g := directory.Grant{Type: a.grantType, Client: a.Client, Audience: a.audience.value, Nonce: a.nonce, CreatedAt: now, ExpiresAt: now.Add(i.o.CodeLifetime),
		Code: &directory.Code{RedirectURI: a.RedirectURI, Given: a.given, Challenge: a.challenge, Thumbprint: a.jkt,
			ExpiresAt: now.Add(i.o.CodeLifetime)}}
	var spent bool
	_, err = i.store.Update(ctx, func(tx datastore.Tx) error {
		if spent, err = i.spendPushed(ctx, tx, a); err != nil || spent {
			return err
		}
		if err := i.agree(ctx, tx, &g, user, offer); err != nil {
			return err
		}
		return i.o.Tenant.PutGrant(ctx, tx, id, g)
	})
	if err != nil {
		return "", fmt.Errorf("give an authorization code: %w", err)
	}
	if spent {
		return "", i.Refuse(a, "invalid_request", "the pushed authorization request was used already")
	}
	code := i.o.Master.Derive(i.o.Tenant, directory.KindCode, id)
	return i.answer(a, url.Values{"code": {code.Expose()}}), nil
}

// agree makes the grant what the user has agreed to, and notes the consent where one was needed.
func (i *Issuer) agree(ctx context.Context, tx datastore.Tx, g *directory.Grant, user *authn.Principal, offer *Offer) error {
	g.Kind, g.Subject, g.Org, g.Scopes = string(user.Type), user.Subject, offer.Org, offer.Scopes
	g.Connection, g.AuthTime, g.Methods = user.Connection, user.AuthTime, user.Methods
	place := i.o.Tenant.Consent(user.Subject, g.Client)
	consent, _, err := place.Find(ctx, tx)
	if err != nil {
		return err
	}
	given, had := consent.Orgs[offer.Org]
	if offer.Agreed {
		if had {
			g.Consent = given.ID
		}
		return nil
	}
	if !had {
		if given.ID, err = randomID(); err != nil {
			return err
		}
		given.GivenAt = i.o.Now()
	}
	if given.Scopes == nil {
		given.Scopes = map[string][]string{}
	}
	given.Scopes[g.Audience] = slices.Compact(slices.Sorted(slices.Values(slices.Concat(given.Scopes[g.Audience], offer.Scopes))))
	g.Consent = given.ID
	if consent.Orgs == nil {
		consent.Orgs = map[string]directory.ConsentGiven{}
	}
	consent.Orgs[offer.Org] = given
	return place.Put(ctx, tx, consent)
}
