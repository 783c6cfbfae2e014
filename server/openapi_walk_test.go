package server_test

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// The check of all traffic would find what is not documented.
func TestTheDocumentIsHeld(t *testing.T) {
	s := start(t)
	text := s.send(t, "GET", "/openapi.json", "").body
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/openapi.json" {
			_, _ = io.WriteString(w, text)
			return
		}
		w.Header().Set("Content-Type", r.Header.Get("X-Media"))
		for _, line := range r.Header.Values("X-Header") {
			name, value, _ := strings.Cut(line, ": ")
			w.Header().Set(name, value)
		}
		status, _ := strconv.Atoi(r.Header.Get("X-Status"))
		w.WriteHeader(status)
		_, _ = io.WriteString(w, r.Header.Get("X-Body"))
	}))
	defer other.Close()
	const org = `{"id":"acme","name":"Acme","status":"active","revision":3}`
	for name, c := range map[string]struct {
		method, path, sent string
		status             string
		media, header      string
		body               string
		want               string // empty when nothing is to be found
	}{
		"as described":            {"GET", "/v1/orgs/acme", "", "200", "application/json", `ETag: "3"`, org, ""},
		"an undeclared route":     {"GET", "/v1/planets", "", "200", "application/json", "", `{}`, "not described"},
		"an undeclared method":    {"POST", "/v1/orgs/acme", `{}`, "200", "application/json", `ETag: "3"`, org, "not described"},
		"an undeclared status":    {"GET", "/v1/orgs/acme", "", "418", "application/json", "", `{}`, "the status is not described"},
		"a required header":       {"GET", "/v1/orgs/acme", "", "200", "application/json", "", org, "ETag is missing"},
		"an undeclared header":    {"PUT", "/v1/orgs/acme", `{}`, "200", "application/json", "X-Powered-By: me", org, "X-Powered-By is not described"},
		"another media type":      {"GET", "/v1/orgs/acme", "", "200", "text/plain", `ETag: "3"`, org, "media type text/plain"},
		"a member too many":       {"GET", "/v1/orgs/acme", "", "200", "application/json", `ETag: "3"`, strings.Replace(org, "{", `{"hash":"x",`, 1), "hash"},
		"a member too few":        {"GET", "/v1/orgs/acme", "", "200", "application/json", `ETag: "3"`, `{"id":"acme"}`, "missing properties"},
		"a type":                  {"GET", "/v1/orgs/acme", "", "200", "application/json", `ETag: "3"`, strings.Replace(org, "3", `"3"`, 1), "got string, want integer"},
		"an undeclared parameter": {"GET", "/v1/orgs/acme?colour=blue", "", "200", "application/json", `ETag: "3"`, org, "the query has colour"},
		"an undeclared request":   {"PUT", "/v1/orgs/acme", `{"owner": "me"}`, "200", "application/json", `ETag: "3"`, org, "owner"},
		"a body for nothing":      {"DELETE", "/v1/orgs/acme", `{}`, "200", "application/json", `ETag: "3"`, `{"id":"acme","revision":3}`, "there is a body"},
	} {
		t.Run(name, func(t *testing.T) {
			transport := newChecked(&http.Transport{})
			request, err := http.NewRequestWithContext(t.Context(), c.method, other.URL+c.path, strings.NewReader(c.sent))
			must(t, err)
			request.Header = http.Header{"Content-Type": {"application/json"}, "X-Status": {c.status}, "X-Media": {c.media}, "X-Header": {c.header}, "X-Body": {c.body}}
			response, err := transport.RoundTrip(request)
			must(t, err)
			must(t, response.Body.Close())
			found := strings.Join(transport.report(), "\n")
			if (c.want == "") != (found == "") || !strings.Contains(found, c.want) {
				t.Errorf("found %q, want %q", found, c.want)
			}
		})
	}
}

// TestEveryOperationAnswersAsDescribed asks for every operation: without a credential, with one that may do all, about what is not
// there and with a body that says nothing, and with a body that is none.
func TestEveryOperationAnswersAsDescribed(t *testing.T) {
	s := start(t)
	admin := holdersOf(t, "default").pair("tenant-admin")
	transport := newChecked(&http.Transport{})
	defer transport.CloseIdleConnections()
	ask := func(method, path, media, body string, as credential) {
		t.Helper()
		request, err := http.NewRequestWithContext(t.Context(), method, s.url+path, strings.NewReader(body))
		must(t, err)
		if body != "" {
			request.Header.Set("Content-Type", media)
		}
		for _, line := range as {
			name, value, _ := strings.Cut(line, ": ")
			request.Header.Set(name, value)
		}
		response, err := transport.RoundTrip(request)
		must(t, err)
		_, err = io.Copy(io.Discard, response.Body)
		must(t, errors.Join(err, response.Body.Close()))
	}
	d, err := newDocumented([]byte(s.send(t, "GET", "/openapi.json", "").body))
	must(t, err)
	asked := 0
	for name, item := range d.document["paths"].(map[string]any) {
		for method, operation := range item.(map[string]any) {
			o, ok := operation.(map[string]any)
			if !ok {
				continue
			}
			method, path := strings.ToUpper(method), regexp.MustCompile(`\{[^}]+\}`).ReplaceAllString(name, "nothing")
			body, _ := o["requestBody"].(map[string]any)
			contents, _ := body["content"].(map[string]any)
			ask(method, path, "", "", nil)
			ask(method, path, "", "", admin)
			for media := range contents {
				ask(method, path, media, "{}", admin)
				ask(method, path, media, "[", admin)
			}
			asked++
		}
	}
	if asked < 150 {
		t.Errorf("only %d operations are described", asked)
	}
	for _, problem := range transport.report() {
		t.Error(problem)
	}
}

// TestCollectionsAnswerAsDescribed makes a record in collections, and does all to it that can be done: the check of all traffic looks on.
func TestCollectionsAnswerAsDescribed(t *testing.T) {
	s := start(t)
	admin := holdersOf(t, "default").pair("tenant-admin")
	for _, c := range []struct{ collection, id, body, patch string }{
		{"/v1/apis", "billing", `{"id": "billing", "audience": "https://billing.example", "scopes": ["invoices:read"]}`, `{"token_lifetime": 300}`},
		{"/v1/clients", "reports", `{"id": "reports", "org": "acme", "grant_types": ["client_credentials"], "scopes": ["documents:read"]}`, `{"status": "disabled"}`},
		{"/v1/custom", "blocked", `{"id": "blocked", "value": {"since": 3}}`, `{"value": {"until": 4}}`},
		{"/v1/orgs/acme/members", "frank", `{"user": "frank", "roles": ["viewer"]}`, `{"status": "suspended"}`},
		{"/v1/orgs/acme/roles", "reader", `{"id": "reader", "permissions": ["documents:read"]}`, `{"permissions": []}`},
		{"/v1/relations/document/plan/viewer", "user:frank", `{"subject": "user:frank"}`, `{}`},
		{"/v1/roles", "writer", `{"id": "writer", "permissions": ["documents:write"]}`, `{"permissions": []}`},
		{"/v1/users", "judy", `{"id": "judy", "username": "judy", "password": "correct horse battery staple"}`, `{"status": "disabled"}`},
		{"/v1/vendors", "syncly", `{"id": "syncly", "name": "Syncly"}`, `{"status": "suspended"}`},
	} {
		record := c.collection + "/" + c.id
		s.managed(t, admin, "POST", c.collection, c.body, "Idempotency-Key: "+record).wantMembers(t, http.StatusCreated, nil)
		read := s.managed(t, admin, "GET", record, "")
		read.wantMembers(t, http.StatusOK, nil)
		s.managed(t, admin, "GET", c.collection+"?limit=100", "").wantMembers(t, http.StatusOK, nil)
		s.managed(t, admin, "PUT", record, read.body, "If-Match: "+read.header.Get("ETag")).wantMembers(t, http.StatusOK, nil)
		s.send(t, "PATCH", record, c.patch, append(admin, "Content-Type: application/merge-patch+json")...).wantMembers(t, http.StatusOK, nil)
		s.managed(t, admin, "DELETE", record, "", "Confirm: true").wantMembers(t, http.StatusOK, nil)
	}
	for _, path := range []string{"/v1/consents/alice", "/v1/orgs/acme/invitations", "/v1/orgs/acme/domains", "/v1/audit"} {
		s.managed(t, admin, "GET", path, "").wantMembers(t, http.StatusOK, nil)
	}
}
