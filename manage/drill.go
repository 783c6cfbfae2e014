package manage

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"mandate/datastore"
	"mandate/datastore/memo"
	"mandate/directory"
)

// Bounds of what a drill looks at, and of what it shows.
const (
	maxDrilled     = 10_000
	maxDrilledTime = 5 * time.Second
)

// Holder names whose credential was leaked: the type of the principal that it makes, and its record.
type Holder struct {
	Type string `json:"type"` // apikey, client, vendor, integration
	ID   string `json:"id"`
	Org  string `json:"org,omitempty"` // of an API key or a client, and of the integration of a vendor, which is its ID
}

// Descendant is something that was made, or whose secret was shown, by the holder of a credential or by who descends from it.
type Descendant struct {
	Holder
	Action string    `json:"action"`
	At     time.Time `json:"at"`
	By     string    `json:"by"`     // who did it, as type:id
	Revoke bool      `json:"revoke"` // whether revoking the credential revokes this, too
	Status string    `json:"status"` // now
}

// Drill says what became of a credential, without a secret.
type Drill struct {
	Holder     Holder         `json:"holder"`
	Record     jsontext.Value `json:"record"`
	LastUsedAt *time.Time     `json:"last_used_at,omitempty"`
	// Grants rest on the credential; each stands for a refresh token and the access tokens that came of it.
	Grants []DrilledGrant `json:"grants"`
	// Descendants are credentials and the like; Changes is what else was changed, by action.
	Descendants []Descendant   `json:"descendants"`
	Changes     map[string]int `json:"changes"`
	// Complete says that all audit records and all grants were looked at.
	Complete bool `json:"complete"`
}

// DrilledGrant is a grant that rests on the credential.
type DrilledGrant struct {
	ID        string    `json:"id"`
	Type      string    `json:"type"`
	User      string    `json:"user,omitempty"` // whom a client acts for by it
	Org       string    `json:"org,omitempty"`
	Audience  string    `json:"audience"`
	Scopes    []string  `json:"scopes"`
	CreatedAt time.Time `json:"created_at"`
	ExpiresAt time.Time `json:"expires_at"`
}

// drilled is how the records of one type are revoked.
type drilled struct {
	kind  Kind
	ids   func(h Holder) []string
	body  string          // the merge patch that revokes one; deleted when empty
	gone  string          // its status then
	makes map[string]bool // the actions that make one, or show its secret
}

func byID(h Holder) []string { return []string{h.ID} }

func drilledTypes() map[string]drilled {
	return map[string]drilled{
		"apikey": {APIKeys(), byID, `{"status":"revoked"}`, "revoked", map[string]bool{"apikeys.create": true, "apikeys.rotate": true}},
		"client": {Clients(), byID, `{"status":"disabled"}`, "disabled", map[string]bool{"clients.create": true, "clients.rotate": true, "clients.register": true}},
		"vendor": {Vendors(), byID, `{"status":"suspended"}`, "suspended", map[string]bool{"vendors.create": true, "vendors.rotate": true}},
		"integration": {Integrations(), func(h Holder) []string { return []string{h.Org, h.ID} }, `{"status":"suspended"}`, "suspended",
			map[string]bool{"orgs.integrations.create": true, "orgs.integrations.enable": true, "orgs.integrations.rotate": true}},
		"webhook": {Webhooks(), byID, `{"status":"disabled"}`, "disabled", map[string]bool{"webhooks.create": true, "webhooks.rotate": true}},
		"invitation": {Invitations(), func(h Holder) []string { return []string{h.Org, h.ID} }, "", "",
			map[string]bool{"orgs.invitations.create": true, "orgs.invitations.resend": true}},
	}
}

// Identify says whose a secret is: of an API key (its key, not the secret of a pair), a client, a vendor, or an integration.
// It is ErrNotFound for what is unknown, and for what the caller may not know of.
func (m *Manager) Identify(ctx context.Context, r *memo.Reading, q *Request, secret directory.Secret) (*Holder, error) {
	h, err := m.holderOf(ctx, r, secret)
	if err != nil {
		return nil, err
	}
	if h == nil {
		h = &Holder{Type: "apikey", ID: "*"} // who asks learns the same of nothing as of what is out of reach
	}
	record, err := m.drilledRecord(ctx, r, *h)
	if err != nil {
		return nil, err
	}
	if err := m.permitDrill(ctx, r, q, *h, record); err != nil {
		return nil, err
	}
	if record == nil {
		return nil, ErrNotFound
	}
	h.Org = cmp.Or(h.Org, orgIn(record))
	return h, nil
}

func (m *Manager) holderOf(ctx context.Context, r datastore.Reader, secret directory.Secret) (*Holder, error) {
	t := m.o.Tenant
	owner, found, err := t.SecretOwner(m.o.Master.Hash(secret)).Find(ctx, r)
	if err != nil {
		return nil, err
	}
	if found {
		switch owner.Kind {
		case directory.KindAPIKey:
			return &Holder{Type: "apikey", ID: owner.ID}, nil
		case directory.KindVendorToken:
			return &Holder{Type: "vendor", ID: owner.ID}, nil
		case directory.KindPartnerToken:
			return &Holder{Type: "integration", ID: owner.ID, Org: owner.Org}, nil
		}
		return nil, nil
	}
	// The secrets of pairs and of clients are found by the id that they name.
	parts := strings.Split(secret.Expose(), "_")
	if len(parts) != 4 || directory.Mistyped(secret.Expose()) {
		return nil, nil
	}
	switch id := parts[2]; directory.SecretKind(parts[1]) {
	case directory.KindClientSecret:
		secrets, _, err := t.ClientSecrets(id).Find(ctx, r)
		if err != nil || !slices.ContainsFunc(secrets.Hashes, func(h directory.Hash) bool { return m.o.Master.Matches(secret, h) }) {
			return nil, err
		}
		return &Holder{Type: "client", ID: id}, nil
	case directory.KindAPISecret:
		secrets, found, err := t.KeySecrets(id).Find(ctx, r)
		if err != nil || !found || !m.o.Master.Matches(secret, secrets.Secret) {
			return nil, err
		}
		return &Holder{Type: "apikey", ID: id}, nil
	}
	return nil, nil
}

// drilledRecord is the record of the holder as it is read, nil when there is none.
func (m *Manager) drilledRecord(ctx context.Context, r datastore.Reader, h Holder) (jsontext.Value, error) {
	t := m.o.Tenant
	paths := map[string]datastore.Path{"apikey": t.APIKey(h.ID).Path, "client": t.Client(h.ID).Path, "vendor": t.Vendor(h.ID).Path,
		"integration": t.Integration(h.Org, h.ID).Path, "webhook": t.Webhook(h.ID).Path, "invitation": t.Invitation(h.Org, h.ID).Path}
	p := paths[h.Type]
	if !p.Valid() {
		return nil, nil
	}
	text, err := r.Get(ctx, p)
	if errors.Is(err, datastore.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read a record: %w", err)
	}
	return text, nil
}

func orgIn(record jsontext.Value) string {
	var of struct {
		Org string `json:"org"`
	}
	if json.Unmarshal(record, &of) != nil {
		return ""
	}
	return of.Org
}

func statusIn(record jsontext.Value) string {
	var of struct {
		Status string `json:"status"`
	}
	if record == nil || json.Unmarshal(record, &of) != nil {
		return "deleted"
	}
	return of.Status
}

// drillResource is what the policy is told: the record as it is.
func drillResource(h Holder, record jsontext.Value) Resource {
	resource := Resource{Type: h.Type, ID: h.ID, Properties: map[string]any{}}
	if org := cmp.Or(h.Org, orgIn(record)); org != "" {
		resource.Properties["org"] = org
	}
	if record != nil {
		resource.Properties["before"] = record
	}
	return resource
}

func drillAction(h Holder) string { return drilledTypes()[h.Type].kind.Name() + ".drill" }

func (m *Manager) permitDrill(ctx context.Context, r *memo.Reading, q *Request, h Holder, record jsontext.Value) error {
	_, err := m.Permit(ctx, r, q, drillAction(h), drillResource(h, record))
	return err
}

// Drill says what the holder of a leaked credential has made and what rests on it.
func (m *Manager) Drill(ctx context.Context, r *memo.Reading, q *Request, h Holder) (*Drill, error) {
	record, err := m.drilledRecord(ctx, r, h)
	if err != nil {
		return nil, err
	}
	if err := m.permitDrill(ctx, r, q, h, record); err != nil {
		return nil, err
	}
	if record == nil {
		return nil, ErrNotFound
	}
	h.Org = cmp.Or(h.Org, orgIn(record))
	d, err := m.descent(ctx, r, h)
	if err != nil {
		return nil, err
	}
	if d.Record, err = document([]string{"id"}, []string{h.ID}, record); err != nil {
		return nil, err
	}
	if d.LastUsedAt, err = m.lastUse(ctx, r, h, record); err != nil {
		return nil, err
	}
	return d, m.drillGrants(ctx, r, d)
}

func (m *Manager) lastUse(ctx context.Context, r datastore.Reader, h Holder, record jsontext.Value) (*time.Time, error) {
	collection, id := h.Type+"s", h.ID
	if h.Type == "integration" {
		var i directory.Integration
		if err := json.Unmarshal(record, &i); err != nil {
			return nil, fmt.Errorf("read an integration: %w", err)
		}
		id = i.ID
	}
	use, found, err := m.o.Tenant.LastUse(collection, id).Find(ctx, r)
	if err != nil || !found {
		return nil, err
	}
	return &use.LastUsedAt, nil
}

// descent reads the audit records for what the holder has done, and those who descend from it. They sort from the newest to the
// oldest; what was made acts only after it was made.
func (m *Manager) descent(ctx context.Context, r datastore.Reader, h Holder) (*Drill, error) {
	d := &Drill{Holder: h, Grants: []DrilledGrant{}, Descendants: []Descendant{}, Changes: map[string]int{}, Complete: true}
	types := drilledTypes()
	var made []directory.Audit
	changes := map[string]map[string]int{} // by who made them
	until, looked := m.o.Now().Add(maxDrilledTime), 0
	err := m.audits(ctx, r, h, func(text []byte) (bool, error) {
		if looked++; looked%1024 == 0 && m.o.Now().After(until) {
			d.Complete = false
			return false, nil
		}
		var a directory.Audit
		if err := json.Unmarshal(text, &a); err != nil {
			return false, fmt.Errorf("read an audit record: %w", err)
		}
		if types[a.Resource.Type].makes[a.Action] {
			a.Before, a.After = nil, nil
			made = append(made, a)
		} else {
			for _, by := range makers(a) {
				if changes[by] == nil {
					changes[by] = map[string]int{}
				}
				changes[by][a.Action]++
			}
		}
		full := len(made) == maxDrilled || len(changes) == maxDrilled
		d.Complete = d.Complete && !full
		ownBeginning := a.Action == types[h.Type].kind.Name()+".create" && a.Resource.Type == h.Type && a.Resource.ID == h.ID
		return !full && !ownBeginning, nil
	})
	if err != nil {
		return nil, err
	}
	party := func(h Holder) string { return h.Type + ":" + h.ID }
	descends := []string{party(h)}
	seen := map[Holder]bool{h: true}
	for _, a := range slices.Backward(made) {
		of := Holder{Type: a.Resource.Type, ID: a.Resource.ID, Org: a.Resource.Org}
		by := slices.IndexFunc(makers(a), func(maker string) bool { return slices.Contains(descends, maker) })
		if by < 0 || seen[of] {
			continue
		}
		seen[of] = true
		record, err := m.drilledRecord(ctx, r, of)
		if err != nil {
			return nil, err
		}
		status := statusIn(record)
		d.Descendants = append(d.Descendants, Descendant{Holder: of, Action: a.Action, At: a.At, By: makers(a)[by],
			Revoke: record != nil && status != types[of.Type].gone, Status: status})
		descends = append(descends, party(of))
	}
	for _, of := range descends {
		for action, n := range changes[of] {
			d.Changes[action] += n
		}
	}
	return d, nil
}

// makers are who did what a record says: the one, and the client that has acted for it.
func makers(a directory.Audit) []string {
	all := []string{a.By.Type + ":" + a.By.Subject}
	if a.By.AuthorizedParty != "" {
		all = append(all, "client:"+a.By.AuthorizedParty)
	}
	return all
}

// audits shows the audit records of the organization that the holder is bound to, or all.
func (m *Manager) audits(ctx context.Context, r datastore.Reader, h Holder, do func(text []byte) (more bool, err error)) error {
	if h.Org == "" || h.Type == "client" { // a client may act in others beside its home
		for fact, err := range r.Scan(ctx, datastore.TenantID(m.o.Tenant).Path(directory.PrivateRoot, "audit"), datastore.Path{}) {
			if err != nil {
				return fmt.Errorf("read the audit records: %w", err)
			}
			if more, err := do(fact.Value); err != nil || !more {
				return err
			}
		}
		return nil
	}
	return m.o.Tenant.AuditsOf(ctx, r, h.Org, "", func(id string) error {
		text, err := r.Get(ctx, m.o.Tenant.Audit(id).Path)
		if errors.Is(err, datastore.ErrNotFound) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read the audit records: %w", err)
		}
		more, err := do(text)
		if err == nil && !more {
			err = directory.ErrEnough
		}
		return err
	})
}

// drillGrants finds the grants that rest on the holder or on who descends from it.
func (m *Manager) drillGrants(ctx context.Context, r datastore.Reader, d *Drill) error {
	holders := map[string]bool{d.Holder.Type + ":" + d.Holder.ID: true}
	for _, of := range d.Descendants {
		holders[of.Type+":"+of.ID] = true
	}
	until, looked := m.o.Now().Add(maxDrilledTime), 0
	for fact, err := range r.Scan(ctx, datastore.TenantID(m.o.Tenant).Path(directory.PrivateRoot, "grants"), datastore.Path{}) {
		if err != nil {
			return fmt.Errorf("read the grants: %w", err)
		}
		if looked++; len(d.Grants) == maxDrilled || (looked%1024 == 0 && m.o.Now().After(until)) {
			d.Complete = false
			return nil
		}
		var g directory.Grant
		if err := json.Unmarshal(fact.Value, &g); err != nil {
			return fmt.Errorf("read a grant: %w", err)
		}
		if !m.o.Now().Before(g.ExpiresAt) || (!holders["client:"+g.Client] && !holders[g.Kind+":"+g.Subject]) {
			continue
		}
		grant := DrilledGrant{ID: fact.Path.Segments()[2], Type: g.Type, Org: g.Org, Audience: g.Audience, Scopes: g.Scopes,
			CreatedAt: g.CreatedAt, ExpiresAt: g.ExpiresAt}
		if g.Kind == "user" {
			grant.User = g.Subject
		}
		d.Grants = append(d.Grants, grant)
	}
	return nil
}

// revoked is the answer to a revocation.
type revoked struct {
	Holder      Holder   `json:"holder"`
	Grants      int      `json:"grants"`
	Descendants []Holder `json:"descendants"`
}

// RevokeDrilled revokes the credential of the holder with all that descends from it, in one transaction. The policy is asked
// about each of them. Tokens and grants of what is revoked are good for nothing from then on; the grants that were known before are
// removed as well.
func (m *Manager) RevokeDrilled(ctx context.Context, r *memo.Reading, q *Request, h Holder) (*Answer, error) {
	before, err := m.Drill(ctx, r, q, h)
	if err != nil {
		return nil, err
	}
	return m.change(ctx, q, func(c *change) (*Answer, error) {
		record, err := m.drilledRecord(ctx, c, h)
		if err != nil {
			return nil, err
		}
		resource := drillResource(h, record)
		if err := c.permit(ctx, drillAction(h), resource); err != nil {
			return nil, err
		}
		if record == nil {
			return nil, ErrNotFound
		}
		of := h
		of.Org = cmp.Or(h.Org, orgIn(record))
		d, err := m.descent(ctx, c, of) // what was done since, too: whoever does something reads the record that is written here
		if err != nil {
			return nil, err
		}
		if !before.Complete || !d.Complete {
			return nil, &Conflict{"drill_incomplete", "Too much descends from it to be revoked at once: revoke or disable it by itself, and then what it has made."}
		}
		done := revoked{Holder: of, Descendants: []Holder{}}
		// The last made first: what a policy asks of one may rest on what has made it.
		for _, descendant := range slices.Backward(d.Descendants) {
			if !descendant.Revoke {
				continue
			}
			if err := c.revokeOne(ctx, descendant.Holder); err != nil {
				return nil, err
			}
			done.Descendants = append(done.Descendants, descendant.Holder)
		}
		if err := c.revokeOne(ctx, h); err != nil {
			return nil, err
		}
		for _, g := range before.Grants {
			if err := c.tenant().DeleteGrant(ctx, c, g.ID); err != nil {
				return nil, err
			}
			done.Grants++
		}
		body, err := json.Marshal(done, json.Deterministic(true))
		if err != nil {
			return nil, fmt.Errorf("encode an answer: %w", err)
		}
		// The last question is that about the whole, for a repetition of the request.
		if err := c.permit(ctx, drillAction(h), resource); err != nil {
			return nil, err
		}
		return &Answer{Body: body}, c.done(ctx, drillAction(h), resource, nil, done)
	})
}

// revokeOne changes or deletes one record as anybody would who revokes it.
func (c *change) revokeOne(ctx context.Context, h Holder) error {
	q := *c.q
	q.IfMatch, q.IfNone, q.Confirmed = 0, false, true
	one := *c
	one.q = &q
	t := drilledTypes()[h.Type]
	var err error
	if t.body == "" {
		_, err = t.kind.delete(ctx, &one, t.ids(h))
	} else {
		_, err = t.kind.put(ctx, &one, t.ids(h), Write{Body: jsontext.Value(t.body), Merge: true, id: idInPath})
	}
	return err
}
