package manage

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"mandate/datastore"
	"mandate/datastore/memo"
	"mandate/directory"
)

// ErrTooMany means that more records would have to be looked at than one request may cost.
var ErrTooMany = errors.New("too many records would have to be looked at: ask for one of them, or for a part")

// Bounds of a search: how many members are counted, how many are read to be compared, and how many bytes of attributes those have.
const (
	maxCounted  = 100_000
	maxSearched = 5000
	maxCompared = 8 << 20
	maxGroups   = 1000
)

// By is the index in which a search begins.
type By int

// The indexes of people and groups. All but Anything and ByRole lead to one at most, or to few.
const (
	Anything By = iota
	ByID
	ByName // the username of a person in whatever case, the display name of a group
	ByExternalID
	ByRole // those who hold it
)

// Search says which people are looked for: those that the index has under the value and that match.
type Search struct {
	By    By
	Value string
	Match func(*Person) bool // nil for all
	Skip  int                // so many of those
	Limit int
}

// People are some of those that were looked for, and how many there are.
type People struct {
	Items []*Person
	Total int
}

// People looks for members of the organization, in the order of their ids.
func (m *Manager) People(ctx context.Context, r *memo.Reading, q *Request, org string, s Search) (*People, error) {
	for action, resource := range map[string]string{"orgs.members.list": "member", "users.list": "user"} {
		if _, err := m.Permit(ctx, r, q, action, Resource{Type: resource, ID: "*", Properties: map[string]any{"org": org}}); err != nil {
			return nil, err
		}
	}
	found := &People{}
	looked, most, compared := 0, maxSearched, 0
	counted := s.Match == nil && (s.By == Anything || s.By == ByRole) // without being read
	if counted {
		most = maxCounted
	}
	err := m.candidates(ctx, r, org, s, func(id string) error {
		if looked++; looked > most {
			return ErrTooMany
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		wanted := found.Total >= s.Skip && len(found.Items) < s.Limit
		if counted && !wanted {
			found.Total++
			return nil
		}
		p, err := m.person(ctx, r, org, id)
		if err != nil || p == nil {
			return err
		}
		if s.Match != nil {
			if compared += len(p.Provisioned.Attributes); compared > maxCompared {
				return ErrTooMany
			}
			if !s.Match(p) {
				return nil
			}
		}
		if wanted {
			found.Items = append(found.Items, p)
		}
		found.Total++
		return nil
	})
	return found, err
}

// candidates yields the ids under which the people are that the search may find.
func (m *Manager) candidates(ctx context.Context, r datastore.Reader, org string, s Search, do func(id string) error) error {
	t := m.o.Tenant
	one := func(p directory.Place[directory.Alias]) error {
		alias, found, err := p.Find(ctx, r)
		if err != nil || !found {
			return err
		}
		return do(alias.ID)
	}
	switch s.By {
	case ByID:
		return do(s.Value)
	case ByName:
		return m.named(ctx, r, s.Value, do)
	case ByExternalID:
		return one(t.ProvisionedAs(directory.ProvisionedMembers, org, "external_id", s.Value))
	case ByRole:
		return m.holders(ctx, r, org, s.Value, do)
	}
	return t.Members(ctx, r, org, do)
}

// named yields those whose username may be that in some case: it is found as it is, in lower case, and as an address, which has no case.
func (m *Manager) named(ctx context.Context, r datastore.Reader, username string, do func(id string) error) error {
	t := m.o.Tenant
	seen := map[string]bool{}
	once := func(id string) error {
		if id == "" || seen[id] {
			return nil
		}
		seen[id] = true
		return do(id)
	}
	for _, name := range []string{username, strings.ToLower(username)} {
		alias, _, err := t.Username(name).Find(ctx, r)
		if err != nil {
			return err
		}
		if err := once(alias.ID); err != nil {
			return err
		}
	}
	return t.UsersByEmail(ctx, r, username, once)
}

// holders yields all who have been given the role, also those whose membership is suspended.
func (m *Manager) holders(ctx context.Context, r datastore.Reader, org, role string, do func(user string) error) error {
	if !m.o.Tenant.OrgRole(org, role).Path.Valid() {
		return nil // no role can have that id
	}
	if err := m.o.Tenant.Holders(ctx, r, org, role, "", do); err != nil {
		return err
	}
	return m.o.Tenant.SuspendedHolders(ctx, r, org, role, "", do)
}

// Group is a role as an organization's own directory of people knows it (RFC 7643 §4.2).
type Group struct {
	ID          string                `json:"id"`
	Provisioned directory.Provisioned `json:"provisioned"`
	Members     []string              `json:"members,omitempty"`
	Revision    datastore.Revision    `json:"-"` // 0 for that of the commit
	defined     bool                  // by the organization
}

// Name is how the group is shown.
func (g *Group) Name() string {
	if g.Provisioned.DisplayName != "" {
		return g.Provisioned.DisplayName
	}
	return g.ID
}

// group reads a role that members of the organization can hold, nil when there is none.
func (m *Manager) group(ctx context.Context, r datastore.Reader, org, id string) (*Group, error) {
	t := m.o.Tenant
	g := &Group{ID: id}
	_, own, err := t.OrgRole(org, id).Find(ctx, r)
	if err != nil {
		return nil, err
	}
	_, tenants, err := t.Role(id).Find(ctx, r)
	if err != nil || !own && !tenants {
		return nil, err
	}
	g.defined = own
	if g.Provisioned, _, err = t.Provisioned(directory.ProvisionedRoles, org, id).Find(ctx, r); err != nil {
		return nil, err
	}
	role := t.Role(id).Path
	if own {
		role = t.OrgRole(org, id).Path
	}
	g.Revision, err = newest(ctx, r, role, t.Provisioned(directory.ProvisionedRoles, org, id).Path)
	return g, err
}

// Group reads a group, with its members when asked: ErrTooMany if they are more than one answer can have.
func (m *Manager) Group(ctx context.Context, r *memo.Reading, q *Request, org, id string, withMembers bool) (*Group, error) {
	if _, err := m.Permit(ctx, r, q, "orgs.roles.get", groupResource(org, id)); err != nil {
		return nil, err
	}
	g, err := m.group(ctx, r, org, id)
	if err != nil {
		return nil, err
	}
	if g == nil {
		return nil, ErrNotFound
	}
	if withMembers {
		err = m.FillGroups(ctx, r, q, org, g)
	}
	return g, err
}

// FillGroups finds the members of the groups: ErrTooMany if they are more than one answer can have.
func (m *Manager) FillGroups(ctx context.Context, r *memo.Reading, q *Request, org string, groups ...*Group) error {
	if _, err := m.Permit(ctx, r, q, "orgs.members.list", Resource{Type: "member", ID: "*", Properties: map[string]any{"org": org}}); err != nil {
		return err
	}
	most := maxSearched
	for _, g := range groups {
		var err error
		if g.Members, err = m.allHolders(ctx, r, org, g.ID, most); err != nil {
			return err
		}
		most -= len(g.Members)
	}
	return nil
}

func groupResource(org, id string) Resource {
	return Resource{Type: "role", ID: id, Properties: map[string]any{"org": org}}
}

func (m *Manager) allHolders(ctx context.Context, r datastore.Reader, org, role string, most int) ([]string, error) {
	var all []string
	err := m.holders(ctx, r, org, role, func(user string) error {
		if all = append(all, user); len(all) > most {
			return ErrTooMany
		}
		return nil
	})
	return all, err
}

// Groups looks for those that the caller may see and that match, in the order of their ids, those of the organization first.
func (m *Manager) Groups(ctx context.Context, r *memo.Reading, q *Request, org string, by By, value string, withMembers bool, match func(*Group) bool) ([]*Group, error) {
	if _, err := m.Permit(ctx, r, q, "orgs.roles.list", groupResource(org, "*")); err != nil {
		return nil, err
	}
	ids, err := m.groupIDs(ctx, r, org, by, value)
	if err != nil {
		return nil, err
	}
	var seen, found []*Group
	for _, id := range ids {
		g, err := m.Group(ctx, r, q, org, id, false)
		refused := (*Refusal)(nil)
		switch {
		case errors.Is(err, ErrNotFound), errors.As(err, &refused):
			continue
		case err != nil:
			return nil, err
		}
		seen = append(seen, g)
	}
	if withMembers {
		if err := m.FillGroups(ctx, r, q, org, seen...); err != nil {
			return nil, err
		}
	}
	for _, g := range seen {
		if match(g) {
			found = append(found, g)
		}
	}
	return found, nil
}

func (m *Manager) groupIDs(ctx context.Context, r datastore.Reader, org string, by By, value string) ([]string, error) {
	t := m.o.Tenant
	attribute := "external_id"
	switch by {
	case ByID:
		return []string{value}, nil
	case ByName:
		attribute = "display_name"
		fallthrough
	case ByExternalID:
		alias, found, err := t.ProvisionedAs(directory.ProvisionedRoles, org, attribute, value).Find(ctx, r)
		switch {
		case err != nil:
			return nil, err
		case found:
			return []string{alias.ID}, nil
		case by == ByName:
			return []string{value}, nil
		}
		return nil, nil
	}
	var ids []string
	note := func(id string) error {
		if ids = append(ids, id); len(ids) > maxGroups {
			return ErrTooMany
		}
		return nil
	}
	if err := t.OrgRoles(ctx, r, org, note); err != nil {
		return nil, fmt.Errorf("list the roles of an organization: %w", err)
	}
	own := len(ids)
	err := t.Roles(ctx, r, func(id string) error {
		for _, other := range ids[:own] {
			if other == id {
				return nil
			}
		}
		return note(id)
	})
	return ids, err
}
