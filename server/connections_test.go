package server_test

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"mandate/directory"
)

// connectionOf is the body of a connection to the provider.
func connectionOf(issuer, audience, more string) string {
	return fmt.Sprintf(`{"issuer": %q, "client_id": "mandate", "audiences": [%q], "algorithm": "ES256", "role_claim": "groups", "role_mapping": {"staff": "editor"}%s}`,
		issuer, audience, more)
}

// verifyDomain adds a domain to an organization and proves that it is its own.
func (s *running) verifyDomain(t *testing.T, n *nameServer, org, domain string) {
	t.Helper()
	admin := holdersOf(t, "default").pair("tenant-admin")
	name, value := s.addDomain(t, admin, org, domain)
	n.set(0, name, value)
	s.managed(t, admin, "POST", "/v1/orgs/"+org+"/domains/"+domain+"/verify", "").wantMembers(t, http.StatusOK, map[string]any{"status": "verified"})
}

func TestConnectionsAreManaged(t *testing.T) {
	n := newNameServer(t)
	s := start(t, n.use)
	p := newIdentityProvider(t)
	h := holdersOf(t, "default")
	admin, acme := h.pair("tenant-admin"), h.key("acme-manager")
	const path = "/v1/orgs/acme/connections/sso"
	const secret = "the-secret-at-the-provider"
	body := func(more string) string { return connectionOf(p.URL, "https://documents.example", more) }

	// A connection is for a verified domain of its organization, which has no other (WIRE.md: 8150, 8177, 8149).
	for _, row := range []struct {
		name, domain, code string
		prepare            func()
	}{
		{"a domain of nobody", "acme.example", "domain_unknown", func() {}},
		{"a domain of another organization", "globex.example", "domain_unknown", func() { s.verifyDomain(t, n, "globex", "globex.example") }},
		{"a domain that is not verified", "acme.example", "domain_not_verified", func() { s.addDomain(t, acme, "acme", "acme.example") }},
	} {
		row.prepare()
		s.managed(t, acme, "PUT", path, body(`, "domain": "`+row.domain+`"`)).wantStatus(t, http.StatusConflict, row.code)
	}
	s.managed(t, acme, "DELETE", "/v1/orgs/acme/domains/acme.example", "").wantMembers(t, http.StatusOK, nil)
	s.verifyDomain(t, n, "acme", "acme.example")
	made := s.managed(t, acme, "PUT", path, body(`, "domain": "acme.example", "client_secret": "`+secret+`"`))
	made.wantMembers(t, http.StatusCreated, map[string]any{"id": "sso", "domain": "acme.example", "status": "active", "issuer": p.URL})
	s.managed(t, acme, "PUT", "/v1/orgs/acme/connections/two", connectionOf(p.URL, "https://two.example", `, "domain": "acme.example"`)).
		wantStatus(t, http.StatusConflict, "domain_has_connection")
	s.managed(t, acme, "DELETE", "/v1/orgs/acme/domains/acme.example", "").wantStatus(t, http.StatusConflict, "domain_in_use")
	s.managed(t, acme, "POST", "/v1/orgs/acme/connections", body(`, "id": "sso"`)).wantStatus(t, http.StatusConflict, "already_exists")

	// The connections of others are nobody's business.
	taken := s.managed(t, admin, "PUT", "/v1/orgs/globex/connections/sso", body(""))
	if taken.status != http.StatusUnprocessableEntity || strings.Contains(taken.body, "acme") {
		t.Errorf("the issuer and audience of another organization: %v", taken)
	}

	s.managed(t, acme, "PATCH", path, `{"status": "disabled"}`).wantMembers(t, http.StatusOK, map[string]any{"status": "disabled", "domain": "acme.example"})
	s.managed(t, acme, "PATCH", path, `{"status": "gone"}`).wantStatus(t, http.StatusUnprocessableEntity, "invalid_record")
	s.managed(t, acme, "PATCH", path, `{"status": "active"}`).wantMembers(t, http.StatusOK, map[string]any{"status": "active"})
	s.managed(t, acme, "PATCH", path, `{"role_mapping": {"staff": "nothing"}}`).wantStatus(t, http.StatusUnprocessableEntity, "invalid_record")

	// The secret is written, changed and never shown.
	if got := s.connectionSecret(t, "acme", "sso"); got != secret {
		t.Errorf("the secret is %q", got)
	}
	rotated := s.managed(t, acme, "POST", path+"/rotate", `{"client_secret": "another-secret-there"}`)
	rotated.wantMembers(t, http.StatusOK, map[string]any{"id": "sso"})
	for _, wrong := range []string{`{}`, `{"client_secret": ""}`, `{"client_secret": 5}`, `{"client_secret": "x", "issuer": "https://x.example"}`, `{"secret": "x"}`,
		`{"client_secret": "x", "password_hash": "y"}`} {
		s.managed(t, acme, "POST", path+"/rotate", wrong).wantStatus(t, http.StatusUnprocessableEntity, "invalid_record")
	}
	patched := s.managed(t, acme, "PATCH", path, `{"client_secret": "third-secret-there"}`)
	patched.wantMembers(t, http.StatusOK, map[string]any{"id": "sso"})
	if got := s.connectionSecret(t, "acme", "sso"); got != "third-secret-there" {
		t.Errorf("the secret is %q", got)
	}
	audit := s.managed(t, acme, "GET", "/v1/orgs/acme/audit?limit=100", "")
	for _, a := range []answer{made, rotated, patched, audit, s.managed(t, acme, "GET", path, ""), s.managed(t, acme, "GET", "/v1/orgs/acme/connections", "")} {
		if strings.Contains(a.body, "secret-") {
			t.Errorf("a secret is shown: %v", a)
		}
	}
	for action, times := range map[string]int{"orgs.connections.rotate": 1, "orgs.connections.update": 3} {
		if got := strings.Count(audit.body, `"action":"`+action+`"`); got != times {
			t.Errorf("%s is audited %d times, want %d", action, got, times)
		}
	}

	// It goes to nobody but the provider that it is for.
	s.managed(t, acme, "PATCH", path, `{"issuer": "https://attacker.example"}`).wantStatus(t, http.StatusConflict, "issuer_fixed")
	s.managed(t, acme, "DELETE", path, "").wantMembers(t, http.StatusOK, map[string]any{"id": "sso"})
	s.managed(t, acme, "DELETE", "/v1/orgs/acme/domains/acme.example", "").wantMembers(t, http.StatusOK, nil)
	s.managed(t, acme, "POST", path+"/rotate", `{"client_secret": "x"}`).wantStatus(t, http.StatusNotFound, "not_found")
	for _, verb := range []string{"", "/test", "/rotate"} {
		method := map[bool]string{true: "GET", false: "POST"}[verb == ""]
		one := s.managed(t, acme, method, "/v1/orgs/globex/connections/sso"+verb, "{}").object(t)
		two := s.managed(t, acme, method, "/v1/orgs/nothing/connections/sso"+verb, "{}").object(t)
		delete(one, "request_id")
		delete(two, "request_id")
		if fmt.Sprint(one) != fmt.Sprint(two) || one["code"] != "not_found" {
			t.Errorf("%s%s: %v, and of no organization %v", method, verb, one, two)
		}
	}
	s.managed(t, admin, "PATCH", "/v1/orgs/acme", `{"status": "suspended"}`).wantMembers(t, http.StatusOK, nil)
	if a := s.managed(t, acme, "PUT", path, body("")); a.status < 400 {
		t.Errorf("a suspended organization gets a connection: %v", a)
	}
}

// connectionSecret is what is presented to the provider.
func (s *running) connectionSecret(t *testing.T, org, id string) string {
	t.Helper()
	view, err := s.store.View(t.Context())
	must(t, err)
	defer view.Close()
	sealed, found, err := directory.Tenant("default").ConnectionSecret(org, id).Find(t.Context(), view)
	must(t, err)
	if !found {
		return ""
	}
	secret, err := s.master.Open(sealed.Sealed, directory.SealedFor(org, id))
	must(t, err)
	return string(secret)
}

// TestDomainsLeadToTheirConnection: whose domain it is, as long as it is theirs, is signed in there.
func TestDomainsLeadToTheirConnection(t *testing.T) {
	n := newNameServer(t)
	s := start(t, n.use)
	p := newIdentityProvider(t)
	admin := holdersOf(t, "default").pair("tenant-admin")
	s.verifyDomain(t, n, "globex", "globex.example")
	const path = "/v1/orgs/globex/connections/sso"
	s.managed(t, admin, "PUT", path, connectionOf(p.URL, "https://documents.example", `, "domain": "globex.example"`)).wantMembers(t, http.StatusCreated, nil)
	leads := func(email string) bool {
		t.Helper()
		shown := s.browser(t).get("/login").press("Continue", "username", email)
		return strings.Contains(shown.body, url.QueryEscape("code_challenge")) && strings.Contains(shown.body, p.URL)
	}
	for _, step := range []struct {
		name   string
		change func()
		email  string
		want   bool
	}{
		{"its people", func() {}, "hank@globex.example", true},
		{"other people", func() {}, "hank@acme.example", false},
		{"a look-alike", func() {}, "hank@gl\u043ebex.example", false},
		{"disabled", func() { s.managed(t, admin, "PATCH", path, `{"status": "disabled"}`) }, "hank@globex.example", false},
		{"enabled", func() { s.managed(t, admin, "PATCH", path, `{"status": "active"}`) }, "hank@globex.example", true},
		{"the domain is lost", func() {
			n.set(0, "_mandate-challenge.globex.example")
			for range 2 {
				s.clock.advance(73 * time.Hour)
				must(t, n.manager.Maintain(t.Context()))
			}
		}, "hank@globex.example", false},
	} {
		step.change()
		if got := leads(step.email); got != step.want {
			t.Errorf("%s: %s is sent to the provider: %v", step.name, step.email, got)
		}
	}
	// It can be disabled still, and enabled again only when the domain is.
	s.managed(t, admin, "PATCH", path, `{"status": "disabled"}`).wantMembers(t, http.StatusOK, nil)
	s.managed(t, admin, "PATCH", path, `{"status": "active"}`).wantStatus(t, http.StatusConflict, "domain_not_verified")
}

func TestConnectionsAreTested(t *testing.T) {
	s := start(t)
	p := newIdentityProvider(t)
	acme := holdersOf(t, "default").key("acme-manager")
	test := func(issuer string) (bool, string) {
		t.Helper()
		id, _ := s.managed(t, acme, "POST", "/v1/orgs/acme/connections", connectionOf(issuer, "https://documents.example", "")).
			wantMembers(t, http.StatusCreated, nil)["id"].(string)
		a := s.managed(t, acme, "POST", "/v1/orgs/acme/connections/"+id+"/test", "")
		result := a.object(t)
		checks, _ := result["checks"].([]any)
		if a.status != http.StatusOK || len(checks) == 0 || len(a.body) > 8<<10 {
			t.Fatalf("the test of %s: %v", issuer, a)
		}
		for _, check := range checks {
			if check, _ := check.(map[string]any); check["ok"] != true {
				return result["ok"] == true, fmt.Sprint(check["name"], ": ", check["detail"])
			}
		}
		return result["ok"] == true, ""
	}
	for _, row := range []struct{ name, issuer, wrong string }{
		{"a provider", p.URL, ""},
		{"another path", p.URL + "/tenant", "discovery: It answered with status 404, not 200."},
		{"a private network (SSRF)", "https://10.0.0.1", "discovery: The host has no public address that could be found."},
		{"the metadata of a cloud (SSRF)", "https://169.254.169.254/latest", "discovery: The host has no public address that could be found."},
		{"an IPv4 address in IPv6 (SSRF)", "https://[::ffff:10.0.0.1]", "discovery: The host has no public address that could be found."},
		{"a name that there is not", "https://idp.invalid", "discovery: The host has no public address that could be found."},
	} {
		if ok, wrong := test(row.issuer); ok != (row.wrong == "") || wrong != row.wrong {
			t.Errorf("%s: %v %q", row.name, ok, wrong)
		}
	}
}
