package server_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"mandate/server"
)

// managed sends a request to the management API.
func (s *running) managed(t testing.TB, as credential, method, path, body string, lines ...string) answer {
	t.Helper()
	if body != "" {
		lines = append([]string{jsonType}, lines...)
	}
	return s.send(t, method, path, body, slices.Concat([]string(as), lines)...)
}

func (a answer) wantStatus(t testing.TB, status int, code string) {
	t.Helper()
	got, _ := a.object(t)["code"].(string)
	if a.status != status || got != code {
		t.Errorf("%v, want %d %s", a, status, code)
	}
}

// decode reads a good answer.
func (a answer) decode(t testing.TB, into any) {
	t.Helper()
	if err := json.Unmarshal([]byte(a.body), into); err != nil || a.status != http.StatusOK {
		t.Fatalf("%v: %v", err, a)
	}
}

func (a answer) wantMembers(t testing.TB, status int, want map[string]any) map[string]any {
	t.Helper()
	object := a.object(t)
	if a.status != status {
		t.Errorf("%v, want %d", a, status)
	}
	for name, value := range want {
		if fmt.Sprint(object[name]) != fmt.Sprint(value) {
			t.Errorf("%s is %v, want %v, in %v", name, object[name], value, a)
		}
	}
	return object
}

func TestRecordsAreManaged(t *testing.T) {
	s := start(t)
	admin := holdersOf(t, "default").pair("tenant-admin")
	created := s.managed(t, admin, "POST", "/v1/orgs", `{"id": "hooli", "name": "Hooli", "metadata": {"plan": "gold", "seats": 5}}`)
	made := created.wantMembers(t, http.StatusCreated, map[string]any{"id": "hooli", "name": "Hooli", "status": "active"})
	tag := created.header.Get("ETag")
	if tag != fmt.Sprintf(`"%v"`, made["revision"]) {
		t.Errorf("the entity tag %s is not the revision %v", tag, made["revision"])
	}
	s.managed(t, admin, "POST", "/v1/orgs", `{"id": "hooli"}`).wantStatus(t, http.StatusConflict, "already_exists")

	read := s.managed(t, admin, "GET", "/v1/orgs/hooli", "")
	if read.body != created.body || read.header.Get("ETag") != tag {
		t.Errorf("read %v, created %v", read, created)
	}
	patched := s.managed(t, admin, "PATCH", "/v1/orgs/hooli", `{"metadata": {"plan": null, "seats": 6}}`, "If-Match: "+tag)
	patched.wantMembers(t, http.StatusOK, map[string]any{"name": "Hooli", "metadata": map[string]any{"seats": 6}})
	s.managed(t, admin, "PATCH", "/v1/orgs/hooli", `{"name": "Late"}`, "If-Match: "+tag).wantStatus(t, http.StatusPreconditionFailed, "revision_changed")
	s.managed(t, admin, "PUT", "/v1/orgs/hooli", read.body).wantMembers(t, http.StatusOK, map[string]any{"metadata": map[string]any{"plan": "gold", "seats": 5}})
	s.managed(t, admin, "PUT", "/v1/orgs/hooli", `{"name": "Hooli", "owner": "me"}`).wantStatus(t, http.StatusUnprocessableEntity, "invalid_record")
	s.managed(t, admin, "PUT", "/v1/orgs/hooli", `{"id": "other", "name": "Hooli"}`).wantStatus(t, http.StatusUnprocessableEntity, "invalid_record")
	s.managed(t, admin, "GET", "/v1/orgs/none", "").wantStatus(t, http.StatusNotFound, "not_found")
	s.managed(t, admin, "PATCH", "/v1/orgs/none", `{"name": "x"}`).wantStatus(t, http.StatusNotFound, "not_found")

	s.managed(t, admin, "PUT", "/v1/orgs/hooli/members/frank", `{"roles": ["viewer"]}`).wantMembers(t, http.StatusCreated, map[string]any{"user": "frank", "status": "active"})
	s.managed(t, admin, "PUT", "/v1/orgs/hooli/members/frank", `{"roles": ["nothing"]}`).wantStatus(t, http.StatusUnprocessableEntity, "invalid_record")
	s.managed(t, admin, "DELETE", "/v1/orgs/hooli/members/frank", "").wantMembers(t, http.StatusOK, map[string]any{"user": "frank"})
	s.managed(t, admin, "GET", "/v1/orgs/hooli/members/frank", "").wantStatus(t, http.StatusNotFound, "not_found")
	s.managed(t, admin, "PUT", "/v1/custom/blocked/10.0.0.1", `{"value": {"since": 3}}`).wantMembers(t, http.StatusCreated, map[string]any{"id": "blocked/10.0.0.1"})
	s.managed(t, admin, "GET", "/v1/custom/blocked/10.0.0.1", "").wantMembers(t, http.StatusOK, map[string]any{"value": map[string]any{"since": 3}})
}

// A secret that is made is shown in the answer to the write that made it, and to a repetition of that write by the same caller.
func TestWritesAreRepeatable(t *testing.T) {
	s := start(t)
	h := holdersOf(t, "default")
	admin := h.pair("tenant-admin")
	body := `{"id": "repeated", "org": "acme", "scopes": ["documents:read"]}`
	first := s.managed(t, admin, "POST", "/v1/apikeys", body, "Idempotency-Key: one")
	key, _ := first.wantMembers(t, http.StatusCreated, nil)["key"].(string)
	if !strings.HasPrefix(key, "mdt_ak_repeated_") {
		t.Fatalf("no key in %v", first)
	}
	again := s.managed(t, admin, "POST", "/v1/apikeys", body, "Idempotency-Key: one")
	if again.body != first.body || again.status != first.status || again.header.Get("Idempotency-Replayed") != "true" {
		t.Errorf("repeated: %v, first %v", again, first)
	}
	s.managed(t, admin, "POST", "/v1/apikeys", strings.Replace(body, "read", "write", 1), "Idempotency-Key: one").
		wantStatus(t, http.StatusUnprocessableEntity, "idempotency_key_reused")
	s.managed(t, h.key("manage-only"), "POST", "/v1/apikeys", body, "Idempotency-Key: one").wantStatus(t, http.StatusConflict, "already_exists")
	if read := s.managed(t, admin, "GET", "/v1/apikeys/repeated", ""); strings.Contains(read.body, key) || read.status != http.StatusOK {
		t.Errorf("read: %v", read)
	}
}

func TestListingsHavePages(t *testing.T) {
	s := start(t)
	admin := holdersOf(t, "default").pair("tenant-admin")
	var want, got []string
	for i := range 23 {
		id := fmt.Sprintf("org-%02d", i)
		want = append(want, id)
		s.managed(t, admin, "PUT", "/v1/orgs/"+id, `{"parent": "acme", "name": "`+strings.Repeat("n", i)+`"}`).wantMembers(t, http.StatusCreated, nil)
		s.managed(t, admin, "PUT", "/v1/orgs/"+id+"/members/bob", `{"roles": ["viewer"]}`).wantMembers(t, http.StatusCreated, nil)
	}
	for _, query := range []string{"?limit=5", "?limit=5&parent=acme", "?limit=5&status=active"} {
		got = nil
		cursor := ""
		for {
			var page struct {
				Items []struct{ ID string } `json:"items"`
				Next  string                `json:"next_cursor"`
			}
			a := s.managed(t, admin, "GET", "/v1/orgs"+query+"&cursor="+cursor, "")
			if err := json.Unmarshal([]byte(a.body), &page); err != nil || a.status != http.StatusOK || len(page.Items) > 5 {
				t.Fatalf("%v %v", err, a)
			}
			for _, item := range page.Items {
				if strings.HasPrefix(item.ID, "org-") {
					got = append(got, item.ID)
				}
			}
			if cursor = page.Next; cursor == "" {
				break
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: %v", query, got)
		}
	}
	s.managed(t, admin, "GET", "/v1/orgs?colour=blue", "").wantStatus(t, http.StatusBadRequest, "invalid_request")
	s.managed(t, admin, "GET", "/v1/orgs?cursor=%2F%2F", "").wantStatus(t, http.StatusUnprocessableEntity, "invalid_record")
}

// A page of a browser has no business with a secret (SYSTEMS.md §1).
func TestSecretsInBrowsersAreRefused(t *testing.T) {
	s := start(t)
	h := holdersOf(t, "default")
	for name, as := range map[string]credential{"key pair": h.pair("tenant-admin"), "key": h.key("manage-only"), "client": h.client("manager")} {
		a := s.managed(t, as, "GET", "/v1/orgs/acme", "", "Origin: https://app.example")
		if a.status != http.StatusForbidden || a.header.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("%s: %v", name, a)
		}
		for _, path := range []string{"/v1/data/mandate/access/decision", "/v1/explain", "/v1/keys/rotate"} {
			if a := s.ask(t, as, path, `{}`, "Origin: https://app.example"); a.header.Get("Access-Control-Allow-Origin") != "" {
				t.Errorf("%s at %s: %v", name, path, a.header)
			} else {
				a.wantStatus(t, http.StatusForbidden, "secret_in_browser")
			}
		}
	}
	token := bearer(s.issue(t, h.client("manager"), publicURL))
	read := s.managed(t, token, "GET", "/v1/orgs/acme", "", "Origin: https://app.example")
	if read.wantMembers(t, http.StatusOK, map[string]any{"id": "acme"}); read.header.Get("Access-Control-Allow-Origin") != "*" {
		t.Errorf("a page cannot read %v", read)
	}
	if asked := s.send(t, "OPTIONS", "/v1/orgs/acme", "", "Origin: https://app.example", "Access-Control-Request-Method: PATCH"); asked.status != http.StatusNoContent ||
		!strings.Contains(asked.header.Get("Access-Control-Allow-Methods"), "PATCH") || asked.header.Get("Access-Control-Allow-Credentials") != "" {
		t.Errorf("a page may not ask: %v", asked)
	}
	for _, path := range []string{"/v2/manage/organizations", "/api/oem-api/integration", "/access/v1/evaluation"} {
		if asked := s.send(t, "OPTIONS", path, "", "Origin: https://app.example", "Access-Control-Request-Method: POST"); asked.header.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("pages may ask at %s: %v", path, asked)
		}
	}
}

// A caller names the revision of its own write, wherever that was acknowledged.
func TestReadsWaitForARevision(t *testing.T) {
	s := start(t)
	h := holdersOf(t, "default")
	admin := h.pair("tenant-admin")
	written := s.managed(t, admin, "PUT", "/v1/orgs/hooli", `{"name": "Hooli"}`).wantMembers(t, http.StatusCreated, nil)["revision"]
	s.managed(t, admin, "GET", fmt.Sprintf("/v1/orgs/hooli?at_least=%v", written), "").wantMembers(t, http.StatusOK, map[string]any{"revision": written})
	s.managed(t, admin, "GET", "/v1/orgs/hooli?at_least=999999999", "").wantStatus(t, http.StatusServiceUnavailable, "revision_not_reached")
	s.managed(t, admin, "GET", "/v1/orgs/hooli?at_least=soon", "").wantStatus(t, http.StatusBadRequest, "invalid_request")

	answered := make(chan answer, 1)
	next := s.store.Newest() + 1
	go func() { answered <- s.managed(t, admin, "GET", fmt.Sprintf("/v1/orgs/late?at_least=%d", next), "") }()
	s.managed(t, admin, "PUT", "/v1/orgs/late", `{}`).wantMembers(t, http.StatusCreated, nil)
	(<-answered).wantMembers(t, http.StatusOK, map[string]any{"id": "late"})
	if a := s.ask(t, h.key("gateway"), evaluationPath+fmt.Sprintf("?at_least=%v", written), question(named("user", "bob"), "documents:read", "report")); a.status != http.StatusOK {
		t.Error(a)
	}
}

func TestCredentialsInQueriesAreDeprecated(t *testing.T) {
	s := start(t)
	in := "?apikey=tenant-admin-key-1d2e&apisecret=tenant-admin-secret-3f4a"
	a := s.managed(t, nil, "GET", "/v1/orgs/acme"+in, "")
	a.wantMembers(t, http.StatusOK, map[string]any{"id": "acme"})
	if a.header.Get("Deprecation") != "@1767225600" {
		t.Errorf("no Deprecation in %v", a.header)
	}
	manager := holdersOf(t, "default").pair("tenant-admin")
	if a := s.managed(t, manager, "GET", "/v1/orgs/acme", ""); a.header.Get("Deprecation") != "" {
		t.Errorf("a header is not deprecated: %v", a.header)
	}
	if figures := s.send(t, "GET", "/metrics", "", manager...); !strings.Contains(figures.body, `mandate_query_credentials_total{tenant="default"} 1`) {
		t.Errorf("not counted: %v", figures.status)
	}
	off := start(t, func(o *server.Options) {
		for i := range o.Tenants {
			o.Tenants[i].RefuseQueryCredentials = true
		}
	})
	off.managed(t, nil, "GET", "/v1/orgs/acme"+in, "").wantStatus(t, http.StatusBadRequest, "credential_ambiguous")
}

// Who changed what, from what to what.
func TestChangesAreAudited(t *testing.T) {
	s := start(t)
	h := holdersOf(t, "default")
	s.managed(t, h.pair("tenant-admin"), "PUT", "/v1/orgs/acme/members/frank", `{"roles": ["viewer"]}`, "X-Request-ID: r-1")
	s.managed(t, h.key("acme-manager"), "PATCH", "/v1/orgs/acme/members/frank", `{"roles": ["editor"]}`)
	s.managed(t, h.key("acme-manager"), "PATCH", "/v1/orgs/acme/members/frank", `{"roles": ["editor"]}`) // changes nothing
	s.managed(t, h.pair("tenant-admin"), "PUT", "/v1/orgs/globex/members/frank", `{"roles": ["viewer"]}`)
	var listed struct {
		Items []struct {
			ID, Action string
			Resource   map[string]string
			By         map[string]string
			Request    string `json:"request_id"`
			Before     struct{ Roles []string }
			After      struct{ Roles []string }
		}
	}
	a := s.managed(t, h.key("acme-manager"), "GET", "/v1/orgs/acme/audit", "")
	if err := json.Unmarshal([]byte(a.body), &listed); err != nil || len(listed.Items) != 2 {
		t.Fatalf("%v, %v", err, a)
	}
	last, first := listed.Items[0], listed.Items[1]
	if first.Action != "orgs.members.create" || first.By["sub"] != "tenant-admin" || first.Request != "r-1" || first.Before.Roles != nil || first.After.Roles[0] != "viewer" ||
		last.Action != "orgs.members.update" || last.By["sub"] != "acme-manager" || last.Before.Roles[0] != "viewer" || last.After.Roles[0] != "editor" ||
		last.Resource["org"] != "acme" || last.Resource["id"] != "frank" {
		t.Errorf("audited: %v", a)
	}
	path := "/v1/orgs/acme/audit/" + last.ID
	s.managed(t, h.key("acme-manager"), "GET", path, "").wantMembers(t, http.StatusOK, map[string]any{"action": "orgs.members.update"})
	s.managed(t, h.pair("tenant-admin"), "GET", strings.Replace(path, "acme", "globex", 1), "").wantStatus(t, http.StatusNotFound, "not_found")
	s.managed(t, h.key("acme-manager"), "GET", "/v1/audit/"+last.ID, "").wantStatus(t, http.StatusNotFound, "not_found")
	if all := s.managed(t, h.pair("tenant-admin"), "GET", "/v1/audit?limit=1", ""); !strings.Contains(all.body, `"globex"`) || !strings.Contains(all.body, "next_cursor") {
		t.Errorf("the tenant's: %v", all)
	}
}
