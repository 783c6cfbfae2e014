package server_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"mandate/datastore"
	"mandate/directory"
)

// TestWebhooks: a receiver is told of what concerns it, and knows Mandate by its secret.
func TestWebhooks(t *testing.T) {
	s, h := startIntegrating(t)
	tenant := h.pair("tenant-admin")
	ofTenant, ofAcme := newReceiver(t), newReceiver(t)
	id := s.hook(t, tenant, ofTenant, `"id": "mirror", "events": ["orgs.*"]`)
	s.hook(t, h.key("acme-manager"), ofAcme, `"org": "acme", "events": ["*"]`)
	s.managed(t, tenant, "PATCH", "/v1/orgs/globex", `{"name": "Globex"}`).wantMembers(t, http.StatusOK, nil)
	if e := ofTenant.next(t, "orgs.update"); e.Data["resource"].(map[string]any)["id"] != "globex" {
		t.Errorf("told %v", e)
	}
	s.managed(t, tenant, "PATCH", "/v1/orgs/acme", `{"name": "Acme"}`).wantMembers(t, http.StatusOK, nil)
	if e := ofAcme.next(t, "orgs.update"); e.Data["after"].(map[string]any)["name"] != "Acme" {
		t.Errorf("told %v", e)
	}

	read := s.managed(t, tenant, "GET", "/v1/webhooks/"+id, "")
	if record := read.object(t); record["secret"] != nil || record["url"] != ofTenant.url || record["status"] != "active" {
		t.Errorf("read %v", read)
	}
	rotated := s.managed(t, tenant, "POST", "/v1/webhooks/mirror/rotate", `{"overlap": "1h"}`).wantMembers(t, http.StatusOK, nil)
	for _, overlapping := range []bool{true, false} { // the former secret goes on to sign
		if !overlapping {
			ofTenant.knows(t, rotated["secret"])
		}
		sent := s.managed(t, tenant, "POST", "/v1/webhooks/mirror/test", "").wantMembers(t, http.StatusOK, nil)
		if e := ofTenant.next(t, "webhook.test"); e.Data["webhook"] != "mirror" || e.ID+".mirror" != sent["delivery"] {
			t.Errorf("told %v, sent %v", e, sent)
		}
	}
	ended := s.managed(t, tenant, "POST", "/v1/webhooks/mirror/rotate", "").wantMembers(t, http.StatusOK, nil)
	ofTenant.knows(t, ended["secret"])
	s.managed(t, tenant, "POST", "/v1/webhooks/mirror/test", "").wantMembers(t, http.StatusOK, nil)
	ofTenant.next(t, "webhook.test")

	s.managed(t, tenant, "PATCH", "/v1/webhooks/mirror", `{"status": "disabled"}`).wantMembers(t, http.StatusOK, map[string]any{"status": "disabled"})
	s.managed(t, tenant, "POST", "/v1/webhooks/mirror/test", "").wantStatus(t, http.StatusConflict, "webhook_disabled")
	s.managed(t, tenant, "DELETE", "/v1/webhooks/mirror", "").wantMembers(t, http.StatusOK, nil)
	s.managed(t, tenant, "GET", "/v1/webhooks/mirror", "").wantStatus(t, http.StatusNotFound, "not_found")
}

// TestWebhookRecords: what makes none, and who may have which.
func TestWebhookRecords(t *testing.T) {
	s, h := startIntegrating(t)
	tenant, acme := h.pair("tenant-admin"), h.key("acme-manager")
	const events = `, "events": ["orgs.*"]`
	for name, row := range map[string]struct {
		as     credential
		body   string
		status int
		code   string
	}{
		"no events":                          {tenant, `{"url": "https://hooks.example/"}`, 422, "invalid_record"},
		"a pattern that is none":             {tenant, `{"url": "https://hooks.example/", "events": ["or*"]}`, 422, "invalid_record"},
		"no URL":                             {tenant, `{"events": ["*"]}`, 422, "invalid_record"},
		"a URL with a user":                  {tenant, `{"url": "https://a:b@hooks.example/"` + events + `}`, 422, "invalid_record"},
		"a URL with a fragment":              {tenant, `{"url": "https://hooks.example/#a"` + events + `}`, 422, "invalid_record"},
		"another scheme":                     {tenant, `{"url": "ftp://hooks.example/"` + events + `}`, 422, "invalid_record"},
		"a status that there is not":         {tenant, `{"url": "https://hooks.example/", "status": "paused"` + events + `}`, 422, "invalid_record"},
		"an organization that there is not":  {tenant, `{"url": "https://hooks.example/", "org": "nowhere"` + events + `}`, 422, "invalid_record"},
		"a vendor that there is not":         {tenant, `{"url": "https://hooks.example/", "vendor": "nobody"` + events + `}`, 422, "invalid_record"},
		"a secret of one's own":              {tenant, `{"url": "https://hooks.example/", "secret": "whsec_AAAA"` + events + `}`, 422, "invalid_record"},
		"a time of creation":                 {tenant, `{"url": "https://hooks.example/", "created_at": "2020-01-01T00:00:00Z"` + events + `}`, 422, "invalid_record"},
		"for the tenant, by an organization": {acme, `{"url": "https://hooks.example/"` + events + `}`, 404, "not_found"},
		"for another organization":           {acme, `{"url": "https://hooks.example/", "org": "globex"` + events + `}`, 404, "not_found"},
		"for a vendor, by an organization":   {acme, `{"url": "https://hooks.example/", "org": "acme", "vendor": "backupco"` + events + `}`, 403, "tenant_only"},
		"by a key without the scope":         {h.key("gateway"), `{"url": "https://hooks.example/"` + events + `}`, 403, "scope_missing"},
	} {
		t.Run(name, func(t *testing.T) {
			s.managed(t, row.as, "POST", "/v1/webhooks", row.body).wantStatus(t, row.status, row.code)
		})
	}
	for range directory.MaxWebhooks {
		s.managed(t, acme, "POST", "/v1/webhooks", `{"org": "acme", "url": "https://hooks.example/"`+events+`}`).wantMembers(t, http.StatusCreated, nil)
	}
	s.managed(t, acme, "POST", "/v1/webhooks", `{"id": "mine", "org": "acme", "url": "https://hooks.example/"`+events+`}`).wantStatus(t, http.StatusForbidden, "id_is_made")
	s.managed(t, acme, "PUT", "/v1/webhooks/mine", `{"org": "acme", "url": "https://hooks.example/"`+events+`}`).wantStatus(t, http.StatusNotFound, "not_found")
	s.managed(t, acme, "POST", "/v1/webhooks", `{"org": "acme", "url": "https://hooks.example/"`+events+`}`).wantStatus(t, http.StatusConflict, "too_many_webhooks")
	s.managed(t, tenant, "POST", "/v1/webhooks", `{"id": "syncly-hook", "vendor": "syncly", "url": "https://hooks.example/"`+events+`}`).
		wantMembers(t, http.StatusCreated, nil)
	s.managed(t, tenant, "PATCH", "/v1/webhooks/syncly-hook", `{"vendor": "scanly"}`).wantStatus(t, http.StatusUnprocessableEntity, "invalid_record")
	s.managed(t, acme, "GET", "/v1/webhooks/syncly-hook", "").wantStatus(t, http.StatusNotFound, "not_found")
	for _, row := range []struct {
		as    credential
		query string
		want  int
	}{
		{tenant, "?limit=100", directory.MaxWebhooks + 1}, {tenant, "?vendor=syncly", 1}, {tenant, "?vendor=scanly", 0}, {acme, "?org=acme&limit=7", 7},
	} {
		if got := s.items(t, row.as, "/v1/webhooks"+row.query); len(got) != row.want {
			t.Errorf("%s: %d webhooks", row.query, len(got))
		}
	}
	s.managed(t, acme, "GET", "/v1/webhooks", "").wantStatus(t, http.StatusNotFound, "not_found")
	s.managed(t, acme, "GET", "/v1/webhooks?vendor=syncly", "").wantStatus(t, http.StatusNotFound, "not_found")
}

func (s *running) items(t testing.TB, as credential, path string) []map[string]any {
	t.Helper()
	var page struct{ Items []map[string]any }
	a := s.managed(t, as, "GET", path, "")
	must(t, json.Unmarshal([]byte(a.body), &page))
	if a.status != http.StatusOK {
		t.Errorf("%s: %v", path, a)
	}
	return page.Items
}

// TestDeadLetters: what cannot be delivered is tried again, then kept, and replayed with its id.
func TestDeadLetters(t *testing.T) {
	s, h := startIntegrating(t)
	tenant := h.pair("tenant-admin")
	r := newReceiver(t)
	r.status.Store(http.StatusInternalServerError)
	s.hook(t, tenant, r, `"id": "flaky", "events": ["orgs.update"]`)
	s.managed(t, tenant, "PATCH", "/v1/orgs/acme", `{"name": "Acme"}`).wantMembers(t, http.StatusOK, nil)
	sent := r.next(t, "orgs.update")
	path := "/v1/deliveries?webhook=flaky"
	pending := s.settled(t, tenant, path, func(d map[string]any) bool { return d["attempts"] == float64(1) })
	if pending["status"] != "pending" || pending["last_error"] != "answered with status 500" || pending["id"] != sent.ID+".flaky" {
		t.Errorf("pending %v", pending)
	}
	s.managed(t, tenant, "POST", "/v1/deliveries/"+sent.ID+".flaky/replay", "").wantStatus(t, http.StatusNotFound, "not_found")

	r.status.Store(http.StatusGone) // which ends it, and disables the webhook
	s.managed(t, tenant, "POST", "/v1/webhooks/flaky/test", "").wantMembers(t, http.StatusOK, nil)
	r.next(t, "webhook.test")
	dead := s.settled(t, tenant, path+"&status=dead&type=orgs.update", func(map[string]any) bool { return true })
	if dead["status"] != "dead" || dead["died_at"] == nil {
		t.Errorf("dead %v", dead)
	}
	replay := "/v1/deliveries/" + url.PathEscape(dead["id"].(string)) + "/replay"
	s.managed(t, tenant, "POST", replay, "").wantStatus(t, http.StatusConflict, "webhook_disabled")
	r.status.Store(http.StatusNoContent)
	s.managed(t, tenant, "PATCH", "/v1/webhooks/flaky", `{"status": "active"}`).wantMembers(t, http.StatusOK, nil)
	s.managed(t, h.key("acme-manager"), "POST", replay, "").wantStatus(t, http.StatusNotFound, "not_found")
	s.managed(t, tenant, "POST", replay, "").wantMembers(t, http.StatusOK, map[string]any{"status": "pending"})
	if again := r.next(t, "orgs.update"); again.ID != sent.ID {
		t.Errorf("replayed as %s, sent as %s", again.ID, sent.ID)
	}
	s.managed(t, tenant, "POST", replay, "").wantStatus(t, http.StatusNotFound, "not_found")
	s.managed(t, tenant, "GET", "/v1/deliveries?cursor=%2F%2F", "").wantStatus(t, http.StatusUnprocessableEntity, "invalid_record")
}

// settled is the first delivery of the listing, when it is as it must become.
func (s *running) settled(t testing.TB, as credential, path string, good func(map[string]any) bool) map[string]any {
	t.Helper()
	ctx := t.Context()
	view, err := s.store.View(ctx)
	must(t, err)
	after := view.Revision()
	view.Close()
	if found := s.items(t, as, path); len(found) > 0 && good(found[0]) {
		return found[0]
	}
	deadline := time.Now().Add(20 * time.Second)
	for _, err := range s.store.Watch(ctx, after) {
		must(t, err)
		if found := s.items(t, as, path); len(found) > 0 && good(found[0]) {
			return found[0]
		}
		if time.Now().After(deadline) {
			break
		}
	}
	t.Fatalf("%s does not become what it must", path)
	return nil
}

// TestRotations: what the former secret is good for, and for how long.
func TestRotations(t *testing.T) {
	s, h := startIntegrating(t)
	tenant := h.pair("tenant-admin")
	rotate := func(path, body, member string) string {
		t.Helper()
		made, _ := s.managed(t, tenant, "POST", path+"/rotate", body).wantMembers(t, http.StatusOK, nil)[member].(string)
		if made == "" {
			t.Errorf("%s: no %s", path, member)
		}
		return made
	}
	self := func(c credential) string {
		return s.ask(t, c, evaluationPath, question(caller, "documents:read", "report")).verdict()
	}

	first := h.key("alice-read")
	second := bearer(rotate("/v1/apikeys/alice-read", `{"overlap": "24h"}`, "key"))
	if self(first) != "allow" || self(second) != "allow" {
		t.Errorf("during the overlap: %s, %s", self(first), self(second))
	}
	s.clock.advance(25 * time.Hour)
	if self(first) != "unauthorized" || self(second) != "allow" {
		t.Errorf("after the overlap: %s, %s", self(first), self(second))
	}
	third := bearer(rotate("/v1/apikeys/alice-read", "", "key"))
	if self(second) != "unauthorized" || self(third) != "allow" {
		t.Errorf("without an overlap: %s, %s", self(second), self(third))
	}
	for _, overlap := range []string{`"169h"`, `"-1s"`, `"soon"`, `24`} {
		s.managed(t, tenant, "POST", "/v1/apikeys/alice-read/rotate", `{"overlap": `+overlap+`}`).wantStatus(t, http.StatusUnprocessableEntity, "invalid_record")
	}
	s.managed(t, tenant, "POST", "/v1/apikeys/revoked/rotate", "").wantStatus(t, http.StatusConflict, "key_revoked")
	s.managed(t, tenant, "POST", "/v1/apikeys/none/rotate", "").wantStatus(t, http.StatusNotFound, "not_found")

	works := func(secret string) bool {
		return s.token(t, basic("operator", secret), "grant_type=client_credentials&audience="+publicURL).status == http.StatusOK
	}
	old := h.secret("client operator")
	next := rotate("/v1/clients/operator", "", "client_secret")
	if !works(old) || !works(next) {
		t.Error("a client's two secrets do not both work")
	}
	s.managed(t, tenant, "POST", "/v1/clients/operator/rotate", "").wantStatus(t, http.StatusConflict, "two_secrets")
	s.managed(t, tenant, "DELETE", "/v1/clients/operator/secrets/former", "").wantMembers(t, http.StatusOK, map[string]any{"id": "operator"})
	if works(old) || !works(next) {
		t.Error("the former secret does not end alone")
	}
	last := rotate("/v1/clients/operator", `{"former": "end"}`, "client_secret")
	if works(next) || !works(last) {
		t.Error("the former secret does not end at once")
	}
	s.managed(t, tenant, "POST", "/v1/clients/key-client/rotate", "").wantStatus(t, http.StatusConflict, "no_secret")

	pair := h.partner("backupco", "backupco-acme")
	token := rotate("/v1/vendors/backupco", "", "token")
	h.secrets["vendor backupco"] = token
	if s.reads(t, h, pair) != "credential_invalid" || s.reads(t, h, h.partner("backupco", "backupco-acme")) != "allow" {
		t.Error("the vendor's token is not replaced")
	}
	for _, path := range []string{"/v1/apikeys/alice-read", "/v1/clients/operator", "/v1/vendors/backupco"} {
		s.managed(t, h.key("gateway"), "POST", path+"/rotate", "").wantStatus(t, http.StatusForbidden, "scope_missing")
	}
	audit, err := json.Marshal(s.items(t, tenant, "/v1/audit?limit=500"))
	must(t, err)
	for _, secret := range []string{tokenIn(second), next, token} {
		if strings.Contains(string(audit), secret) {
			t.Error("a secret is in the audit")
		}
	}
	if !strings.Contains(string(audit), `"clients.rotate"`) || !strings.Contains(string(audit), `"apikeys.rotate"`) {
		t.Error("a rotation is not in the audit")
	}
}

// TestAPIKeysOfUsers are made in the organization that the user is signed in to (SYSTEMS.md §2).
func TestAPIKeysOfUsers(t *testing.T) {
	s, h := startIntegrating(t)
	dora, bob := s.administrator(t, h, "dora", "acme"), s.administrator(t, h, "bob", "acme")
	made := s.managed(t, dora, "POST", "/v1/apikeys", `{"scopes": ["documents:read"]}`).
		wantMembers(t, http.StatusCreated, map[string]any{"org": "acme", "owner": "dora", "status": "active", "kind": "bearer"})
	key, _ := made["key"].(string)
	prefix, _ := made["prefix"].(string)
	id, _ := made["id"].(string)
	if !strings.HasPrefix(key, prefix) || prefix == "" || s.ask(t, bearer(key), evaluationPath, question(caller, "documents:read", "report")).verdict() != "allow" {
		t.Fatalf("made %v", made)
	}
	for name, row := range map[string]struct {
		as     credential
		body   string
		status int
		code   string
	}{
		"without the role":           {bob, `{"scopes": ["documents:read"]}`, 403, "role_missing"},
		"more than the user holds":   {dora, `{"scopes": ["payments:read"]}`, 403, "not_held"},
		"scopes of Mandate":          {dora, `{"scopes": ["manage"]}`, 403, "not_held"},
		"for somebody else":          {dora, `{"owner": "alice", "scopes": ["documents:read"]}`, 403, "not_your_own"},
		"for another organization":   {dora, `{"org": "globex", "scopes": ["documents:read"]}`, 404, "not_found"},
		"that has expired":           {dora, `{"scopes": ["documents:read"], "expires_at": "2020-01-01T00:00:00Z"}`, 422, "invalid_record"},
		"with a key of one's own":    {dora, `{"scopes": ["documents:read"], "key": "secret"}`, 422, "invalid_record"},
		"with a prefix of one's own": {dora, `{"scopes": ["documents:read"], "prefix": "mdt"}`, 422, "invalid_record"},
	} {
		t.Run(name, func(t *testing.T) {
			s.managed(t, row.as, "POST", "/v1/apikeys", row.body).wantStatus(t, row.status, row.code)
		})
	}
	if found := s.items(t, dora, "/v1/apikeys?owner=dora&org=acme"); len(found) == 0 {
		t.Error("a user's own keys are not listed")
	}
	s.change(t, func(ctx context.Context, tx datastore.Tx) error {
		return directory.Tenant("default").PutLastUse(ctx, tx, "apikeys", id, s.clock.now())
	})
	read := s.managed(t, dora, "GET", "/v1/apikeys/"+id, "")
	if used, _ := read.object(t)["last_used_at"].(string); used == "" {
		t.Errorf("no last use: %v", read)
	}
	s.managed(t, dora, "PUT", "/v1/apikeys/"+id, read.body).wantMembers(t, http.StatusOK, map[string]any{"prefix": prefix})
	s.managed(t, dora, "PATCH", "/v1/apikeys/"+id, `{"status": "revoked"}`).wantMembers(t, http.StatusOK, map[string]any{"status": "revoked"})
	s.managed(t, dora, "PATCH", "/v1/apikeys/"+id, `{"status": "active"}`).wantStatus(t, http.StatusConflict, "key_revoked")
	if verdict := s.ask(t, bearer(key), evaluationPath, question(caller, "documents:read", "report")).verdict(); verdict != "unauthorized" {
		t.Errorf("revoked: %s", verdict)
	}
}

// TestClientIsNotUnboundByAccident: a client of no organization may act in every one.
func TestClientIsNotUnboundByAccident(t *testing.T) {
	s, h := startIntegrating(t)
	tenant := h.pair("tenant-admin")
	path := "/v1/clients/acme-sync"
	s.managed(t, tenant, "PATCH", path, `{"orgs": ["globex"]}`).wantMembers(t, http.StatusOK, nil)
	s.managed(t, tenant, "PATCH", path, `{"org": null}`).wantMembers(t, http.StatusOK, map[string]any{"orgs": "[globex]"})
	s.managed(t, tenant, "PATCH", path, `{"orgs": []}`).wantStatus(t, http.StatusConflict, "client_unbound")
	s.managed(t, tenant, "PATCH", path, `{"orgs": null}`).wantStatus(t, http.StatusConflict, "client_unbound")
	s.managed(t, tenant, "PATCH", path, `{"orgs": null}`, "Confirm: true").wantMembers(t, http.StatusOK, nil)
	s.managed(t, h.key("acme-manager"), "PATCH", "/v1/clients/acme-writer", `{"org": null}`).wantStatus(t, http.StatusForbidden, "tenant_only")
}
