package directory

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"

	"mandate/datastore"
)

// Export reads everything of a tenant into a directory file. Of secrets it has the hashes only, which an installation
// with the same master key can import.
func Export(ctx context.Context, t Tenant, r datastore.Reader) (*File, error) {
	file := &File{Tenant: string(t)}
	orgs := map[string]int{}
	err := eachRecord(ctx, t, r, func(record Record) error {
		switch {
		case record.Member != nil:
			org := &file.Orgs[orgs[record.Member.Org]]
			org.Members = append(org.Members, record.Member.MemberEntry)
			return nil
		case record.Org != nil:
			if i, again := orgs[record.Org.ID]; again {
				file.Orgs[i] = *record.Org
				return nil
			}
			orgs[record.Org.ID] = len(file.Orgs)
		}
		record.addTo(file)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return file, nil
}

// ExportLines writes everything of a tenant as JSON Lines that a Stream imports, in memory that does not grow with them.
// Of secrets it has the hashes only. Progress is told the number of lines so far.
func ExportLines(ctx context.Context, t Tenant, r datastore.Reader, w io.Writer, progress func(lines int)) error {
	options := lineOptions()
	lines := 0
	return eachRecord(ctx, t, r, func(record Record) error {
		text, err := json.Marshal(record, options)
		if err != nil {
			return fmt.Errorf("export: %w", err)
		}
		if _, err := w.Write(append(text, '\n')); err != nil {
			return fmt.Errorf("write the export: %w", err)
		}
		lines++
		progress(lines)
		return nil
	})
}

// eachRecord calls do with all records of a tenant, each after those that it refers to. An organization whose parent comes
// after it comes twice: first without the parent.
func eachRecord(ctx context.Context, t Tenant, r datastore.Reader, do func(Record) error) error {
	x := exporter{ctx: ctx, r: r, t: t, do: do}
	for _, collect := range []func() error{x.roles, x.apis, x.orgs, x.users, x.members, x.vendors, x.clients, x.apiKeys,
		x.integrations, x.consents, x.relations, x.custom} {
		if err := collect(); err != nil {
			return err
		}
	}
	return nil
}

type exporter struct {
	ctx context.Context
	r   datastore.Reader
	t   Tenant
	do  func(Record) error
}

func (x *exporter) prefix(segments ...string) datastore.Path {
	return datastore.TenantID(x.t).Path(segments...)
}

func (x *exporter) roles() error {
	return each(x.ctx, x.r, x.prefix("roles"), func(at []string, role Role) error {
		return x.do(Record{Role: &RoleRecord{ID: at[1], RoleEntry: RoleEntry(role)}})
	})
}

func (x *exporter) apis() error {
	return each(x.ctx, x.r, x.prefix("apis"), func(at []string, api API) error {
		entry := api.Entry(at[1])
		return x.do(Record{API: &entry})
	})
}

// eachOrg calls do with the ids of all organizations. It skips what an organization has, which may be much.
func (x *exporter) eachOrg(do func(id string) error) error {
	var after datastore.Path
	for {
		var id string
		for fact, err := range x.r.Scan(x.ctx, x.prefix("orgs"), after) {
			if err != nil {
				return fmt.Errorf("list the organizations: %w", err)
			}
			id = fact.Path.Segments()[1]
			break
		}
		if id == "" {
			return nil
		}
		after = x.prefix("orgs", id, "~") // sorts after all that an organization has
		if _, err := x.t.Org(id).Get(x.ctx, x.r); errors.Is(err, datastore.ErrNotFound) {
			continue
		} else if err != nil {
			return err
		}
		if err := do(id); err != nil {
			return err
		}
	}
}

// orgs come first without a parent that sorts after them, then again with it.
func (x *exporter) orgs() error {
	err := x.eachOrg(func(id string) error {
		entry, err := x.org(id)
		if err != nil {
			return err
		}
		if entry.Parent > id {
			entry.Parent = ""
		}
		return x.do(Record{Org: entry})
	})
	if err != nil {
		return err
	}
	return x.eachOrg(func(id string) error {
		entry, err := x.org(id)
		if err != nil || entry.Parent <= id {
			return err
		}
		return x.do(Record{Org: entry})
	})
}

// org is the organization with all but its members.
func (x *exporter) org(id string) (*OrgEntry, error) {
	profile, err := x.t.Org(id).Get(x.ctx, x.r)
	if err != nil {
		return nil, err
	}
	entry := &OrgEntry{ID: id, Name: profile.Name, Status: profile.Status, Parent: profile.Parent, Metadata: profile.Metadata}
	err = each(x.ctx, x.r, x.prefix("orgs", id, "roles"), func(at []string, role Role) error {
		if entry.Roles == nil {
			entry.Roles = map[string]RoleEntry{}
		}
		entry.Roles[at[3]] = RoleEntry(role)
		return nil
	})
	if err != nil {
		return nil, err
	}
	err = each(x.ctx, x.r, x.prefix("orgs", id, "domains"), func(at []string, d Domain) error {
		entry.Domains = append(entry.Domains, d.Entry(at[3]))
		return nil
	})
	if err != nil {
		return nil, err
	}
	return entry, each(x.ctx, x.r, x.prefix("orgs", id, "connections"), func(at []string, c Connection) error {
		entry.Connections = append(entry.Connections, c.Entry(at[3]))
		return nil
	})
}

func (x *exporter) members() error {
	return x.eachOrg(func(id string) error {
		return each(x.ctx, x.r, x.prefix("orgs", id, "members"), func(at []string, m Member) error {
			return x.do(Record{Member: &MemberRecord{Org: id, MemberEntry: MemberEntry{User: at[3], Roles: m.Roles, Status: m.Status, JoinedAt: m.JoinedAt}}})
		})
	})
}

func (x *exporter) integrations() error {
	return x.eachOrg(func(id string) error {
		return each(x.ctx, x.r, x.prefix("orgs", id, "integrations"), func(at []string, i Integration) error {
			secret, _, err := x.t.IntegrationSecret(id, at[3]).Find(x.ctx, x.r)
			if err != nil {
				return err
			}
			entry := i.Entry(id, at[3])
			entry.PartnerTokenHash = secret.Token
			return x.do(Record{Integration: &entry})
		})
	})
}

func (x *exporter) users() error {
	return each(x.ctx, x.r, x.prefix("users"), func(at []string, u User) error {
		secrets, _, err := x.t.UserSecrets(at[1]).Find(x.ctx, x.r)
		if err != nil {
			return err
		}
		return x.do(Record{User: &UserEntry{ID: at[1], Username: u.Username, Email: u.Email, EmailVerified: u.EmailVerified,
			Status: u.Status, PasswordHash: secrets.PasswordHash}})
	})
}

func (x *exporter) clients() error {
	return each(x.ctx, x.r, x.prefix("clients"), func(at []string, c Client) error {
		secrets, _, err := x.t.ClientSecrets(at[1]).Find(x.ctx, x.r)
		if err != nil {
			return err
		}
		entry := c.Entry(at[1])
		entry.SecretHashes = secrets.Hashes
		return x.do(Record{Client: &entry})
	})
}

func (x *exporter) apiKeys() error {
	return each(x.ctx, x.r, x.prefix("apikeys"), func(at []string, k APIKey) error {
		secrets, _, err := x.t.KeySecrets(at[1]).Find(x.ctx, x.r)
		if err != nil {
			return err
		}
		entry := k.Entry(at[1])
		entry.KeyHash, entry.SecretHash = secrets.Key, secrets.Secret
		return x.do(Record{APIKey: &entry})
	})
}

func (x *exporter) vendors() error {
	return each(x.ctx, x.r, x.prefix("vendors"), func(at []string, v Vendor) error {
		secret, _, err := x.t.VendorSecret(at[1]).Find(x.ctx, x.r)
		if err != nil {
			return err
		}
		return x.do(Record{Vendor: &VendorEntry{ID: at[1], Name: v.Name, Status: v.Status, TokenHash: secret.Token}})
	})
}

func (x *exporter) consents() error {
	return each(x.ctx, x.r, x.prefix("consents"), func(at []string, c Consent) error {
		for _, org := range slices.Sorted(maps.Keys(c.Orgs)) {
			for _, audience := range slices.Sorted(maps.Keys(c.Orgs[org].Scopes)) {
				err := x.do(Record{Consent: &ConsentEntry{User: at[1], Client: at[2], Audience: audience,
					Scopes: c.Orgs[org].Scopes[audience], Org: org}})
				if err != nil {
					return err
				}
			}
		}
		return nil
	})
}

func (x *exporter) relations() error {
	return each(x.ctx, x.r, x.prefix("relations"), func(at []string, _ Relation) error {
		return x.do(Record{Relation: &RelationEntry{Resource: at[1] + ":" + at[2], Relation: at[3], Subject: at[4]}})
	})
}

func (x *exporter) custom() error {
	return each(x.ctx, x.r, x.prefix("custom"), func(at []string, value any) error {
		return x.do(Record{Custom: &CustomRecord{Path: strings.Join(at[1:], "/"), Value: value}})
	})
}
