package server_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

// receiver is an endpoint that verifies what it is sent.
type receiver struct {
	url    string
	secret atomic.Pointer[standardwebhooks.Webhook]
	status atomic.Int64 // of its answers
	got    chan event
}

type event struct {
	ID   string         `json:"-"`
	Type string         `json:"type"`
	Data map[string]any `json:"data"`
}

func newReceiver(t testing.TB) *receiver {
	t.Helper()
	r := &receiver{got: make(chan event, 100)}
	r.status.Store(http.StatusNoContent)
	served := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		body, err := io.ReadAll(request.Body)
		if err == nil {
			err = r.secret.Load().VerifyIgnoringTimestamp(body, request.Header) // the clock of a test may be ahead
		}
		e := event{ID: request.Header.Get("Webhook-Id")}
		if err == nil {
			err = json.Unmarshal(body, &e)
		}
		if err != nil {
			e.Type = "refused: " + err.Error()
		}
		w.WriteHeader(int(r.status.Load()))
		r.got <- e
	}))
	t.Cleanup(served.Close)
	r.url = served.URL
	return r
}

func (r *receiver) knows(t testing.TB, secret any) {
	t.Helper()
	text, _ := secret.(string)
	verifier, err := standardwebhooks.NewWebhook(text)
	must(t, err)
	r.secret.Store(verifier)
}

// next is the next event of that type. Others are passed over.
func (r *receiver) next(t testing.TB, eventType string) event {
	t.Helper()
	deadline := time.After(20 * time.Second)
	for {
		select {
		case e := <-r.got:
			if e.Type == eventType {
				return e
			}
			if strings.HasPrefix(e.Type, "refused") {
				t.Fatal(e.Type)
			}
		case <-deadline:
			t.Fatalf("no %s has arrived", eventType)
		}
	}
}

// hook registers the receiver.
func (s *running) hook(t testing.TB, as credential, r *receiver, record string) string {
	t.Helper()
	made := s.managed(t, as, "POST", "/v1/webhooks", `{"url": "`+r.url+`", `+record+`}`).wantMembers(t, http.StatusCreated, nil)
	r.knows(t, made["secret"])
	id, _ := made["id"].(string)
	return id
}

// administrator is the access token by which a user manages an organization.
func (s *running) administrator(t testing.TB, h holders, user, org string) credential {
	t.Helper()
	const callback = "https://console.example/callback"
	code := s.code(t, user, org, asking("console", callback, "scope", "openid manage", "resource", publicURL))
	return bearer(s.token(t, h.client("console"), redemption(code, callback)).tokens(t).Access)
}

const synclyOne = "/v1/orgs/acme/integrations/syncly"

func (s *running) activate(t testing.TB, h holders) {
	t.Helper()
	s.managed(t, h.pair("tenant-admin"), "PATCH", "/v1/clients/syncly-app", `{"status": "active"}`).wantMembers(t, http.StatusOK, nil)
	s.managed(t, h.pair("tenant-admin"), "PATCH", "/v1/clients/syncly-oem", `{"status": "disabled"}`).wantMembers(t, http.StatusOK, nil)
}

// TestOneClick is system 5: a user enables an integration, and the vendor gets its credential (SYSTEMS.md §5).
func TestOneClick(t *testing.T) {
	s, h := startIntegrating(t)
	tenant := h.pair("tenant-admin")
	bob := s.administrator(t, h, "bob", "acme")
	body := `{"scopes": ["documents:read"]}`
	s.activate(t, h)
	s.managed(t, bob, "PUT", synclyOne, body).wantStatus(t, http.StatusConflict, "no_webhook")
	r := newReceiver(t)
	s.hook(t, tenant, r, `"vendor": "syncly", "events": ["integration.*"]`)

	created := s.managed(t, bob, "PUT", synclyOne, body, "Idempotency-Key: click")
	record := created.wantMembers(t, http.StatusCreated, map[string]any{"vendor": "syncly", "kind": "delegated", "status": "active", "enabled_by": "bob", "client": "syncly-app"})
	if record["credential"] != nil || record["enabled_at"] == nil {
		t.Errorf("enabled %v", created)
	}
	got := r.next(t, "integration.enabled")
	for name, want := range map[string]any{"org": "acme", "vendor": "syncly", "user": "bob", "client": "syncly-app", "id": record["id"], "kind": "delegated"} {
		if got.Data[name] != want {
			t.Errorf("%s is %v, want %v", name, got.Data[name], want)
		}
	}
	secret, _ := got.Data["credential"].(string)
	key := bearer(secret)
	if verdict := s.reads(t, h, key); verdict != "allow" {
		t.Fatalf("the credential: %s", verdict)
	}
	token := s.exchange(t, h.client("syncly-app"), secret).tokens(t).Access
	claims := claimsOf(t, token)
	if claims["sub"] != "bob" || claims["azp"] != "syncly-app" || claims["org"] != "acme" || claims["scope"] != "documents:read" {
		t.Errorf("exchanged for %v", claims)
	}
	if verdict := s.reads(t, h, bearer(token)); verdict != "allow" {
		t.Errorf("the token: %s", verdict)
	}

	for name, again := range map[string]answer{
		"repeated with its key": s.managed(t, bob, "PUT", synclyOne, body, "Idempotency-Key: click"),
		"repeated":              s.managed(t, bob, "PUT", synclyOne, body),
	} {
		if got := again.object(t); got["revision"] != record["revision"] || got["credential"] != nil || got["id"] != record["id"] {
			t.Errorf("%s: %v", name, again)
		}
	}
	s.managed(t, bob, "PUT", synclyOne, `{"scopes": []}`).wantMembers(t, http.StatusOK, map[string]any{"id": record["id"], "scopes": "[]"})
	if changed := r.next(t, "integration.changed"); changed.Data["credential"] != nil {
		t.Errorf("told %v", changed)
	}
	if verdict, exchanged := s.reads(t, h, key), s.reads(t, h, bearer(token)); verdict != "scope_missing" || exchanged != "token_powerless" {
		t.Errorf("without scopes: %s, %s", verdict, exchanged)
	}
	s.managed(t, tenant, "PATCH", synclyOne, body).wantStatus(t, http.StatusUnprocessableEntity, "invalid_record")
	s.managed(t, bob, "PUT", synclyOne, body).wantMembers(t, http.StatusOK, map[string]any{"id": record["id"]})
	if verdict := s.reads(t, h, key); verdict != "allow" {
		t.Errorf("the same credential with its scopes again: %s", verdict)
	}

	rotated, _ := s.managed(t, bob, "POST", synclyOne+"/rotate", "").wantMembers(t, http.StatusOK, nil)["credential"].(string)
	if s.reads(t, h, key) != "credential_invalid" || s.reads(t, h, bearer(rotated)) != "allow" {
		t.Error("the credential is not replaced")
	}
	delivered := s.managed(t, bob, "POST", synclyOne+"/rotate", `{"deliver": "webhook"}`)
	if delivered.object(t)["credential"] != nil {
		t.Errorf("delivered and shown: %v", delivered)
	}
	last, _ := r.next(t, "integration.enabled").Data["credential"].(string)
	if s.reads(t, h, bearer(rotated)) != "credential_invalid" || s.reads(t, h, bearer(last)) != "allow" {
		t.Error("the credential is not replaced")
	}

	// Somebody else may take it over, if their roles permit it: with another credential.
	alice := s.administrator(t, h, "alice", "acme")
	taken := s.managed(t, alice, "PUT", synclyOne, `{"scopes": ["documents:read"], "deliver": "return"}`).
		wantMembers(t, http.StatusOK, map[string]any{"enabled_by": "alice"})
	if taken["id"] == record["id"] || s.reads(t, h, bearer(last)) != "credential_invalid" || s.reads(t, h, bearer(token)) == "allow" {
		t.Errorf("taken over: %v", taken)
	}
	second, _ := taken["credential"].(string)
	if s.reads(t, h, bearer(second)) != "allow" {
		t.Error("the returned credential does not work")
	}
	s.managed(t, bob, "PUT", synclyOne, body).wantStatus(t, http.StatusForbidden, "role_missing")
	s.managed(t, bob, "DELETE", synclyOne, "").wantStatus(t, http.StatusForbidden, "role_missing")
	r.next(t, "integration.removed")
	s.managed(t, alice, "DELETE", synclyOne, "").wantMembers(t, http.StatusOK, nil)
	if removed := r.next(t, "integration.removed"); removed.Data["user"] != "alice" || removed.Data["credential"] != nil {
		t.Errorf("told %v", removed)
	}
	if s.reads(t, h, bearer(second)) != "credential_invalid" {
		t.Error("the credential outlives its integration")
	}
}

// TestEnablingIsRefused: what a user or a backend cannot enable.
func TestEnablingIsRefused(t *testing.T) {
	s, h := startIntegrating(t)
	s.activate(t, h)
	bob, backend := s.administrator(t, h, "bob", "acme"), h.key("acme-manager")
	for name, row := range map[string]struct {
		as         credential
		path, body string
		status     int
		code       string
	}{
		"a scope that the user does not hold":        {bob, synclyOne, `{"scopes": ["documents:write"], "deliver": "return"}`, 403, "not_held"},
		"for somebody else":                          {bob, synclyOne, `{"scopes": [], "user": "alice", "deliver": "return"}`, 403, "not_your_own"},
		"in another organization":                    {bob, "/v1/orgs/globex/integrations/syncly", `{"deliver": "return"}`, 404, "not_found"},
		"in an organization that there is not":       {bob, "/v1/orgs/nowhere/integrations/syncly", `{"deliver": "return"}`, 404, "not_found"},
		"an integration of the vendor itself":        {bob, "/v1/orgs/acme/integrations/backupco", `{"deliver": "return"}`, 403, "role_missing"},
		"a user's token without the scope":           {bearer(s.tokensFor(t, h, "bob", "acme", "documents:read").Access), synclyOne, `{"deliver": "return"}`, 401, "credential_invalid"},
		"by a vendor":                                {h.partner("backupco", "backupco-acme"), synclyOne, `{"deliver": "return"}`, 403, "scope_missing"},
		"a backend for nobody":                       {backend, synclyOne, `{"deliver": "return"}`, 403, "integration_malformed"},
		"a backend for a user of others":             {backend, synclyOne, `{"user": "erin", "deliver": "return"}`, 403, "integration_malformed"},
		"a backend for a suspended member":           {backend, synclyOne, `{"user": "dave", "deliver": "return"}`, 403, "integration_malformed"},
		"a backend, with what the user lacks":        {backend, synclyOne, `{"user": "bob", "scopes": ["documents:write"], "deliver": "return"}`, 403, "not_held"},
		"with what the client is not registered for": {backend, synclyOne, `{"user": "alice", "scopes": ["payments:read"], "deliver": "return"}`, 403, "not_held"},
		"by a client of another vendor":              {backend, synclyOne, `{"user": "bob", "client": "partner-app", "deliver": "return"}`, 422, "invalid_record"},
		"a vendor that there is not":                 {backend, "/v1/orgs/acme/integrations/nobody", `{"user": "bob", "client": "partner-app", "deliver": "return"}`, 422, "invalid_record"},
		"a suspended vendor":                         {backend, "/v1/orgs/globex/integrations/closedco", `{"user": "erin", "deliver": "return"}`, 404, "not_found"},
		"where the vendor has one of its own":        {backend, "/v1/orgs/acme/integrations/backupco", `{"user": "bob", "deliver": "return"}`, 409, "integration_external"},
		"by another way":                             {backend, synclyOne, `{"user": "bob", "deliver": "mail"}`, 422, "invalid_record"},
		"another kind":                               {backend, synclyOne, `{"user": "bob", "kind": "external", "deliver": "return"}`, 422, "invalid_record"},
		"an unknown member":                          {backend, synclyOne, `{"user": "bob", "colour": "blue"}`, 422, "invalid_record"},
	} {
		t.Run(name, func(t *testing.T) {
			s.managed(t, row.as, "PUT", row.path, row.body).wantStatus(t, row.status, row.code)
		})
	}
	s.managed(t, backend, "PUT", synclyOne, `{"user": "bob", "scopes": ["documents:read"], "deliver": "return"}`).
		wantMembers(t, http.StatusCreated, map[string]any{"enabled_by": "bob"})
}

// TestIntegrationIsCutOff with each thing that it rests on, at the next request, and what was exchanged with it.
func TestIntegrationIsCutOff(t *testing.T) {
	s, h := startIntegrating(t)
	s.activate(t, h)
	tenant := h.pair("tenant-admin")
	r := newReceiver(t)
	s.hook(t, tenant, r, `"vendor": "syncly", "events": ["integration.removed", "integration.suspended", "integration.resumed"]`)
	enable := func() credential {
		t.Helper()
		made := s.managed(t, s.administrator(t, h, "bob", "acme"), "PUT", synclyOne, `{"scopes": ["documents:read"], "deliver": "return"}`).
			wantMembers(t, http.StatusCreated, nil)
		secret, _ := made["credential"].(string)
		return bearer(secret)
	}
	key := enable()
	app := h.client("syncly-app")
	for _, row := range []struct{ name, path, end, restore string }{
		{"the integration", synclyOne, `{"status": "suspended"}`, `{"status": "active"}`},
		{"the membership", "/v1/orgs/acme/members/bob", `{"status": "suspended"}`, `{"status": "active"}`},
		{"the user", "/v1/users/bob", `{"status": "disabled"}`, `{"status": "active"}`},
		{"the organization", "/v1/orgs/acme", `{"status": "suspended"}`, `{"status": "active"}`},
		{"the vendor", "/v1/vendors/syncly", `{"status": "suspended"}`, `{"status": "active"}`},
		{"the client", "/v1/clients/syncly-app", `{"status": "disabled"}`, `{"status": "active"}`},
		{"what the client is registered for", "/v1/clients/syncly-app", `{"scopes": ["documents:write"]}`, `{"scopes": ["documents:read"]}`},
		{"the role", "/v1/orgs/acme/members/bob", `{"roles": []}`, `{"roles": ["viewer"]}`},
	} {
		token := bearer(s.exchange(t, app, tokenIn(key)).tokens(t).Access)
		if got, exchanged := s.reads(t, h, key), s.reads(t, h, token); got != "allow" || exchanged != "allow" {
			t.Fatalf("%s: before: %s, %s", row.name, got, exchanged)
		}
		s.managed(t, tenant, "PATCH", row.path, row.end).wantMembers(t, http.StatusOK, nil)
		if got, exchanged := s.reads(t, h, key), s.reads(t, h, token); got == "allow" || exchanged == "allow" {
			t.Errorf("%s ended: %s, %s", row.name, got, exchanged)
		}
		if row.name != "the role" {
			if code := s.exchange(t, app, tokenIn(key)).oauthError(t); code == "" {
				t.Errorf("%s ended: it is exchanged", row.name)
			}
		}
		s.managed(t, tenant, "PATCH", row.path, row.restore).wantMembers(t, http.StatusOK, nil)
	}
	r.next(t, "integration.suspended")
	r.next(t, "integration.resumed")

	// Whoever leaves and comes back has to enable it anew.
	for _, path := range []string{"/v1/orgs/acme/members/bob"} {
		s.managed(t, tenant, "DELETE", path, "").wantMembers(t, http.StatusOK, nil)
		if told := r.next(t, "integration.removed"); told.Data["user"] != "bob" {
			t.Errorf("told %v", told)
		}
		s.managed(t, tenant, "PUT", "/v1/orgs/acme/members/bob", `{"roles": ["viewer"]}`).wantMembers(t, http.StatusCreated, nil)
		if got := s.reads(t, h, key); got != "credential_invalid" {
			t.Errorf("after coming back: %s", got)
		}
		s.managed(t, tenant, "GET", synclyOne, "").wantStatus(t, http.StatusNotFound, "not_found")
		key = enable()
	}
	s.managed(t, tenant, "DELETE", "/v1/users/bob", "").wantMembers(t, http.StatusOK, nil)
	r.next(t, "integration.removed")
	if got := s.reads(t, h, key); got != "credential_invalid" {
		t.Errorf("of a deleted user: %s", got)
	}
}

// TestVendorSeesItsIntegrations, and nobody else's.
func TestVendorSeesItsIntegrations(t *testing.T) {
	s, h := startIntegrating(t)
	for _, org := range []string{"acme", "globex"} {
		s.managed(t, h.pair("tenant-admin"), "POST", "/v1/orgs/"+org+"/integrations", `{"vendor": "syncly", "scopes": ["documents:read"]}`).
			wantMembers(t, http.StatusCreated, map[string]any{"kind": "external", "vendor": "syncly"})
	}
	oem, scanly := bearer(s.issue(t, h.client("syncly-oem"), publicURL)), bearer(s.issue(t, h.client("scanly-oem"), publicURL))
	orgsIn := func(as credential, query string) (orgs, next string) {
		t.Helper()
		var page struct {
			Items []struct{ Org, Vendor string }
			Next  string `json:"next_cursor"`
		}
		a := s.managed(t, as, "GET", "/v1/vendors/syncly/integrations"+query, "")
		must(t, json.Unmarshal([]byte(a.body), &page))
		for _, item := range page.Items {
			orgs += item.Org + " "
		}
		return orgs, page.Next
	}
	for name, row := range map[string]struct {
		as   credential
		want string
	}{
		"the vendor":      {oem, "acme globex "},
		"another vendor":  {scanly, ""},
		"an organization": {h.key("acme-manager"), "acme "},
		"the tenant":      {h.pair("tenant-admin"), "acme globex "},
	} {
		if got, _ := orgsIn(row.as, ""); got != row.want {
			t.Errorf("%s sees %q, want %q", name, got, row.want)
		}
	}
	first, next := orgsIn(oem, "?limit=1")
	second, _ := orgsIn(oem, "?limit=1&cursor="+next)
	if first != "acme " || second != "globex " {
		t.Errorf("pages: %s, %s", first, second)
	}
	if got := s.items(t, oem, "/v1/orgs/acme/integrations?vendor=syncly"); len(got) != 1 || got[0]["vendor"] != "syncly" {
		t.Errorf("in the organization: %v", got)
	}
	s.managed(t, oem, "GET", "/v1/orgs/acme/integrations", "").wantStatus(t, http.StatusForbidden, "vendor_not_authorized")
	s.managed(t, scanly, "GET", synclyOne, "").wantStatus(t, http.StatusForbidden, "vendor_not_authorized")
	s.managed(t, scanly, "DELETE", synclyOne, "").wantStatus(t, http.StatusForbidden, "vendor_not_authorized")
	s.managed(t, oem, "DELETE", synclyOne, "").wantMembers(t, http.StatusOK, nil)
	if got, _ := orgsIn(oem, ""); got != "globex " {
		t.Errorf("after it was cut: %s", got)
	}
	if a := s.send(t, "GET", "/v1/vendors/syncly/integrations", ""); a.status != http.StatusUnauthorized {
		t.Errorf("nobody: %v", a)
	}
}
