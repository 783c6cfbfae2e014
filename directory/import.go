package directory

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"

	"mandate/datastore"
)

// Made is a secret that an import made, to be shown once.
type Made struct {
	Kind   SecretKind
	ID     string
	Secret Secret
}

// Imported says what an import did.
type Imported struct {
	Revision datastore.Revision
	Records  int
}

// Importer brings directory files into a store. It is idempotent by id: a record that is there already is
// replaced, its secrets stay when the file gives none, and what the file does not name is left alone.
type Importer struct {
	Store  datastore.Store
	Master *MasterKey
	// Progress is called after each commit, with the secrets that it made: nobody can show them later.
	Progress func(done, total int, made []Made)
}

// step writes one record.
type step func(ctx context.Context, w *writer) error

type writer struct {
	datastore.Tx
	tenant Tenant
	master *MasterKey
	made   []Made
}

const chunkRecords = 2000

// Import checks the whole file, then writes it in one commit: all of it or nothing. Only a file too large for that
// is written in chunks, in an order in which every reference is to something written before; when that is
// interrupted, importing the file again goes on.
func (i Importer) Import(ctx context.Context, t Tenant, f *File) (Imported, error) {
	if !datastore.TenantID(t).Valid() {
		return Imported{}, Problems{{Line: f.line("tenant"), Field: "tenant", Message: "must be lower case letters, digits and inner hyphens, at most 63"}}
	}
	if err := i.hashPasswords(ctx, t, f); err != nil {
		return Imported{}, err
	}
	steps := f.steps()
	result := Imported{Records: len(steps)}
	var made []Made
	var err error
	result.Revision, err = i.Store.Update(ctx, func(tx datastore.Tx) error {
		if err := f.Check(ctx, t, tx, i.Master); err != nil {
			return err
		}
		if interrupted, err := Interrupted(ctx, t, tx); err != nil {
			return err
		} else if interrupted {
			if err := tx.Delete(t.importing().Path); err != nil {
				return fmt.Errorf("end an earlier import: %w", err)
			}
		}
		var err error
		made, err = i.run(ctx, t, tx, steps)
		return err
	})
	if errors.Is(err, datastore.ErrTooLarge) && len(steps) > 1 {
		return i.inChunks(ctx, t, f, steps)
	}
	if err != nil {
		return Imported{}, fmt.Errorf("import into tenant %s: %w", t, err)
	}
	i.progress(len(steps), len(steps), made)
	return result, nil
}

func (i Importer) progress(done, total int, made []Made) {
	if i.Progress != nil {
		i.Progress(done, total, made)
	}
}

// importing is there while a file is imported in chunks, and stays when that is interrupted.
func (t Tenant) importing() Place[Alias] { return place[Alias](t, PrivateRoot, "importing") }

// Interrupted says whether an import into the tenant has begun and not come to its end.
func Interrupted(ctx context.Context, t Tenant, r datastore.Reader) (bool, error) {
	_, found, err := t.importing().Find(ctx, r)
	return found, err
}

func (i Importer) inChunks(ctx context.Context, t Tenant, f *File, steps []step) (Imported, error) {
	result := Imported{Records: len(steps)}
	view, err := i.Store.View(ctx)
	if err != nil {
		return result, fmt.Errorf("import into tenant %s: %w", t, err)
	}
	err = f.Check(ctx, t, view, i.Master)
	view.Close()
	if err != nil {
		return result, err
	}
	done := 0
	mark := func(ctx context.Context, w *writer) error {
		return w.tenant.importing().Put(ctx, w, Alias{ID: "import"})
	}
	unmark := func(_ context.Context, w *writer) error { return w.Delete(w.tenant.importing().Path) }
	steps = slices.Concat([]step{mark}, steps, []step{unmark})
	for chunk := range slices.Chunk(steps, chunkRecords) {
		var made []Made
		result.Revision, err = i.Store.Update(ctx, func(tx datastore.Tx) error {
			made, err = i.run(ctx, t, tx, chunk)
			return err
		})
		if err != nil {
			return result, fmt.Errorf("import into tenant %s, after %d of %d records (import again to go on): %w", t, done, len(steps), err)
		}
		done += len(chunk)
		i.progress(done, len(steps), made)
	}
	return result, nil
}

// Put checks the file and writes it in the caller's transaction: Problems when something is wrong with it. Passwords must
// have been hashed.
func (f *File) Put(ctx context.Context, t Tenant, tx datastore.Tx, master *MasterKey) ([]Made, error) {
	if err := f.Check(ctx, t, tx, master); err != nil {
		return nil, err
	}
	return Importer{Master: master}.run(ctx, t, tx, f.steps())
}

func (i Importer) run(ctx context.Context, t Tenant, tx datastore.Tx, steps []step) ([]Made, error) {
	w := &writer{Tx: tx, tenant: t, master: i.Master}
	for _, s := range steps {
		if err := s(ctx, w); err != nil {
			return nil, err
		}
	}
	return w.made, nil
}

// hashPasswords runs before the transaction, which may be tried more than once. A password that the user has already
// keeps its hash.
func (i Importer) hashPasswords(ctx context.Context, t Tenant, f *File) error {
	view, err := i.Store.View(ctx)
	if err != nil {
		return fmt.Errorf("open a view: %w", err)
	}
	defer view.Close()
	for n := range f.Users {
		u := &f.Users[n]
		if u.Password.IsZero() || u.PasswordHash != "" || len(u.Password.value) > maxTextBytes {
			continue // the check reports what is wrong
		}
		former, found, err := t.UserSecrets(u.ID).Find(ctx, view)
		if err != nil {
			return err
		}
		same := false
		if found {
			if same, err = PasswordMatches(u.Password, former.PasswordHash); err != nil {
				return fmt.Errorf("user %s: %w", u.ID, err)
			}
		}
		hash := former.PasswordHash
		if !same {
			if hash, err = HashPassword(u.Password); err != nil {
				return err
			}
		}
		u.Password, u.PasswordHash = Secret{}, hash
	}
	return nil
}

// steps are in an order in which references lead to what was written before.
func (f *File) steps() []step {
	var steps []step
	add := func(s step) { steps = append(steps, s) }
	for _, id := range slices.Sorted(maps.Keys(f.Roles)) {
		add(put(Tenant.Role, id, f.Roles[id].role()))
	}
	for i := range f.APIs {
		add(f.APIs[i].write)
	}
	for i := range f.Users {
		add(f.Users[i].write)
	}
	for i := range f.Orgs {
		steps = append(steps, f.Orgs[i].steps()...)
	}
	for i := range f.Vendors {
		add(f.Vendors[i].write)
	}
	for i := range f.Clients {
		add(f.Clients[i].write)
	}
	for i := range f.APIKeys {
		add(f.APIKeys[i].write)
	}
	for i := range f.Integrations {
		add(f.Integrations[i].write)
	}
	for _, c := range f.Consents {
		add(func(ctx context.Context, w *writer) error {
			return c.write(ctx, w)
		})
	}
	for _, r := range f.Relations {
		add(func(ctx context.Context, w *writer) error {
			kind, id, _ := strings.Cut(r.Resource, ":")
			return w.tenant.Relation(kind, id, r.Relation, r.Subject).Put(ctx, w, Relation{})
		})
	}
	for _, key := range slices.Sorted(maps.Keys(f.Custom)) {
		add(func(ctx context.Context, w *writer) error {
			value, err := json.Marshal(f.Custom[key], json.Deterministic(true))
			if err != nil {
				return fmt.Errorf("custom.%s: %w", key, err)
			}
			return putIfChanged(ctx, w, w.tenant.custom(key), value)
		})
	}
	return steps
}

func (e *ConsentEntry) write(ctx context.Context, w *writer) error {
	consent, _, err := w.tenant.Consent(e.User, e.Client).Find(ctx, w)
	if err != nil {
		return err
	}
	given := consent.Orgs[e.Org]
	given.ID = cmp.Or(given.ID, rand.Text())
	if consent.Orgs == nil {
		consent.Orgs = map[string]ConsentGiven{}
	}
	if given.Scopes == nil {
		given.Scopes = map[string][]string{}
	}
	given.Scopes[e.Audience] = nonNil(e.Scopes)
	consent.Orgs[e.Org] = given
	return w.tenant.Consent(e.User, e.Client).Put(ctx, w, consent)
}

func put[T any](where func(Tenant, string) Place[T], id string, record T) step {
	return func(ctx context.Context, w *writer) error {
		return where(w.tenant, id).Put(ctx, w, record)
	}
}

func (e *APIEntry) write(ctx context.Context, w *writer) error {
	former, found, err := w.tenant.API(e.ID).Find(ctx, w)
	if err != nil {
		return err
	}
	var old Place[Alias]
	if found {
		old = w.tenant.Audience(former.Audience)
	}
	if err := claim(ctx, w, old, w.tenant.Audience(e.Audience), Alias{ID: e.ID}); err != nil {
		return fmt.Errorf("api %s: audience: %w", e.ID, err)
	}
	return w.tenant.API(e.ID).Put(ctx, w, API{Audience: e.Audience, Scopes: nonNil(e.Scopes),
		TokenLifetime: int64(e.TokenLifetime.Seconds()), SigningAlg: e.SigningAlg})
}

func (e *UserEntry) write(ctx context.Context, w *writer) error {
	if e.PasswordHash != "" {
		if err := w.tenant.PutPassword(ctx, w, e.ID, e.PasswordHash); err != nil {
			return err
		}
	}
	err := w.tenant.PutUser(ctx, w, e.ID, User{Username: cmp.Or(e.Username, e.ID), Email: e.Email, EmailVerified: e.EmailVerified,
		Status: cmp.Or(e.Status, Active)})
	if err != nil {
		return fmt.Errorf("user %s: %w", e.ID, err)
	}
	return nil
}

func (e *OrgEntry) steps() []step {
	var steps []step
	if !e.Within {
		steps = append(steps, func(ctx context.Context, w *writer) error {
			return w.tenant.PutOrg(ctx, w, e.ID, Org{Name: cmp.Or(e.Name, e.ID), Status: cmp.Or(e.Status, Active), Parent: e.Parent, Metadata: e.Metadata})
		})
	}
	for _, id := range slices.Sorted(maps.Keys(e.Roles)) {
		steps = append(steps, func(ctx context.Context, w *writer) error {
			return w.tenant.OrgRole(e.ID, id).Put(ctx, w, e.Roles[id].role())
		})
	}
	for _, d := range e.Domains {
		steps = append(steps, func(ctx context.Context, w *writer) error {
			return d.write(ctx, w, e.ID)
		})
	}
	for _, m := range e.Members {
		steps = append(steps, func(ctx context.Context, w *writer) error {
			return w.tenant.PutMember(ctx, w, e.ID, m.User, Member{Roles: nonNil(m.Roles), Status: cmp.Or(m.Status, Active), JoinedAt: m.JoinedAt})
		})
	}
	for _, c := range e.Connections {
		steps = append(steps, func(ctx context.Context, w *writer) error {
			return c.write(ctx, w, e.ID)
		})
	}
	return steps
}

func (e DomainEntry) write(ctx context.Context, w *writer, org string) error {
	d := Domain{Status: cmp.Or(e.Status, Pending), VerifiedAt: e.VerifiedAt, FailingSince: e.FailingSince, AutoJoin: e.AutoJoin}
	if e.Challenge != "" {
		d.Challenge = challengeOf(e.Domain, e.Challenge)
	}
	if d.Status == Pending && d.Challenge == nil {
		former, _, err := w.tenant.Domain(org, e.Domain).Find(ctx, w)
		if err != nil {
			return err
		}
		if d.Challenge = former.Challenge; d.Challenge == nil {
			d.Challenge = NewDomainChallenge(e.Domain)
		}
	}
	return w.tenant.PutDomain(ctx, w, org, e.Domain, d)
}

func (e *ConnectionEntry) write(ctx context.Context, w *writer, org string) error {
	former, _, err := w.tenant.Connection(org, e.ID).Find(ctx, w)
	if err != nil {
		return err
	}
	for _, audience := range former.Audiences {
		if former.Issuer == e.Issuer && slices.Contains(e.Audiences, audience) {
			continue
		}
		if err := w.Delete(w.tenant.ProviderConnection(former.Issuer, audience).Path); err != nil {
			return fmt.Errorf("org %s: connection %s: give up the audience %s: %w", org, e.ID, audience, err)
		}
	}
	for _, audience := range e.Audiences {
		place := w.tenant.ProviderConnection(e.Issuer, audience)
		if err := claim(ctx, w, Place[ConnectionRef]{}, place, ConnectionRef{org, e.ID}); err != nil {
			return fmt.Errorf("org %s: connection %s: audience %s: %w", org, e.ID, audience, err)
		}
	}
	var old, signsIn Place[Alias]
	if former.Domain != "" {
		old = w.tenant.DomainConnection(org, former.Domain)
	}
	if e.Domain != "" {
		signsIn = w.tenant.DomainConnection(org, e.Domain)
	}
	if err := claim(ctx, w, old, signsIn, Alias{ID: e.ID}); err != nil {
		return fmt.Errorf("org %s: connection %s: domain %s: %w", org, e.ID, e.Domain, err)
	}
	if err := w.seal(ctx, w.tenant.ConnectionSecret(org, e.ID), e.ClientSecret, SealedFor(org, e.ID)); err != nil {
		return fmt.Errorf("org %s: connection %s: %w", org, e.ID, err)
	}
	return w.tenant.Connection(org, e.ID).Put(ctx, w, Connection{Issuer: e.Issuer, Status: cmp.Or(e.Status, Active), Domain: e.Domain, ClientID: e.ClientID,
		Audiences: e.Audiences, Algorithm: cmp.Or(e.Algorithm, "RS256"), Claims: e.Claims, RoleClaim: e.RoleClaim, RoleMapping: e.RoleMapping})
}

// seal writes a secret that Mandate has to present itself. The one that is there stays when none is given, and when it
// is the same: sealed again, it would look like another one.
func (w *writer) seal(ctx context.Context, where Place[SealedSecret], given Secret, what string) error {
	if given.IsZero() {
		return nil
	}
	former, found, err := where.Find(ctx, w)
	if err != nil {
		return err
	}
	if found {
		plaintext, err := w.master.Open(former.Sealed, what)
		if err != nil {
			return err
		}
		if subtle.ConstantTimeCompare(plaintext, []byte(given.value)) == 1 {
			return nil
		}
	}
	sealed, err := w.master.Seal([]byte(given.value), what)
	if err != nil {
		return err
	}
	return where.Put(ctx, w, SealedSecret{Sealed: sealed})
}

func (e *APIKeyEntry) write(ctx context.Context, w *writer) error {
	kind := cmp.Or(e.Kind, BearerKey)
	former, _, err := w.tenant.KeySecrets(e.ID).Find(ctx, w)
	if err != nil {
		return err
	}
	next := KeySecrets{}
	before, prefix := len(w.made), ""
	if next.Key, err = w.hash(KindAPIKey, e.ID, e.Key, e.KeyHash, former.Key); err != nil {
		return err
	}
	switch {
	case len(w.made) > before:
		prefix = visiblePrefix(w.made[before].Secret)
	case next.Key == former.Key:
		key, _, err := w.tenant.APIKey(e.ID).Find(ctx, w)
		if err != nil {
			return err
		}
		prefix = key.Prefix
	}
	if kind == PairKey {
		if next.Secret, err = w.hash(KindAPISecret, e.ID, e.Secret, e.SecretHash, former.Secret); err != nil {
			return err
		}
	}
	owner := SecretOwner{Kind: KindAPIKey, ID: e.ID}
	if next.Key == former.Key && next.Secret == former.Secret {
		next.Former = former.Former
	} else if err := w.tenant.endFormer(ctx, w, owner, former.Former); err != nil {
		return err
	}
	if err := w.own(ctx, former.Key, next.Key, owner); err != nil {
		return fmt.Errorf("api_key %s: its key %w", e.ID, err)
	}
	if err := w.tenant.KeySecrets(e.ID).Put(ctx, w, next); err != nil {
		return err
	}
	return w.tenant.PutAPIKey(ctx, w, e.ID, APIKey{Org: e.Org, Owner: e.Owner, Kind: kind,
		Status: cmp.Or(e.Status, Active), Scopes: nonNil(e.Scopes), Audiences: e.Audiences, ExpiresAt: e.ExpiresAt, Prefix: prefix})
}

func (e *VendorEntry) write(ctx context.Context, w *writer) error {
	owner := SecretOwner{Kind: KindVendorToken, ID: e.ID}
	if err := w.token(ctx, w.tenant.VendorSecret(e.ID), owner, e.ID, e.Token, e.TokenHash); err != nil {
		return fmt.Errorf("vendor %s: its token %w", e.ID, err)
	}
	return w.tenant.Vendor(e.ID).Put(ctx, w, Vendor{Name: cmp.Or(e.Name, e.ID), Status: cmp.Or(e.Status, Active)})
}

func (e *IntegrationEntry) write(ctx context.Context, w *writer) error {
	owner := SecretOwner{Kind: KindPartnerToken, ID: e.Vendor, Org: e.Org}
	if err := w.token(ctx, w.tenant.IntegrationSecret(e.Org, e.Vendor), owner, e.ID, e.PartnerToken, e.PartnerTokenHash); err != nil {
		return fmt.Errorf("integration %s: its partner token %w", e.ID, err)
	}
	err := w.tenant.PutIntegration(ctx, w, e.Org, e.Vendor, Integration{ID: e.ID, Kind: cmp.Or(e.Kind, ExternalIntegration),
		Status: cmp.Or(e.Status, Active), Scopes: nonNil(e.Scopes), EnabledBy: e.EnabledBy, Client: e.Client,
		EnabledAt: e.EnabledAt, SuspendedBy: e.SuspendedBy})
	if err != nil {
		return fmt.Errorf("integration: %w", err)
	}
	return nil
}

// token sets the one secret of a vendor or an integration, which has the id.
func (w *writer) token(ctx context.Context, where Place[TokenSecret], owner SecretOwner, id string, given Secret, givenHash Hash) error {
	former, _, err := where.Find(ctx, w)
	if err != nil {
		return err
	}
	next, err := w.hash(owner.Kind, id, given, givenHash, former.Token)
	if err != nil {
		return err
	}
	if err := w.own(ctx, former.Token, next, owner); err != nil {
		return err
	}
	return where.Put(ctx, w, TokenSecret{Token: next})
}

// hash is what to store: for the secret or the hash that the file gives, else for the one that is there, else for
// a new one.
func (w *writer) hash(kind SecretKind, id string, given Secret, givenHash, former Hash) (Hash, error) {
	switch {
	case !given.IsZero():
		return w.master.Hash(given), nil
	case givenHash != "":
		return givenHash, nil
	case former != "":
		return former, nil
	}
	return w.make(kind, id)
}

func (w *writer) make(kind SecretKind, id string) (Hash, error) {
	secret, err := MakeSecret(kind, id, rand.Reader)
	if err != nil {
		return "", err
	}
	w.made = append(w.made, Made{kind, id, secret})
	return w.master.Hash(secret), nil
}

// own makes the look-up by hash lead to the owner.
func (w *writer) own(ctx context.Context, former, next Hash, owner SecretOwner) error {
	var old Place[SecretOwner]
	if former != "" {
		old = w.tenant.SecretOwner(former)
	}
	return claim(ctx, w, old, w.tenant.SecretOwner(next), owner)
}

// nonNil keeps an empty list a list: null would not be one to a policy.
func nonNil(list []string) []string {
	if list == nil {
		return []string{}
	}
	return list
}
