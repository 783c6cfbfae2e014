package partneriam

import (
	"context"
	"crypto/rand"
	"strings"
	"time"

	"mandate/directory"
	"mandate/manage"
)

const (
	oidcCustom = "oidc_custom"
	saml       = "saml_"
)

// connection is the provider of an organization. Its client secret is never shown.
type connection struct {
	ID             string `json:"Id"`
	Name           string
	Domain         string
	ConnectionType string
	IsActive       bool
	Attributes     *attributes
	connectionURLs `json:",embed"`
	Issuer         string
	ClientID       string `json:"ClientId"`
	RedirectURI    string
	GroupRoles     []groupRole
	CreatedDate    time.Time `json:"CreatedDate,omitzero"`
	ModifiedDate   time.Time `json:"ModifiedDate,omitzero"`
}

// connectionURLs are what other software has of a provider. Mandate reads it from the provider's own metadata.
type connectionURLs struct {
	AuthorizationURL string   `json:"AuthorizationUrl,omitempty"`
	TokenURL         string   `json:"TokenUrl,omitempty"`
	UserInfoURL      string   `json:"UserInfoUrl,omitempty"`
	Scopes           []string `json:"Scopes,omitempty"`
	TokenAuthMethod  string   `json:"TokenAuthMethod,omitempty"`
}

// attributes are the claims of the provider. Mandate reads Groups; the others are those of OpenID Connect.
type attributes struct {
	ID            string            `json:"ID,omitempty"`
	Email         string            `json:"Email,omitempty"`
	FirstName     string            `json:"FirstName,omitempty"`
	LastName      string            `json:"LastName,omitempty"`
	Groups        string            `json:"Groups,omitempty"`
	CustomMapping map[string]string `json:"CustomMapping,omitempty"`
}

type connectionBody struct {
	Name           *string
	Domain         *string
	ConnectionType *string
	Attributes     *attributes
	connectionURLs `json:",embed"`
	Issuer         *string
	ClientID       *string `json:"ClientId"`
	ClientSecret   *directory.Secret
}

// connectionNotes are what the wire has of a connection and Mandate has no record for.
type connectionNotes struct {
	Name       string            `json:"name"`
	Attributes *attributes       `json:"attributes,omitempty"`
	URLs       connectionURLs    `json:"urls,omitzero"`
	Groups     map[string]string `json:"groups,omitempty"` // the names of group roles, by the groups
	CreatedAt  time.Time         `json:"created_at,omitzero"`
	ModifiedAt time.Time         `json:"modified_at,omitzero"`
}

// name is that of the connection, which is its id when it was made elsewhere.
func (n notes) name(id string) string {
	if name := n.Connections[id].Name; name != "" {
		return name
	}
	return id
}

func (a *API) connectionOf(org, id string, c directory.Connection, n notes, own map[string]bool) connection {
	note := n.Connections[id]
	return connection{ID: pack(connID, id), Name: n.name(id), Domain: c.Domain, ConnectionType: oidcCustom, IsActive: c.Status == directory.Active,
		Attributes: note.Attributes, connectionURLs: note.URLs, Issuer: c.Issuer, ClientID: c.ClientID, RedirectURI: a.RedirectURI,
		GroupRoles: groupRolesOf(org, c, note, own), CreatedDate: note.CreatedAt, ModifiedDate: note.ModifiedAt}
}

func (a *API) connections(ctx context.Context, from records, org string, n notes) ([]connection, error) {
	all, err := every[directory.Connection](ctx, from, manage.Connections(), org)
	if err != nil || len(all) == 0 {
		return []connection{}, err
	}
	own, err := ownRoles(ctx, from, org)
	shown := []connection{}
	for _, e := range all {
		shown = append(shown, a.connectionOf(org, e.id, e.record, n, own))
	}
	return shown, err
}

func (a *API) connection(ctx context.Context, from records, org, id string) (any, error) {
	record, err := get[directory.Connection](ctx, from, manage.Connections(), org, id)
	if err != nil {
		return nil, err
	}
	o, err := get[directory.Org](ctx, from, manage.Orgs(), org)
	if err != nil {
		return nil, err
	}
	own, err := ownRoles(ctx, from, org)
	return a.connectionOf(org, id, record, notesOf(o), own), err
}

// connectionID is the one that the route names after its organization.
func (c *call) connectionID() (string, error) {
	id, ok := only(connID, c.Params[1])
	if !ok {
		return "", fail(8151, "It is not the id of a connection.")
	}
	return id, nil
}

// noted writes the notes of a connection, or removes them.
func (b batch) noted(ctx context.Context, org, id string, note *connectionNotes, now time.Time) error {
	o, err := get[directory.Org](ctx, b, manage.Orgs(), org)
	if err != nil {
		return err
	}
	n := notesOf(o)
	delete(n.Connections, id)
	if note != nil {
		note.ModifiedAt = now.UTC()
		n.Connections[id] = *note
	}
	return b.put(ctx, manage.Orgs(), n.with(o), org)
}

func listConnections(ctx context.Context, c *call) (any, error) {
	org, record, err := c.org(ctx, c.Params[0])
	if err != nil {
		return nil, err
	}
	all, err := c.connections(ctx, c, org, notesOf(record))
	return list[connection]{all}, err
}

func getConnection(ctx context.Context, c *call) (any, error) {
	org, _, err := c.org(ctx, c.Params[0])
	if err != nil {
		return nil, err
	}
	id, err := c.connectionID()
	if err != nil {
		return nil, err
	}
	return c.connection(ctx, c, org, id)
}

// apply makes what the body says of a connection that is there, or is to be made.
func (body *connectionBody) apply(record *directory.Connection, note *connectionNotes) {
	set(&note.Name, body.Name)
	set(&record.Domain, body.Domain)
	set(&record.Issuer, body.Issuer)
	if body.ClientID != nil {
		record.ClientID, record.Audiences = *body.ClientID, []string{*body.ClientID}
	}
	if body.Attributes != nil {
		note.Attributes, record.RoleClaim = body.Attributes, body.Attributes.Groups
	}
	urls := body.connectionURLs
	setText(&note.URLs.AuthorizationURL, urls.AuthorizationURL)
	setText(&note.URLs.TokenURL, urls.TokenURL)
	setText(&note.URLs.UserInfoURL, urls.UserInfoURL)
	setText(&note.URLs.TokenAuthMethod, urls.TokenAuthMethod)
	if urls.Scopes != nil {
		note.URLs.Scopes = urls.Scopes
	}
}

func set(member, given *string) {
	if given != nil {
		*member = *given
	}
}

func setText(member *string, given string) {
	if given != "" {
		*member = given
	}
}

// connectionRecord is a connection with the secret that the body may bring.
type connectionRecord struct {
	directory.Connection `json:",embed"`
	ID                   string            `json:"id"`
	ClientSecret         *directory.Secret `json:"client_secret,omitempty"`
}

// named checks the name of a connection, which no other one of the organization has.
func (n notes) named(id, name string) error {
	if !isName(name) {
		return fail(7900, "The Name must be 1 to 60 letters, digits, hyphens and underscores, with a letter or digit at both ends.")
	}
	for other, note := range n.Connections {
		if other != id && strings.EqualFold(note.Name, name) {
			return fail(8148, "Another connection of the organization has this name.")
		}
	}
	return nil
}

func isName(name string) bool {
	for i := range len(name) {
		if !plain(name[i]) {
			return false
		}
	}
	return name != "" && len(name) <= 60 && strings.Trim(name, "-_") == name
}

func (body *connectionBody) typed() error {
	switch kind := body.ConnectionType; {
	case kind == nil || *kind == "":
		return fail(7900, "The ConnectionType is required.")
	case strings.HasPrefix(*kind, saml):
		return fail(7900, "Connections are OpenID Connect ("+oidcCustom+") here: SAML is not spoken.")
	case *kind != oidcCustom:
		return fail(7900, "The ConnectionType must be "+oidcCustom+".")
	}
	return nil
}

func createConnection(ctx context.Context, c *call) (any, error) {
	var body connectionBody
	if err := c.read(&body, 7914); err != nil {
		return nil, err
	}
	id := strings.ToLower(rand.Text())
	return c.inOrg(ctx, c.Params[0], func(ctx context.Context, b batch, org string, o directory.Org) (any, error) {
		if err := body.typed(); err != nil {
			return nil, err
		}
		record, note := directory.Connection{Status: directory.Active}, connectionNotes{CreatedAt: c.Now().UTC()}
		body.apply(&record, &note)
		if err := notesOf(o).named(id, note.Name); err != nil {
			return nil, err
		}
		if record.Domain == "" {
			return nil, fail(7900, "The Domain is required.")
		}
		if err := b.create(ctx, manage.Connections(), []string{org}, connectionRecord{record, id, body.ClientSecret}); err != nil {
			return nil, err
		}
		if err := b.noted(ctx, org, id, &note, c.Now()); err != nil {
			return nil, err
		}
		return c.connection(ctx, b, org, id)
	})
}

func updateConnection(ctx context.Context, c *call) (any, error) {
	var body connectionBody
	if err := c.read(&body, 7934); err != nil {
		return nil, err
	}
	if body.ConnectionType != nil {
		if err := body.typed(); err != nil {
			return nil, err
		}
	}
	return c.inConnection(ctx, func(ctx context.Context, b batch, at connectionAt) (any, error) {
		at.note.Name = at.notes.name(at.id)
		body.apply(&at.record, &at.note)
		if err := at.notes.named(at.id, at.note.Name); body.Name != nil && err != nil {
			return nil, err
		}
		if err := b.put(ctx, manage.Connections(), connectionRecord{at.record, at.id, body.ClientSecret}, at.org, at.id); err != nil {
			return nil, err
		}
		if err := b.noted(ctx, at.org, at.id, &at.note, c.Now()); err != nil {
			return nil, err
		}
		return c.connection(ctx, b, at.org, at.id)
	})
}

// connectionAt is a connection within a write.
type connectionAt struct {
	org, id string
	record  directory.Connection
	notes   notes
	note    connectionNotes
}

// inConnection runs a write of the connection that the route names.
func (c *call) inConnection(ctx context.Context, do func(context.Context, batch, connectionAt) (any, error)) (any, error) {
	id, err := c.connectionID()
	if err != nil {
		return nil, err
	}
	return c.inOrg(ctx, c.Params[0], func(ctx context.Context, b batch, org string, o directory.Org) (any, error) {
		record, err := get[directory.Connection](ctx, b, manage.Connections(), org, id)
		if err != nil {
			return nil, err
		}
		n := notesOf(o)
		return do(ctx, b, connectionAt{org, id, record, n, n.Connections[id]})
	})
}

func deleteConnection(ctx context.Context, c *call) (any, error) {
	return c.inConnection(ctx, func(ctx context.Context, b batch, at connectionAt) (any, error) {
		if err := b.remove(ctx, manage.Connections(), at.org, at.id); err != nil {
			return nil, err
		}
		return deleted{true}, b.noted(ctx, at.org, at.id, nil, c.Now())
	})
}

func setConnectionStatus(ctx context.Context, c *call) (any, error) {
	var body statusBody
	if err := c.read(&body, 7934); err != nil {
		return nil, err
	}
	if body.Active == nil {
		return nil, fail(8167, "Active must be true or false.")
	}
	return c.inConnection(ctx, func(ctx context.Context, b batch, at connectionAt) (any, error) {
		if *body.Active == (at.record.Status == directory.Active) {
			return nil, fail(8166, "The connection has this status already.")
		}
		status := directory.Disabled
		if *body.Active {
			status = directory.Active
		}
		return struct{ IsActive bool }{*body.Active}, b.patch(ctx, manage.Connections(), map[string]any{"status": status}, at.org, at.id)
	})
}
