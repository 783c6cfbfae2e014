package manage

import (
	"context"
	"encoding/base64"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"mandate/datastore"
	"mandate/datastore/memo"
	"mandate/directory"
)

// Bounds of a page: what is asked for at most, and how many records are looked at to fill it. A page may have fewer
// records than asked for and yet not be the last.
const (
	defaultPage  = 50
	MaxPage      = 500
	maxLookedAt  = 5000
	maxCursorLen = 4096
)

// Page is the part of a collection that is asked for.
type Page struct {
	Limit  int // 0 for the default
	Cursor string
	Filter map[string]string // by the names of Kind.Filters
}

// Listing is a page of a collection, in the order of the records' ids.
type Listing struct {
	Items    []jsontext.Value   `json:"items"`
	Next     string             `json:"next_cursor,omitempty"` // of the next page, empty after the last one
	Revision datastore.Revision `json:"revision"`              // at which it was read
}

// List reads a page of a collection.
func (m *Manager) List(ctx context.Context, r *memo.Reading, q *Request, k Kind, parents []string, p Page) (*Listing, error) {
	return k.list(ctx, m, r, q, parents, p)
}

// cursor is where a page ends: what was last looked at.
func cursor(last string) string { return base64.RawURLEncoding.EncodeToString([]byte(last)) }

func afterCursor(c string) (string, error) {
	last, err := base64.RawURLEncoding.DecodeString(c)
	if err != nil || len(c) > maxCursorLen {
		return "", invalid("cursor", "is not one that a listing has returned")
	}
	return string(last), nil
}

// page fills a listing.
type page struct {
	Listing
	limit, looked int
	filter        map[string]string
}

func newPage(r datastore.Reader, p Page) (*page, string, error) {
	if p.Limit < 0 || p.Limit > MaxPage {
		return nil, "", invalid("limit", fmt.Sprintf("must be 1 to %d", MaxPage))
	}
	filled := &page{Listing: Listing{Items: []jsontext.Value{}, Revision: r.Revision()}, limit: p.Limit, filter: maps.Clone(p.Filter)}
	if p.Limit == 0 {
		filled.limit = defaultPage
	}
	after, err := afterCursor(p.Cursor)
	return filled, after, err
}

// full says whether the page ends before the next record, and where.
func (p *page) full(last string) bool {
	if len(p.Items) < p.limit && p.looked < maxLookedAt {
		return false
	}
	p.Next = cursor(last)
	return true
}

func (p *page) add(body jsontext.Value, revision datastore.Revision) error {
	p.looked++
	if !matches(body, p.filter) {
		return nil
	}
	body, err := withMember(body, "revision", revision)
	p.Items = append(p.Items, body)
	return err
}

func (k *kind[T]) list(ctx context.Context, m *Manager, r *memo.Reading, q *Request, parents []string, p Page) (*Listing, error) {
	filled, after, err := newPage(r, p)
	resource := Resource{Type: k.resource, ID: "*", Properties: map[string]any{}}
	for name, value := range p.Filter {
		resource.Properties[name] = value
	}
	for i, name := range parentsOf(k.path) {
		resource.Properties[name] = parents[i] // a filter of that name would say otherwise
	}
	if _, err := m.Permit(ctx, r, q, k.name+".list", resource); err != nil {
		return nil, err
	}
	if err != nil {
		return nil, err
	}
	for _, name := range slices.Sorted(maps.Keys(k.indexes)) {
		if value, ok := p.Filter[name]; ok {
			delete(filled.filter, name) // no record need have what the index is by
			return k.listBy(ctx, m, r, parents, k.indexes[name], value, after, filled)
		}
	}
	if k.all != nil {
		return k.listBy(ctx, m, r, parents, k.all, strings.Join(parents, "/"), after, filled)
	}
	return k.listAll(ctx, m, r, parents, after, filled)
}

// listAll goes over the records of the collection.
func (k *kind[T]) listAll(ctx context.Context, m *Manager, r *memo.Reading, parents []string, after string, filled *page) (*Listing, error) {
	segments := collectionPath(k.path, parents)
	if k.scan != nil {
		segments = k.scan(parents)
	}
	prefix := prefixOf(m.o.Tenant, segments)
	if !prefix.Valid() {
		return &filled.Listing, nil
	}
	last := after
	var from datastore.Path
	if after != "" {
		if from = datastore.ParseKey(prefix.Key() + "/" + after); !from.Valid() {
			return nil, invalid("cursor", "is not one that a listing has returned")
		}
	}
	for fact, err := range r.Scan(ctx, prefix, from) {
		if err != nil {
			return nil, fmt.Errorf("list %s: %w", k.name, err)
		}
		if filled.full(last) {
			break
		}
		last = strings.TrimPrefix(fact.Path.Key(), prefix.Key()+"/")
		rest := fact.Path.Segments()[len(segments):]
		if k.deep {
			rest = []string{strings.Join(rest, "/")}
		}
		record, err := k.decode(fact.Value)
		if err != nil {
			return nil, err
		}
		body, err := k.shown(ctx, m, r, slices.Concat(parents, rest), record)
		if err != nil {
			return nil, err
		}
		if err := filled.add(body, fact.Revision); err != nil {
			return nil, err
		}
	}
	return &filled.Listing, nil
}

// listBy goes over the records that an index leads to.
func (k *kind[T]) listBy(ctx context.Context, m *Manager, r *memo.Reading, parents []string, by index, value, after string, filled *page) (*Listing, error) {
	if value != "" && !prefixOf(m.o.Tenant, []string{value}).Valid() {
		return &filled.Listing, nil // no record can have it
	}
	last := after
	err := by(ctx, r, m.o.Tenant, value, after, func(id string) error {
		if filled.full(last) {
			return directory.ErrEnough
		}
		last = id
		ids := slices.Concat(parents, []string{id})
		record, err := k.find(ctx, m, r, ids)
		if err != nil || record == nil {
			return err
		}
		revision, err := r.Stat(ctx, k.place(m.o.Tenant, ids).Path)
		if err != nil {
			return fmt.Errorf("list %s: %w", k.name, err)
		}
		body, err := k.shown(ctx, m, r, ids, record)
		if err != nil {
			return err
		}
		return filled.add(body, revision)
	})
	return &filled.Listing, err
}
