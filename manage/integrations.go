package manage

import (
	"context"
	"crypto/rand"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"mandate/authn"
	"mandate/delivery"
	"mandate/directory"
)

// Integrations are the relationships in which vendors act for an organization, by their vendors. One of the kind external is
// created; one that acts for a user is enabled (Manager.Enable).
func Integrations() Kind { return integrations() }

func integrations() *kind[directory.Integration] {
	return &kind[directory.Integration]{
		name: "orgs.integrations", resource: "integration", path: "orgs/{org}/integrations/{vendor}", keys: []string{"vendor"},
		org: inPath[directory.Integration],
		place: func(t directory.Tenant, ids []string) directory.Place[directory.Integration] {
			return t.Integration(ids[0], ids[1])
		},
		file: func(ids []string, i directory.Integration, _ given) (*directory.File, string) {
			return &directory.File{Integrations: []directory.IntegrationEntry{i.Entry(ids[0], ids[1])}}, "integrations[0]"
		},
		revoke:  revokeIntegration,
		secrets: map[directory.SecretKind]string{directory.KindPartnerToken: "partner_token"},
		fixed:   []string{"id", "enabled_by", "enabled_at", "client", "suspended_by"},
		filters: []string{"status", "kind", "enabled_by", "vendor"},
		used:    func(_ []string, i directory.Integration) (string, string) { return "integrations", i.ID },
		fill:    fillIntegration,
		about:   aboutIntegration,
		after:   tellVendor,
	}
}

// fillIntegration gives one that a client makes, and that does not say for what, the scopes that the client is registered for at
// the tenant's APIs.
func fillIntegration(ctx context.Context, c *change, i *directory.Integration) error {
	caller := c.q.Caller
	if i.Scopes != nil || caller == nil || caller.Type != authn.Client {
		return nil
	}
	client, _, err := c.tenant().Client(caller.Subject).Find(ctx, c.reading)
	if err != nil {
		return err
	}
	i.Scopes = []string{}
	return c.tenant().APIs(ctx, c.reading, func(_ string, api directory.API) error {
		for _, scope := range client.Scopes {
			if (slices.Contains(api.Scopes, scope) || strings.HasSuffix(scope, ":*")) && !slices.Contains(i.Scopes, scope) {
				i.Scopes = append(i.Scopes, scope)
			}
		}
		return nil
	})
}

// aboutIntegration sets what only Mandate sets.
func aboutIntegration(ctx context.Context, c *change, ids []string, before, after *directory.Integration, properties map[string]any) error {
	if after == nil || after == before {
		return nil
	}
	// Whether there is an integration does not show in what was read.
	ending, ended, err := c.tenant().IntegrationEnding(ids[0], ids[1]).Find(ctx, c)
	if err != nil {
		return err
	}
	if ended {
		properties["ended_by"] = ending.By
	}
	if before == nil {
		after.ID = strings.ToLower(rand.Text())
		if after.Kind == "" {
			after.Kind = directory.ExternalIntegration
		}
		if after.Status == "" {
			after.Status = directory.Active
		}
		if after.Kind != directory.ExternalIntegration {
			return invalid("kind", "must be external: one that acts for a user is enabled with PUT")
		}
		return c.vendorActive(ctx, ids[1])
	}
	if after.Kind != before.Kind {
		return invalid("kind", "cannot be changed: remove the integration first")
	}
	widened := slices.ContainsFunc(after.Scopes, func(scope string) bool { return !slices.Contains(before.Scopes, scope) })
	if widened && before.Kind == directory.DelegatedIntegration {
		return invalid("scopes", "can only be fewer here: to what is more, the user agrees with PUT")
	}
	switch {
	case after.Status != directory.Suspended:
		after.SuspendedBy = ""
	case before.Status != directory.Suspended:
		after.SuspendedBy, err = c.side(ctx, ids[0], ids[1])
	}
	return err
}

// revokeIntegration deletes an integration, and keeps which side has ended it.
func revokeIntegration(ctx context.Context, c *change, ids []string, _ directory.Integration) error {
	side, err := c.side(ctx, ids[0], ids[1])
	if err != nil {
		return err
	}
	if err := c.tenant().DeleteIntegration(ctx, c, ids[0], ids[1]); err != nil {
		return err
	}
	return c.tenant().IntegrationEnding(ids[0], ids[1]).Put(ctx, c, directory.Ending{By: side})
}

// side is the one from which the caller looks at the integration.
func (c *change) side(ctx context.Context, org, vendor string) (string, error) {
	caller := c.q.Caller
	if caller == nil {
		return directory.SideTenant, nil
	}
	if caller.Type == authn.Client {
		client, _, err := c.tenant().Client(caller.Subject).Find(ctx, c.reading)
		switch {
		case err != nil:
			return "", err
		case client.Vendor == vendor:
			return directory.SideVendor, nil
		case client.Org == org || slices.Contains(client.Orgs, org):
			return directory.SideOrg, nil
		}
	}
	if caller.Type == authn.User || caller.Org == org { // users act for their organization, or for its children
		return directory.SideOrg, nil
	}
	return directory.SideTenant, nil
}

func (c *change) vendorActive(ctx context.Context, id string) error {
	vendor, found, err := c.tenant().Vendor(id).Find(ctx, c.reading)
	switch {
	case err != nil:
		return err
	case !found:
		return invalid("vendor", "is not the id of a vendor")
	case vendor.Status != directory.Active:
		return &Conflict{"vendor_suspended", "The vendor is suspended."}
	}
	return nil
}

// What a vendor is told of its integrations, at its own endpoints. The credential is with credentialEvent only.
const (
	credentialEvent = "integration.enabled"
	createdEvent    = "integration.created"
	changedEvent    = "integration.changed"
	suspendedEvent  = "integration.suspended"
	resumedEvent    = "integration.resumed"
	removedEvent    = "integration.removed"
)

// integrationData is the data of these events.
type integrationData struct {
	Org        string           `json:"org"`
	Vendor     string           `json:"vendor"`
	ID         string           `json:"id"`
	Kind       string           `json:"kind"`
	Status     directory.Status `json:"status"`
	Scopes     []string         `json:"scopes"`
	User       string           `json:"user,omitempty"`
	Client     string           `json:"client,omitempty"`
	Credential string           `json:"credential,omitempty"`
}

// tellVendor tells the vendor what has become of an integration.
func tellVendor(ctx context.Context, c *change, ids []string, before, after *directory.Integration) error {
	now, event := after, changedEvent
	switch {
	case after == nil:
		now, event = before, removedEvent
	case before == nil:
		event = createdEvent
	case before.Status != after.Status && after.Status == directory.Suspended:
		event = suspendedEvent
	case before.Status != after.Status:
		event = resumedEvent
	case slices.Equal(before.Scopes, after.Scopes):
		return nil
	}
	return c.toVendor(ctx, event, ids, *now, directory.Secret{})
}

func (c *change) toVendor(ctx context.Context, event string, ids []string, i directory.Integration, credential directory.Secret) error {
	id, err := timeID(c.at)
	if err != nil {
		return err
	}
	data := integrationData{Org: ids[0], Vendor: ids[1], ID: i.ID, Kind: i.Kind, Status: i.Status, Scopes: i.Scopes, Client: i.Client,
		Credential: credential.Expose()}
	if i.Kind == directory.DelegatedIntegration {
		data.User = i.EnabledBy
	}
	return c.m.o.Deliveries.Event(ctx, c, delivery.Event{ID: id, Type: event, Time: c.at, Org: ids[0], Vendor: ids[1], Private: true, Data: data})
}

// end deletes an integration, if there is one, and tells its vendor.
func (c *change) end(ctx context.Context, ids []string, before *directory.Integration) error {
	if before == nil {
		return nil
	}
	if err := c.tenant().DeleteIntegration(ctx, c, ids[0], ids[1]); err != nil {
		return err
	}
	return tellVendor(ctx, c, ids, before, nil)
}

// endIntegrations deletes the integrations by which vendors act for the user in the organization, and tells them.
func (c *change) endIntegrations(ctx context.Context, org, user string) error {
	ended := map[string]directory.Integration{}
	err := c.tenant().IntegrationsEnabledBy(ctx, c, org, user, func(vendor string, i directory.Integration) error {
		ended[vendor] = i
		return nil
	})
	if err != nil {
		return err
	}
	for vendor, i := range ended {
		ids := []string{org, vendor}
		if err := c.end(ctx, ids, &i); err != nil {
			return err
		}
		resource := integrations().resourceOf(ids, &i, nil)
		if err := c.done(ctx, "orgs.integrations.delete", resource, i, nil); err != nil {
			return err
		}
	}
	return nil
}

// Enabling is what enabling an integration asks for.
type Enabling struct {
	Kind   string   `json:"kind,omitempty"`
	Scopes []string `json:"scopes,omitempty"`
	// User is for whom the vendor is to act: the caller, when it is a user.
	User string `json:"user,omitempty"`
	// Client is by which the vendor acts: its only one when it has one.
	Client string `json:"client,omitempty"`
	// Deliver says where the credential goes: "webhook", which is the default, or "return".
	Deliver string `json:"deliver,omitempty"`
}

const deliverByWebhook = "webhook"

// Enable lets a vendor act for a user in an organization, with some scopes. It makes a credential for exactly that, and sends it
// to the vendor's webhook in the same transaction, or returns it. An active integration of the same user and client keeps its
// credential and gets the scopes; in any other case what was there ends, and its credential with it.
func (m *Manager) Enable(ctx context.Context, q *Request, org, vendor string, body jsontext.Value) (*Answer, error) {
	return m.change(ctx, q, func(c *change) (*Answer, error) { return c.enable(ctx, []string{org, vendor}, body) })
}

func (c *change) enable(ctx context.Context, ids []string, body jsontext.Value) (*Answer, error) {
	k := integrations()
	before, err := k.find(ctx, c.m, c, ids)
	if err != nil {
		return nil, err
	}
	var asked Enabling
	var problem error
	if err := json.Unmarshal(body, &asked, json.RejectUnknownMembers(true)); err != nil {
		problem = wrongMember(err)
	}
	at := c.at.UTC()
	after := directory.Integration{Kind: directory.DelegatedIntegration, Status: directory.Active, Scopes: asked.Scopes, EnabledBy: asked.User,
		EnabledAt: &at, Client: asked.Client}
	if caller := c.q.Caller; after.EnabledBy == "" && caller != nil && caller.Type == authn.User {
		after.EnabledBy = caller.Subject
	}
	if after.Scopes == nil {
		after.Scopes = []string{}
	}
	if after.Client == "" && problem == nil {
		after.Client, problem = c.onlyClient(ctx, ids[1])
	}
	resource := k.resourceOf(ids, before, &after)
	if err := c.permit(ctx, "orgs.integrations.enable", resource); err != nil {
		return nil, err
	}
	if problem == nil {
		problem = c.canEnable(ctx, ids, asked, before, after)
	}
	if problem != nil {
		return nil, problem
	}
	if err := c.expects(ctx, k.place(c.tenant(), ids).Path); err != nil {
		return nil, err
	}
	return c.enabled(ctx, k, ids, asked.Deliver, before, after, resource)
}

// enabled writes the integration, and hands over the credential when there is a new one.
func (c *change) enabled(ctx context.Context, k *kind[directory.Integration], ids []string, deliver string, before *directory.Integration,
	after directory.Integration, resource Resource) (*Answer, error) {
	same := before != nil && before.Status == directory.Active && before.EnabledBy == after.EnabledBy && before.Client == after.Client
	if same {
		after.ID = before.ID
		if sameScopes(before.Scopes, after.Scopes) {
			after = *before
		}
	} else {
		after.ID = strings.ToLower(rand.Text())
		if err := c.end(ctx, ids, before); err != nil {
			return nil, err
		}
	}
	made, err := k.write(ctx, c, ids, before, after, given{})
	if err != nil {
		return nil, err
	}
	k.after = nil
	k.secrets = map[directory.SecretKind]string{directory.KindPartnerToken: "credential"}
	switch {
	case same:
		err = tellVendor(ctx, c, ids, before, &after)
	case deliver == deliverHere:
		err = c.toVendor(ctx, createdEvent, ids, after, directory.Secret{})
	default:
		err = c.toVendor(ctx, credentialEvent, ids, after, made[0].Secret)
		made = nil
	}
	if err != nil {
		return nil, err
	}
	return k.finish(ctx, c, ids, ".enable", resource, before, made)
}

func sameScopes(a, b []string) bool {
	return slices.Equal(slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b)))
}

// canEnable checks what holds whatever the policy says.
func (c *change) canEnable(ctx context.Context, ids []string, asked Enabling, before *directory.Integration, after directory.Integration) error {
	if asked.Kind != "" && asked.Kind != directory.DelegatedIntegration {
		return invalid("kind", "must be delegated: an integration of the vendor itself is created with POST")
	}
	if before != nil && before.Kind != directory.DelegatedIntegration {
		return &Conflict{"integration_external", "The vendor has an integration of its own with the organization: remove it first."}
	}
	if err := c.vendorActive(ctx, ids[1]); err != nil {
		return err
	}
	if err := c.clientFor(ctx, ids, after); err != nil {
		return err
	}
	switch asked.Deliver {
	case "", deliverByWebhook:
		return c.receives(ctx, ids)
	case deliverHere:
		return nil
	}
	return invalid("deliver", "must be webhook or return")
}

// clientFor checks that the client can act in the organization.
func (c *change) clientFor(ctx context.Context, ids []string, i directory.Integration) error {
	client, found, err := c.tenant().Client(i.Client).Find(ctx, c.reading)
	switch {
	case err != nil:
		return err
	case !found || client.Vendor != ids[1] || client.Status != directory.Active:
		return invalid("client", "is not an active client of the vendor")
	case (client.Org != "" || len(client.Orgs) > 0) && client.Org != ids[0] && !slices.Contains(client.Orgs, ids[0]):
		return invalid("client", "does not act in this organization")
	}
	return nil
}

// onlyClient is the client of a vendor that has one.
func (c *change) onlyClient(ctx context.Context, vendor string) (string, error) {
	var clients []string
	err := c.tenant().ClientsOfVendor(ctx, c.reading, vendor, "", func(id string, client directory.Client) error {
		if client.Status == directory.Active {
			clients = append(clients, id)
		}
		if len(clients) > 1 {
			return directory.ErrEnough
		}
		return nil
	})
	if err == nil && len(clients) != 1 {
		err = invalid("client", "is missing: the vendor has not just one active client")
	}
	return strings.Join(clients, ""), err
}

// receives checks that a credential would arrive somewhere.
func (c *change) receives(ctx context.Context, ids []string) error {
	found := false
	err := c.tenant().WebhooksOf(ctx, c.reading, "", ids[1], func(_ string, w directory.Webhook) error {
		found = found || (w.Status == directory.Active && w.Wants(credentialEvent) && (w.Org == "" || w.Org == ids[0]))
		return nil
	})
	if err == nil && !found {
		err = &Conflict{"no_webhook", "The vendor has no active webhook for " + credentialEvent + `: create one, or have the credential returned with "deliver": "return".`}
	}
	return err
}
