package access

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"mandate/datastore"
	"mandate/directory"
)

const (
	// maxListed bounds the candidates that are held in memory: the relations of one resource, the organizations of one subject, and
	// the names of actions. There are more only where something has gone wrong.
	maxListed = 100_000
	// maxAncestors bounds how many organizations above one are looked at.
	maxAncestors = 8
)

// Resource is what a search for subjects is about.
type Resource struct {
	Entity
	Org string // to which it belongs, if it says so
}

// Subjects are those of a type who can have to do with the resource: who belongs to its organization or to one above it, whatever
// the status, the keys and clients that may act in every organization, integrated vendors, and who has a relation to the resource.
// Everybody of the type is asked when a policy could allow others.
func (f Facts) Subjects(ctx context.Context, kind string, about Resource, everybody bool) (c Candidates, err error) {
	if f.Within != "" {
		if f.addOwn(&c, kind, f.Within); len(c.sources) == 0 {
			c.add("nobody: no " + kind + " is of an organization")
		}
		return c, nil
	}
	if everybody {
		c.addRecords(f, kind)
	} else if about.Org != "" {
		if err := f.addOrgs(ctx, &c, kind, about.Org); err != nil {
			return c, err
		}
	}
	related, err := f.relatedTo(ctx, kind, about.Entity)
	if err != nil {
		return c, err
	}
	c.add(fmt.Sprintf("every %s with a relation to %s:%s", kind, about.Type, about.ID), listed(kind, related))
	return c, nil
}

// addRecords adds all records of the type.
func (c *Candidates) addRecords(f Facts, kind string) {
	switch kind {
	case "user":
		c.add("every user", f.records(kind, "users", nil))
	case "client":
		c.add("every client", f.records(kind, "clients", nil))
	case "apikey":
		c.add("every API key", f.records(kind, "apikeys", nil))
	case "vendor":
		c.add("every vendor", f.records(kind, "vendors", nil))
	}
}

// addOwn adds those of the type that are the organization's own.
func (f Facts) addOwn(c *Candidates, kind, org string) {
	t := f.Tenant
	switch kind {
	case "user":
		c.add("every member of "+org, f.within(kind, org, "members"))
	case "vendor":
		c.add("every vendor with an integration in "+org, f.within(kind, org, "integrations"))
	case "apikey":
		ofOrg := func(k directory.APIKey) bool { return k.Org == org }
		c.add("every API key of "+org, source{
			func(ctx context.Context, after string, do func(string, *Entity) error) error {
				return t.APIKeysOf(ctx, f.Reader, org, after, func(id string, _ directory.APIKey) error { return do(id, &Entity{kind, id}) })
			},
			recordIs(f.Reader, t.APIKey, ofOrg)})
	case "client":
		home := func(c directory.Client) bool { return c.Org == org }
		c.add("every client of "+org, source{
			func(ctx context.Context, after string, do func(string, *Entity) error) error {
				return t.ClientsOf(ctx, f.Reader, org, after, func(id string, _ directory.Client) error { return do(id, &Entity{kind, id}) })
			},
			recordIs(f.Reader, t.Client, home)})
	}
}

// addOrgs adds those of the type who have to do with the organization.
func (f Facts) addOrgs(ctx context.Context, c *Candidates, kind, org string) error {
	t := f.Tenant
	f.addOwn(c, kind, org)
	switch kind {
	case "user":
		above, err := f.above(ctx, org)
		if err != nil {
			return err
		}
		for _, parent := range above {
			c.add("every member of "+parent+", which is above "+org, f.within(kind, parent, "members"))
		}
	case "apikey":
		c.add("every API key of no organization", f.records(kind, "apikeys", is(func(k directory.APIKey) bool { return k.Org == "" })))
	case "client":
		acts := func(c directory.Client) bool { return c.Org == org || slices.Contains(c.Orgs, org) }
		c.add("every client that may act in "+org, source{
			func(ctx context.Context, after string, do func(string, *Entity) error) error {
				return t.ClientsActingIn(ctx, f.Reader, org, after, func(id string, _ directory.Client) error { return do(id, &Entity{kind, id}) })
			},
			recordIs(f.Reader, t.Client, acts)})
		c.add("every client of no organization", f.records(kind, "clients", is(func(c directory.Client) bool { return c.Org == "" && len(c.Orgs) == 0 })))
	}
	return nil
}

// foreign says whether nothing may be told of the subject, and says so whether it exists or not.
func (f Facts) foreign(ctx context.Context, c *Candidates, subject Entity) (bool, error) {
	if f.Within == "" {
		return false, nil
	}
	var own Candidates
	f.addOwn(&own, subject.Type, f.Within)
	known, err := own.known(ctx, len(own.sources), subject)
	if err == nil && !known {
		c.add("nothing: " + subject.Type + ":" + subject.ID + " is not of " + f.Within)
	}
	return !known, err
}

// above are the organizations above one.
func (f Facts) above(ctx context.Context, org string) ([]string, error) {
	var all []string
	for range maxAncestors {
		record, found, err := f.Tenant.Org(org).Find(ctx, f.Reader)
		if err != nil || !found || record.Parent == "" || slices.Contains(all, record.Parent) {
			return all, err
		}
		org = record.Parent
		all = append(all, org)
	}
	return all, nil
}

// records are all of a collection that match; all when match is nil.
func (f Facts) records(kind, collection string, match func(text []byte) (bool, error)) source {
	root := f.root(collection)
	matches := func(text []byte) (bool, error) {
		if match == nil {
			return true, nil
		}
		return match(text)
	}
	return source{
		func(ctx context.Context, after string, do func(string, *Entity) error) error {
			return f.scan(ctx, root, after, func(at []string, text []byte) error {
				id := at[len(at)-1]
				matched, err := matches(text)
				if err != nil || !matched {
					return firstOf(err, func() error { return do(id, nil) })
				}
				return do(id, &Entity{kind, id})
			})
		},
		func(ctx context.Context, e Entity) (bool, error) {
			text, found, err := f.text(ctx, root.Join(e.ID))
			if err != nil || !found {
				return false, err
			}
			return matches(text)
		},
	}
}

func firstOf(err error, then func() error) error {
	if err != nil {
		return err
	}
	return then()
}

// within are the documents of a collection of an organization.
func (f Facts) within(kind, org, collection string) source {
	root := f.root("orgs", org, collection)
	return source{
		func(ctx context.Context, after string, do func(string, *Entity) error) error {
			return f.scan(ctx, root, after, func(at []string, _ []byte) error {
				return do(at[len(at)-1], &Entity{kind, at[len(at)-1]})
			})
		},
		func(ctx context.Context, e Entity) (bool, error) {
			_, found, err := f.text(ctx, root.Join(e.ID))
			return found, err
		},
	}
}

// relatedTo are the subjects of a type that have a relation to the resource.
func (f Facts) relatedTo(ctx context.Context, kind string, about Entity) ([]string, error) {
	found := map[string]bool{}
	err := f.scan(ctx, f.root("relations", about.Type, about.ID), "", func(at []string, _ []byte) error {
		if id, ok := strings.CutPrefix(at[len(at)-1], kind+":"); ok {
			found[id] = true
		}
		return f.tooMany(len(found))
	})
	return slices.Sorted(maps.Keys(found)), err
}

// Resources are those of a type that a subject can have to do with: the organizations that it belongs to and those below them, and
// what it has a relation to. With an organization only that one is asked about, and everybody asks about all that there are.
func (f Facts) Resources(ctx context.Context, kind string, subject Entity, org string, everybody bool) (c Candidates, err error) {
	if foreign, err := f.foreign(ctx, &c, subject); err != nil || foreign {
		return c, err
	}
	if kind == Organization {
		if err := f.addOrganizations(ctx, &c, subject, org, everybody); err != nil {
			return c, err
		}
	}
	c.addRelations(f, f.root("relations", kind), subject, everybody)
	return c, nil
}

// Reach are the organizations and all other resources that the subject can have to do with.
func (f Facts) Reach(ctx context.Context, subject Entity, org string, everybody bool) (c Candidates, err error) {
	if foreign, err := f.foreign(ctx, &c, subject); err != nil || foreign {
		return c, err
	}
	if err := f.addOrganizations(ctx, &c, subject, org, everybody); err != nil {
		return c, err
	}
	c.addRelations(f, f.root("relations"), subject, everybody)
	return c, nil
}

func (f Facts) addOrganizations(ctx context.Context, c *Candidates, subject Entity, org string, everybody bool) error {
	if org != "" {
		c.add("the organization "+org, listed(Organization, []string{org}))
		return nil
	}
	bound, orgs, err := f.orgsOf(ctx, subject)
	if err != nil {
		return err
	}
	if everybody || !bound {
		c.add("every organization", source{
			func(ctx context.Context, after string, do func(string, *Entity) error) error {
				return f.Tenant.Orgs(ctx, f.Reader, after, func(id string) error { return do(id, &Entity{Organization, id}) })
			},
			func(ctx context.Context, e Entity) (bool, error) {
				_, found, err := f.Tenant.Org(e.ID).Find(ctx, f.Reader)
				return found && e.Type == Organization, err
			}})
		return nil
	}
	all := map[string]bool{}
	for _, id := range orgs {
		all[id] = true
		if err := f.Tenant.Children(ctx, f.Reader, id, "", func(child string) error { all[child] = true; return f.tooMany(len(all)) }); err != nil {
			return err
		}
	}
	c.add(fmt.Sprintf("the organizations of %s:%s, and those below them", subject.Type, subject.ID), listed(Organization, slices.Sorted(maps.Keys(all))))
	return nil
}

// orgsOf are the organizations that a subject is bound to; bound is false for a key or client that belongs to none.
func (f Facts) orgsOf(ctx context.Context, subject Entity) (bound bool, orgs []string, err error) {
	t := f.Tenant
	add := func(org string) error {
		orgs = append(orgs, org)
		return f.tooMany(len(orgs))
	}
	switch subject.Type {
	case "user":
		err = t.OrgsOf(ctx, f.Reader, subject.ID, add)
	case "vendor":
		err = t.IntegrationsOf(ctx, f.Reader, subject.ID, "", func(org string, _ directory.Integration) error { return add(org) })
	case "apikey":
		key, found, err := t.APIKey(subject.ID).Find(ctx, f.Reader)
		switch {
		case err != nil || !found:
			return true, nil, err
		case key.Org != "":
			return true, []string{key.Org}, nil
		case key.Owner == "":
			return false, nil, nil
		}
		return true, orgs, t.OrgsOf(ctx, f.Reader, key.Owner, func(org string) error { return add(org) })
	case "client":
		client, found, err := t.Client(subject.ID).Find(ctx, f.Reader)
		if err != nil || !found {
			return true, nil, err
		}
		if client.Org != "" {
			orgs = append(orgs, client.Org)
		}
		orgs = append(orgs, client.Orgs...)
		return len(orgs) > 0, orgs, nil
	}
	return true, orgs, err
}

// addRelations adds the resources below the root that the subject, or anybody, has a relation to. A key is the path of the resource.
func (c *Candidates) addRelations(f Facts, root datastore.Path, subject Entity, anybody bool) {
	if f.Within != "" {
		c.add("nothing that was shared, for it is of no organization")
		return
	}
	name := subject.Type + ":" + subject.ID
	asked := "every resource that " + name + " has a relation to"
	if anybody {
		asked = "every resource that anybody has a relation to"
	}
	c.add(asked, source{
		func(ctx context.Context, after string, do func(string, *Entity) error) error {
			last := after
			return f.scanFrom(ctx, root, datastore.ParseKey(after), func(at []string, _ []byte) error {
				if len(at) != 5 {
					return nil
				}
				resource := f.root(at[:3]...).Key()
				switch {
				case resource == last:
					return nil
				case !anybody && at[4] != name:
					return do(last, nil)
				}
				last = resource
				return do(resource, &Entity{at[1], at[2]})
			})
		},
		func(context.Context, Entity) (bool, error) { return false, nil }, // it is the last one
	})
}

// Actions are those that roles permit, in the organization if there is one, the scopes of APIs, and those of the subject's own
// record. What ends in a "*" is a pattern, and no action.
func (f Facts) Actions(ctx context.Context, subject Entity, org string) (c Candidates, err error) {
	if foreign, err := f.foreign(ctx, &c, subject); err != nil || foreign {
		return c, err
	}
	found := map[string]bool{}
	add := func(names []string) error {
		for _, name := range names {
			if name != "" && !strings.HasSuffix(name, "*") {
				found[name] = true
			}
		}
		return f.tooMany(len(found))
	}
	role := func(_ []string, text []byte) error {
		var r directory.Role
		if err := json.Unmarshal(text, &r); err != nil {
			return fmt.Errorf("read a role: %w", err)
		}
		return add(r.Permissions)
	}
	err = f.scan(ctx, f.root("roles"), "", role)
	if err == nil && org != "" {
		err = f.scan(ctx, f.root("orgs", org, "roles"), "", role)
	}
	if err == nil {
		err = f.Tenant.APIs(ctx, f.Reader, func(_ string, api directory.API) error { return add(api.Scopes) })
	}
	if err == nil {
		var own []string
		if own, err = f.scopesOf(ctx, subject, org); err == nil {
			err = add(own)
		}
	}
	c.add("the permissions of the roles of the tenant and of the organization, the scopes of APIs and of the subject; "+
		"not what is allowed only by a pattern, such as documents:*, under a name that nobody has listed",
		listed("", slices.Sorted(maps.Keys(found))))
	return c, err
}

func (f Facts) scopesOf(ctx context.Context, subject Entity, org string) ([]string, error) {
	switch subject.Type {
	case "apikey":
		record, _, err := f.Tenant.APIKey(subject.ID).Find(ctx, f.Reader)
		return record.Scopes, err
	case "client":
		record, _, err := f.Tenant.Client(subject.ID).Find(ctx, f.Reader)
		return record.Scopes, err
	case "vendor":
		if org != "" {
			record, _, err := f.Tenant.Integration(org, subject.ID).Find(ctx, f.Reader)
			return record.Scopes, err
		}
	}
	return nil, nil
}

// OrgOf is the organization that a subject's own record binds it to, empty for none.
func (f Facts) OrgOf(ctx context.Context, subject Entity) (string, error) {
	if subject.Type != "apikey" {
		return "", nil
	}
	key, _, err := f.Tenant.APIKey(subject.ID).Find(ctx, f.Reader)
	return key.Org, err
}

// listed are the candidates with these ids, which are sorted.
func listed(kind string, ids []string) source {
	return source{
		func(_ context.Context, after string, do func(string, *Entity) error) error {
			first, found := slices.BinarySearch(ids, after)
			if found {
				first++
			}
			for _, id := range ids[first:] {
				if err := do(id, &Entity{kind, id}); err != nil {
					return err
				}
			}
			return nil
		},
		func(_ context.Context, e Entity) (bool, error) {
			_, found := slices.BinarySearch(ids, e.ID)
			return found && e.Type == kind, nil
		},
	}
}

// is says whether the record that is stored so matches.
func is[T any](match func(T) bool) func(text []byte) (bool, error) {
	return func(text []byte) (bool, error) {
		var record T
		if err := json.Unmarshal(text, &record); err != nil {
			return false, fmt.Errorf("read a record: %w", err)
		}
		return match(record), nil
	}
}

func recordIs[T any](r datastore.Reader, at func(id string) directory.Place[T], match func(T) bool) func(context.Context, Entity) (bool, error) {
	return func(ctx context.Context, e Entity) (bool, error) {
		record, found, err := at(e.ID).Find(ctx, r)
		return found && match(record), err
	}
}

func (f Facts) root(segments ...string) datastore.Path {
	return datastore.TenantID(f.Tenant).Path(segments...)
}

func (f Facts) text(ctx context.Context, p datastore.Path) (text []byte, found bool, err error) {
	record, found, err := directory.Place[jsontext.Value]{Path: p}.Find(ctx, f.Reader)
	return record, found, err
}

// scan shows the documents below the root after the one that the key names there.
func (f Facts) scan(ctx context.Context, root datastore.Path, after string, do func(at []string, text []byte) error) error {
	var from datastore.Path
	if after != "" {
		from = root.Join(after)
	}
	return f.scanFrom(ctx, root, from, do)
}

func (f Facts) scanFrom(ctx context.Context, root, from datastore.Path, do func(at []string, text []byte) error) error {
	if !root.Valid() {
		return nil // no document can have such a name
	}
	for fact, err := range f.Reader.Scan(ctx, root, from) {
		if err != nil {
			return fmt.Errorf("look for candidates: %w", err)
		}
		if err := do(fact.Path.Segments(), fact.Value); err != nil {
			return err
		}
	}
	return nil
}

func (f Facts) tooMany(found int) error {
	if found > maxListed {
		return ErrTooMany
	}
	return nil
}
