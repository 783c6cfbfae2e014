package directory

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
)

func (c *checker) roles(field string, roles map[string]RoleEntry) {
	for _, id := range slices.Sorted(maps.Keys(roles)) {
		c.id(field+"."+id, id)
		c.scopes(field+"."+id+".permissions", roles[id].Permissions)
		c.text(field+"."+id+".description", roles[id].Description)
	}
}

// defaultRoles are those for new members of whom nothing else is said.
func defaultRoles(roles map[string]RoleEntry) []string {
	return slices.DeleteFunc(slices.Sorted(maps.Keys(roles)), func(id string) bool { return !roles[id].Default })
}

func (c *checker) checkOrgs() {
	c.roles("roles", c.file.Roles)
	for i, id := range defaultRoles(c.file.Roles) {
		if i > 0 {
			c.report("roles."+id+".default", "another role is the default one")
		}
	}
	domains := map[string]string{}
	pairs := map[[2]string]ConnectionRef{} // issuer and audience to the connection that has them
	for i := range c.file.Orgs {
		org := &c.file.Orgs[i]
		here := item("orgs", i)
		c.text(here+".name", org.Name)
		c.status(here+".status", org.Status, Active, Suspended)
		if org.Within && !c.stored(c.tenant.Org(org.ID).Path) {
			c.report(here+".id", "there is no org %q", org.ID)
		}
		c.metadata(here+".metadata", org.Metadata)
		c.known("orgs", org.Parent, here+".parent")
		if org.Parent == org.ID && org.ID != "" {
			c.report(here+".parent", "is the organization itself")
		}
		c.roles(here+".roles", org.Roles)
		for _, id := range defaultRoles(org.Roles) {
			c.report(here+".roles."+id+".default", "is for roles of the tenant")
		}
		members := map[string]bool{}
		for j, m := range org.Members {
			field := at(here+".members", j, "user")
			if m.User == "" {
				c.report(field, "is missing")
			}
			if members[m.User] {
				c.report(field, "%q is a member twice", m.User)
			}
			members[m.User] = true
			c.known("users", m.User, field)
			c.status(at(here+".members", j, "status"), m.Status, Active, Suspended)
			if len(m.Roles) > maxMemberRoles {
				c.report(at(here+".members", j, "roles"), "has more than %d entries", maxMemberRoles)
				continue
			}
			for k, role := range m.Roles {
				c.roleKnown(org.ID, role, item(at(here+".members", j, "roles"), k))
			}
		}
		for j, d := range org.Domains {
			c.domain(item(here+".domains", j), org.ID, d, domains)
		}
		connections := map[string]bool{}
		for j := range org.Connections {
			c.connection(item(here+".connections", j), org.ID, &org.Connections[j], connections, pairs)
		}
	}
}

// metadata is bounded, for every decision about the organization has it.
func (c *checker) metadata(field string, metadata map[string]any) {
	text, err := json.Marshal(metadata)
	switch {
	case err != nil:
		c.report(field, "is no JSON")
	case len(text) > maxMetadataBytes:
		c.report(field, "is longer than %d bytes as JSON", maxMetadataBytes)
	}
}

// domain checks a domain of the organization; verified are those of the file so far, with their organizations.
func (c *checker) domain(field, org string, d DomainEntry, verified map[string]string) {
	c.status(field+".status", d.Status, Pending, Verified)
	if err := CheckDomain(d.Domain); err != nil {
		c.report(field, "%v", err)
	}
	if d.Challenge != "" && !strings.HasPrefix(d.Challenge, challengePrefix) {
		c.report(field+".challenge", "must begin with %s", challengePrefix)
	}
	c.text(field+".challenge", d.Challenge)
	if len(d.AutoJoin) > maxRules {
		c.report(field+".auto_join", "has more than %d entries", maxRules)
	}
	for i, role := range d.AutoJoin {
		c.roleKnown(org, role, item(field+".auto_join", i))
	}
	if d.Status != Verified {
		return
	}
	former, taken := verified[d.Domain]
	if !taken {
		former = c.holder(c.tenant.VerifiedDomain(d.Domain))
		taken = former != "" && former != org
	}
	if taken {
		c.report(field, "%q is already a verified domain of %q", d.Domain, former)
	}
	verified[d.Domain] = org
}

// connection checks a connection of the organization. Ids are those before it in the organization, pairs those in the file.
func (c *checker) connection(field, org string, connection *ConnectionEntry, ids map[string]bool, pairs map[[2]string]ConnectionRef) {
	c.barless(field+".id", connection.ID)
	if ids[connection.ID] && connection.ID != "" {
		c.report(field+".id", "%q is there twice", connection.ID)
	}
	ids[connection.ID] = true
	c.neverDeleted("connections", deletedConnection(org, connection.ID), c.tenant.Connection(org, connection.ID).Path, connection.ID, field+".id")
	c.issuer(field+".issuer", connection.Issuer)
	c.status(field+".status", connection.Status, Active, Disabled)
	c.connectionDomain(field+".domain", org, connection)
	c.oneOf(field+".algorithm", connection.Algorithm, AcceptedAlgorithms()...)
	if len(connection.Audiences) == 0 {
		c.report(field+".audiences", "is missing: without one, tokens that the provider made for others would count")
	}
	if len(connection.Audiences) > maxRules {
		c.report(field+".audiences", "has more than %d entries", maxRules)
	}
	here := ConnectionRef{org, connection.ID}
	for i, audience := range connection.Audiences {
		c.text(item(field+".audiences", i), audience)
		if audience == "" {
			c.report(item(field+".audiences", i), "is empty")
		}
		pair := [2]string{connection.Issuer, audience}
		former, taken := pairs[pair]
		if !taken {
			var err error
			former, taken, err = c.tenant.ProviderConnection(connection.Issuer, audience).Find(c.ctx, c.store)
			c.keep(err)
		}
		if taken && former != here {
			c.report(item(field+".audiences", i), "%q of this issuer is already an audience of %s", audience, c.described(org, former))
		}
		pairs[pair] = here
	}
	for _, name := range slices.Sorted(maps.Keys(connection.Claims)) {
		c.text(field+".claims."+name, connection.Claims[name])
	}
	if len(connection.Claims) > maxRules {
		c.report(field+".claims", "has more than %d entries", maxRules)
	}
	if connection.ClientID == "" {
		c.report(field+".client_id", "is missing")
	}
	if len(connection.ClientSecret.value) > maxTextBytes || !printableASCII(connection.ClientSecret.value) {
		c.report(field+".client_secret", "must be at most %d printable ASCII characters", maxTextBytes)
	}
	for _, group := range slices.Sorted(maps.Keys(connection.RoleMapping)) {
		c.roleKnown(org, connection.RoleMapping[group], field+".role_mapping."+group)
	}
}

// described names a connection, but of another organization only to those who import whole organizations.
func (c *checker) described(org string, of ConnectionRef) string {
	if entry := c.orgs[org]; of.Org != org && entry != nil && entry.Within {
		return "a connection of another organization"
	}
	return fmt.Sprintf("connection %q of %q", of.ID, of.Org)
}

// connectionDomain checks that the domain whose people a connection signs in is one of the organization, and of no other connection.
func (c *checker) connectionDomain(field, org string, connection *ConnectionEntry) {
	if connection.Domain == "" {
		return
	}
	entry := c.orgs[org]
	named := entry != nil && slices.ContainsFunc(entry.Domains, func(d DomainEntry) bool { return d.Domain == connection.Domain })
	if !named && !c.stored(c.tenant.Domain(org, connection.Domain).Path) {
		c.report(field, "%q is no domain of the organization", connection.Domain)
	}
	holder := c.holder(c.tenant.DomainConnection(org, connection.Domain))
	if entry != nil {
		for _, other := range entry.Connections {
			if other.ID != connection.ID && other.Domain == connection.Domain {
				holder = other.ID
			}
		}
	}
	if holder != "" && holder != connection.ID {
		c.report(field, "%q is the domain of the connection %q already", connection.Domain, holder)
	}
}

func (c *checker) checkPeople() {
	for i := range c.file.Users {
		u := &c.file.Users[i]
		here := item("users", i)
		if u.Username != "" && u.Username != u.ID {
			c.barless(here+".username", u.Username)
		}
		if strings.Contains(cmp.Or(u.Username, u.ID), ":") && (!u.Password.IsZero() || u.PasswordHash != "") {
			c.report(here+".username", "has a colon, so the user could never sign in with a password (RFC 7617 §2)")
		}
		if u.Email != "" {
			if err := CheckEmail(u.Email); err != nil {
				c.report(here+".email", "%v", err)
			}
		} else if u.EmailVerified {
			c.report(here+".email_verified", "needs an email address")
		}
		c.status(here+".status", u.Status, Active, Disabled)
		if !u.Password.IsZero() && u.PasswordHash != "" {
			c.report(here+".password", "is given together with its hash: give one of them")
		}
		if len(u.Password.value) > maxTextBytes {
			c.report(here+".password", "is longer than %d bytes", maxTextBytes)
		}
		if u.PasswordHash != "" {
			if err := checkPasswordHash(u.PasswordHash); err != nil {
				c.report(here+".password_hash", "%v", err)
			}
		}
	}
}

func (c *checker) checkKeysAndVendors(master *MasterKey) {
	for i := range c.file.APIKeys {
		key := &c.file.APIKeys[i]
		here := item("api_keys", i)
		c.oneOf(here+".kind", key.Kind, BearerKey, PairKey)
		c.status(here+".status", key.Status, Active, Revoked)
		c.known("orgs", key.Org, here+".org")
		if key.Owner != "" && key.Org == "" {
			c.report(here+".owner", "needs an org: an owner holds a key for one organization")
		} else if key.Owner != "" {
			c.memberKnown(key.Org, key.Owner, here+".owner")
		}
		c.scopes(here+".scopes", key.Scopes)
		for j, audience := range key.Audiences {
			c.absoluteURI(item(here+".audiences", j), audience)
		}
		c.secret(here+".key", key.Key, key.KeyHash, master)
		c.secret(here+".secret", key.Secret, key.SecretHash, master)
		if key.Kind != PairKey && (!key.Secret.IsZero() || key.SecretHash != "") {
			c.report(here+".secret", "is for keys of the kind pair")
		}
		c.bearer(here+".key", key.Key)
	}
	for i := range c.file.Vendors {
		vendor := &c.file.Vendors[i]
		here := item("vendors", i)
		c.text(here+".name", vendor.Name)
		c.status(here+".status", vendor.Status, Active, Suspended)
		c.secret(here+".token", vendor.Token, vendor.TokenHash, master)
		c.half(here+".token", vendor.Token)
	}
	pairs, ids := map[[2]string]bool{}, map[string]IntegrationRef{}
	for i := range c.file.Integrations {
		integration := &c.file.Integrations[i]
		here := item("integrations", i)
		c.id(here+".id", integration.ID)
		c.integrationID(here+".id", integration, ids)
		for _, reference := range []struct{ collection, id, field string }{
			{"vendors", integration.Vendor, here + ".vendor"}, {"orgs", integration.Org, here + ".org"}} {
			if reference.id == "" {
				c.report(reference.field, "is missing")
			}
			c.known(reference.collection, reference.id, reference.field)
		}
		pair := [2]string{integration.Org, integration.Vendor}
		if pairs[pair] {
			c.report(here+".vendor", "vendor %q has an integration with %q already", integration.Vendor, integration.Org)
		}
		pairs[pair] = true
		c.status(here+".status", integration.Status, Active, Suspended)
		c.scopes(here+".scopes", integration.Scopes)
		if integration.Kind != DelegatedIntegration { // for a delegated one, the user must be a member
			c.known("users", integration.EnabledBy, here+".enabled_by")
		}
		c.oneOf(here+".suspended_by", integration.SuspendedBy, SideOrg, SideVendor, SideTenant)
		c.secret(here+".partner_token", integration.PartnerToken, integration.PartnerTokenHash, master)
		c.integrationKind(here, integration)
	}
}

// integrationID sees to it that the id leads to one integration of the tenant. Ids are those before it in the file.
func (c *checker) integrationID(field string, e *IntegrationEntry, ids map[string]IntegrationRef) {
	here := IntegrationRef{Org: e.Org, Vendor: e.Vendor}
	former, taken := ids[e.ID]
	if !taken {
		var err error
		former, taken, err = c.tenant.IntegrationID(e.ID).Find(c.ctx, c.store)
		c.keep(err)
	}
	if taken && former != here && e.ID != "" {
		c.report(field, "%q is already the id of the integration of %q with %q", e.ID, former.Vendor, former.Org)
	}
	ids[e.ID] = here
}

// integrationKind checks what depends on the kind: the partner token of a delegated integration is sent alone, for a user
// and by a client of the vendor, that of an external one is joined to the vendor's.
func (c *checker) integrationKind(here string, e *IntegrationEntry) {
	c.oneOf(here+".kind", e.Kind, ExternalIntegration, DelegatedIntegration)
	if e.Kind != DelegatedIntegration {
		c.half(here+".partner_token", e.PartnerToken)
		if e.Client != "" {
			c.report(here+".client", "is for integrations of the kind %s", DelegatedIntegration)
		}
		return
	}
	c.bearer(here+".partner_token", e.PartnerToken)
	if e.EnabledBy == "" {
		c.report(here+".enabled_by", "is missing: the vendor acts for this user")
	} else {
		c.memberKnown(e.Org, e.EnabledBy, here+".enabled_by")
	}
	if e.Client == "" {
		c.report(here+".client", "is missing: the vendor acts by this client")
		return
	}
	c.known("clients", e.Client, here+".client")
	if vendor, found := c.clientVendor(e.Client); found && vendor != e.Vendor {
		c.report(here+".client", "client %q is not of the vendor %q: name the vendor at the client", e.Client, e.Vendor)
	}
}

// bearer checks a token that is sent alone: no other kind of credential may look like it.
func (c *checker) bearer(field string, token Secret) {
	if shape, _, _ := ShapeOf(token.value); shape != OpaqueToken || strings.Contains(token.value, " ") {
		c.report(field, "looks like another kind of token (a JWT, or two halves around a colon) or has a space: choose another")
	}
}

// half checks a vendor or partner token: joined by a colon, the two must come apart again.
func (c *checker) half(field string, token Secret) {
	if strings.ContainsAny(token.value, ": ") {
		c.report(field, "must not have a colon or a space, for it is joined to its other half by a colon")
	}
}

func (c *checker) checkRest() {
	audiences := map[string]string{}
	for i, api := range c.file.APIs {
		here := item("apis", i)
		c.absoluteURI(here+".audience", api.Audience)
		c.scopes(here+".scopes", api.Scopes)
		c.lifetime(here+".token_lifetime", api.TokenLifetime)
		c.oneOf(here+".signing_alg", api.SigningAlg, SigningAlgorithms()...)
		if former, ok := audiences[api.Audience]; ok {
			c.report(here+".audience", "is already the audience of %q", former)
		}
		audiences[api.Audience] = api.ID
		if holder := c.holder(c.tenant.Audience(api.Audience)); holder != "" && holder != api.ID {
			c.report(here+".audience", "is already the audience of %q", holder)
		}
	}
	for i, consent := range c.file.Consents {
		here := item("consents", i)
		c.id(here+".user", consent.User)
		c.id(here+".client", consent.Client)
		c.known("users", consent.User, here+".user")
		c.known("clients", consent.Client, here+".client")
		c.known("orgs", consent.Org, here+".org")
		c.absoluteURI(here+".audience", consent.Audience)
		c.scopes(here+".scopes", consent.Scopes)
	}
	for i, relation := range c.file.Relations {
		here := item("relations", i)
		for _, part := range []struct{ field, value string }{{"resource", relation.Resource}, {"subject", relation.Subject}} {
			kind, id, _ := strings.Cut(part.value, ":")
			if kind == "" || id == "" {
				c.report(here+"."+part.field, "must be written type:id, such as document:plan")
			}
			c.text(here+"."+part.field, part.value)
		}
		c.id(here+".relation", relation.Relation)
	}
	keys := slices.Sorted(maps.Keys(c.file.Custom))
	for i, key := range keys {
		if !c.tenant.custom(key).Valid() {
			c.report("custom."+key, "is not a path: segments of 1 to 1024 bytes between single slashes")
		}
		// Interior nodes hold no value. Sorted, what lies below a key need not come right after it, but is found by it.
		if j := slices.IndexFunc(keys[i+1:], func(other string) bool { return strings.HasPrefix(other, key+"/") }); j >= 0 {
			c.report("custom."+keys[i+1+j], "lies below custom.%s, which has a value of its own", key)
		}
		c.customFree(key)
	}
}
