package directory

import (
	"context"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"mandate/datastore"
)

// Audit says who changed what, from what to what. Secrets are in neither.
type Audit struct {
	At             time.Time      `json:"at"`
	Action         string         `json:"action"`
	Resource       AuditResource  `json:"resource"`
	By             AuditParty     `json:"by,omitzero"`
	Request        string         `json:"request_id,omitempty"`
	Reason         string         `json:"reason,omitempty"` // of the policy, for allowing it
	PolicyRevision string         `json:"policy_revision,omitempty"`
	Before         jsontext.Value `json:"before,omitempty"`
	After          jsontext.Value `json:"after,omitempty"`
}

// AuditResource names what was changed.
type AuditResource struct {
	Type string `json:"type"`
	ID   string `json:"id"`
	Org  string `json:"org,omitempty"`
}

// AuditParty names who changed it, and by which credential.
type AuditParty struct {
	Type            string `json:"type"`
	Subject         string `json:"sub"`
	AuthorizedParty string `json:"azp,omitempty"`
	Org             string `json:"org,omitempty"`
	Credential      string `json:"credential,omitempty"`
	CredentialID    string `json:"credential_id,omitempty"`
}

// Repetition is the answer to a write, sealed for its place, kept for when the write is repeated.
type Repetition struct {
	Request   string             `json:"request"` // a digest of what was asked
	Sealed    []byte             `json:"sealed"`
	Created   bool               `json:"created,omitzero"`
	Revision  datastore.Revision `json:"revision,omitzero"` // 0 for that of the commit
	ExpiresAt time.Time          `json:"expires_at"`
}

// Repetition is what is kept under the digest of a caller and its key.
func (t Tenant) Repetition(digest string) Place[Repetition] {
	return place[Repetition](t, PrivateRoot, "repetitions", digest)
}

// Audit is the audit record with that id. Ids sort by time, the newest first.
func (t Tenant) Audit(id string) Place[Audit] { return place[Audit](t, PrivateRoot, "audit", id) }

func (t Tenant) orgAudit(org, id string) Place[Alias] {
	return place[Alias](t, PrivateRoot, "orgaudit", org, id)
}

// PutAudit writes an audit record, and makes it found by its organization.
func (t Tenant) PutAudit(ctx context.Context, tx datastore.Tx, id string, a Audit) error {
	if err := t.Audit(id).Put(ctx, tx, a); err != nil {
		return err
	}
	if a.Resource.Org == "" {
		return nil
	}
	return t.orgAudit(a.Resource.Org, id).Put(ctx, tx, Alias{ID: id})
}

// AuditsOf yields the ids of the audit records of an organization after the given one, the newest first.
func (t Tenant) AuditsOf(ctx context.Context, r datastore.Reader, org, after string, do func(id string) error) error {
	return eachAfter(ctx, r, datastore.TenantID(t).Path(PrivateRoot, "orgaudit", org), after, func(segments []string, _ Alias) error {
		return do(segments[len(segments)-1])
	})
}
