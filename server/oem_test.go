package server_test

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"mandate/directory"
	"mandate/server"
)

// integrating are a vendor that integrates from zero, with the client of its backend, one by which it acts for users, and the
// application from which people administer their organizations.
const integrating = `
tenant: default
vendors:
  - {id: syncly, token: "syncly-vendor-token-3b4c"}
clients:
  - {id: syncly-oem, secret: "syncly-oem-secret-1a2b", vendor: syncly, scopes: ["oem:partner_token", "documents:read"], grant_types: [client_credentials], audiences: ["https://documents.example"]}
  - {id: scanly-oem, secret: "scanly-oem-secret-3c4d", vendor: scanly, scopes: ["oem:partner_token", "documents:read"], grant_types: [client_credentials]}
  - {id: syncly-app, secret: "syncly-app-secret-7f8a", status: disabled, party: third, vendor: syncly, grant_types: [client_credentials, "urn:ietf:params:oauth:grant-type:token-exchange"], scopes: ["documents:read", "documents:write"], audiences: ["https://documents.example"]}
`

func startIntegrating(t *testing.T, alter ...func(*server.Options)) (*running, holders) {
	t.Helper()
	s, h := start(t, alter...), holdersOf(t, "default")
	file, err := directory.ParseFile(strings.NewReader(integrating))
	must(t, err)
	for _, c := range file.Clients {
		h.secrets["client "+c.ID] = c.Secret.Expose()
	}
	for _, v := range file.Vendors {
		h.secrets["vendor "+v.ID] = v.Token.Expose()
	}
	_, err = directory.Importer{Store: s.store, Master: s.master}.Import(t.Context(), "default", file)
	must(t, err)
	return s, h
}

const oemPath = "/api/oem-api/integration"

func oemBody(org, vendor string) string {
	return `{"integrationType": "external", "organizationId": "` + org + `", "vendorId": "` + vendor + `"}`
}

func (h holders) pairOf(vendor, partner string) credential {
	return bearer(base64.StdEncoding.EncodeToString([]byte(h.secret("vendor "+vendor) + ":" + partner)))
}

// reads asks whether who presents the credential may read a document of acme: allow, or why not.
func (s *running) reads(t testing.TB, h holders, c credential) string {
	t.Helper()
	a := s.ask(t, h.key("gateway"), evaluationPath, question(presented(t, c), "documents:read", "report"))
	if a.verdict() == "deny" {
		return a.decision(t).reason()
	}
	return a.verdict()
}

// TestVendorIntegrates is system 3 from zero to its end (SYSTEMS.md §3).
func TestVendorIntegrates(t *testing.T) {
	s, h := startIntegrating(t)
	token := bearer(s.token(t, h.client("syncly-oem"), "grant_type=client_credentials&scope=oem:partner_token&audience="+publicURL).tokens(t).Access)
	created := s.managed(t, token, "POST", oemPath, oemBody("acme", "syncly"))
	var made struct {
		Integration map[string]string `json:"integration"`
		Key         string            `json:"partnerApiKey"`
		Status      int               `json:"status"`
		Message     string            `json:"message"`
	}
	must(t, json.Unmarshal([]byte(created.body), &made))
	if created.status != http.StatusCreated || made.Status != http.StatusCreated || len(created.object(t)) != 4 || len(made.Integration) != 3 ||
		made.Integration["vendorId"] != "syncly" || made.Integration["integrationKind"] != "external" || made.Integration["id"] == "" ||
		!strings.HasPrefix(made.Key, "mdt_pt_") || made.Message != "Successfully created an integration for an organization" {
		t.Fatalf("created %v", created)
	}
	pair := h.pairOf("syncly", made.Key)
	wantRead := func(when string, c credential, want string) {
		t.Helper()
		if got := s.reads(t, h, c); got != want {
			t.Errorf("%s: %s, want %s", when, got, want)
		}
	}
	wantRead("created", pair, "allow")
	s.wantOEM(t, token, oemBody("acme", "syncly"), http.StatusConflict, "ALREADY_EXISTS")
	if a := s.managed(t, token, "POST", oemPath, oemBody("acme", "syncly")); strings.Contains(a.body, "PUT") {
		t.Errorf("advice that this wire has no method for: %v", a)
	}

	one := "/v1/orgs/acme/integrations/syncly"
	admin := h.key("acme-manager")
	if got := s.managed(t, token, "GET", one, ""); strings.Contains(got.body, made.Key) || got.status != http.StatusOK {
		t.Errorf("the vendor reads %v", got)
	}
	for _, row := range []struct {
		when   string
		by     credential
		status string
		code   string // of the refusal
		read   string
	}{
		{"suspended by the organization", admin, "suspended", "", "vendor_not_authorized"},
		{"the vendor does not resume that", token, "active", "vendor_not_authorized", "vendor_not_authorized"},
		{"resumed by the organization", admin, "active", "", "allow"},
		{"suspended by the vendor", token, "suspended", "", "vendor_not_authorized"},
		{"the organization does not resume that", admin, "active", "suspended_by_others", "vendor_not_authorized"},
		{"resumed by the vendor", token, "active", "", "allow"},
		{"suspended by the tenant", h.pair("tenant-admin"), "suspended", "", "vendor_not_authorized"},
		{"the organization does not resume that", admin, "active", "suspended_by_others", "vendor_not_authorized"},
		{"resumed by the tenant", h.pair("tenant-admin"), "active", "", "allow"},
	} {
		a := s.managed(t, row.by, "PATCH", one, `{"status": "`+row.status+`"}`)
		if row.code == "" {
			a.wantMembers(t, http.StatusOK, map[string]any{"status": row.status})
		} else {
			a.wantStatus(t, http.StatusForbidden, row.code)
		}
		wantRead(row.when, pair, row.read)
	}
	s.managed(t, token, "PATCH", one, `{"scopes": ["documents:write"]}`).wantStatus(t, http.StatusForbidden, "vendor_not_authorized")

	rotated, _ := s.managed(t, token, "POST", one+"/rotate", "").wantMembers(t, http.StatusOK, nil)["partner_token"].(string)
	wantRead("the former key", pair, "credential_invalid")
	pair = h.pairOf("syncly", rotated)
	wantRead("the new key", pair, "allow")
	s.managed(t, token, "DELETE", one, "").wantMembers(t, http.StatusOK, map[string]any{"vendor": "syncly"})
	wantRead("removed", pair, "credential_invalid")
	s.managed(t, token, "POST", oemPath, oemBody("acme", "syncly")).wantMembers(t, http.StatusCreated, nil)
	wantRead("integrated again, with another key", pair, "credential_invalid")
}

func (s *running) wantOEM(t testing.TB, as credential, body string, status int, code string) {
	t.Helper()
	a := s.managed(t, as, "POST", oemPath, body)
	got := a.object(t)
	if a.status != status || got["error"] != code || got["status"] != float64(status) || got["error_description"] == "" || len(got) != 3 {
		t.Errorf("%v, want %d %s", a, status, code)
	}
}

// TestOEMErrors are the codes of SYSTEMS.md §3.
func TestOEMErrors(t *testing.T) {
	s, h := startIntegrating(t)
	token := bearer(s.issue(t, h.client("syncly-oem"), publicURL))
	good := oemBody("acme", "syncly")
	for name, row := range map[string]struct {
		as     credential
		body   string
		status int
		code   string
	}{
		"no credential":                         {nil, good, 401, "INVALID_CLIENT"},
		"a wrong client secret":                 {basic("syncly-oem", "wrong"), good, 401, "INVALID_CLIENT"},
		"a token that is not signed by us":      {bearer("e30.e30.e30"), good, 401, "INVALID_CLIENT"},
		"a token for another API":               {bearer(s.issue(t, h.client("syncly-oem"), documentsAPI)), good, 401, "INVALID_CLIENT"},
		"a token with another scope":            {bearer(s.issue(t, h.client("documents-api"), publicURL)), good, 403, "INVALID_SCOPE"},
		"an API key without the scope":          {h.key("gateway"), good, 403, "INVALID_SCOPE"},
		"a vendor's pair":                       {h.partner("backupco", "backupco-acme"), good, 403, "INVALID_SCOPE"},
		"a pair of an unknown half":             {h.pairOf("backupco", "nothing"), good, 401, "INVALID_MSPC_TOKEN"},
		"half a pair":                           {bearer(h.secret("vendor backupco")), good, 401, "INVALID_MSPC_TOKEN"},
		"a pair that is not active":             {h.partner("scanly", "scanly-acme"), good, 403, "VENDOR_NOT_AUTHORIZED"},
		"another vendor":                        {token, oemBody("acme", "backupco"), 403, "VENDOR_NOT_AUTHORIZED"},
		"an organization that there is not":     {token, oemBody("nowhere", "syncly"), 403, "VENDOR_NOT_AUTHORIZED"},
		"an organization that is suspended":     {token, oemBody("initech", "syncly"), 403, "VENDOR_NOT_AUTHORIZED"},
		"another type":                          {token, strings.Replace(good, "external", "delegated", 1), 400, "INVALID_REQUEST"},
		"no organization":                       {token, oemBody("", "syncly"), 400, "INVALID_REQUEST"},
		"an unknown member":                     {token, strings.Replace(good, "{", `{"scopes": ["manage"], `, 1), 400, "INVALID_REQUEST"},
		"not JSON":                              {token, "vendorId=syncly", 400, "INVALID_REQUEST"},
		"a tenant's admin, for no vendor":       {h.pair("tenant-admin"), oemBody("acme", "nobody"), 400, "INVALID_REQUEST"},
		"a tenant's admin, for no organization": {h.pair("tenant-admin"), oemBody("nowhere", "syncly"), 400, "INVALID_REQUEST"},
		"a suspended vendor":                    {h.pair("tenant-admin"), oemBody("globex", "closedco"), 409, "VENDOR_SUSPENDED"},
	} {
		t.Run(name, func(t *testing.T) {
			s.wantOEM(t, row.as, row.body, row.status, row.code)
		})
	}
}

// TestOEMRateLimit: SYSTEMS.md §3.
func TestOEMRateLimit(t *testing.T) {
	s, h := startIntegrating(t, limited(server.RateLimits{Management: server.RouteLimits{Client: aMinute(2)}}))
	token := bearer(s.issue(t, h.client("syncly-oem"), publicURL))
	for range 2 {
		s.wantOEM(t, token, oemBody("", ""), http.StatusBadRequest, "INVALID_REQUEST")
	}
	a := s.managed(t, token, "POST", oemPath, oemBody("acme", "syncly"))
	if a.status != http.StatusTooManyRequests || a.object(t)["error"] != "RATE_LIMITED" || a.header.Get("Retry-After") == "" || a.header.Get("RateLimit") == "" {
		t.Errorf("%v %v", a, a.header)
	}
	other := bearer(s.issue(t, h.client("scanly-oem"), publicURL))
	s.wantOEM(t, other, oemBody("acme", "syncly"), http.StatusForbidden, "VENDOR_NOT_AUTHORIZED")
}

// TestPairsThatDoNotBelongTogether: nothing says which half was wrong (WIRE.md §3).
func TestPairsThatDoNotBelongTogether(t *testing.T) {
	s, h := startIntegrating(t)
	vendor, partner := h.secret("vendor backupco"), h.secret("integration backupco-acme")
	encoded := func(text string) credential { return bearer(base64.StdEncoding.EncodeToString([]byte(text))) }
	if got := s.reads(t, h, encoded(vendor+":"+partner)); got != "allow" {
		t.Fatalf("the pair: %s", got)
	}
	for name, c := range map[string]credential{
		"swapped":                      encoded(partner + ":" + vendor),
		"the first half":               encoded(vendor),
		"the first half, and nothing":  encoded(vendor + ":"),
		"nothing, and the second half": encoded(":" + partner),
		"the first half as it is":      bearer(vendor),
		"the second half as it is":     bearer(partner),
		"two colons":                   encoded(vendor + ":" + partner + ":"),
		"two colons between":           encoded(vendor + "::" + partner),
		"no base64":                    bearer(tokenIn(encoded(vendor+":"+partner)) + "!"),
		"an unknown first half":        encoded("nothing:" + partner),
		"an unknown second half":       encoded(vendor + ":nothing"),
		"another vendor's first half":  encoded(h.secret("vendor scanly") + ":" + partner),
		"another vendor's second half": encoded(vendor + ":" + h.secret("integration scanly-globex")),
	} {
		if got := s.reads(t, h, c); got != "credential_invalid" {
			t.Errorf("%s: %s", name, got)
		}
	}
	elsewhere := strings.Replace(question(presented(t, h.partner("backupco", "backupco-acme")), "documents:read", "report"), "acme", "globex", 1)
	if d := s.ask(t, h.key("gateway"), evaluationPath, elsewhere).decision(t); d.allowed() || d.reason() != "wrong_org" {
		t.Errorf("in another organization: %s", d.reason())
	}
	if got := s.reads(t, h, h.partner("backupco", "backupco-initech")); got != "org_suspended" {
		t.Errorf("in a suspended organization: %s", got)
	}
}
