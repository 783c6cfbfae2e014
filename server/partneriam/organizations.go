package partneriam

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"slices"
	"strings"
	"time"

	"mandate/directory"
	"mandate/manage"
)

type display struct{ Name, LogoURL string }

type organization struct {
	ID                       string `json:"Id"`
	Name                     string
	Display                  *display
	Domains                  []domain
	Connections              []connection
	Metadata                 map[string]string
	IsActive                 bool
	IsAuthRestrictedToDomain bool
	Policies                 policies
	CreatedDate              time.Time `json:"CreatedDate,omitzero"`
	ModifiedDate             time.Time `json:"ModifiedDate,omitzero"`
}

// organizationBody is what may be set. What is nil is left as it is.
type organizationBody struct {
	Name                     *string
	Display                  *display
	Domains                  *[]domainBody
	Metadata                 *map[string]string
	IsActive                 *bool
	IsAuthRestrictedToDomain *bool
	Policies                 *policies
}

// parseOrg is the organization with that id.
func parseOrg(id string) (string, error) {
	if strings.TrimSpace(id) == "" {
		return "", fail(8129, "Send the id of an organization.")
	}
	org, ok := only(orgID, id)
	if !ok {
		return "", fail(8117, "It is not the id of an organization.")
	}
	return org, nil
}

// org reads the organization with that id.
func (c *call) org(ctx context.Context, wireID string) (string, directory.Org, error) {
	id, err := parseOrg(wireID)
	if err != nil {
		return "", directory.Org{}, err
	}
	record, err := get[directory.Org](ctx, c, manage.Orgs(), id)
	return id, record, err
}

// inOrg runs a write in the organization with that id.
func (c *call) inOrg(ctx context.Context, wireID string, do func(context.Context, batch, string, directory.Org) (any, error)) (any, error) {
	id, err := parseOrg(wireID)
	if err != nil {
		return nil, err
	}
	return c.write(ctx, func(ctx context.Context, b batch) (any, error) {
		record, err := get[directory.Org](ctx, b, manage.Orgs(), id)
		if err != nil {
			return nil, err
		}
		return do(ctx, b, id, record)
	})
}

// organization is all that there is to say of one.
func (a *API) organization(ctx context.Context, from records, id string) (*organization, error) {
	record, err := get[directory.Org](ctx, from, manage.Orgs(), id)
	if err != nil {
		return nil, err
	}
	n := notesOf(record)
	shown := &organization{ID: pack(orgID, id), Name: record.Name, Display: n.Display, Metadata: map[string]string{},
		IsActive: record.Status == directory.Active, IsAuthRestrictedToDomain: n.Restricted, CreatedDate: n.CreatedAt, ModifiedDate: n.ModifiedAt}
	for name, value := range record.Metadata {
		if text, ok := value.(string); ok {
			shown.Metadata[name] = text
		}
	}
	all, err := every[directory.Domain](ctx, from, manage.Domains(), id)
	if err != nil {
		return nil, err
	}
	shown.Domains = domainsOf(all)
	if shown.Policies, err = policiesOf(ctx, from, id, n, all); err != nil {
		return nil, err
	}
	shown.Connections, err = a.connections(ctx, from, id, n)
	return shown, err
}

// described changes what the notes and the record say of the organization by itself.
func (body *organizationBody) described(o *directory.Org, n *notes) error {
	if body.Name != nil {
		o.Name = *body.Name
	}
	if strings.TrimSpace(o.Name) == "" {
		return fail(7900, "The Name is required.")
	}
	if body.Display != nil {
		n.Display = body.Display
	}
	if body.IsAuthRestrictedToDomain != nil {
		n.Restricted = *body.IsAuthRestrictedToDomain
	}
	if body.Metadata == nil {
		return nil
	}
	kept := map[string]any{}
	for name, value := range o.Metadata {
		if _, text := value.(string); !text {
			kept[name] = value
		}
	}
	for name, value := range *body.Metadata {
		if _, taken := kept[name]; taken || name == notesKey {
			return fail(7900, "The Metadata cannot have the member "+name+": it has another use here.")
		}
		kept[name] = value
	}
	o.Metadata = kept
	return nil
}

func createOrganization(ctx context.Context, c *call) (any, error) {
	var body organizationBody
	if err := c.read(&body, 7914); err != nil {
		return nil, err
	}
	o, n := directory.Org{Status: directory.Active}, notes{CreatedAt: c.Now().UTC(), ModifiedAt: c.Now().UTC()}
	if err := body.described(&o, &n); err != nil {
		return nil, err
	}
	id := strings.ToLower(rand.Text())
	return c.write(ctx, func(ctx context.Context, b batch) (any, error) {
		record := struct {
			ID            string `json:"id"`
			directory.Org `json:",embed"`
		}{id, n.with(o)}
		if err := b.create(ctx, manage.Orgs(), nil, record); err != nil {
			return nil, err
		}
		if err := b.takeName(ctx, id, o.Name); err != nil {
			return nil, err
		}
		if body.Domains != nil {
			if err := b.setDomains(ctx, id, *body.Domains); err != nil {
				return nil, err
			}
		}
		if body.Policies != nil {
			if err := b.setPolicies(ctx, id, body.Policies, c.Now()); err != nil {
				return nil, err
			}
		}
		return c.organization(ctx, b, id)
	})
}

func listOrganizations(ctx context.Context, c *call) (any, error) {
	all, err := every[directory.Org](ctx, c, manage.Orgs())
	if err != nil {
		return nil, err
	}
	shown := list[*organization]{Data: []*organization{}}
	for _, e := range all {
		o, err := c.organization(ctx, c, e.id)
		if err != nil {
			return nil, err
		}
		shown.Data = append(shown.Data, o)
	}
	return shown, nil
}

// getOrganization has no answer for an inactive organization on this wire, on which only lists show it.
func getOrganization(ctx context.Context, c *call) (any, error) {
	id, record, err := c.org(ctx, c.Params[0])
	if err != nil {
		return nil, err
	}
	if record.Status != directory.Active {
		return nil, fail(8180, "Activate the organization first.")
	}
	return c.organization(ctx, c, id)
}

func updateOrganization(ctx context.Context, c *call) (any, error) {
	var body organizationBody
	if err := c.read(&body, 7934); err != nil {
		return nil, err
	}
	return c.inOrg(ctx, c.Params[0], func(ctx context.Context, b batch, id string, o directory.Org) (any, error) {
		name, ends := o.Name, body.IsActive != nil && !*body.IsActive
		n := notesOf(o)
		if err := body.described(&o, &n); err != nil {
			return nil, err
		}
		n.ModifiedAt = c.Now().UTC()
		if body.IsActive != nil && !ends {
			o.Status = directory.Active
		}
		if err := b.put(ctx, manage.Orgs(), n.with(o), id); err != nil {
			return nil, err
		}
		if o.Name != name {
			if err := b.leaveName(ctx, id, name); err != nil {
				return nil, err
			}
			if err := b.takeName(ctx, id, o.Name); err != nil {
				return nil, err
			}
		}
		if body.Domains != nil {
			if err := b.setDomains(ctx, id, *body.Domains); err != nil {
				return nil, err
			}
		}
		if body.Policies != nil {
			if err := b.setPolicies(ctx, id, body.Policies, c.Now()); err != nil {
				return nil, err
			}
		}
		if ends {
			if err := b.patch(ctx, manage.Orgs(), map[string]any{"status": directory.Suspended}, id); err != nil {
				return nil, err
			}
		}
		return c.organization(ctx, b, id)
	})
}

func deleteOrganization(ctx context.Context, c *call) (any, error) {
	return c.inOrg(ctx, c.Params[0], func(ctx context.Context, b batch, id string, o directory.Org) (any, error) {
		if err := b.remove(ctx, manage.Orgs(), id); err != nil {
			return nil, err
		}
		return deleted{true}, b.leaveName(ctx, id, o.Name)
	})
}

type statusBody struct{ Active *bool }

// setStatus suspends an organization or makes it active again. Nothing is deleted by it, whatever the name that its answer has.
func setStatus(ctx context.Context, c *call) (any, error) {
	var body statusBody
	if err := c.read(&body, 7934); err != nil {
		return nil, err
	}
	if body.Active == nil {
		return nil, fail(8167, "Active must be true or false.")
	}
	return c.inOrg(ctx, c.Params[0], func(ctx context.Context, b batch, id string, o directory.Org) (any, error) {
		if *body.Active == (o.Status == directory.Active) {
			return nil, fail(8166, "The organization has this status already.")
		}
		status := directory.Suspended
		if *body.Active {
			status = directory.Active
		}
		return struct{ IsDeleted, IsActive bool }{false, *body.Active}, b.patch(ctx, manage.Orgs(), map[string]any{"status": status}, id)
	})
}

// takeName gives the organization its name on this wire, where no two have the same. A custom document for each name says whose it is.
// Organizations that were named elsewhere do not count.
func (b batch) takeName(ctx context.Context, id, name string) error {
	holder, err := b.holderOf(ctx, name)
	if err != nil {
		return err
	}
	if holder != "" && holder != id {
		record, err := get[directory.Org](ctx, b, manage.Orgs(), holder)
		if known := (*Error)(nil); err != nil && !errors.As(err, &known) {
			return err
		}
		if err == nil && strings.EqualFold(record.Name, name) {
			return fail(8116, "Another organization has this name.")
		}
	}
	return b.put(ctx, manage.Custom(), map[string]string{"value": id}, nameAt(name))
}

// leaveName frees the name of an organization.
func (b batch) leaveName(ctx context.Context, id, name string) error {
	holder, err := b.holderOf(ctx, name)
	if err != nil || holder != id {
		return err
	}
	return b.remove(ctx, manage.Custom(), nameAt(name))
}

// holderOf is the organization that has taken the name, empty for none and for a caller who may not see that.
func (b batch) holderOf(ctx context.Context, name string) (string, error) {
	document, err := get[struct {
		Value string `json:"value"`
	}](ctx, b, manage.Custom(), nameAt(name))
	if known := (*Error)(nil); errors.As(err, &known) {
		err = nil
	}
	return document.Value, err
}

func nameAt(name string) string {
	hash := sha256.Sum256([]byte(strings.ToLower(name)))
	return "partner_iam/names/" + hex.EncodeToString(hash[:])
}

// setDomains adds the domains that the organization does not have yet, and removes the others.
func (b batch) setDomains(ctx context.Context, id string, wanted []domainBody) error {
	had, err := every[directory.Domain](ctx, b, manage.Domains(), id)
	if err != nil {
		return err
	}
	var names []string
	for _, d := range wanted {
		if slices.Contains(names, d.DomainName) {
			return fail(7900, "The domain is there twice.")
		}
		names = append(names, d.DomainName)
	}
	for _, e := range had {
		if slices.Contains(names, e.id) {
			continue
		}
		if err := b.remove(ctx, manage.Domains(), id, e.id); err != nil {
			return err
		}
	}
	for _, name := range names {
		if slices.ContainsFunc(had, func(e entry[directory.Domain]) bool { return e.id == name }) {
			continue
		}
		if err := b.addDomain(ctx, id, name); err != nil {
			return err
		}
	}
	return nil
}
