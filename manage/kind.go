package manage

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"mandate/datastore"
	"mandate/datastore/memo"
	"mandate/directory"
)

// Kind is a collection of records. All are listed, read, created, replaced, patched and deleted in the same way.
type Kind interface {
	// Name is that of the collection, by which its actions begin: "orgs.members".
	Name() string
	// Path is where a record is: "orgs/{org}/members/{user}". Without its last segment it is that of the collection.
	Path() string
	// Filters are the parameters by which a listing can be narrowed.
	Filters() []string
	// Example is an empty record, for its type.
	Example() any
	// Writable says that records are created, replaced and patched as they are.
	Writable() bool
	// Removable says that records can be deleted.
	Removable() bool
	// Shape says what the documents have beside the members of the records.
	Shape() Shape

	get(ctx context.Context, m *Manager, r *memo.Reading, q *Request, ids []string) (*Answer, error)
	list(ctx context.Context, m *Manager, r *memo.Reading, q *Request, parents []string, p Page) (*Listing, error)
	ask(ctx context.Context, c *change, ids []string, w Write) error
	put(ctx context.Context, c *change, ids []string, w Write) (*Answer, error)
	delete(ctx context.Context, c *change, ids []string) (*Answer, error)
}

// Get reads a record.
func (m *Manager) Get(ctx context.Context, r *memo.Reading, q *Request, k Kind, ids ...string) (*Answer, error) {
	return k.get(ctx, m, r, q, ids)
}

// Write is what a record is to become.
type Write struct {
	Body  jsontext.Value // a JSON object
	Merge bool           // the body is a JSON Merge Patch (RFC 7396) of the record that is there

	id idFrom
}

// idFrom says where the id of a new record comes from.
type idFrom string

const (
	idMade   idFrom = "made"
	idInBody idFrom = "body"
	idInPath idFrom = "path"
)

// Create makes a record in a collection. Its id is in the body, or made.
func (m *Manager) Create(ctx context.Context, q *Request, k Kind, parents []string, w Write) (*Answer, error) {
	id, from, err := idIn(k, w.Body)
	if err != nil {
		return nil, err
	}
	w.id = from
	ids, fresh := append(slices.Clone(parents), id), *q
	fresh.IfNone = true
	if w.Body, err = m.hashed(ctx, &fresh, k, ids, w); err != nil {
		return nil, err
	}
	return m.change(ctx, &fresh, func(c *change) (*Answer, error) {
		answer, err := k.put(ctx, c, ids, w)
		if errors.Is(err, ErrChanged) {
			err = alreadyThere()
		}
		return answer, err
	})
}

// Put replaces or patches the record, or creates the one that is not there.
func (m *Manager) Put(ctx context.Context, q *Request, k Kind, ids []string, w Write) (*Answer, error) {
	var err error
	w.id = idInPath
	if w.Body, err = m.hashed(ctx, q, k, ids, w); err != nil {
		return nil, err
	}
	return m.change(ctx, q, func(c *change) (*Answer, error) { return k.put(ctx, c, ids, w) })
}

// Delete removes the record, and all that rests on it alone.
func (m *Manager) Delete(ctx context.Context, q *Request, k Kind, ids ...string) (*Answer, error) {
	return m.change(ctx, q, func(c *change) (*Answer, error) { return k.delete(ctx, c, ids) })
}

// kind is a Kind of the records T.
type kind[T any] struct {
	name, resource string
	path           string
	keys           []string // members of a document that name its record in the collection
	place          func(t directory.Tenant, ids []string) directory.Place[T]
	scan           func(parents []string) []string            // the segments above the records, when they are not those of the path
	shared         bool                                       // organizations share the ids: who chooses one could try out those of others
	deep           bool                                       // the last id is the rest of the path, with its slashes
	wrap           func(stored jsontext.Value) jsontext.Value // what is stored as an object, when it need not be one
	org            func(ids []string, record T) string
	among          func(ids []string, record T) bool // whether the record is in the collection that the path names
	// file says the record in the terms of a directory file, which has the checks and the ways to write. Problems are
	// about the fields below at.
	file   func(ids []string, record T, g given) (f *directory.File, at string)
	remove func(ctx context.Context, tx datastore.Tx, t directory.Tenant, ids []string) error
	// store and revoke are instead of file and remove where a directory file has nothing to say.
	store  func(ctx context.Context, c *change, ids []string, before *T, after T, g given) ([]directory.Made, error)
	revoke func(ctx context.Context, c *change, ids []string, before T) error
	// secrets are the members of an answer in which secrets are shown that a write has made.
	secrets map[directory.SecretKind]string
	takes   []string // members of given
	fixed   []string // members of the record that only Mandate sets
	filters []string // members of the record by which a listing can be narrowed
	indexes map[string]index
	all     index // of all records, when they are not next to each other
	// fill sets what a new record has when the body does not say, from who asks alone.
	fill func(ctx context.Context, c *change, record *T) error
	// used is where the last use of the record's credential is noted.
	used func(ids []string, record T) (collection, id string)
	// about adds to what the policy is told, checks rules that hold whatever it says, and sets what only Mandate sets. Before
	// is nil for a record that is not there, after for one that is to be deleted.
	about func(ctx context.Context, c *change, ids []string, before, after *T, properties map[string]any) error
	// after is done in the same transaction, when the record has been written or deleted.
	after func(ctx context.Context, c *change, ids []string, before, after *T) error
}

// index yields the ids of the records that have the value, after the given one.
type index func(ctx context.Context, r datastore.Reader, t directory.Tenant, value, after string, do func(id string) error) error

func (k *kind[T]) Name() string    { return k.name }
func (k *kind[T]) Path() string    { return k.path }
func (k *kind[T]) Example() any    { return *new(T) }
func (k *kind[T]) Writable() bool  { return k.file != nil || k.store != nil }
func (k *kind[T]) Removable() bool { return k.remove != nil || k.revoke != nil }

func (k *kind[T]) Filters() []string {
	all := slices.Clone(k.filters)
	for name := range k.indexes {
		all = append(all, name)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// resourceOf is what the policy is told of a record.
func (k *kind[T]) resourceOf(ids []string, before, after *T) Resource {
	resource := Resource{Type: k.resource, ID: strings.Join(ids[max(0, len(ids)-len(k.keys)):], "/"), Properties: map[string]any{}}
	record := before
	if record == nil {
		record = after
	}
	if record == nil {
		record = new(T)
	}
	if k.org != nil {
		if org := k.org(ids, *record); org != "" {
			resource.Properties["org"] = org
		}
	}
	if before != nil {
		resource.Properties["before"] = before
	}
	if after != nil {
		resource.Properties["after"] = after
	}
	return resource
}

func (k *kind[T]) find(ctx context.Context, m *Manager, r datastore.Reader, ids []string) (*T, error) {
	p := k.place(m.o.Tenant, ids).Path
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
	record, err := k.decode(text)
	if err == nil && k.among != nil && !k.among(ids, *record) {
		return nil, nil
	}
	return record, err
}

// decode is the record that is stored so.
func (k *kind[T]) decode(text jsontext.Value) (*T, error) {
	if k.wrap != nil {
		text = k.wrap(text)
	}
	record := new(T)
	if err := json.Unmarshal(text, record); err != nil {
		return nil, fmt.Errorf("read a record: %w", err)
	}
	return record, nil
}

func (k *kind[T]) get(ctx context.Context, m *Manager, r *memo.Reading, q *Request, ids []string) (*Answer, error) {
	record, err := k.find(ctx, m, r, ids)
	if err != nil {
		return nil, err
	}
	resource := k.resourceOf(ids, record, nil)
	if k.about != nil {
		if err := k.about(ctx, &change{m: m, q: q, reading: r}, ids, record, record, resource.Properties); err != nil && record != nil {
			return nil, err
		}
	}
	if _, err := m.Permit(ctx, r, q, k.name+".get", resource); err != nil {
		return nil, err
	}
	if record == nil {
		return nil, ErrNotFound
	}
	body, err := k.shown(ctx, m, r, ids, record)
	if err != nil {
		return nil, err
	}
	revision, err := r.Stat(ctx, k.place(m.o.Tenant, ids).Path)
	return &Answer{Body: body, Revision: revision}, err
}

const lastUsed = "last_used_at"

// shown is the document that a record is read as.
func (k *kind[T]) shown(ctx context.Context, m *Manager, r datastore.Reader, ids []string, record *T) (jsontext.Value, error) {
	body, err := document(k.keys, ids, record)
	if err != nil || k.used == nil {
		return body, err
	}
	use, found, err := m.o.Tenant.LastUse(k.used(ids, *record)).Find(ctx, r)
	if err != nil || !found {
		return body, err
	}
	return withMember(body, lastUsed, use.LastUsedAt)
}

// permitted is a write that the policy allows.
type permitted[T any] struct {
	before, after *T
	secrets       given
	action        string
	resource      Resource
}

// ask asks the policy whether the caller may write this, and says what is wrong with it.
func (k *kind[T]) ask(ctx context.Context, c *change, ids []string, w Write) error {
	_, err := k.permitted(ctx, c, ids, w)
	return err
}

func (k *kind[T]) permitted(ctx context.Context, c *change, ids []string, w Write) (*permitted[T], error) {
	before, err := k.find(ctx, c.m, c.reading, ids)
	if err != nil {
		return nil, err
	}
	if c.q.IfNone {
		before = nil // who asks to create it is asked whether they may, not told whether it is there
	}
	after, secrets, problem := k.read(ids, before, w)
	if after == nil { // the policy is asked first: what is wrong with a body is for those who may write
		if after = before; before == nil {
			after = new(T)
		}
	}
	if k.shared && before == nil && w.id == idInPath {
		// To whoever may not know of it, it is as if it belonged to somebody else.
		if err := c.permit(ctx, k.name+".get", k.resourceOf(ids, nil, nil)); err != nil {
			return nil, err
		}
	}
	if k.fill != nil && before == nil {
		if err := k.fill(ctx, c, after); err != nil {
			return nil, err
		}
	}
	action := ".update"
	if before == nil {
		action = ".create"
	}
	resource := k.resourceOf(ids, before, after)
	if k.shared && before == nil {
		resource.Properties["id_from"] = w.id
	}
	if k.about != nil && problem == nil {
		problem = k.about(ctx, c, ids, before, after, resource.Properties)
	}
	if err := c.permit(ctx, k.name+action, resource); err != nil {
		return nil, err
	}
	if before == nil && w.Merge {
		return nil, ErrNotFound
	}
	if problem != nil {
		return nil, problem
	}
	return &permitted[T]{before, after, secrets, action, resource}, nil
}

func (k *kind[T]) put(ctx context.Context, c *change, ids []string, w Write) (*Answer, error) {
	p, err := k.permitted(ctx, c, ids, w)
	if err != nil {
		return nil, err
	}
	if err := c.expects(ctx, k.place(c.tenant(), ids).Path); err != nil {
		return nil, err
	}
	c.secret = p.secrets.PasswordHash != "" || !p.secrets.ClientSecret.IsZero()
	made, err := k.write(ctx, c, ids, p.before, *p.after, p.secrets)
	if err != nil {
		return nil, err
	}
	return k.finish(ctx, c, ids, p.action, p.resource, p.before, made)
}

// write checks the record and writes it.
func (k *kind[T]) write(ctx context.Context, c *change, ids []string, before *T, record T, secrets given) ([]directory.Made, error) {
	if k.store != nil {
		return k.store(ctx, c, ids, before, record, secrets)
	}
	file, at := k.file(ids, record, secrets)
	made, err := file.Put(ctx, c.tenant(), c, c.m.o.Master)
	if problems := (directory.Problems)(nil); errors.As(err, &problems) {
		return nil, &Invalid{below(problems, at)}
	}
	return made, err
}

// finish records the change, and makes the answer of the record as it is now.
func (k *kind[T]) finish(ctx context.Context, c *change, ids []string, action string, resource Resource, before *T, made []directory.Made) (*Answer, error) {
	now, err := k.find(ctx, c.m, c, ids)
	if err != nil {
		return nil, err
	}
	if k.after != nil {
		if err := k.after(ctx, c, ids, before, now); err != nil {
			return nil, err
		}
	}
	answer, err := k.answer(ctx, c, ids, now, made)
	if err != nil {
		return nil, err
	}
	answer.Created = before == nil
	if answer.Revision != 0 && len(made) == 0 && !c.secret {
		return answer, nil // nothing has changed
	}
	var was any
	if before != nil {
		was = before
	}
	return answer, c.done(ctx, k.name+action, resource, was, now)
}

// answer is the record as it is now, with the secrets that were made.
func (k *kind[T]) answer(ctx context.Context, c *change, ids []string, now *T, made []directory.Made) (*Answer, error) {
	body, err := document(k.keys, ids, now)
	if err != nil {
		return nil, err
	}
	for _, m := range made {
		if body, err = withMember(body, k.secrets[m.Kind], m.Secret.Expose()); err != nil {
			return nil, err
		}
	}
	answer := &Answer{Body: body}
	if answer.Revision, err = c.Stat(ctx, k.place(c.tenant(), ids).Path); err != nil {
		return nil, fmt.Errorf("find the revision: %w", err)
	}
	return answer, nil
}

func (k *kind[T]) delete(ctx context.Context, c *change, ids []string) (*Answer, error) {
	before, err := k.find(ctx, c.m, c, ids)
	if err != nil {
		return nil, err
	}
	resource := k.resourceOf(ids, before, nil)
	var problem error
	if k.about != nil {
		problem = k.about(ctx, c, ids, before, nil, resource.Properties)
	}
	if err := c.permit(ctx, k.name+".delete", resource); err != nil {
		return nil, err
	}
	if before == nil {
		return nil, ErrNotFound
	}
	if problem != nil {
		return nil, problem
	}
	if err := c.expects(ctx, k.place(c.tenant(), ids).Path); err != nil {
		return nil, err
	}
	if k.revoke != nil {
		err = k.revoke(ctx, c, ids, *before)
	} else {
		err = k.remove(ctx, c, c.tenant(), ids)
	}
	if err != nil {
		return nil, err
	}
	if k.after != nil {
		if err := k.after(ctx, c, ids, before, nil); err != nil {
			return nil, err
		}
	}
	body, err := document(k.keys, ids, struct{}{})
	if err != nil {
		return nil, err
	}
	return &Answer{Body: body}, c.done(ctx, k.name+".delete", resource, before, nil)
}
