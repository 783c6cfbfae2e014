package directory

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"mandate/datastore"
)

const (
	maxIDBytes   = 255
	maxTextBytes = 1024
	maxListItems = 1000

	maxMemberRoles   = 100
	maxMetadataBytes = 16 << 10 // of an organization, as JSON
)

// checker collects what is wrong with a file, given the records that the store has already.
type checker struct {
	ctx      context.Context
	tenant   Tenant
	store    datastore.Reader
	file     *File
	problems Problems
	failed   error

	seen    map[string]string // what a name in a shared space was first used for
	orgs    map[string]*OrgEntry
	clients map[string]*ClientEntry
	ids     map[string]map[string]bool // collection to the ids in the file
}

// Check says all that is wrong with the file beside what the store holds: Problems, or an error of the store.
func (f *File) Check(ctx context.Context, t Tenant, store datastore.Reader, master *MasterKey) error {
	c := &checker{ctx: ctx, tenant: t, store: store, file: f,
		seen: map[string]string{}, orgs: map[string]*OrgEntry{}, clients: map[string]*ClientEntry{}, ids: map[string]map[string]bool{}}
	c.index()
	c.shared()
	c.checkOrgs()
	c.checkPeople()
	c.checkClients(master)
	c.checkKeysAndVendors(master)
	c.checkRest()
	if c.failed != nil {
		return c.failed
	}
	if len(c.problems) > 0 {
		return c.problems
	}
	return nil
}

func (c *checker) report(field, format string, args ...any) {
	if len(c.problems) < 1000 {
		c.problems = append(c.problems, Problem{Line: c.file.line(field), Field: field, Message: fmt.Sprintf(format, args...)})
	}
}

// index remembers the ids of the file, and reports bad ones and those given twice.
func (c *checker) index() {
	add := func(collection, id, field string) {
		switch collection {
		case "orgs", "clients", "apikeys":
			c.barless(field, id)
		case "users":
			c.userID(field, id)
		default:
			c.id(field, id)
		}
		if c.ids[collection] == nil {
			c.ids[collection] = map[string]bool{}
		}
		if c.ids[collection][id] && id != "" {
			c.report(field, "%q is there twice", id)
		}
		c.ids[collection][id] = true
		record := c.at(collection, id)
		if collection == "orgs" {
			record = c.tenant.Org(id).Path
		}
		c.neverDeleted(collection, id, record, id, field)
	}
	for id := range c.file.Roles {
		add("roles", id, "roles."+id)
	}
	for i := range c.file.APIs {
		add("apis", c.file.APIs[i].ID, at("apis", i, "id"))
	}
	for i := range c.file.Orgs {
		add("orgs", c.file.Orgs[i].ID, at("orgs", i, "id"))
		c.orgs[c.file.Orgs[i].ID] = &c.file.Orgs[i]
	}
	for i := range c.file.Users {
		add("users", c.file.Users[i].ID, at("users", i, "id"))
	}
	for i := range c.file.Clients {
		add("clients", c.file.Clients[i].ID, at("clients", i, "id"))
		c.clients[c.file.Clients[i].ID] = &c.file.Clients[i]
	}
	for i := range c.file.APIKeys {
		add("apikeys", c.file.APIKeys[i].ID, at("api_keys", i, "id"))
	}
	for i := range c.file.Vendors {
		add("vendors", c.file.Vendors[i].ID, at("vendors", i, "id"))
	}
}

// neverDeleted refuses to give the id of a deleted record to a new one. The field has it as shown.
func (c *checker) neverDeleted(collection, id string, record datastore.Path, shown, field string) {
	deleted, err := c.tenant.Deleted(c.ctx, c.store, collection, id)
	if c.keep(err) && deleted && !c.stored(record) {
		c.report(field, "%q was deleted: choose another id", shown)
	}
}

// shared keeps apart what a token's subject or a Basic user name could mean: no client or API key is ever taken for a
// user (RFC 9700 §4.15), and no two users answer to one name.
func (c *checker) shared() {
	use := func(name, what, field string, others ...string) {
		if name == "" {
			return
		}
		if former, ok := c.seen[name]; ok && former != what {
			c.report(field, "%q is already the id of %s: ids of users, clients and API keys, and usernames, share one space", name, former)
			return
		}
		c.seen[name] = what
		for _, other := range others {
			if c.stored(c.at(other, name)) {
				c.report(field, "%q is already the id of one of the %s: ids of users, clients and API keys share one space", name, other)
			}
		}
	}
	for i, u := range c.file.Users {
		use(u.ID, "user "+u.ID, at("users", i, "id"), "clients", "apikeys")
	}
	for i, u := range c.file.Users {
		if u.Username != "" && u.Username != u.ID {
			use(u.Username, "the username of user "+u.ID, at("users", i, "username"), "clients")
		}
	}
	for i, client := range c.file.Clients {
		use(client.ID, "client "+client.ID, at("clients", i, "id"), "users", "apikeys")
		if user := c.holder(c.tenant.Username(client.ID)); user != "" {
			c.report(at("clients", i, "id"), "%q is already the username of user %s", client.ID, user)
		}
	}
	for i, key := range c.file.APIKeys {
		use(key.ID, "API key "+key.ID, at("api_keys", i, "id"), "users", "clients")
	}
}

func (c *checker) at(collection, id string) datastore.Path {
	return datastore.TenantID(c.tenant).Path(collection, id)
}

// stored says whether the store has a document at p.
func (c *checker) stored(p datastore.Path) bool {
	if !p.Valid() {
		return false
	}
	_, found, err := Place[any]{p}.Find(c.ctx, c.store)
	return c.keep(err) && found
}

// holder is the id that the store has for a unique attribute, empty when it has none.
func (c *checker) holder(p Place[Alias]) string {
	alias, _, err := p.Find(c.ctx, c.store)
	c.keep(err)
	return alias.ID
}

func (c *checker) keep(err error) bool {
	if err != nil && c.failed == nil {
		c.failed = err
	}
	return err == nil
}

func (c *checker) known(collection, id, field string) {
	if id == "" || c.ids[collection][id] {
		return
	}
	p := c.at(collection, id)
	if collection == "orgs" {
		p = c.tenant.Org(id).Path
	}
	if !c.stored(p) {
		c.report(field, "there is no %s %q", strings.TrimSuffix(collection, "s"), id)
	}
}

func (c *checker) roleKnown(org, role, field string) {
	if c.ids["roles"][role] || c.stored(c.at("roles", role)) {
		return
	}
	if entry := c.orgs[org]; entry != nil {
		if _, ok := entry.Roles[role]; ok {
			return
		}
	}
	if !c.stored(c.tenant.OrgRole(org, role).Path) {
		c.report(field, "there is no role %q, neither of the tenant nor of the organization %q", role, org)
	}
}

func (c *checker) memberKnown(org, user, field string) {
	if entry := c.orgs[org]; entry != nil && slices.ContainsFunc(entry.Members, func(m MemberEntry) bool { return m.User == user }) {
		return
	}
	if !c.stored(c.tenant.Member(org, user).Path) {
		c.report(field, "user %q is no member of the organization %q", user, org)
	}
}

func (c *checker) id(field, id string) {
	switch {
	case id == "":
		c.report(field, "is missing")
	case len(id) > maxIDBytes:
		c.report(field, "is longer than %d bytes", maxIDBytes)
	case strings.TrimSpace(id) != id || !printableASCII(id):
		c.report(field, "may have printable ASCII characters only, and no space at either end")
	}
}

// barless checks an id that may not look like that of a user of a connection: organization|connection|subject.
func (c *checker) barless(field, id string) {
	c.id(field, id)
	if strings.Contains(id, "|") {
		c.report(field, "has a |, which is for ids of users whom a connection vouches for")
	}
}

// userID checks the id of a user. Only one whom a connection vouches for has the form of those.
func (c *checker) userID(field, id string) {
	parts := strings.SplitN(id, "|", 3)
	if len(parts) == 3 && parts[2] != "" && c.connected(parts[0], parts[1]) {
		c.id(field, id)
		return
	}
	c.barless(field, id)
}

// connected says whether the organization has the connection, in the file or in the store.
func (c *checker) connected(org, connection string) bool {
	if entry := c.orgs[org]; entry != nil && slices.ContainsFunc(entry.Connections, func(e ConnectionEntry) bool { return e.ID == connection }) {
		return true
	}
	return c.stored(c.tenant.Connection(org, connection).Path)
}

// printableASCII keeps look-alike ids of other scripts out, and what could break a header or a line of a log.
func printableASCII(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

func (c *checker) text(field, s string) {
	if len(s) > maxTextBytes {
		c.report(field, "is longer than %d bytes", maxTextBytes)
	}
	if !utf8.ValidString(s) || strings.ContainsFunc(s, unicode.IsControl) {
		c.report(field, "has a control character or is not valid UTF-8")
	}
}

// scopes checks the syntax of RFC 6749 §3.3, which permissions share.
func (c *checker) scopes(field string, scopes []string) {
	if len(scopes) > maxListItems {
		c.report(field, "has more than %d entries", maxListItems)
		return
	}
	for i, s := range scopes {
		if s == "" || len(s) > maxIDBytes || !visible(s) || strings.ContainsAny(s, `"\`) {
			c.report(item(field, i), `must be 1 to %d visible ASCII characters without " and \`, maxIDBytes)
		}
	}
}

func (c *checker) status(field string, s Status, allowed ...Status) {
	if s != "" && !slices.Contains(allowed, s) {
		c.report(field, "is %q, must be one of %s", s, join(allowed))
	}
}

func (c *checker) oneOf(field, value string, allowed ...string) {
	if value != "" && !slices.Contains(allowed, value) {
		c.report(field, "is %q, must be one of %s", value, strings.Join(allowed, ", "))
	}
}

// absoluteURI checks what RFC 8707 §2 asks of a resource.
func (c *checker) absoluteURI(field, s string) {
	u, err := url.Parse(s)
	if err != nil || !u.IsAbs() || (u.Host == "" && u.Opaque == "" && u.Path == "") || strings.Contains(s, "#") || !visible(s) {
		c.report(field, "must be an absolute URI without a fragment, such as https://documents.example")
	}
}

// issuer checks what OpenID Connect Discovery §3 asks of an issuer. Without TLS it can only be on this machine.
func (c *checker) issuer(field, s string) {
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || u.User != nil || strings.ContainsAny(s, "?#") || !visible(s) || len(s) > maxTextBytes ||
		(u.Scheme != "https" && (u.Scheme != "http" || !loopback(u))) {
		c.report(field, "must be an https URL without a query or a fragment, such as https://idp.example")
	}
}

// loopback says whether the host of u is this machine (RFC 8252 §7.3), whatever the port.
func loopback(u *url.URL) bool {
	return slices.Contains([]string{"127.0.0.1", "::1", "localhost"}, u.Hostname())
}

func (c *checker) lifetime(field string, d time.Duration) {
	if d != 0 && (d < time.Second || d > 24*time.Hour) {
		c.report(field, "must be between 1s and 24h")
	}
}

// secret checks one that the user chose; hash is its stored form in an export.
func (c *checker) secret(field string, s Secret, hash Hash, master *MasterKey) {
	switch {
	case !s.IsZero() && hash != "":
		c.report(field, "is given together with its hash: give one of them")
	case len(s.value) > maxIDBytes || !printableASCII(s.value):
		c.report(field, "must be at most %d printable ASCII characters", maxIDBytes)
	case strings.HasPrefix(s.value, secretPrefix) && Mistyped(s.value):
		c.report(field, "begins with %s but its checksum is wrong: it was copied in part or mistyped", secretPrefix)
	}
	if hash != "" {
		if err := master.Check(hash); err != nil {
			c.report(field+"_hash", "%v", err)
		}
	}
}

func at(list string, i int, field string) string {
	return item(list, i) + "." + field
}

func item(list string, i int) string { return list + "[" + strconv.Itoa(i) + "]" }

func join(statuses []Status) string {
	words := make([]string, len(statuses))
	for i, s := range statuses {
		words[i] = string(s)
	}
	return strings.Join(words, ", ")
}
