package directory

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"mandate/datastore"
)

// Grant is what somebody let a client do, in one act: all codes, tokens and refresh tokens that come from it rest on it,
// and end with it. Codes, device codes and refresh tokens are derived from its id.
type Grant struct {
	Type       string    `json:"type"`             // the grant type, or exchange, that began it
	Client     string    `json:"client,omitempty"` // none at the exchange endpoints
	Kind       string    `json:"kind,omitempty"`   // of the subject: user, apikey; empty until somebody approves
	Subject    string    `json:"sub,omitempty"`
	Org        string    `json:"org,omitempty"`
	Connection string    `json:"connection,omitempty"` // of Org, by which the user had signed in
	Scopes     []string  `json:"scopes"`
	Audience   string    `json:"audience"`
	Consent    string    `json:"consent,omitempty"` // the id of the consent that it rests on
	AuthTime   int64     `json:"auth_time,omitzero"`
	Methods    []string  `json:"amr,omitempty"`
	Credential string    `json:"credential,omitempty"` // a digest of the one that was exchanged
	Nonce      string    `json:"nonce,omitempty"`
	Thumbprint string    `json:"jkt,omitempty"`      // of the DPoP key that a public client's refresh token is bound to
	CertHash   string    `json:"x5t#S256,omitempty"` // of the certificate likewise
	CreatedAt  time.Time `json:"created_at"`
	ExpiresAt  time.Time `json:"expires_at"`

	Code   *Code   `json:"code,omitempty"`
	Device *Device `json:"device,omitempty"`

	// Generation counts the refresh tokens, 0 before the first: only the newest is good. RotatedAt is when it came.
	Generation uint64    `json:"generation,omitzero"`
	RotatedAt  time.Time `json:"rotated_at,omitzero"`
}

// Code is what redeeming an authorization code must match. It stays after that, so that a second time is noticed.
type Code struct {
	RedirectURI string    `json:"redirect_uri"`
	Given       bool      `json:"given"` // whether the request named the redirect URI
	Challenge   string    `json:"challenge"`
	Thumbprint  string    `json:"dpop_jkt,omitempty"` // of the only key that may redeem it (RFC 9449 §10)
	ExpiresAt   time.Time `json:"expires_at"`
	Redeemed    bool      `json:"redeemed,omitzero"`
}

// Device is a device authorization (RFC 8628). Status: pending, approved, denied.
type Device struct {
	UserCode string    `json:"user_code"`
	Status   string    `json:"status"`
	PolledAt time.Time `json:"polled_at,omitzero"`
	Interval int64     `json:"interval"` // seconds
}

// PushedRequest is a pushed authorization request (RFC 9126), by its parameters.
type PushedRequest struct {
	Client     string              `json:"client"`
	Parameters map[string][]string `json:"parameters"`
	ExpiresAt  time.Time           `json:"expires_at"`
}

// Session is a login of a person in a browser.
type Session struct {
	User       string    `json:"user"`
	Org        string    `json:"org,omitempty"`        // of the connection
	Connection string    `json:"connection,omitempty"` // by which an external provider authenticated the user
	AuthTime   int64     `json:"auth_time"`
	Methods    []string  `json:"amr"`
	Credential string    `json:"credential"` // a digest of what the user had proved itself with
	CreatedAt  time.Time `json:"created_at"`
	ExpiresAt  time.Time `json:"expires_at"`
}

// Expiry is the record of something of which only the end matters: a token that was revoked, an assertion that was used.
type Expiry struct {
	ExpiresAt time.Time `json:"expires_at"`
}

// SealedSecret is a secret that Mandate has to present itself, sealed for its place.
type SealedSecret struct {
	Sealed []byte `json:"sealed"`
}

func (t Tenant) Grant(id string) Place[Grant] { return place[Grant](t, PrivateRoot, "grants", id) }

// UserCode leads to the grant of the device authorization with that user code.
func (t Tenant) UserCode(code string) Place[Alias] {
	return place[Alias](t, PrivateRoot, "usercodes", code)
}

func (t Tenant) PushedRequest(id string) Place[PushedRequest] {
	return place[PushedRequest](t, PrivateRoot, "pushed", id)
}

// Session is the login session with the hash of that secret.
func (t Tenant) Session(h Hash) Place[Session] {
	return place[Session](t, PrivateRoot, "sessions", string(h))
}

// RevokedToken is there for an access token that was revoked by its id (RFC 7009).
func (t Tenant) RevokedToken(jti string) Place[Expiry] {
	return place[Expiry](t, PrivateRoot, "revoked", jti)
}

// Federated leads to the client for which a JWT of the issuer about the subject stands.
func (t Tenant) Federated(issuer, subject string) Place[Alias] {
	return place[Alias](t, PrivateRoot, "federated", issuer, subject)
}

// ConnectionSecret is the client secret of a connection, sealed for the place that SealedFor names.
func (t Tenant) ConnectionSecret(org, id string) Place[SealedSecret] {
	return place[SealedSecret](t, PrivateRoot, "connections", org, id)
}

// SealedFor is the place for which the client secret of a connection is sealed.
func SealedFor(org, id string) string { return "connection " + org + "/" + id }

// ConnectionRef names a connection.
type ConnectionRef struct {
	Org string `json:"org"`
	ID  string `json:"id"`
}

// ProviderConnection leads to the one connection that the issuer's tokens for the audience are for.
func (t Tenant) ProviderConnection(issuer, audience string) Place[ConnectionRef] {
	return place[ConnectionRef](t, PrivateRoot, "issuers", issuer, audience)
}

// VerifiedDomain leads to the organization that has proved to own the domain.
func (t Tenant) VerifiedDomain(domain string) Place[Alias] {
	return place[Alias](t, PrivateRoot, "domains", domain)
}

// Connections yields the connections of an organization, in the order of their ids.
func (t Tenant) Connections(ctx context.Context, r datastore.Reader, org string, do func(id string, c Connection) error) error {
	return each(ctx, r, datastore.TenantID(t).Path("orgs", org, "connections"), func(segments []string, c Connection) error {
		return do(segments[3], c)
	})
}

func (t Tenant) membership(user, org string) Place[Alias] {
	return place[Alias](t, PrivateRoot, "memberships", user, org)
}

// OrgsOf yields the organizations in which the user has a membership, of whatever status, in the order of their ids.
func (t Tenant) OrgsOf(ctx context.Context, r datastore.Reader, user string, do func(org string) error) error {
	return each(ctx, r, datastore.TenantID(t).Path(PrivateRoot, "memberships", user), func(segments []string, _ Alias) error {
		return do(segments[3])
	})
}

// UseOnce says whether nobody has used what the name stands for, and that it is used now. It is forgotten at the time
// given, from which on nobody must take it any more. The name may be of any size, for its hash is stored.
func (t Tenant) UseOnce(ctx context.Context, store datastore.Store, what, name string, until time.Time) (first bool, err error) {
	sum := sha256.Sum256([]byte(name))
	used := place[Expiry](t, PrivateRoot, "used", what, base64.RawURLEncoding.EncodeToString(sum[:]))
	_, err = store.Update(ctx, func(tx datastore.Tx) error {
		_, found, err := used.Find(ctx, tx)
		if first = !found; err != nil || found {
			return err
		}
		return PutExpiring(ctx, tx, used, Expiry{ExpiresAt: until}, until)
	})
	return first, err
}

// PutExpiring writes a record that Sweep removes after the time given, which must be its expires_at. When a record is
// written again with a later one, Sweep finds that out.
func PutExpiring[T any](ctx context.Context, tx datastore.Tx, p Place[T], record T, at time.Time) error {
	if err := p.Put(ctx, tx, record); err != nil {
		return err
	}
	return expiring(p.Path, at).Put(ctx, tx, Alias{ID: p.Path.Key()})
}

// minute is the form in which times sort as texts.
const minute = "2006-01-02T15:04Z"

func expiring(p datastore.Path, at time.Time) Place[Alias] {
	return place[Alias](Tenant(p.Tenant()), PrivateRoot, "expiring", at.UTC().Truncate(time.Minute).Add(time.Minute).Format(minute), p.String())
}

// sweepAtOnce bounds the transactions of Sweep.
const sweepAtOnce = 200

// Sweep removes the private records that have expired and what is left of deleted organizations, and says how many that were.
// It looks at nothing else.
func (t Tenant) Sweep(ctx context.Context, store datastore.Store, now time.Time) (removed int, err error) {
	for {
		var due, gone int
		_, err := store.Update(ctx, func(tx datastore.Tx) error {
			facts, err := t.due(ctx, tx, now)
			if err != nil {
				return err
			}
			due, gone = len(facts), 0
			for _, fact := range facts {
				removed, err := sweepOne(ctx, tx, fact, now)
				if err != nil {
					return err
				}
				if removed {
					gone++
				}
			}
			return nil
		})
		if err != nil {
			return removed, err
		}
		removed += gone
		if due < sweepAtOnce {
			gone, err := t.sweepOrgs(ctx, store)
			return removed + gone, err
		}
	}
}

// due are some of what may have expired.
func (t Tenant) due(ctx context.Context, r datastore.Reader, now time.Time) ([]datastore.Fact, error) {
	var facts []datastore.Fact
	until := now.UTC().Format(minute)
	for fact, err := range r.Scan(ctx, datastore.TenantID(t).Path(PrivateRoot, "expiring"), datastore.Path{}) {
		if err != nil {
			return nil, fmt.Errorf("look for what has expired: %w", err)
		}
		if fact.Path.Segments()[2] > until || len(facts) == sweepAtOnce {
			break
		}
		facts = append(facts, fact)
	}
	return facts, nil
}

func sweepOne(ctx context.Context, tx datastore.Tx, due datastore.Fact, now time.Time) (removed bool, err error) {
	var alias Alias
	if err := json.Unmarshal(due.Value, &alias); err != nil {
		return false, fmt.Errorf("read what has expired: %w", err)
	}
	if err := tx.Delete(due.Path); err != nil {
		return false, fmt.Errorf("sweep: %w", err)
	}
	what := Place[Expiry]{datastore.ParseKey(alias.ID)}
	if !strings.HasPrefix(what.Path.String(), PrivateRoot+"/") {
		return false, nil
	}
	record, found, err := what.Find(ctx, tx)
	if err != nil || !found {
		return false, err
	}
	if record.ExpiresAt.After(now) {
		return false, expiring(what.Path, record.ExpiresAt).Put(ctx, tx, alias)
	}
	return true, Tenant(what.Path.Tenant()).discard(ctx, tx, what.Path)
}

// discard removes a private record with the links to it.
func (t Tenant) discard(ctx context.Context, tx datastore.Tx, p datastore.Path) error {
	switch at := p.Segments(); at[1] {
	case "sessions":
		return t.DeleteSession(ctx, tx, Hash(at[2]))
	case "grants":
		return t.DeleteGrant(ctx, tx, at[2])
	}
	return remove(tx, p)
}
