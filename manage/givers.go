package manage

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/go-json-experiment/json"

	"mandate/datastore"
	"mandate/directory"
)

// aboutOrgRole tells the policy whether a member holds the role, and keeps one that something else gives.
func aboutOrgRole(ctx context.Context, c *change, ids []string, before, after *directory.Role, properties map[string]any) error {
	held := false
	yes := func(string) error { held = true; return directory.ErrEnough }
	if err := c.tenant().Holders(ctx, c.reading, ids[0], ids[1], "", yes); err != nil {
		return err
	}
	if err := c.tenant().SuspendedHolders(ctx, c.reading, ids[0], ids[1], "", yes); err != nil {
		return err
	}
	properties["held"] = held
	if before == nil || after != nil {
		return nil
	}
	return c.givenBy(ctx, ids[0], ids[1])
}

// maxGivers bounds how many records of a collection are looked at that could give a role.
const maxGivers = 1000

// givenBy refuses to delete a role that a connection, a domain or an open invitation of the organization gives.
func (c *change) givenBy(ctx context.Context, org, role string) error {
	inUse := func(what, id string) error {
		return &Conflict{"role_in_use", fmt.Sprintf("The %s %s gives this role: change that first.", what, id)}
	}
	err := some(ctx, c.reading, prefixOf(c.tenant(), []string{"orgs", org, "connections"}), func(id string, connection directory.Connection) error {
		if slices.Contains(slices.Collect(maps.Values(connection.RoleMapping)), role) {
			return inUse("connection", id)
		}
		return nil
	})
	if err != nil {
		return err
	}
	err = some(ctx, c.reading, prefixOf(c.tenant(), []string{"orgs", org, "domains"}), func(id string, domain directory.Domain) error {
		if slices.Contains(domain.AutoJoin, role) {
			return inUse("domain", id)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return some(ctx, c.reading, prefixOf(c.tenant(), []string{"orgs", org, "invitations"}), func(id string, i directory.Invitation) error {
		if i.Live(c.m.o.Now()) && slices.Contains(i.Roles, role) {
			return inUse("invitation", id)
		}
		return nil
	})
}

// some yields the records below a prefix, up to maxGivers.
func some[T any](ctx context.Context, r datastore.Reader, prefix datastore.Path, do func(id string, record T) error) error {
	seen := 0
	for fact, err := range r.Scan(ctx, prefix, datastore.Path{}) {
		if err != nil {
			return fmt.Errorf("look for what gives a role: %w", err)
		}
		if seen++; seen > maxGivers {
			return nil
		}
		var record T
		if err := json.Unmarshal(fact.Value, &record); err != nil {
			return fmt.Errorf("look for what gives a role: %w", err)
		}
		segments := fact.Path.Segments()
		if err := do(segments[len(segments)-1], record); err != nil {
			return err
		}
	}
	return nil
}
