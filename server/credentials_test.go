package server_test

import (
	"encoding/base64"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"mandate/directory"
)

// Exactly one credential: two in any combination are refused, also when they are the same one.
func TestTwoCredentials(t *testing.T) {
	s := start(t)
	h := holdersOf(t, "default")
	token := s.issue(t, h.client("operator"), "")
	header := map[string]credential{
		"a bearer key": h.key("gateway"), "a key pair": h.pair("tenant-admin"), "a client": h.client("operator"), "a user": h.user("alice", "alice"),
		"an access token": bearer(token), "a partner token": h.partner("backupco", "backupco-acme"), "an unknown key": bearer("no-such-key"),
		"an unknown pair": {"X-API-Key: x", "X-API-Secret: y"},
	}
	query := map[string]string{
		"a key pair":      "apikey=" + h.secret("key tenant-admin") + "&apisecret=" + h.secret("secret tenant-admin"),
		"a client":        "client_id=operator&client_secret=" + h.secret("client operator"),
		"an access token": "access_token=" + token,
	}
	for path, body := range map[string]string{evaluationPath: good, evaluationsPath: good, "/v1/data/mandate/access": `{}`, "/v1/explain": good} {
		refused := func(what string, a answer) {
			t.Helper()
			if a.status != http.StatusBadRequest {
				t.Errorf("%s, %s: want 400, got %d %v", path, what, a.status, a)
			}
		}
		for first, a := range header {
			for second, b := range header {
				refused(first+" and "+second, s.ask(t, slices.Concat(a, b), path, body))
			}
			for second, parameters := range query {
				refused(first+" and in the query "+second, s.ask(t, a, path+"?"+parameters, body))
			}
		}
		for first, a := range query {
			for second, b := range query {
				refused("in the query "+first+" and "+second, s.ask(t, nil, path+"?"+a+"&"+b, body))
			}
		}
		for what, lines := range map[string]credential{
			"X-API-Key twice":          append(h.pair("tenant-admin"), "X-API-Key: x"),
			"X-API-Key twice the same": append(h.pair("tenant-admin"), h.pair("tenant-admin")[0]),
			"X-API-Secret twice":       append(h.pair("tenant-admin"), "X-API-Secret: x"),
			"an empty X-API-Key first": append(credential{"X-API-Key: "}, h.pair("tenant-admin")...),
			"two Authorization fields": append(h.key("gateway"), h.key("gateway")...),
			"an empty one beside it":   append(h.key("gateway"), "Authorization: "),
			"an empty one before it":   append(credential{"Authorization: "}, h.key("gateway")...),
		} {
			refused(what, s.ask(t, lines, path, body))
		}
	}
}

// Half a credential is none, and never completed from elsewhere.
func TestHalfACredential(t *testing.T) {
	s := start(t)
	h := holdersOf(t, "default")
	key, secret := h.pair("tenant-admin")[0], h.pair("tenant-admin")[1]
	for what, a := range map[string]answer{
		"a pair beside a strange scheme":     s.ask(t, append(h.pair("tenant-admin"), "Authorization: Digest x"), evaluationPath, good),
		"X-API-Key alone":                    s.ask(t, credential{key}, evaluationPath, good),
		"X-API-Secret alone":                 s.ask(t, credential{secret}, evaluationPath, good),
		"an empty X-API-Secret":              s.ask(t, credential{key, "X-API-Secret: "}, evaluationPath, good),
		"a bearer key and X-API-Key":         s.ask(t, append(h.key("gateway"), key), evaluationPath, good),
		"key in the header, secret in query": s.ask(t, credential{key}, "/v1/data/mandate?apisecret="+h.secret("secret tenant-admin"), `{}`),
		"apikey alone":                       s.ask(t, nil, "/v1/data/mandate?apikey="+h.secret("key tenant-admin"), `{}`),
		"apisecret alone":                    s.ask(t, nil, "/v1/data/mandate?apisecret="+h.secret("secret tenant-admin"), `{}`),
		"client_id alone":                    s.ask(t, nil, "/v1/data/mandate?client_id=operator", `{}`),
		"client_secret alone":                s.ask(t, nil, "/v1/data/mandate?client_secret="+h.secret("client operator"), `{}`),
		"a name without a colon":             s.ask(t, credential{"Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte("operator"))}, evaluationPath, good),
		"a name without a secret":            s.ask(t, basic("operator", ""), evaluationPath, good),
		"a secret without a name":            s.ask(t, basic("", h.secret("client operator")), evaluationPath, good),
		"Basic that is no base64":            s.ask(t, credential{"Authorization: Basic %%%"}, evaluationPath, good),
		"Bearer and only spaces":             s.ask(t, credential{"Authorization: Bearer    "}, evaluationPath, good),
		"a key pair's key as a bearer key":   s.ask(t, h.key("tenant-admin"), evaluationPath, good),
		"a bearer key as a pair":             s.ask(t, credential{"X-API-Key: " + h.secret("key gateway"), "X-API-Secret: " + h.secret("key gateway")}, evaluationPath, good),
		"a key with the secret of another":   s.ask(t, credential{key, "X-API-Secret: " + h.secret("secret acme-pair")}, evaluationPath, good),
		"9 KiB of token":                     s.ask(t, bearer(strings.Repeat("x", 9<<10)), evaluationPath, good),
	} {
		if a.status != http.StatusUnauthorized {
			t.Errorf("%s: want 401, got %d %v", what, a.status, a)
		}
	}
}

// Every credential type on every route: where it belongs it is taken, elsewhere it is refused.
func TestCredentialsWhereTheyBelong(t *testing.T) {
	s := start(t)
	h := holdersOf(t, "default")
	own := question(caller, "documents:read", "report")
	form := "grant_type=client_credentials"
	inQuery := func(id, secret string) string {
		return "?" + url.Values{id: {h.secret("key tenant-admin")}, secret: {h.secret("secret tenant-admin")}}.Encode()
	}
	clientQuery := "?client_id=operator&client_secret=" + h.secret("client operator")
	for _, row := range []struct {
		what                                         string
		credential                                   credential
		query                                        string
		evaluation, batch, data, explain, token, own int // the status on each route; own: asks about itself
	}{
		{"nobody", nil, "", 401, 401, 401, 401, 401, 401},
		{"a bearer key with decide", h.key("gateway"), "", 200, 200, 200, 403, 401, 200},
		{"a bearer key with manage", h.key("manage-only"), "", 200, 200, 200, 200, 401, 200},
		{"a bearer key without either", h.key("acme-read"), "", 200, 200, 403, 403, 401, 200},
		{"a key pair", h.pair("tenant-admin"), "", 200, 200, 200, 200, 401, 200},
		{"a key pair in the query", nil, inQuery("apikey", "apisecret"), 400, 400, 200, 200, 400, 400},
		{"a key pair in the query, escaped names", nil, strings.ReplaceAll(inQuery("apikey", "apisecret"), "api", "%61pi"), 400, 400, 200, 200, 400, 400},
		{"a key pair in the query, other names", nil, inQuery("ApiKey", "ApiSecret"), 400, 400, 401, 401, 400, 400},
		{"a client", h.client("operator"), "", 200, 200, 200, 200, 200, 200},
		{"a client in the query", nil, clientQuery, 400, 400, 200, 200, 400, 400},
		{"a client with decide only", h.client("documents-api"), "", 200, 200, 200, 403, 400, 200}, // its token is for the API: no scope of it is the API's
		{"a user", h.user("alice", "alice"), "", 200, 200, 403, 403, 401, 200},
		{"a user with an odd password", h.user("bob", "bob"), "", 200, 200, 403, 403, 401, 200},
		{"a user by username", h.user("carol", "carol@acme.example"), "", 200, 200, 403, 403, 401, 200},
		{"a user by id, not username", h.user("carol", "carol"), "", 401, 401, 401, 401, 401, 401},
		{"a partner token", h.partner("backupco", "backupco-acme"), "", 200, 200, 403, 403, 401, 200},
		{"a token for Mandate", bearer(s.issue(t, h.client("operator"), "")), "", 200, 200, 200, 200, 401, 200},
		{"a token for another API", bearer(s.issue(t, h.client("acme-sync"), "")), "", 401, 401, 401, 401, 401, 401},
		{"a token in the query", nil, "?access_token=" + s.issue(t, h.client("operator"), ""), 400, 400, 400, 400, 400, 400},
		{"a bearer key in the query", nil, "?access_token=" + h.secret("key gateway"), 400, 400, 400, 400, 400, 400},
	} {
		t.Run(row.what, func(t *testing.T) {
			for _, route := range []struct {
				path   string
				answer answer
				status int
			}{
				{evaluationPath, s.ask(t, row.credential, evaluationPath+row.query, good), row.evaluation},
				{evaluationsPath, s.ask(t, row.credential, evaluationsPath+row.query, good), row.batch},
				{"/v1/data", s.ask(t, row.credential, "/v1/data/mandate/access/decision"+row.query, `{}`), row.data},
				{"/v1/explain", s.ask(t, row.credential, "/v1/explain"+row.query, good), row.explain},
				{tokenPath, s.send(t, "POST", tokenPath+row.query, form, append(row.credential[:len(row.credential):len(row.credential)], "Content-Type: application/x-www-form-urlencoded")...), row.token},
				{"itself", s.ask(t, row.credential, evaluationPath+row.query, own), row.own},
			} {
				if route.answer.status != route.status {
					t.Errorf("%s: want %d, got %d %v", route.path, route.status, route.answer.status, route.answer)
				}
			}
		})
	}
	for path := range bases {
		if a := s.send(t, "GET", bases[path]+"/.well-known/jwks.json", "", h.key("gateway")...); a.status != http.StatusOK {
			t.Errorf("public documents need no credential and mind none: %v", a)
		}
	}
}

// BE-06, and what RFC 9110 allows around a credential.
func TestSchemesIgnoreCase(t *testing.T) {
	s := start(t)
	h := holdersOf(t, "default")
	for _, scheme := range []string{"Bearer", "bearer", "BEARER", "bEaReR"} {
		for _, space := range []string{" ", "  "} {
			if a := s.ask(t, credential{"Authorization: " + scheme + space + h.secret("key gateway")}, evaluationPath, good); a.verdict() != "allow" {
				t.Errorf("%q: %v", scheme+space, a)
			}
		}
	}
	for _, scheme := range []string{"Basic", "basic", "BASIC"} {
		line := strings.Replace(h.client("operator")[0], "Basic", scheme, 1)
		if a := s.ask(t, credential{line}, evaluationPath, good); a.verdict() != "allow" {
			t.Errorf("%s: %v", scheme, a)
		}
	}
}

// A partner token is two halves, each useless without the other; whichever is wrong, the answer is the same.
func TestPartnerTokens(t *testing.T) {
	s := start(t)
	h := holdersOf(t, "default")
	vendor, partner := h.secret("vendor backupco"), h.secret("integration backupco-acme")
	std := func(text string) string { return base64.StdEncoding.EncodeToString([]byte(text)) }
	own := question(caller, "documents:read", "report")
	for what, token := range map[string]string{
		"base64":                  std(vendor + ":" + partner),
		"base64 without padding":  base64.RawStdEncoding.EncodeToString([]byte(vendor + ":" + partner)),
		"base64url":               base64.URLEncoding.EncodeToString([]byte(vendor + ":" + partner)),
		"base64url, no padding":   base64.RawURLEncoding.EncodeToString([]byte(vendor + ":" + partner)),
		"the two halves as are":   vendor + ":" + partner,
		"too many signs of =":     base64.RawStdEncoding.EncodeToString([]byte(vendor+":"+partner)) + "===",
		"also in another spacing": " " + std(vendor+":"+partner),
	} {
		if a := s.ask(t, bearer(token), evaluationPath, own); a.verdict() != "allow" {
			t.Errorf("%s: %v", what, a)
		}
	}
	known := s.ask(t, bearer(std("no-such-vendor:no-such-partner")), evaluationPath, own)
	if known.status != http.StatusUnauthorized {
		t.Fatalf("unknown halves: %v", known)
	}
	for what, token := range map[string]string{
		"swapped halves":            std(partner + ":" + vendor),
		"swapped halves, as is":     partner + ":" + vendor,
		"only the vendor":           std(vendor),
		"only the vendor, as is":    vendor,
		"only the partner":          std(partner),
		"only the partner, as is":   partner,
		"no vendor":                 std(":" + partner),
		"no partner":                std(vendor + ":"),
		"two colons":                std(vendor + "::" + partner),
		"three parts":               std(vendor + ":" + partner + ":x"),
		"a wrong vendor":            std("no-such-vendor:" + partner),
		"a wrong partner":           std(vendor + ":no-such-partner"),
		"another vendor":            std(h.secret("vendor scanly") + ":" + partner),
		"another vendor's partner":  std(vendor + ":" + h.secret("integration scanly-globex")),
		"a suspended one's partner": std(vendor + ":" + h.secret("integration scanly-acme")),
		"a suspended vendor, mixed": std(h.secret("vendor closedco") + ":" + partner),
		"the vendor twice":          std(vendor + ":" + vendor),
		"the partner twice":         std(partner + ":" + partner),
		"a key for a partner":       std(vendor + ":" + h.secret("key gateway")),
		"a key for a vendor":        std(h.secret("key gateway") + ":" + partner),
		"a key pair":                std(h.secret("key tenant-admin") + ":" + h.secret("secret tenant-admin")),
		"a client":                  std("operator:" + h.secret("client operator")),
		"a user":                    std("alice:" + h.secret("user alice")),
		"in capitals":               std(strings.ToUpper(vendor + ":" + partner)),
		"with a line break":         std(vendor + ":" + partner + "\n"),
		"with NUL":                  std(vendor + ":" + partner + "\x00"),
		"base64 twice":              std(std(vendor + ":" + partner)),
		"bad base64":                std(vendor+":"+partner) + "!",
		"cut base64":                std(vendor + ":" + partner)[1:],
		"halves apart in base64":    std(vendor) + ":" + std(partner),
	} {
		a := s.ask(t, bearer(token), evaluationPath, own)
		if a.status != known.status || a.body != known.body || a.header.Get("WWW-Authenticate") != known.header.Get("WWW-Authenticate") {
			t.Errorf("%s: tells more than a stranger's: %d %v", what, a.status, a)
		}
	}
}

// A genuine pair whose relationship does not hold is told so; what it rests on counts at every use.
func TestVendorStanding(t *testing.T) {
	s := start(t)
	h := holdersOf(t, "default")
	for _, row := range []struct {
		rule, vendor, integration string
		status                    int
	}{
		{"the integration is suspended", "scanly", "scanly-acme", 403},
		{"the vendor is suspended", "closedco", "closedco-acme", 403},
		{"the organization is suspended", "backupco", "backupco-initech", 401},
		{"all is active", "scanly", "scanly-globex", 200},
	} {
		a := s.ask(t, h.partner(row.vendor, row.integration), evaluationPath, question(caller, "documents:read", "report"))
		if a.status != row.status || (a.status == 403) != (a.header.Get("WWW-Authenticate") == "" && a.status != 200) {
			t.Errorf("%s: want %d, got %d %v", row.rule, row.status, a.status, a)
		}
	}
}

// TestTenantsAreIsolated: no credential and no token of one tenant works at the other.
func TestTenantsAreIsolated(t *testing.T) {
	s := start(t)
	for _, tenant := range []directory.Tenant{"default", staging} {
		other := map[directory.Tenant]directory.Tenant{"default": staging, staging: "default"}[tenant]
		h, here, there := holdersOf(t, tenant), bases[tenant], bases[other]
		all := map[string]credential{"a key": h.key("gateway"), "a key pair": h.pair("tenant-admin"), "a client": h.client("operator"),
			"a user": h.user("alice", "alice"), "a partner token": h.partner("backupco", "backupco-acme")}
		token := s.send(t, "POST", here+tokenPath, "grant_type=client_credentials", append(h.client("operator"), "Content-Type: application/x-www-form-urlencoded")...)
		all["an access token"] = bearer(token.object(t)["access_token"].(string))
		gateway := holdersOf(t, other).key("gateway")
		for what, c := range all {
			if a := s.ask(t, c, here+evaluationPath, question(caller, "documents:read", "r")); a.status != http.StatusOK {
				t.Errorf("%s of %s does not work at home: %v", what, tenant, a)
			}
			for path, body := range map[string]string{evaluationPath: good, evaluationsPath: good, "/v1/data/mandate": `{}`, "/v1/explain": good} {
				if a := s.ask(t, c, there+path, body); a.status != http.StatusUnauthorized {
					t.Errorf("%s of %s works at %s%s: %v", what, tenant, there, path, a)
				}
			}
			if a := s.send(t, "POST", there+tokenPath, "grant_type=client_credentials", append(c, "Content-Type: application/x-www-form-urlencoded")...); a.status != http.StatusUnauthorized {
				t.Errorf("%s of %s gets a token at %s: %v", what, tenant, there, a)
			}
			if a := s.ask(t, gateway, there+evaluationPath, question(presented(t, c), "documents:read", "r")); a.verdict() != "deny" || a.decision(t).reason() != "credential_invalid" {
				t.Errorf("%s of %s as a subject at %s: %v", what, tenant, there, a)
			}
		}
		for _, path := range []string{"/t/none" + evaluationPath, "/t/default" + evaluationPath, "/t/STAGING" + evaluationPath, "/t//staging" + evaluationPath,
			"/t/staging/../.." + evaluationPath, "/t/staging/%2e%2e/.." + evaluationPath, "//" + strings.TrimPrefix(evaluationPath, "/"), evaluationPath + "/"} {
			if a := s.raw(t, "POST "+path+" HTTP/1.1\r\nHost: x.example\r\nConnection: close\r\n"+h.key("gateway")[0]+"\r\nContent-Type: application/json\r\nContent-Length: 0\r\n\r\n"); a.status != http.StatusNotFound {
				t.Errorf("%s: %d %v", path, a.status, a)
			}
		}
	}
}

// A caller that may not ask about others hears the same of a good credential, a wrong one and none: nobody can try out
// passwords and keys here that are not the gateway's to try.
func TestNobodyTriesOutCredentials(t *testing.T) {
	s := start(t)
	h := holdersOf(t, "default")
	tried := []credential{h.user("alice", "alice"), basic("alice", "wrong"), basic("nobody", "wrong"), h.key("acme-read"), h.key("revoked"), bearer("no-such-key"),
		h.pair("acme-pair"), h.client("operator"), h.partner("scanly", "scanly-acme"), h.partner("backupco", "backupco-acme"), bearer(s.issue(t, h.client("acme-sync"), "")), bearer("e30.e30.x")}
	for who, c := range map[string]credential{"a user": h.user("bob", "bob"), "a key": h.key("acme-read"), "a client": h.client("acme-sync"), "a vendor": h.partner("backupco", "backupco-acme")} {
		for _, subject := range tried {
			d := s.ask(t, c, evaluationPath, question(presented(t, subject), "documents:read", "r")).decision(t)
			if d.allowed() || d.reason() != "caller_not_permitted" || len(d.Context.Reasons) != 1 {
				t.Errorf("%s learns of %v: %v", who, subject, d.Context.Reasons)
			}
		}
	}
	// Also a policy that allows everybody everything does not make a wrong credential a good one.
	s.engines["default"].Swap(policySet(t, nil))
	for _, path := range []string{evaluationPath, "/v1/explain"} {
		for _, subject := range []credential{basic("alice", "wrong"), bearer("no-such-key"), h.key("revoked")} {
			if a := s.ask(t, h.pair("tenant-admin"), path, question(presented(t, subject), "documents:read", "r")); a.verdict() != "deny" {
				t.Errorf("%s: %v is allowed: %v", path, subject, a)
			}
		}
	}
}
