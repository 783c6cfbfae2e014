package server

import (
	"encoding/base64"
	"errors"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/gofiber/fiber/v2"
	"github.com/golang-jwt/jwt/v5"

	"mandate/authn"
	"mandate/datastore/memo"
	"mandate/decisionlog"
	"mandate/directory"
	"mandate/engine"
	"mandate/tokens"
)

const (
	// maxDetail bounds what a record holds of one thing that a caller has sent.
	maxDetail = 200
	// maxRead bounds the tokens that are read although they are not good.
	maxRead = 8 << 10
)

// refusedCredential is a failed authentication, with what the record of it says of the credential: its type, and whose it is if the
// directory knows that. Nothing else that was sent is in it: who mistakes one field for the other has typed a password there.
type refusedCredential struct {
	err error
	authn.CredentialRef
}

func (e *refusedCredential) Error() string { return e.err.Error() }
func (e *refusedCredential) Unwrap() error { return e.err }

// refusedAs adds the credential to a failed authentication, and leaves other errors as they are.
func refusedAs(err error, credential authn.CredentialRef) error {
	if failed := (*authn.Error)(nil); !errors.As(err, &failed) {
		return err
	}
	return &refusedCredential{err, credential}
}

// prove returns the principal of the one credential presented. All who authenticate to Mandate come here, but for people at the
// login page.
func (h *handler) prove(r *memo.Reading, p authn.Presented) (*authn.Principal, error) {
	principal, err := h.tenant.Authn.Authenticate(h.server.base, r, p)
	if err != nil {
		return nil, refusedAs(err, h.credentialIn(r, p))
	}
	return principal, nil
}

// credentialIn names the one credential in a request as far as that can be told without its being good.
func (h *handler) credentialIn(r *memo.Reading, p authn.Presented) authn.CredentialRef {
	switch n := len(p.Authorization) + len(p.KeyPairs) + len(p.Clients); {
	case n > 1 || (n == 1 && !p.Assertion.IsZero()):
		return authn.CredentialRef{} // of several none is the one
	case len(p.Authorization) == 1:
		scheme, value, _ := strings.Cut(p.Authorization[0], " ")
		if strings.EqualFold(scheme, "Basic") {
			return h.basicIn(r, value, p.Basic)
		}
		return h.bearerIn(r, strings.Trim(value, " "))
	case len(p.KeyPairs) == 1:
		return authn.CredentialRef{Type: "api_key", ID: h.ownerOf(r, p.KeyPairs[0].ID)}
	case len(p.Clients) == 1:
		return authn.CredentialRef{Type: "client_secret", ID: h.clientNamed(r, p.Clients[0].ID.Expose())}
	case !p.Assertion.IsZero():
		return authn.CredentialRef{Type: "client_assertion", ID: h.clientIn(r, p.Assertion.Expose())}
	case p.ClientID != "":
		return authn.CredentialRef{Type: "client_id", ID: h.clientNamed(r, p.ClientID)}
	}
	return authn.CredentialRef{}
}

func (h *handler) basicIn(r *memo.Reading, value string, meaning authn.BasicMeaning) authn.CredentialRef {
	decoded, err := base64.StdEncoding.DecodeString(strings.Trim(value, " "))
	if err != nil {
		return authn.CredentialRef{Type: "basic"}
	}
	name, _, _ := strings.Cut(string(decoded), ":")
	if client, err := url.QueryUnescape(name); err == nil && meaning != authn.BasicUser {
		if id := h.clientNamed(r, client); id != "" || meaning == authn.BasicClient {
			return authn.CredentialRef{Type: "client_secret", ID: id}
		}
	}
	return h.passwordOf(r, name)
}

func (h *handler) passwordOf(r *memo.Reading, username string) authn.CredentialRef {
	user, _, err := h.tenant.ID.Username(username).Find(h.server.base, r)
	if err != nil {
		user = directory.Alias{}
	}
	return authn.CredentialRef{Type: "password", ID: user.ID}
}

func (h *handler) bearerIn(r *memo.Reading, token string) authn.CredentialRef {
	switch shape, vendor, _ := directory.ShapeOf(token); shape {
	case directory.JWTToken:
		return authn.CredentialRef{Type: "access_token", ID: h.clientIn(r, token)}
	case directory.PairToken:
		return authn.CredentialRef{Type: "partner_token", ID: h.ownerOf(r, directory.NewSecret(vendor))}
	default:
		return authn.CredentialRef{Type: "api_key", ID: h.ownerOf(r, directory.NewSecret(token))}
	}
}

// ownerOf is the API key or vendor that has the secret.
func (h *handler) ownerOf(r *memo.Reading, secret directory.Secret) string {
	owner, _, err := h.tenant.ID.SecretOwner(h.tenant.Master.Hash(secret)).Find(h.server.base, r)
	if err != nil {
		return ""
	}
	return owner.ID
}

func (h *handler) clientNamed(r *memo.Reading, id string) string {
	if _, known, err := h.tenant.ID.Client(id).Find(h.server.base, r); err != nil || !known {
		return ""
	}
	return id
}

// clientIn is the client that a JWT says it is of.
func (h *handler) clientIn(r *memo.Reading, token string) string {
	var claims struct {
		jwt.RegisteredClaims
		ClientID string `json:"client_id"`
	}
	if len(token) > maxRead {
		return ""
	}
	if _, _, err := jwt.NewParser().ParseUnverified(token, &claims); err != nil {
		return ""
	}
	if claims.ClientID == "" {
		claims.ClientID = claims.Subject
	}
	return h.clientNamed(r, claims.ClientID)
}

// noteRefused records a failed authentication. Nothing has failed where no credential was sent, where a proof was asked for
// once more with a nonce, or where so many are tried that this one was not looked at.
func (h *handler) noteRefused(c *fiber.Ctx, err error) {
	var failed *authn.Error
	if !errors.As(err, &failed) || failed.Kind == authn.Missing || failed.Kind == authn.NonceRequired || failed.Kind == authn.Busy {
		return
	}
	var refused refusedCredential
	if known := (*refusedCredential)(nil); errors.As(err, &known) {
		refused = *known
	}
	f, _ := failureOf(failed)
	h.unauthenticated.WithLabelValues(f.code).Inc()
	details := h.details(c)
	details.add("credential", refused.Type)
	details.add("credential_id", refused.ID)
	r, policies := h.tenant.Engine.Begin(h.server.memo)
	defer r.End()
	h.note(r, policies, decisionlog.Authentication, details, &decisionlog.Reason{Code: f.code, Message: cut(f.detail)})
}

// noteToken records that a token was issued, or refused. One that was not even considered, because somebody failed to authenticate, is in
// the log as that.
func (h *handler) noteToken(c *fiber.Ctx, r *memo.Reading, policies *engine.PolicySet, by *authn.Principal, q tokens.Request, issued *tokens.Response, err error) {
	if failed := (*authn.Error)(nil); errors.As(err, &failed) {
		return
	}
	details := h.details(c)
	details.add("grant_type", q.GrantType)
	if by != nil {
		if by.Type == authn.Client {
			details.add("client", by.Subject)
		}
		details.add("credential", by.Credential.Type)
		details.add("credential_id", by.Credential.ID)
	}
	if err != nil {
		f, _ := failureOf(err)
		details.add("audience", q.Audience)
		details.add("resource", strings.Join(q.Resources, " "))
		details.add("scope", q.Scope)
		details.add("org", q.Org)
		h.issuing.WithLabelValues(tokenRefused).Inc()
		h.note(r, policies, decisionlog.Token, details, &decisionlog.Reason{Code: f.oauth, Message: cut(f.detail)})
		return
	}
	token := issued.Issued
	details.add("client", token.Client)
	details.add("subject", token.Subject)
	details.add("subject_type", string(token.Type))
	details.add("org", token.Org)
	details.add("audience", token.Audience)
	details.add("scope", issued.Scope)
	details.add("lifetime", strconv.FormatInt(issued.ExpiresIn, 10))
	details.add("expires_at", token.ExpiresAt.UTC().Format(time.RFC3339))
	details.add("jti", token.ID)
	details.add("grant_id", token.Grant)
	if issued.RefreshToken != "" {
		details.add("refresh_lifetime", strconv.FormatInt(issued.RefreshExpiresIn, 10))
	}
	h.issuing.WithLabelValues(tokenIssued).Inc()
	h.note(r, policies, decisionlog.Token, details, nil)
}

func (h *handler) note(r *memo.Reading, policies *engine.PolicySet, kind decisionlog.Kind, d details, refused *decisionlog.Reason) {
	description := decisionlog.Description{Kind: kind, Allow: refused == nil, Details: d}
	if refused != nil {
		description.Reasons = []decisionlog.Reason{*refused}
	}
	h.tenant.Engine.Note(h.server.base, r, policies, description)
}

// details are those of a record.
type details map[string]string

// details say where a request came from and what it was for.
func (h *handler) details(c *fiber.Ctx) details {
	d := details{}
	d.add("address", h.server.address(c))
	d.add("route", c.Method()+" "+c.Route().Path)
	return d
}

func (d details) add(name, value string) {
	if value != "" {
		d[name] = cut(value)
	}
}

// cut bounds a text, and copies it.
func cut(s string) string {
	if len(s) <= maxDetail {
		return strings.ToValidUTF8(strings.Clone(s), "\uFFFD")
	}
	return strings.ToValidUTF8(s[:maxDetail], "") + "…"
}

// recorded answers a request once what was decided for it is in the decision log, and otherwise that it is not.
func (h *handler) recorded(c *fiber.Ctx, answer func() error, fail func(error)) {
	log := h.tenant.Engine.Log()
	mark := log.Mark()
	if err := answer(); err != nil {
		h.noteRefused(c, err)
		fail(err)
	}
	if err := log.Commit(mark); err != nil {
		c.Response().Reset() // whatever was decided is not answered
		copyRequestID(c)
		fail(err)
	}
}

// cannotLog says whether a tenant answers nothing because its decision log cannot be written.
func (s *Server) cannotLog() bool {
	for _, h := range s.tenants {
		if h.tenant.Engine.Log().Refuses() {
			return true
		}
	}
	return false
}
