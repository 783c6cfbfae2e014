package access

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"mandate/datastore"
)

// list is a list in a fact of which each element may be what an allow rests on: the roles of a member, or the scopes of a key, a
// client or an integration.
type list struct {
	path        datastore.Path
	document    map[string]jsontext.Value
	member      string
	elements    []string
	org, holder string
	integration string // its vendor, when the fact is one
}

// listIn reads the list in the fact at p; found is false when there is none.
func (r *report) listIn(ctx context.Context, reader datastore.Reader, p datastore.Path) (l list, found bool, err error) {
	l = list{path: p}
	switch at := p.Segments(); {
	case len(at) == 4 && at[0] == "orgs" && at[2] == "members":
		l.member, l.org = "roles", at[1]
	case len(at) == 4 && at[0] == "orgs" && at[2] == "integrations":
		l.member, l.org, l.holder, l.integration = "scopes", at[1], "vendor:"+at[3], at[3]
	case len(at) == 2 && at[0] == "apikeys":
		l.member, l.holder = "scopes", "apikey:"+at[1]
	case len(at) == 2 && at[0] == "clients":
		l.member, l.holder = "scopes", "client:"+at[1]
	default:
		return l, false, nil
	}
	text, err := reader.Get(ctx, p)
	if errors.Is(err, datastore.ErrNotFound) {
		return l, false, nil
	}
	if err != nil {
		return l, false, fmt.Errorf("read a fact: %w", err)
	}
	// What is of another type than it should be has no elements.
	_ = json.Unmarshal(text, &l.document)
	_ = json.Unmarshal(l.document[l.member], &l.elements)
	return l, l.document != nil, nil
}

// with is the fact with only these elements.
func (l list) with(elements []string) ([]byte, error) {
	changed, err := json.Marshal(elements)
	if err != nil {
		return nil, fmt.Errorf("change a fact: %w", err)
	}
	document := maps.Clone(l.document)
	document[l.member] = changed
	text, err := json.Marshal(document, json.Deterministic(true))
	if err != nil {
		return nil, fmt.Errorf("change a fact: %w", err)
	}
	return text, nil
}

// rested finds what an allow rests on by deciding it again with other facts. An element of a list counts when there is no allow
// without the list, and either none without that element or one with it alone: so of several roles that grant the same, each
// counts. An integration counts when there is no allow without it.
func (q again) rested(ctx context.Context, footprint []string) ([]use, error) {
	var uses []use
	for _, path := range footprint {
		p := pathOf(q.r.Tenant, path)
		if !p.Valid() {
			continue
		}
		l, found, err := q.r.listIn(ctx, q.reader, p)
		if err != nil {
			return nil, err
		}
		if !found {
			continue
		}
		of, err := q.elements(ctx, l, func(elements []string) (bool, error) {
			text, err := l.with(elements)
			if err != nil {
				return false, err
			}
			return q.allowed(ctx, p, text)
		})
		if err != nil {
			return nil, err
		}
		uses = append(uses, of...)
		if l.integration == "" {
			continue
		}
		allowed, err := q.allowed(ctx, p, nil)
		if err != nil {
			return nil, err
		}
		if !allowed {
			uses = append(uses, use{kind: 'i', name: l.integration, org: l.org})
		}
	}
	brought, err := q.brought(ctx)
	return append(uses, brought...), err
}

// elements are those of the list that an allow rests on. Holds says whether it stands with only these.
func (q again) elements(ctx context.Context, l list, holds func([]string) (bool, error)) ([]use, error) {
	if len(l.elements) == 0 {
		return nil, nil
	}
	if without, err := holds([]string{}); err != nil || without {
		return nil, err
	}
	var uses []use
	for i, element := range l.elements {
		without, err := holds(slices.Delete(slices.Clone(l.elements), i, i+1))
		if err != nil {
			return nil, err
		}
		counts := !without
		if !counts {
			if counts, err = holds([]string{element}); err != nil {
				return nil, err
			}
		}
		if !counts {
			continue
		}
		u := use{kind: 's', name: element, org: l.org, holder: l.holder}
		if l.member == "roles" {
			if u, err = q.role(ctx, l.org, element); err != nil {
				return nil, err
			}
		}
		uses = append(uses, u)
	}
	return uses, nil
}

// party is who is asked about, or asks, as the input has it.
type party struct {
	Type       string   `json:"type"`
	Subject    string   `json:"sub"`
	Org        string   `json:"org"`
	Roles      []string `json:"roles"`
	Scopes     []string `json:"scopes"`
	Credential struct {
		Type string `json:"type"`
		ID   string `json:"id"`
	} `json:"credential"`
}

// brought are what the credential itself has brought: the scopes of keys and clients, the roles that a provider says its user has, and
// an integration with its scopes.
func (q again) brought(ctx context.Context) ([]use, error) {
	var parts map[string]jsontext.Value
	_ = json.Unmarshal(q.in.Text, &parts) // what is no object has brought nothing
	var uses []use
	for _, name := range []string{"principal", "caller"} {
		var document map[string]jsontext.Value
		var of party
		if parts[name] == nil || json.Unmarshal(parts[name], &document) != nil || json.Unmarshal(parts[name], &of) != nil {
			continue
		}
		lists := []list{{document: document, member: "roles", elements: of.Roles, org: of.Org}}
		if of.Type == "apikey" || of.Type == "client" {
			lists = append(lists, list{document: document, member: "scopes", elements: of.Scopes, holder: of.Type + ":" + of.Subject})
		}
		if of.Credential.Type == "integration" || of.Credential.Type == "partner_token" {
			integration, found, err := q.r.Tenant.IntegrationID(of.Credential.ID).Find(ctx, q.reader)
			if err != nil {
				return nil, err
			}
			if found {
				uses = append(uses, use{kind: 'i', name: integration.Vendor, org: integration.Org})
				lists = append(lists, list{document: document, member: "scopes", elements: of.Scopes, org: integration.Org, holder: "vendor:" + integration.Vendor})
			}
		}
		for _, l := range lists {
			found, err := q.elements(ctx, l, func(elements []string) (bool, error) {
				text, err := l.with(elements)
				if err != nil {
					return false, err
				}
				return q.allowedWith(ctx, parts, name, text)
			})
			if err != nil {
				return nil, err
			}
			uses = append(uses, found...)
		}
	}
	return uses, nil
}

// allowedWith decides again with another part of the input.
func (q again) allowedWith(ctx context.Context, parts map[string]jsontext.Value, name string, part []byte) (bool, error) {
	changed := maps.Clone(parts)
	changed[name] = part
	text, err := json.Marshal(changed, json.Deterministic(true))
	if err != nil {
		return false, fmt.Errorf("change an input: %w", err)
	}
	q.in.Text = text
	d, err := q.decide(ctx, q.reader)
	return err == nil && d.Allow, err
}

// role is the organization's own role of that name, or else the tenant's.
func (q again) role(ctx context.Context, org, name string) (use, error) {
	_, own, err := q.r.Tenant.OrgRole(org, name).Find(ctx, q.reader)
	if own {
		return use{kind: 'r', name: name, org: org}, err
	}
	return use{kind: 'r', name: name}, err
}

func (q again) allowed(ctx context.Context, p datastore.Path, text []byte) (bool, error) {
	d, err := q.decide(ctx, otherwise{q.reader, p, text})
	return err == nil && d.Allow, err
}

// otherwise is a snapshot in which one document, which is there, is another one, or away.
type otherwise struct {
	datastore.Reader
	path datastore.Path
	text []byte // nil when it is away
}

// Get implements datastore.Reader.
func (o otherwise) Get(ctx context.Context, p datastore.Path) ([]byte, error) {
	if p != o.path {
		return o.Reader.Get(ctx, p)
	}
	if o.text == nil {
		return nil, datastore.ErrNotFound
	}
	return o.text, nil
}

// Scan implements datastore.Reader.
func (o otherwise) Scan(ctx context.Context, prefix, after datastore.Path) iter.Seq2[datastore.Fact, error] {
	return func(yield func(datastore.Fact, error) bool) {
		for f, err := range o.Reader.Scan(ctx, prefix, after) {
			if f.Path == o.path {
				if o.text == nil {
					continue
				}
				f.Value = o.text
			}
			if !yield(f, err) {
				return
			}
		}
	}
}
