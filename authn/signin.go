package authn

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"mandate/datastore"
	"mandate/datastore/memo"
	"mandate/directory"
)

// signInLifetime is how long a person may take at the provider.
const signInLifetime = 10 * time.Minute

// SignInState is what the browser keeps while the person is at the provider. The server seals it, for Verifier is a secret.
type SignInState struct {
	Org        string    `json:"org"`
	Connection string    `json:"connection"`
	State      string    `json:"state"`
	Nonce      string    `json:"nonce"`
	Verifier   string    `json:"verifier"`
	FreshFrom  time.Time `json:"fresh_from,omitzero"` // the person must prove who it is after that
	ExpiresAt  time.Time `json:"expires_at"`
}

// ConnectionFor is the connection that signs in who has the email address: of the organization that owns the domain, the one for that
// domain, if it is active, and the first active one for no domain in particular when there is none.
func (a *Authenticator) ConnectionFor(ctx context.Context, r *memo.Reading, email string) (org, id string, found bool, err error) {
	if !strings.Contains(email, "@") {
		return "", "", false, nil
	}
	owner, found, err := a.tenant.VerifiedDomain(domainOf(email)).Find(ctx, r)
	if err != nil || !found {
		return "", "", false, err
	}
	own, found, err := a.tenant.DomainConnection(owner.ID, domainOf(email)).Find(ctx, r)
	if err != nil {
		return "", "", false, err
	}
	if found {
		connection, _, err := a.tenant.Connection(owner.ID, own.ID).Find(ctx, r)
		if err != nil || connection.Status != directory.Active {
			return "", "", false, err
		}
		return owner.ID, own.ID, true, nil
	}
	err = a.tenant.Connections(ctx, r, owner.ID, func(candidate string, c directory.Connection) error {
		if c.Status != directory.Active || c.Domain != "" {
			return nil
		}
		id = candidate
		return directory.ErrEnough
	})
	if err != nil {
		return "", "", false, err
	}
	return owner.ID, id, id != "", nil
}

func domainOf(email string) string {
	return strings.ToLower(email[strings.LastIndex(email, "@")+1:])
}

// BeginSignIn makes the authorization request (OpenID Connect Core §3.1.2.1) with which a connection signs a person in, and
// what FinishSignIn needs of it. With fresh, a session that the person has at the provider is not enough.
func (a *Authenticator) BeginSignIn(ctx context.Context, r *memo.Reading, org, id, redirectURI string, fresh bool) (to string, state SignInState, err error) {
	connection, err := a.activeConnection(ctx, r, org, id)
	if err != nil {
		return "", state, err
	}
	config, _, err := a.atProvider(ctx, connection, redirectURI)
	if err != nil {
		return "", state, err
	}
	state = SignInState{Org: org, Connection: id, State: rand.Text(), Nonce: rand.Text(), Verifier: oauth2.GenerateVerifier(),
		ExpiresAt: a.now().Add(signInLifetime)}
	options := []oauth2.AuthCodeOption{oidc.Nonce(state.Nonce), oauth2.S256ChallengeOption(state.Verifier)}
	if fresh {
		state.FreshFrom = a.now()
		options = append(options, oauth2.SetAuthURLParam("prompt", "login"), oauth2.SetAuthURLParam("max_age", "0"))
	}
	return config.AuthCodeURL(state.State, options...), state, nil
}

// FinishSignIn reads the provider's answer at the redirect URI, and returns the user whom it has signed in. That the user may
// is for the organization to say: one that it has disabled or suspended stays so.
func (a *Authenticator) FinishSignIn(ctx context.Context, r *memo.Reading, state SignInState, query url.Values, redirectURI string) (*Principal, error) {
	if !a.now().Before(state.ExpiresAt) {
		return nil, signInRefused("sign_in_expired", "the sign-in took too long: begin again")
	}
	connection, err := a.activeConnection(ctx, r, state.Org, state.Connection)
	if err != nil {
		return nil, err
	}
	config, metadata, err := a.atProvider(ctx, connection, redirectURI)
	if err != nil {
		return nil, err
	}
	code, err := codeIn(query, state, connection.Issuer, metadata.NamesIssuer)
	if err != nil {
		return nil, err
	}
	if config.ClientSecret, err = a.connectionSecret(ctx, r, state.Org, state.Connection); err != nil {
		return nil, err
	}
	config.Endpoint.AuthStyle = authStyle(config.ClientSecret, metadata.AuthMethods)
	answer, err := config.Exchange(oidc.ClientContext(ctx, a.providers.client), code, oauth2.VerifierOption(state.Verifier))
	if err != nil {
		a.providers.options.Report(connection.Issuer, fmt.Errorf("exchange a code: %w", err))
		return nil, signInRefused("sign_in_failed", "the identity provider did not accept the sign-in: begin again")
	}
	idToken, _ := answer.Extra("id_token").(string)
	t, err := a.verifyIDToken(ctx, directory.NewSecret(idToken), connection, state.Nonce)
	if err != nil {
		return nil, err
	}
	p, err := connectedPrincipal(directory.ConnectionRef{Org: state.Org, ID: state.Connection}, connection, t)
	if err != nil {
		return nil, err
	}
	if p.AuthTime, err = a.authTime(t, state.FreshFrom); err != nil {
		return nil, err
	}
	return a.welcome(ctx, p, t)
}

// authTime is when the person has proved who it is, as the provider says; now when it says nothing, as many do though
// OpenID Connect Core §2 has them say it when it was asked for. It must not be before freshFrom.
func (a *Authenticator) authTime(t jwtOf, freshFrom time.Time) (int64, error) {
	now := a.now()
	claim, given := t.claims["auth_time"]
	if !given {
		return now.Unix(), nil
	}
	seconds, ok := claim.(float64)
	if !ok || seconds < 0 || seconds > float64(now.Add(a.leeway).Unix()) {
		return 0, invalid()
	}
	at := int64(seconds)
	if !freshFrom.IsZero() && at < freshFrom.Add(-a.leeway).Unix() {
		return 0, signInRefused("sign_in_not_fresh", "the identity provider did not ask who you are again: sign out there, and begin again")
	}
	return min(at, now.Unix()), nil
}

func signInRefused(code, detail string) error {
	return &Error{Kind: Invalid, Code: code, Detail: detail}
}

func (a *Authenticator) activeConnection(ctx context.Context, r datastore.Reader, org, id string) (directory.Connection, error) {
	connection, found, err := a.tenant.Connection(org, id).Find(ctx, r)
	if err == nil && (!found || connection.Status != directory.Active) {
		err = inactive("connection_inactive", "the organization's connection to the identity provider is not active")
	}
	return connection, err
}

// atProvider is Mandate as a client of the connection's provider.
func (a *Authenticator) atProvider(ctx context.Context, connection directory.Connection, redirectURI string) (*oauth2.Config, metadata, error) {
	document, _, err := a.providers.document(ctx, connection.Issuer, func(*document) bool { return true })
	if err != nil {
		return nil, metadata{}, err
	}
	endpoint := document.oidc.Endpoint()
	for _, each := range []string{endpoint.AuthURL, endpoint.TokenURL} {
		u, err := url.Parse(each)
		if err == nil {
			err = a.providers.options.outbound().Check(u)
		}
		if err != nil {
			a.providers.options.Report(connection.Issuer, err)
			return nil, metadata{}, providerDown()
		}
	}
	return &oauth2.Config{ClientID: connection.ClientID, Endpoint: endpoint, RedirectURL: redirectURI,
		Scopes: []string{oidc.ScopeOpenID, oidc.ScopeProfile, oidc.ScopeEmail}}, document.metadata, nil
}

// codeIn is the code of an authorization response that answers the very request (RFC 6749 §10.12) and comes from the very
// provider (RFC 9207 §2.4).
func codeIn(query url.Values, state SignInState, issuer string, namesIssuer bool) (string, error) {
	for _, name := range []string{"state", "code", "iss", "error"} {
		if len(query[name]) > 1 {
			return "", signInRefused("sign_in_malformed", "the identity provider sent a parameter twice: begin again")
		}
	}
	if state.State == "" || subtle.ConstantTimeCompare([]byte(query.Get("state")), []byte(state.State)) != 1 {
		return "", signInRefused("sign_in_unknown", "this sign-in was not begun in this browser: begin again")
	}
	if query.Get("iss") != issuer && (namesIssuer || query.Has("iss")) {
		return "", signInRefused("sign_in_mixed_up", "the answer is from another identity provider than was asked: begin again")
	}
	if query.Has("error") || query.Get("code") == "" {
		return "", signInRefused("sign_in_refused", "the identity provider refused the sign-in")
	}
	return query.Get("code"), nil
}

// connectionSecret is the client secret for the provider, empty for a public client.
func (a *Authenticator) connectionSecret(ctx context.Context, r *memo.Reading, org, id string) (string, error) {
	sealed, found, err := a.tenant.ConnectionSecret(org, id).Find(ctx, r)
	if err != nil || !found {
		return "", err
	}
	secret, err := a.master.Open(sealed.Sealed, directory.SealedFor(org, id))
	if err != nil {
		return "", fmt.Errorf("secret of the connection %s of %s: %w", id, org, err)
	}
	return string(secret), nil
}

// authStyle is client_secret_basic unless the provider takes client_secret_post only (OpenID Connect Discovery §3).
func authStyle(secret string, methods []string) oauth2.AuthStyle {
	if secret == "" || (slices.Contains(methods, secretPost) && !slices.Contains(methods, secretBasic)) {
		return oauth2.AuthStyleInParams
	}
	return oauth2.AuthStyleInHeader
}

// verifyIDToken is OpenID Connect Core §3.1.3.7.
func (a *Authenticator) verifyIDToken(ctx context.Context, token directory.Secret, connection directory.Connection, nonce string) (jwtOf, error) {
	t, err := readJWT(token)
	if err != nil {
		return t, err
	}
	if _, err := a.verifyProvided(ctx, t, connection.Issuer, connection.Algorithm); err != nil {
		return t, err
	}
	audience, err := t.claims.GetAudience()
	azp, named := t.claims["azp"]
	sameNonce := nonce != "" && subtle.ConstantTimeCompare([]byte(t.claim("nonce")), []byte(nonce)) == 1
	ours := slices.Contains(audience, connection.ClientID) && (len(audience) == 1 || named) && (!named || azp == connection.ClientID)
	if err != nil || !ours || !sameNonce || (t.typ() != "jwt" && t.typ() != "") || t.claims["iat"] == nil {
		return t, invalid()
	}
	return t, nil
}

// welcome makes or updates the user's record and membership by what the provider says, unless the organization has put an
// end to them, and returns the user as signed in.
func (a *Authenticator) welcome(ctx context.Context, signedIn *Principal, t jwtOf) (*Principal, error) {
	_, err := a.store.Update(ctx, func(tx datastore.Tx) error { return a.record(ctx, tx, signedIn, t) })
	if err != nil {
		if refused := (*Error)(nil); errors.As(err, &refused) {
			return nil, err
		}
		return nil, fmt.Errorf("record a sign-in: %w", err)
	}
	p := &Principal{
		Type: User, Subject: signedIn.Subject, Org: signedIn.Org, Connection: signedIn.Connection, Methods: signedIn.Methods,
		AuthTime: signedIn.AuthTime, Credential: CredentialRef{Type: externalTokenType, ID: signedIn.Connection},
	}
	return p, p.complete()
}

func (a *Authenticator) record(ctx context.Context, tx datastore.Tx, p *Principal, t jwtOf) error {
	connection, err := a.activeConnection(ctx, tx, p.Org, p.Connection)
	if err != nil {
		return err
	}
	org, found, err := a.tenant.Org(p.Org).Find(ctx, tx)
	if err != nil {
		return err
	}
	if !found || org.Status != directory.Active {
		return inactive("org_suspended", "the organization of the credential is not active")
	}
	if err := a.recordUser(ctx, tx, p, t); err != nil {
		return err
	}
	member, found, err := a.tenant.Member(p.Org, p.Subject).Find(ctx, tx)
	if err != nil {
		return err
	}
	if found && member.Status != directory.Active {
		return inactive("membership_inactive", "the user is not an active member of the organization")
	}
	if !found {
		now := a.now().UTC()
		member = directory.Member{Status: directory.Active, JoinedAt: &now}
	}
	member.Roles = rolesAfter(member.Roles, p.Roles, connection)
	return a.tenant.PutMember(ctx, tx, p.Org, p.Subject, member)
}

// rolesAfter are a member's roles after a sign-in: those that the connection can give are what the provider says now, the others
// stay as somebody has given them.
func rolesAfter(before, said []string, connection directory.Connection) []string {
	given := slices.AppendSeq(slices.Clone(said), maps.Values(connection.RoleMapping))
	kept := slices.DeleteFunc(slices.Clone(before), func(role string) bool { return slices.Contains(given, role) })
	return append(append([]string{}, kept...), said...)
}

func (a *Authenticator) recordUser(ctx context.Context, tx datastore.Tx, p *Principal, t jwtOf) error {
	user, found, err := a.tenant.User(p.Subject).Find(ctx, tx)
	if err != nil {
		return err
	}
	if found && user.Status != directory.Active {
		return inactive("user_disabled", "the user is not active")
	}
	if !found {
		user = directory.User{Username: p.Subject, Status: directory.Active}
		holder, taken, err := a.tenant.Username(user.Username).Find(ctx, tx)
		if err != nil {
			return err
		}
		if taken && holder.ID != p.Subject {
			return inactive("username_taken", "another user has the name that this one would get")
		}
	}
	if user.Email, err = a.vouchedEmail(ctx, tx, p.Org, t); err != nil {
		return err
	}
	user.EmailVerified = user.Email != ""
	return a.tenant.PutUser(ctx, tx, p.Subject, user)
}

// vouchedEmail is the user's email address when the provider has verified it and the organization owns its domain: no
// organization may speak of the addresses of another.
func (a *Authenticator) vouchedEmail(ctx context.Context, tx datastore.Tx, org string, t jwtOf) (string, error) {
	email := t.claim("email")
	if verified, _ := t.claims["email_verified"].(bool); !verified || !directory.ValidEmail(email) {
		return "", nil
	}
	owner, found, err := a.tenant.VerifiedDomain(domainOf(email)).Find(ctx, tx)
	if err != nil || !found || owner.ID != org {
		return "", err
	}
	return email, nil
}
