package server_test

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"mandate/datastore"
	"mandate/directory"
)

// Users of a connection are named by it and by what their provider calls them (OpenID Connect Core §5.7), so no other provider can
// come to speak for them.
func TestConnectionsStayAtTheirProvider(t *testing.T) {
	s := start(t)
	h := holdersOf(t, "default")
	tenant := h.pair("tenant-admin")
	const path = "/v1/orgs/acme/connections/okta"
	const audience = "https://documents.example"
	const first, other = "https://idp.acme.example", "https://idp.attacker.example"
	boss := url.PathEscape("acme|okta|boss")
	s.managed(t, tenant, "PUT", path, connectionOf(first, audience, `, "client_secret": "the-secret-there"`)).wantMembers(t, http.StatusCreated, nil)
	s.managed(t, tenant, "PUT", "/v1/users/"+boss, `{"username": "boss"}`).wantMembers(t, http.StatusCreated, nil)
	s.managed(t, tenant, "PUT", "/v1/orgs/acme/members/"+boss, `{"roles": ["admin"]}`).wantMembers(t, http.StatusCreated, nil)
	s.managed(t, tenant, "PUT", "/v1/orgs/acme/roles/conns", `{"permissions": ["orgs.connections.*", "documents:read", "documents:write"]}`).wantMembers(t, http.StatusCreated, nil)
	s.managed(t, tenant, "PATCH", "/v1/orgs/acme/members/bob", `{"roles": ["conns"]}`).wantMembers(t, http.StatusOK, nil)
	bob := s.administrator(t, h, "bob", "acme")

	for _, row := range []struct{ method, body string }{
		{"PATCH", `{"issuer": "` + other + `"}`},
		{"PATCH", `{"issuer": "` + other + `", "status": "disabled"}`},
		{"PATCH", `{"issuer": "` + first + `/"}`},
		{"PATCH", `{"issuer": null}`},
		{"PUT", connectionOf(other, audience, "")},
	} {
		s.managed(t, bob, row.method, path, row.body).wantStatus(t, http.StatusConflict, "issuer_fixed")
	}
	s.managed(t, bob, "PATCH", path, `{"issuer": "`+first+`", "status": "disabled"}`).wantMembers(t, http.StatusOK, map[string]any{"issuer": first})
	if got := s.connectionSecret(t, "acme", "okta"); got != "the-secret-there" {
		t.Errorf("the secret is %q", got)
	}

	s.managed(t, bob, "DELETE", path, "").wantMembers(t, http.StatusOK, nil)
	for _, issuer := range []string{other, first} {
		s.managed(t, bob, "POST", "/v1/orgs/acme/connections", connectionOf(issuer, audience, `, "id": "okta"`)).
			wantStatus(t, http.StatusUnprocessableEntity, "invalid_record")
		s.managed(t, tenant, "PUT", path, connectionOf(issuer, audience, "")).wantStatus(t, http.StatusUnprocessableEntity, "invalid_record")
	}
	imported := &directory.File{Orgs: []directory.OrgEntry{{ID: "acme", Connections: []directory.ConnectionEntry{
		{ID: "okta", Issuer: other, ClientID: "m", Audiences: []string{audience}}}}}}
	s.change(t, func(ctx context.Context, tx datastore.Tx) error {
		_, err := imported.Put(ctx, "default", tx, s.master)
		if err == nil || !strings.Contains(err.Error(), `"okta" was deleted`) {
			t.Errorf("an import that gives the id again: %v", err)
		}
		return nil
	})
	// The id is free in other organizations, where it names other users.
	s.managed(t, tenant, "PUT", "/v1/orgs/globex/connections/okta", connectionOf(other, audience, "")).wantMembers(t, http.StatusCreated, nil)
}

// A repetition is for who may still do what was asked, for its answer may have a secret.
func TestRepetitionsArePermittedAnew(t *testing.T) {
	s := start(t)
	h := holdersOf(t, "default")
	tenant := h.pair("tenant-admin")
	member := func(method, body string) {
		t.Helper()
		s.managed(t, tenant, method, "/v1/orgs/acme/members/bob", body).wantMembers(t, http.StatusOK, nil)
	}
	member("PATCH", `{"roles": ["admin"]}`)
	bob := s.administrator(t, h, "bob", "acme")
	body := `{"url": "https://hooks.example/h", "org": "acme", "events": ["*"]}`
	ask := func() answer { return s.managed(t, bob, "POST", "/v1/webhooks", body, "Idempotency-Key: k") }
	first := ask()
	if first.wantMembers(t, http.StatusCreated, nil)["secret"] == nil {
		t.Fatalf("no secret in %v", first)
	}
	if again := ask(); again.body != first.body || again.status != first.status {
		t.Errorf("repeated: %v, first %v", again, first)
	}
	for _, step := range []struct{ name, method, body string }{
		{"without the role", "PATCH", `{"roles": []}`},
		{"suspended", "PATCH", `{"status": "suspended"}`},
		{"who has left", "DELETE", ""},
	} {
		member(step.method, step.body)
		if again := ask(); again.status < 400 || strings.Contains(again.body, "whsec") {
			t.Errorf("%s: %v", step.name, again)
		}
	}
}

// What a key is for includes the conditions of the request.
func TestRepetitionsHaveTheSameConditions(t *testing.T) {
	s := start(t)
	admin := holdersOf(t, "default").pair("tenant-admin")
	for i, condition := range []string{"If-None-Match: *", "Confirm: true"} {
		path, key := fmt.Sprintf("/v1/orgs/hooli-%d", i), fmt.Sprintf("Idempotency-Key: %d", i)
		s.managed(t, admin, "PUT", path, `{}`, key, condition).wantMembers(t, http.StatusCreated, nil)
		s.managed(t, admin, "PUT", path, `{}`, key).wantStatus(t, http.StatusUnprocessableEntity, "idempotency_key_reused")
		s.managed(t, admin, "PUT", path, `{}`, key, condition).wantMembers(t, http.StatusCreated, nil)
	}
}

// Nothing is made of a password, which takes long, for who may not set it.
func TestPasswordsAreHashedForThosePermitted(t *testing.T) {
	s := start(t)
	h := holdersOf(t, "default")
	tenant, alice := h.pair("tenant-admin"), s.administrator(t, h, "alice", "acme")
	for _, row := range []struct{ method, path, body string }{
		{"POST", "/v1/users", `{"username": "zz", "password": %q}`},
		{"PUT", "/v1/users/zz", `{"username": "zz", "password": %q}`},
		{"PATCH", "/v1/users/erin", `{"password": %q}`},
		{"PATCH", "/v1/users/nobody", `{"password": %q}`},
	} {
		for _, password := range []string{"short", "long enough to be one"} {
			a := s.managed(t, alice, row.method, row.path, fmt.Sprintf(row.body, password))
			if a.status != http.StatusForbidden && a.status != http.StatusNotFound {
				t.Errorf("%s %s with %q: %v", row.method, row.path, password, a)
			}
		}
	}
	s.managed(t, tenant, "PATCH", "/v1/users/nobody", `{"password": "short"}`).wantStatus(t, http.StatusNotFound, "not_found")
	s.managed(t, tenant, "POST", "/v1/users", `{"id": "zoe", "username": "zoe", "password": "short"}`).wantStatus(t, http.StatusUnprocessableEntity, "invalid_record")
	s.managed(t, tenant, "POST", "/v1/users", `{"id": "zoe", "username": "zoe", "password": "long enough to be one"}`).wantMembers(t, http.StatusCreated, nil)
	s.managed(t, tenant, "POST", "/v1/users", `{"id": "zoe", "password": "long enough to be one"}`).wantStatus(t, http.StatusConflict, "already_exists")
}

func TestListingsByAnIndex(t *testing.T) {
	s := start(t)
	admin := holdersOf(t, "default").pair("tenant-admin")
	s.managed(t, admin, "POST", "/v1/clients", `{"id": "roaming", "org": "acme", "orgs": ["globex"], "grant_types": ["client_credentials"]}`).
		wantMembers(t, http.StatusCreated, nil)
	s.managed(t, admin, "POST", "/v1/clients", `{"id": "foreign", "orgs": ["globex"], "grant_types": ["client_credentials"]}`).
		wantMembers(t, http.StatusCreated, nil)
	ids := func(query string) []string {
		t.Helper()
		var listing struct {
			Items []struct{ ID string }
		}
		s.managed(t, admin, "GET", query, "").decode(t, &listing)
		var all []string
		for _, item := range listing.Items {
			all = append(all, item.ID)
		}
		return all
	}
	for query, want := range map[string][]string{
		"acting_in=globex":                 {"foreign", "roaming"},
		"acting_in=globex&org=acme":        {"roaming"},
		"org=acme&acting_in=globex":        {"roaming"},
		"acting_in=nowhere":                nil,
		"org=" + strings.Repeat("o", 1500): nil,
	} {
		got := ids("/v1/clients?" + query)
		got = slices.DeleteFunc(got, func(id string) bool { return id != "foreign" && id != "roaming" })
		if !slices.Equal(got, want) {
			t.Errorf("%.40s: %v, want %v", query, got, want)
		}
	}
	for _, path := range []string{"/v1/apikeys?owner=", "/v1/clients?org=", "/v1/orgs?parent=", "/v1/webhooks?vendor=", "/v1/users?status="} {
		s.managed(t, admin, "GET", path, "").wantStatus(t, http.StatusBadRequest, "invalid_request")
	}
	for _, line := range []string{"If-None-Match: *", "X-Nothing: 1"} {
		s.managed(t, admin, "PUT", "/v1/custom/..%2F", `{"value": 1}`, line).wantStatus(t, http.StatusUnprocessableEntity, "invalid_record")
	}
}

// Whose a trust rule is already, is nobody's business.
func TestTrustRulesOfOthersAreNotTold(t *testing.T) {
	s := start(t)
	h := holdersOf(t, "default")
	client := func(as credential, org string) answer {
		return s.managed(t, as, "POST", "/v1/clients", `{"org": "`+org+`", "party": "third", "scopes": ["documents:read"], "grant_types": ["client_credentials"],
			"federated_credentials": [{"issuer": "https://ci.example", "subject": "repo:x", "audience": "m", "algorithm": "ES256"}]}`)
	}
	id, _ := client(h.pair("tenant-admin"), "globex").wantMembers(t, http.StatusCreated, nil)["id"].(string)
	taken := client(h.key("acme-manager"), "acme")
	taken.wantStatus(t, http.StatusUnprocessableEntity, "invalid_record")
	if strings.Contains(taken.body, id) || !strings.Contains(taken.body, "a client of the tenant") {
		t.Errorf("%v names %s", taken, id)
	}
}

// What every decision reads is bounded.
func TestRecordsAreBounded(t *testing.T) {
	s := start(t)
	h := holdersOf(t, "default")
	tenant := h.pair("tenant-admin")
	list := func(n int) string {
		var all []string
		for i := range n {
			all = append(all, fmt.Sprintf(`"s%d"`, i))
		}
		return "[" + strings.Join(all, ",") + "]"
	}
	for _, row := range []struct {
		method, path, body string // of what fits
		more               string // of what does not
		status             int
	}{
		{"PATCH", "/v1/orgs/acme", `{"metadata": {"x": "` + strings.Repeat("a", 16<<10-8) + `"}}`, `{"metadata": {"x": "` + strings.Repeat("a", 16<<10-7) + `"}}`, 200},
		{"PUT", "/v1/orgs/acme/roles/big", `{"permissions": ` + list(1000) + `}`, `{"permissions": ` + list(1001) + `}`, 201},
		{"PUT", "/v1/roles/big", `{"permissions": ` + list(1000) + `}`, `{"permissions": ` + list(1001) + `}`, 201},
		{"PUT", "/v1/clients/big", `{"scopes": ` + list(1000) + `}`, `{"scopes": ` + list(1001) + `}`, 201},
		{"PUT", "/v1/apikeys/large", `{"scopes": ` + list(1000) + `}`, `{"scopes": ` + list(1001) + `}`, 201},
		{"PATCH", "/v1/orgs/acme/members/bob", `{"roles": ["viewer"` + strings.Repeat(`, "viewer"`, 99) + `]}`, `{"roles": ["viewer"` + strings.Repeat(`, "viewer"`, 100) + `]}`, 200},
	} {
		s.managed(t, tenant, row.method, row.path, row.more).wantStatus(t, http.StatusUnprocessableEntity, "invalid_record")
		s.managed(t, tenant, row.method, row.path, row.body).wantMembers(t, row.status, nil)
	}
}

// The places of those who wait for a revision are for callers who have authenticated, and nothing that is good for one time is
// presented twice.
func TestWaitingIsForCallers(t *testing.T) {
	s := start(t)
	h := holdersOf(t, "default")
	const never = "?at_least=99999999999"
	var all sync.WaitGroup
	for range 70 {
		all.Go(func() {
			if a := s.send(t, "GET", "/v1/orgs"+never, ""); a.status != http.StatusUnauthorized {
				t.Errorf("anonymous: %v", a)
			}
		})
	}
	all.Wait()
	began := time.Now()
	if a := s.send(t, "GET", "/v1/orgs"+never, "", h.user("ned", "ned")...); a.status != http.StatusServiceUnavailable || time.Since(began) > time.Second {
		t.Errorf("a password: %v after %v", a, time.Since(began))
	}
	p := newProver(t, s)
	token := p.token(h.client("operator"), clientCredentials).tokens(t).Access
	bound := func(at string) answer {
		return s.ask(t, credential{"Authorization: DPoP " + token, "DPoP: " + p.proof("POST", publicURL+evaluationPath, token)}, evaluationPath+at,
			question(caller, "documents:read", "r"))
	}
	if a := bound(never); a.status != http.StatusServiceUnavailable {
		t.Errorf("a proof: %v", a)
	}
	if a := bound(fmt.Sprintf("?at_least=%d", s.store.Newest())); a.status != http.StatusOK {
		t.Errorf("a proof, and a revision that is there: %v", a)
	}

	answered := make(chan answer, 1)
	next := s.store.Newest() + 1
	go func() {
		answered <- s.managed(t, h.pair("tenant-admin"), "GET", fmt.Sprintf("/v1/orgs/late?at_least=%d", next), "")
	}()
	s.managed(t, h.pair("tenant-admin"), "PUT", "/v1/orgs/late", `{}`).wantMembers(t, http.StatusCreated, nil)
	(<-answered).wantMembers(t, http.StatusOK, map[string]any{"id": "late"})
}

// An audit record has the request's own id when that is a short one.
func TestAuditRecordsHaveBoundedRequestIDs(t *testing.T) {
	s := start(t)
	admin := holdersOf(t, "default").pair("tenant-admin")
	for i, row := range []struct {
		id   string
		kept bool
	}{
		{strings.Repeat("r", 128), true}, {"!~", true}, {strings.Repeat("r", 129), false}, {"a b", false}, {"\u00fc", false},
	} {
		org := fmt.Sprintf("o%d", i)
		a := s.managed(t, admin, "PUT", "/v1/orgs/"+org, `{}`, "X-Request-ID: "+row.id)
		a.wantMembers(t, http.StatusCreated, nil)
		audit := s.managed(t, admin, "GET", "/v1/orgs/"+org+"/audit", "")
		if kept := strings.Contains(audit.body, `"request_id":"`+row.id+`"`); kept != row.kept {
			t.Errorf("%.20q is kept: %v", row.id, kept)
		}
		if shown := a.header.Get("X-Request-ID"); !strings.Contains(audit.body, `"request_id":"`+shown+`"`) {
			t.Errorf("%.20q was answered, and is not in %v", shown, audit)
		}
	}
}
