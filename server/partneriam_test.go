package server_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"mandate/delivery"
	"mandate/directory"
	"mandate/manage"
	"mandate/outbound"
	"mandate/server"
	"mandate/server/partneriam"
)

// partner calls the wire of the partner IAM API, with names in braces for what former answers have left.
type partner struct {
	*running
	t     *testing.T
	as    credential
	names map[string]string
	hit   map[string]bool // the routes that were answered with 200
}

// startPartner serves the fixture, with a DNS server and the mailbox.
func startPartner(t *testing.T) (*partner, *nameServer) {
	t.Helper()
	n := newNameServer(t)
	s := start(t, func(o *server.Options) {
		for i := range o.Tenants {
			if tenant := &o.Tenants[i]; tenant.ID == server.DefaultTenant {
				tenant.Manage = manage.New(manage.Options{Tenant: tenant.ID, Issuer: tenant.Issuer, Store: o.Store, Master: tenant.Master,
					Policy: tenant.Engine, Authn: tenant.Authn, Tokens: tenant.Tokens, Deliveries: tenant.Deliveries.(*delivery.Queue),
					DNS: outbound.NewResolver(n.address), Now: tenant.Now})
			}
		}
	})
	p := &partner{running: s, t: t, as: holdersOf(t, "default").pair("tenant-admin"), names: map[string]string{}, hit: map[string]bool{}}
	for user, email := range map[string]string{"alice": "alice@acme.example", "bob": "bob@acme.example", "frank": "frank@hooli.example"} {
		s.managed(t, p.as, "PATCH", "/v1/users/"+user, `{"email": "`+email+`"}`).wantMembers(t, http.StatusOK, nil)
		s.managed(t, p.as, "PATCH", "/v1/users/"+user, `{"email_verified": true}`).wantMembers(t, http.StatusOK, nil)
	}
	return p, n
}

func (p *partner) filled(text string) string {
	for name, value := range p.names {
		text = strings.ReplaceAll(text, "{"+name+"}", value)
	}
	return text
}

// call sends a request, and notes the route when it was answered.
func (p *partner) call(method, path, body string) answer {
	p.t.Helper()
	a := p.managed(p.t, p.as, method, "/v2/manage"+p.filled(path), p.filled(body))
	if a.status == http.StatusOK {
		bare, _, _ := strings.Cut(p.filled(path), "?")
		for _, route := range partneriam.Routes() {
			if route.Method == method && matchesRoute(route.Path, bare) {
				p.hit[route.Method+" "+route.Path] = true
			}
		}
	}
	return a
}

func matchesRoute(route, path string) bool {
	names, segments := strings.Split(route, "/"), strings.Split(path, "/")
	if len(names) != len(segments) {
		return false
	}
	for i, name := range names {
		if !strings.HasPrefix(name, "{") && name != segments[i] {
			return false
		}
	}
	return true
}

// made calls, and keeps the Id of the answer under the name.
func (p *partner) made(name, method, path, body string) map[string]any {
	p.t.Helper()
	object := p.call(method, path, body).wantMembers(p.t, http.StatusOK, nil)
	id, _ := object["Id"].(string)
	if id == "" {
		p.t.Fatalf("%s %s has no Id: %v", method, path, object)
	}
	p.names[name] = id
	return object
}

// wantError checks the envelope of an error.
func (a answer) wantError(t *testing.T, status, code int) map[string]any {
	t.Helper()
	object := a.object(t)
	if a.status != status || object["ErrorCode"] != float64(code) || object["Message"] == "" || object["Description"] == "" || len(object) != 3 {
		t.Errorf("%d %s, want %d with %d", a.status, a.body, status, code)
	}
	return object
}

// verified makes a domain of an organization of the wire a verified one.
func (p *partner) verified(n *nameServer, org, name, domain string) {
	p.t.Helper()
	added := p.made(name, "POST", "/organizations/"+org+"/domains", `{"DomainName": "`+domain+`"}`)
	n.set(0, added["VerificationName"].(string), added["VerificationToken"].(string))
	p.call("POST", "/organizations/"+org+"/domains/{"+name+"}", "").wantMembers(p.t, http.StatusOK, map[string]any{"IsVerified": true, "DomainName": domain})
}

func (p *partner) connection(name, domain, clientID string) string {
	return `{"Name": "` + name + `", "ConnectionType": "oidc_custom", "Domain": "` + domain + `", "Issuer": "https://idp.example", "ClientId": "` + clientID +
		`", "ClientSecret": "provider-secret", "Attributes": {"Groups": "groups", "Email": "email"}, "Scopes": ["openid"]}`
}

// TestPartnerIAMRoutes calls every route of the wire, as a backend does that knows nothing of /v1.
func TestPartnerIAMRoutes(t *testing.T) {
	p, n := startPartner(t)
	org := p.made("org", "POST", "/organizations", `{"Name": "Hooli", "Display": {"Name": "Hooli Inc.", "LogoURL": "https://hooli.example/logo.svg"},
		"Domains": [{"DomainName": "hooli.example", "IsVerified": true}], "Metadata": {"plan": "gold"}}`)
	if fmt.Sprint(org["Metadata"]) != "map[plan:gold]" || org["IsActive"] != true || !strings.HasPrefix(p.names["org"], "org_") || org["CreatedDate"] == nil {
		t.Errorf("the organization is %v", org)
	}
	for _, row := range []struct {
		keep, method, path, body string
		want                     map[string]any
	}{
		{"", "GET", "/organizations", "", nil},
		{"", "GET", "/organizations/{org}", "", map[string]any{"Name": "Hooli", "Display": "map[LogoURL:https://hooli.example/logo.svg Name:Hooli Inc.]"}},
		{"", "PUT", "/organizations/{org}", `{"Name": "Hooli 2", "Metadata": {"plan": "iron"}, "IsAuthRestrictedToDomain": true, "Domains": [{"DomainName": "hooli.example"}, {"DomainName": "mail.hooli.example"}], "Unknown": 1}`,
			map[string]any{"Name": "Hooli 2", "Metadata": "map[plan:iron]", "IsAuthRestrictedToDomain": true}},
		{"", "PUT", "/organizations/{org}", `{"Domains": []}`, map[string]any{"Domains": "[]", "Name": "Hooli 2"}},
		{"", "PUT", "/organizations/{org}", `{"IsActive": false}`, map[string]any{"IsActive": false}},
		{"", "PUT", "/organizations/{org}", `{"IsActive": true}`, map[string]any{"IsActive": true}},
		{"", "PUT", "/organizations/{org}/status", `{"Active": false}`, map[string]any{"IsDeleted": false, "IsActive": false}},
		{"", "PUT", "/organizations/{org}/status", `{"Active": true}`, map[string]any{"IsActive": true}},
		{"", "PUT", "/organizations/{org}/policy", `{"MFAPolicy": {"EnforcementMode": "optional"}, "PasswordPolicy": {"MinLength": 8, "MaxLength": 25}, "SessionPolicy": {"AccessTokenTTL": 600}}`,
			map[string]any{"PasswordPolicy": "map[MaxLength:25 MinLength:8]", "MFAPolicy": "map[EnforcementMode:optional]"}},
		{"perm", "POST", "/permissions", `{"Name": "read:users", "Description": "Read users"}`, map[string]any{"Id": "perm_read~3Ausers", "Name": "read:users"}},
		{"", "GET", "/permissions", "", nil},
		{"", "GET", "/permissions/{perm}", "", map[string]any{"Name": "read:users", "Description": "Read users"}},
		{"", "PUT", "/permissions/{perm}", `{"Name": "read:users", "Description": "Read all users"}`, map[string]any{"Description": "Read all users"}},
		{"role", "POST", "/roles", `{"Name": "Team Lead", "Description": "Leads", "Permissions": ["{perm}"]}`,
			map[string]any{"Id": "role_Team~20Lead", "Level": "tenant", "OrgId": "", "Permissions": "[map[Description:Read all users ID:perm_read~3Ausers Name:read:users]]"}},
		{"", "GET", "/roles", "", nil},
		{"", "GET", "/roles/{role}", "", map[string]any{"Name": "Team Lead", "Description": "Leads"}},
		{"", "GET", "/roles/Team%20Lead/name", "", map[string]any{}},
		{"", "PUT", "/roles/{role}", `{"Name": "Team Lead", "Description": "Leads a team", "Permissions": []}`, map[string]any{"Description": "Leads a team", "Permissions": "[]"}},
		{"", "PUT", "/roles/role_viewer/default", "", map[string]any{"IsDefault": true}},
		{"", "PUT", "/roles/{role}/default", "", map[string]any{"IsDefault": true}},
		{"", "GET", "/roles/role_viewer", "", map[string]any{"IsDefault": nil}},
		{"orgrole", "POST", "/organizations/{org}/roles", `{"Name": "auditor", "Permissions": ["{perm}"]}`, map[string]any{"Level": "org"}},
		{"", "GET", "/organizations/{org}/roles", "", nil},
		{"", "GET", "/roles/auditor/name?orgid={org}", "", map[string]any{}},
		{"", "GET", "/roles/{orgrole}", "", map[string]any{"Name": "auditor"}},
		{"", "PUT", "/account/frank/orgcontext/{org}/roles", `{"RoleIds": ["{orgrole}", "{role}"]}`, nil},
		{"", "PUT", "/account/frank/orgcontext/roles", `{"RoleIds": ["role_viewer"]}`, nil},
		{"", "GET", "/account/frank/orgcontext", "", nil},
		{"", "GET", "/account/frank/orgcontext/{org}", "", nil},
		{"", "GET", "/organizations/{org}/orgcontext", "", nil},
		{"inv", "POST", "/invitations?invitation_url=https://portal.example/callback", `{"email": "nora@hooli.example", "roleIds": ["{orgrole}"], "orgId": "{org}", "inviterUid": "frank"}`,
			map[string]any{"Status": "invited", "EmailId": "nora@hooli.example", "InviterUid": "frank"}},
		{"", "GET", "/invitations?orgid={org}", "", map[string]any{"TotalCount": 1}},
		{"", "GET", "/invitations/{inv}", "", map[string]any{"RoleIds": "[{orgrole}]", "OrgId": "{org}"}},
		{"", "PUT", "/invitations/{inv}", `{"RolesIds": ["{role}"]}`, map[string]any{"RoleIds": "[{role}]"}},
	} {
		a := p.call(row.method, row.path, row.body)
		for name, value := range row.want {
			if text, ok := value.(string); ok {
				row.want[name] = p.filled(text)
			}
		}
		object := a.wantMembers(t, http.StatusOK, row.want)
		if a.status != http.StatusOK {
			t.Fatalf("%s %s: %v", row.method, row.path, a)
		}
		if row.want == nil {
			if data, ok := object["Data"].([]any); !ok || len(data) == 0 {
				t.Errorf("%s %s: no Data in %v", row.method, row.path, a)
			}
		}
		if row.keep != "" {
			p.names[row.keep], _ = object["Id"].(string)
		}
	}
	p.clock.advance(2 * time.Minute)
	p.call("POST", "/invitations/{inv}/resend", "").wantMembers(t, http.StatusOK, map[string]any{"Resent": true})
	p.clock.advance(2 * time.Minute)
	p.call("PUT", "/invitations/{inv}", `{"ResendEmail": true}`).wantMembers(t, http.StatusOK, map[string]any{"Status": "invited"})
	p.call("DELETE", "/invitations/{inv}", "").wantMembers(t, http.StatusOK, map[string]any{"Status": "revoked"})

	p.verified(n, "{org}", "domain", "hooli.example")
	p.call("GET", "/organizations/{org}/domains", "").wantMembers(t, http.StatusOK, nil)
	p.call("GET", "/organizations/{org}/domains/{domain}", "").wantMembers(t, http.StatusOK, map[string]any{"Id": "org_domain_hooli~2Eexample", "VerificationStrategy": "manual"})
	made := p.made("conn", "POST", "/organizations/{org}/connections", p.connection("AzureAD", "hooli.example", "hooli-client"))
	if made["IsActive"] != true || made["Issuer"] != "https://idp.example" || made["ClientSecret"] != nil || made["RedirectURI"] != publicURL+"/login/callback" {
		t.Errorf("the connection is %v", made)
	}
	p.call("GET", "/organizations/{org}/connections", "").wantMembers(t, http.StatusOK, nil)
	p.call("GET", "/organizations/{org}/connections/{conn}", "").wantMembers(t, http.StatusOK, map[string]any{"Name": "AzureAD", "Scopes": "[openid]"})
	p.call("PUT", "/organizations/{org}/connections/{conn}", `{"Name": "Entra"}`).wantMembers(t, http.StatusOK, map[string]any{"Name": "Entra", "Domain": "hooli.example"})
	p.made("group", "POST", "/organizations/{org}/connections/{conn}/grouproles", `{"GroupId": "g-1", "Name": "Security", "RoleId": "{orgrole}"}`)
	p.call("GET", "/organizations/{org}/connections/{conn}/grouproles", "").wantMembers(t, http.StatusOK, nil)
	p.call("PUT", "/organizations/{org}/connections/{conn}/grouproles/{group}", `{"Name": "Guards", "RoleId": "role_viewer"}`).
		wantMembers(t, http.StatusOK, map[string]any{"Name": "Guards", "RoleId": "role_viewer", "GroupId": "g-1"})
	p.call("PUT", "/organizations/{org}/policy", `{"JITPolicy": {"Enabled": true}, "MemberPolicy": {"DefaultMemberRole": "{orgrole}"}}`).wantMembers(t, http.StatusOK, nil)
	joins := p.managed(t, p.as, "GET", "/v1/orgs/"+strings.TrimPrefix(p.names["org"], "org_")+"/domains/hooli.example", "")
	joins.wantMembers(t, http.StatusOK, map[string]any{"auto_join": "[auditor]"})
	p.call("PUT", "/organizations/{org}/policy", `{"JITPolicy": {"Enabled": false}}`).wantMembers(t, http.StatusOK, nil)
	p.call("DELETE", "/organizations/{org}/connections/{conn}/grouproles/{group}", "").wantMembers(t, http.StatusOK, map[string]any{"IsDeleted": true})
	p.call("PUT", "/organizations/{org}/connections/{conn}/status", `{"Active": false}`).wantMembers(t, http.StatusOK, map[string]any{"IsActive": false})
	p.call("DELETE", "/organizations/{org}/connections/{conn}", "").wantMembers(t, http.StatusOK, map[string]any{"IsDeleted": true})
	p.call("DELETE", "/organizations/{org}/domains/{domain}", "").wantMembers(t, http.StatusOK, map[string]any{"IsDeleted": true})
	p.call("DELETE", "/account/frank/orgcontext/{org}", "").wantMembers(t, http.StatusOK, map[string]any{"IsDeleted": true})
	p.call("PUT", "/account/frank/orgcontext/{org}/roles", `{"RoleIds": ["{role}"]}`).wantMembers(t, http.StatusOK, nil)
	p.call("DELETE", "/account/frank/orgcontext", "").wantMembers(t, http.StatusOK, map[string]any{"IsDeleted": true})
	p.call("PUT", "/roles/role_viewer/default", "").wantMembers(t, http.StatusOK, nil)
	p.call("DELETE", "/roles/{orgrole}", "").wantMembers(t, http.StatusOK, map[string]any{"IsDeleted": true})
	p.call("DELETE", "/roles/{role}", "").wantMembers(t, http.StatusOK, map[string]any{"IsDeleted": true})
	p.call("DELETE", "/permissions/{perm}", "").wantMembers(t, http.StatusOK, map[string]any{"IsDeleted": true})
	p.call("DELETE", "/organizations/{org}", "").wantMembers(t, http.StatusOK, map[string]any{"IsDeleted": true})
	for _, route := range partneriam.Routes() {
		if !p.hit[route.Method+" "+route.Path] {
			t.Errorf("%s %s was not called with success", route.Method, route.Path)
		}
	}
}

// TestPartnerIAMCredentials: machines call, by any of their credentials, and by one of them.
func TestPartnerIAMCredentials(t *testing.T) {
	p, h := startIntegrating(t)
	pairs := url.Values{"apikey": {h.secret("key tenant-admin")}, "apisecret": {h.secret("secret tenant-admin")}}.Encode()
	client := url.Values{"client_id": {"operator"}, "client_secret": {h.secret("client operator")}}.Encode()
	camel := url.Values{"clientID": {"operator"}, "clientSecret": {h.secret("client operator")}}.Encode()
	m2m := p.issue(t, h.client("operator"), publicURL)
	vendors := credential{"X-LoginRadius-APIKey: " + h.secret("key tenant-admin"), "X-LoginRadius-APISecret: " + h.secret("secret tenant-admin")}
	for _, row := range []struct {
		name, query string
		lines       credential
		ok          bool
	}{
		{"key pair in the query", pairs, nil, true},
		{"key pair in the header", "", h.pair("tenant-admin"), true},
		{"key pair in the header by the vendor's names", "", vendors, true},
		{"client in the query", client, nil, true},
		{"client in the query in camel case", camel, nil, true},
		{"client by Basic", "", h.client("operator"), true},
		{"M2M token", "", bearer(m2m), true},
		{"nothing", "", nil, false},
		{"wrong secret", strings.Replace(client, h.secret("client operator"), "wrong", 1), nil, false},
		{"half a pair", "apikey=" + h.secret("key tenant-admin"), nil, false},
		{"client twice", client + "&" + camel, nil, false},
		{"client id of one spelling, secret of the other", "client_id=operator&clientSecret=" + h.secret("client operator"), nil, false},
		{"pair in both headers", "", slices.Concat(h.pair("tenant-admin"), vendors), false},
		{"pair and token", pairs, bearer(m2m), false},
		{"client without the scope", "", h.client("documents-api"), false},
		{"user by Basic", "", h.user("alice", "alice"), false},
		{"secret from a page", "", slices.Concat(h.pair("tenant-admin"), credential{"Origin: https://app.example"}), false},
	} {
		t.Run(row.name, func(t *testing.T) {
			a := p.managed(t, row.lines, "GET", "/v2/manage/organizations/org_acme?"+row.query, "")
			if !row.ok {
				a.wantError(t, http.StatusForbidden, 6002)
				return
			}
			a.wantMembers(t, http.StatusOK, map[string]any{"Id": "org_acme"})
			if deprecated := a.header.Get("Deprecation") != ""; deprecated != (row.query != "") {
				t.Errorf("Deprecation: %q", a.header.Get("Deprecation"))
			}
		})
	}
	// A user whose token has the scope manage, with which /v1 is open to them.
	user := p.administrator(t, h, "alice", "acme")
	p.managed(t, user, "GET", "/v1/orgs/acme", "").wantMembers(t, http.StatusOK, map[string]any{"id": "acme"})
	for _, route := range partneriam.Routes() {
		p.managed(t, user, route.Method, "/v2/manage"+strings.NewReplacer("{orgId}", "org_acme", "{uid}", "bob").Replace(route.Path), "").wantError(t, http.StatusForbidden, 6002)
	}
	// A key of one organization sees that one.
	acme := h.key("acme-manager")
	p.managed(t, acme, "GET", "/v2/manage/organizations/org_acme", "").wantMembers(t, http.StatusOK, map[string]any{"Id": "org_acme"})
	p.managed(t, acme, "GET", "/v2/manage/organizations/org_globex", "").wantError(t, http.StatusNotFound, 8118)
	p.managed(t, acme, "GET", "/v2/manage/account/carol/orgcontext", "").wantMembers(t, http.StatusOK, map[string]any{
		"Data": "[map[Email: Id:user_role_acme.carol.editor OrgId:org_acme RoleId:role_editor Uid:carol]]"})
}

// TestPartnerIAMTokens: the endpoints of tokens are those of OAuth 2.0 by other names.
func TestPartnerIAMTokens(t *testing.T) {
	p, _ := startPartner(t)
	h := holdersOf(t, "default")
	body := func(more map[string]string) string {
		members := map[string]string{"client_id": "documents-api", "client_secret": h.secret("client documents-api"), "grant_type": "client_credentials", "audience": publicURL}
		for name, value := range more {
			members[name] = value
			if value == "" {
				delete(members, name)
			}
		}
		text, err := json.Marshal(members)
		must(t, err)
		return string(text)
	}
	token := p.managed(t, nil, "POST", "/service/oauth/token", body(nil)).wantMembers(t, http.StatusOK, map[string]any{"token_type": "Bearer", "expire_in": "300", "expires_in": 300})
	access, _ := token["access_token"].(string)
	for _, row := range []struct {
		name   string
		more   map[string]string
		status int
		code   string
		says   string
	}{
		{"no audience", map[string]string{"audience": ""}, 400, "invalid_request", "The audience is a required parameter."},
		{"unknown client", map[string]string{"client_id": "nobody"}, 401, "invalid_client", ""},
		{"wrong secret", map[string]string{"client_secret": "wrong"}, 401, "invalid_client", ""},
		{"another grant", map[string]string{"grant_type": "refresh_token"}, 400, "unsupported_grant_type", ""},
		{"unknown audience", map[string]string{"audience": "https://nobody.example"}, 400, "invalid_target", ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			said := p.managed(t, nil, "POST", "/service/oauth/token", body(row.more)).wantMembers(t, row.status, map[string]any{"error": row.code})
			if description, _ := said["error_description"].(string); !strings.Contains(description, row.says) {
				t.Errorf("it says %s", description)
			}
		})
	}
	about := body(map[string]string{"token": access, "token_type_hint": "access_token"})
	p.managed(t, nil, "POST", "/service/oauth/introspect", about).wantMembers(t, http.StatusOK, map[string]any{"active": true, "client_id": "documents-api"})
	if a := p.managed(t, nil, "POST", "/service/oauth/revoke", about); a.status != http.StatusOK {
		t.Errorf("revoke: %v", a)
	}
	p.managed(t, nil, "POST", "/service/oauth/introspect", about).wantMembers(t, http.StatusOK, map[string]any{"active": false})
	if a := p.send(t, "GET", "/service/oauth/jwks", ""); a.status != http.StatusOK || len(a.object(t)["keys"].([]any)) == 0 {
		t.Errorf("jwks: %v", a)
	}
}

// TestPartnerIAMOnboarding is the whole life of a customer, from a provisioning backend.
func TestPartnerIAMOnboarding(t *testing.T) {
	p, n := startPartner(t)
	h := holdersOf(t, "default")
	p.made("org", "POST", "/organizations", `{"Name": "Hooli"}`)
	org := strings.TrimPrefix(p.names["org"], "org_")
	p.verified(n, "{org}", "domain", "hooli.example")
	p.made("conn", "POST", "/organizations/{org}/connections", p.connection("SSO", "hooli.example", "hooli"))
	p.made("perm", "POST", "/permissions", `{"Name": "documents:read"}`)
	p.made("reader", "POST", "/organizations/{org}/roles", `{"Name": "reader", "Permissions": ["{perm}"]}`)
	p.call("PUT", "/organizations/{org}/policy", `{"JITPolicy": {"Enabled": true}, "MemberPolicy": {"DefaultMemberRole": "{reader}"}}`).wantMembers(t, http.StatusOK, nil)

	// The invited person follows the mailed link, and comes back to the product.
	p.made("inv", "POST", "/invitations?invitation_url=https://portal.example/callback",
		`{"email": "nora@contractor.example", "roleIds": ["{reader}"], "orgId": "{org}", "inviterUid": "alice"}`)
	const password = "Nora's own password"
	link := p.mails.link(t, "nora@contractor.example")
	joining := p.browser(t).get(link).press("Make an account", "new_password", password).signIn("nora@contractor.example", password)
	if !strings.Contains(joining.header.Get("Content-Security-Policy"), "form-action 'self' https://portal.example;") {
		t.Errorf("the form may lead to %s", joining.header.Get("Content-Security-Policy"))
	}
	if done := joining.press("Join Hooli"); done.header.Get("Location") != "https://portal.example/callback" {
		t.Fatalf("%d %v %s", done.status, done.header, done.body)
	}
	p.call("GET", "/invitations/{inv}", "").wantMembers(t, http.StatusOK, map[string]any{"Status": "accepted"})
	var members struct {
		Data []struct{ Uid, RoleId, Email string }
	}
	must(t, json.Unmarshal([]byte(p.call("GET", "/organizations/{org}/orgcontext", "").body), &members))
	if len(members.Data) != 1 || members.Data[0].RoleId != p.names["reader"] || members.Data[0].Email != "nora@contractor.example" {
		t.Fatalf("the members are %v", members)
	}
	p.names["nora"] = members.Data[0].Uid
	p.call("PUT", "/account/{nora}/orgcontext/{org}/roles", `{"RoleIds": ["role_editor"]}`).wantMembers(t, http.StatusOK, nil)

	writes := func() string {
		subject := `{"type": "user", "id": "` + p.names["nora"] + `", "properties": {"org": "` + org + `"}}`
		return p.ask(t, h.client("documents-api"), evaluationPath, strings.ReplaceAll(question(subject, "documents:write", "plan-1"), `"org":"acme"`, `"org":"`+org+`"`)).verdict()
	}
	for _, step := range []struct {
		method, path, body, want string
	}{
		{"GET", "/organizations/{org}", "", "allow"},
		{"PUT", "/organizations/{org}/status", `{"Active": false}`, "deny"},
		{"PUT", "/organizations/{org}/status", `{"Active": true}`, "allow"},
		{"DELETE", "/account/{nora}/orgcontext/{org}", "", "deny"},
		{"PUT", "/account/{nora}/orgcontext/{org}/roles", `{"RoleIds": ["role_editor"]}`, "allow"},
		{"DELETE", "/organizations/{org}", "", "deny"},
	} {
		p.call(step.method, step.path, step.body).wantMembers(t, http.StatusOK, nil)
		if got := writes(); got != step.want {
			t.Errorf("after %s %s: %s, want %s", step.method, step.path, got, step.want)
		}
	}
	p.call("GET", "/organizations/{org}", "").wantError(t, http.StatusNotFound, 8118)
	p.made("again", "POST", "/organizations", `{"Name": "Hooli"}`)
}

// Writes by this wire keep the rules of all: they are audited, and repeatable under a key.
func TestPartnerIAMWritesAreThoseOfAll(t *testing.T) {
	p, _ := startPartner(t)
	first := p.managed(t, p.as, "POST", "/v2/manage/organizations", `{"Name": "Hooli"}`, "Idempotency-Key: one")
	again := p.managed(t, p.as, "POST", "/v2/manage/organizations", `{"Name": "Hooli"}`, "Idempotency-Key: one")
	if first.status != http.StatusOK || first.body != again.body {
		t.Errorf("%v, and again %v", first, again)
	}
	id, _ := first.object(t)["Id"].(string)
	audit := p.managed(t, p.as, "GET", "/v1/orgs/"+strings.TrimPrefix(id, "org_")+"/audit?action=orgs.create", "")
	if items, _ := audit.object(t)["items"].([]any); len(items) != 1 {
		t.Errorf("the audit records are %v", audit)
	}
	p.managed(t, p.as, "PUT", "/v2/manage/organizations/"+id, `{"Name": "Hooli 2"}`, `If-Match: "1"`).wantError(t, http.StatusBadRequest, 8044)
	// All or nothing: the domain is wrong, so there is no organization.
	p.call("POST", "/organizations", `{"Name": "Halfway", "Domains": [{"DomainName": "ok.example"}, {"DomainName": "co.uk"}]}`).wantError(t, 400, 7900)
	if all := p.call("GET", "/organizations", ""); strings.Contains(all.body, "Halfway") {
		t.Errorf("there is half an organization: %v", all)
	}
	var role directory.Role
	must(t, json.Unmarshal([]byte(p.managed(t, p.as, "PATCH", "/v1/roles/viewer", `{"default": true}`).body), &role))
	p.managed(t, p.as, "DELETE", "/v1/roles/viewer", "", "Confirm: true").wantStatus(t, http.StatusConflict, "default_role")
	p.managed(t, p.as, "PATCH", "/v1/roles/editor", `{"default": true}`).wantStatus(t, http.StatusConflict, "default_role_taken")
}
