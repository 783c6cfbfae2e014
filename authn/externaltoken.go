package authn

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"mandate/datastore/memo"
	"mandate/directory"
)

const (
	externalTokenType = "external_token"

	maxGroups    = 200 // of a user of an external provider
	maxAudiences = 16  // of a token of one
)

// foreign says whether a JWT is for externalToken: a bearer token that names another issuer than the tenant's.
func (a *Authenticator) foreign(c accessToken) bool {
	if _, bearer := c.presented.authorization("Bearer"); !bearer {
		return false
	}
	t, err := readJWT(c.token)
	return err == nil && t.claim("iss") != "" && t.claim("iss") != a.issuer
}

// externalToken authenticates the user of an organization's connection by an access token of the provider.
func (a *Authenticator) externalToken(ctx context.Context, r *memo.Reading, token directory.Secret) (*Principal, error) {
	t, err := readJWT(token)
	if err != nil {
		return nil, err
	}
	if !t.mayBeAccessToken() {
		return nil, invalid()
	}
	ref, connection, err := a.connectionOf(ctx, r, t)
	if err != nil {
		return nil, err
	}
	// ID tokens are for the client id. Where that is an audience of access tokens as well, those have to show what they are.
	if t.typ() != "at+jwt" && t.claims["scope"] == nil && t.claims["scp"] == nil && slices.Contains(connection.Audiences, connection.ClientID) {
		if audiences, err := t.claims.GetAudience(); err != nil || slices.Contains(audiences, connection.ClientID) {
			return nil, invalid()
		}
	}
	until, err := a.verifyProvided(ctx, t, connection.Issuer, connection.Algorithm)
	if err != nil {
		return nil, err
	}
	r.NotAfter(until)
	p, err := connectedPrincipal(ref, connection, t)
	if err != nil {
		return nil, err
	}
	p.Scopes, err = t.scopes()
	return p, err
}

// mayBeAccessToken keeps the other JWTs of a provider out (RFC 8725 §3.11, §3.12): those of another type, ID tokens and
// logout tokens, and access tokens that only the holder of a key may use.
func (t jwtOf) mayBeAccessToken() bool {
	refused := []string{"cnf"}
	switch t.typ() {
	case "at+jwt":
	case "jwt", "":
		refused = append(refused, "nonce", "at_hash", "c_hash", "events")
	default:
		return false
	}
	return !slices.ContainsFunc(refused, func(name string) bool { return t.claims[name] != nil })
}

// connectionOf is the one connection that a token is for, by its issuer and audience.
func (a *Authenticator) connectionOf(ctx context.Context, r *memo.Reading, t jwtOf) (directory.ConnectionRef, directory.Connection, error) {
	var ref directory.ConnectionRef
	audiences, err := t.claims.GetAudience()
	if err != nil || len(audiences) > maxAudiences {
		return ref, directory.Connection{}, invalid()
	}
	for _, audience := range audiences {
		named, found, err := a.tenant.ProviderConnection(t.claim("iss"), audience).Find(ctx, r)
		if err != nil {
			return ref, directory.Connection{}, err
		}
		if found && ref != named && ref != (directory.ConnectionRef{}) {
			return ref, directory.Connection{}, invalid() // for two, so for neither
		}
		if found {
			ref = named
		}
	}
	connection, found, err := a.tenant.Connection(ref.Org, ref.ID).Find(ctx, r)
	if err == nil && (!found || connection.Status != directory.Active || connection.Issuer != t.claim("iss") ||
		!slices.ContainsFunc(connection.Audiences, func(s string) bool { return slices.Contains(audiences, s) })) {
		err = invalid()
	}
	return ref, connection, err
}

// connectedPrincipal is the user of a connection whom a verified token is about.
func connectedPrincipal(ref directory.ConnectionRef, connection directory.Connection, t jwtOf) (*Principal, error) {
	if !t.has(connection.Claims) {
		return nil, &Error{Kind: Invalid, Code: "claims_missing", Detail: "the identity provider does not vouch for what the organization asks of its users"}
	}
	subject, err := connectedSubject(ref.Org, ref.ID, t.claim("sub"))
	if err != nil {
		return nil, err
	}
	roles, err := t.roles(connection)
	if err != nil {
		return nil, err
	}
	audience, err := t.claims.GetAudience()
	if err != nil {
		return nil, invalid()
	}
	expires, err := t.claims.GetExpirationTime()
	if err != nil || expires == nil {
		return nil, invalid()
	}
	return &Principal{
		Type: User, Subject: subject, Org: ref.Org, Connection: ref.ID, Roles: roles, Audience: audience, Methods: []string{"external"},
		Credential: CredentialRef{Type: externalTokenType, ID: ref.ID}, Expires: expires.Unix(), Claims: t.profile(),
	}, nil
}

// connectedSubject is the id in the tenant of the provider's user: an id of its own for each connection, so that no provider
// can speak of another's users.
func connectedSubject(org, connection, sub string) (string, error) {
	subject := org + "|" + connection + "|" + sub
	unprintable := strings.ContainsFunc(sub, func(c rune) bool { return c < ' ' || c > '~' })
	if sub == "" || unprintable || strings.TrimSpace(sub) != sub || len(subject) > 255 || strings.Contains(org+connection, "|") {
		return "", invalid()
	}
	return subject, nil
}

// roles are those to which the connection maps the groups that the token names. Any other group gives nothing.
func (t jwtOf) roles(connection directory.Connection) ([]string, error) {
	groups, ok := texts(t.claims[connection.RoleClaim])
	if !ok || len(groups) > maxGroups {
		return nil, &Error{Kind: Invalid, Code: "groups_malformed",
			Detail: fmt.Sprintf("the token's claim %s must be a text or a list of at most %d texts", connection.RoleClaim, maxGroups)}
	}
	var roles []string
	for _, group := range groups {
		if role := connection.RoleMapping[group]; role != "" {
			roles = append(roles, role)
		}
	}
	slices.Sort(roles)
	return slices.Compact(roles), nil
}

// scopes are those of the token, by the claim scope (RFC 9068 §2.2.3) or scp, which some providers have instead. Nil when
// it has neither.
func (t jwtOf) scopes() ([]string, error) {
	claim := t.claims["scope"]
	if claim == nil {
		claim = t.claims["scp"]
	}
	if claim == nil {
		return nil, nil
	}
	listed, ok := texts(claim)
	if !ok {
		return nil, invalid()
	}
	return append([]string{}, strings.Fields(strings.Join(listed, " "))...), nil
}

// texts reads a claim that is one text or a list of texts; none is an empty list.
func texts(claim any) (all []string, ok bool) {
	switch claim := claim.(type) {
	case nil:
		return nil, true
	case string:
		return []string{claim}, true
	case []any:
		for _, one := range claim {
			text, ok := one.(string)
			if !ok {
				return nil, false
			}
			all = append(all, text)
		}
		return all, true
	}
	return nil, false
}

// profile is what policies see of the token's other claims.
func (t jwtOf) profile() map[string]any {
	claims := map[string]any{}
	for _, name := range []string{"email", "name", "preferred_username"} {
		if text := t.claim(name); text != "" {
			claims[name] = text
		}
	}
	if verified, ok := t.claims["email_verified"].(bool); ok {
		claims["email_verified"] = verified
	}
	return claims
}
