package server_test

import (
	"encoding/base64"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"mandate/server"
)

// broken adds a tenant that has nobody to authenticate callers, so that its handlers panic.
func broken(o *server.Options) {
	at := slices.IndexFunc(o.Tenants, func(t server.Tenant) bool { return t.ID == server.DefaultTenant })
	o.Tenants = append(o.Tenants, server.Tenant{ID: "broken", Issuer: publicURL + "/t/broken", Engine: o.Tenants[at].Engine, Policies: o.Tenants[at].Policies})
}

// No answer and no line of the log, at the most talkative level, has a secret of the directory or a token that was
// issued: whatever the request, also when a handler panics and when the store is gone.
func TestSecretsAreNeverShown(t *testing.T) {
	s := start(t, broken)
	h := holdersOf(t, "default")
	forbidden := map[string]string{}
	for tenant := range fixtures() {
		for holder, secret := range secrets(t, tenant) {
			forbidden[string(tenant)+" "+holder] = secret
			forbidden[string(tenant)+" "+holder+", escaped"] = url.QueryEscape(secret)
			forbidden[string(tenant)+" "+holder+", in base64"] = base64.StdEncoding.EncodeToString([]byte(secret))
		}
	}
	for _, client := range []string{"operator", "acme-sync", "globex-reports"} {
		forbidden["a token of "+client] = s.issue(t, h.client(client), "")
	}
	credentials := []credential{
		h.key("gateway"), h.key("acme-read"), h.key("revoked"), h.key("expired"), h.key("bob-read"), h.key("initech-read"), h.pair("tenant-admin"),
		h.client("operator"), h.client("acme-sync"), h.client("disabled-client"), h.client("weird client+1%41:/&=?"),
		h.user("alice", "alice"), h.user("walt", "walt"), basic("nobody", h.secret("user alice")),
		h.partner("backupco", "backupco-acme"), h.partner("scanly", "scanly-acme"), h.partner("closedco", "closedco-acme"),
		bearer(h.secret("vendor backupco") + ":" + h.secret("integration scanly-acme")),
		bearer(forbidden["a token of operator"]), bearer(forbidden["a token of acme-sync"]), bearer(forbidden["a token of operator"] + "x"),
		append(h.key("gateway"), h.pair("tenant-admin")...),
	}
	var answers []answer
	note := func(a answer) { answers = append(answers, a) }
	everything := func() {
		for _, c := range credentials {
			subject := presented(t, c)
			for _, path := range []string{evaluationPath, evaluationsPath, "/v1/explain", "/v1/data/mandate/access", "/v1/nothing", "/t/broken" + evaluationPath, "/t/broken/v1/data/mandate"} {
				note(s.ask(t, c, path, question(caller, "documents:read", "r")))
				note(s.ask(t, h.pair("tenant-admin"), path, question(subject, "documents:read", "r")))
				note(s.ask(t, c, path, subject[:len(subject)-1]))
				note(s.ask(t, nil, path+"?"+url.Values{"apikey": {h.secret("key tenant-admin")}, "apisecret": {h.secret("secret tenant-admin")}}.Encode(), good))
				note(s.ask(t, nil, path+"?access_token="+url.QueryEscape(strings.Join(c, "")), good))
			}
			for _, path := range []string{tokenPath, "/oauth/token", "/t/broken" + tokenPath} {
				form := "Content-Type: application/x-www-form-urlencoded"
				note(s.send(t, "POST", path, clientCredentials+"&audience="+url.QueryEscape(strings.Join(c, "")), append(c[:len(c):len(c)], form)...))
				note(s.send(t, "POST", path, clientCredentials+"&client_id=operator&client_secret="+url.QueryEscape(strings.Join(c, "")), form))
				note(s.send(t, "POST", path, `{"client_id":"operator","client_secret":"`+strings.ReplaceAll(strings.Join(c, ""), `"`, ``), jsonType))
				note(s.send(t, "GET", path+"?client_secret="+url.QueryEscape(strings.Join(c, "")), ""))
			}
			note(s.send(t, "GET", "/.well-known/"+url.PathEscape(strings.Join(c, "")), "", c...))
			note(s.send(t, "POST", "/v1/data/"+url.PathEscape(strings.Join(c, "")), `{}`, append(h.pair("tenant-admin"), jsonType)...))
		}
		note(s.send(t, "GET", "/t/broken/.well-known/jwks.json", "", h.key("gateway")...))
		note(s.raw(t, "POST "+evaluationPath+" HTTP/1.1\r\nHost: x\r\n"+h.key("gateway")[0]+"\r\nX: "+strings.Repeat("x", 40<<10)+"\r\n\r\n"))
		note(s.raw(t, "POST "+evaluationPath+" HTTP/1.1\r\nHost: x\r\n"+h.key("gateway")[0]+"\r\nContent-Length: 99999999\r\n\r\n"))
		note(s.raw(t, h.key("gateway")[0]+"\r\n\r\n"))
	}
	everything()
	panics := strings.Count(s.log.String(), "panic in a handler")
	must(t, s.store.Close())
	everything()

	internal := 0
	for _, a := range answers {
		text := a.body
		for name, values := range a.header {
			text += "\n" + name + ": " + strings.Join(values, "\n")
		}
		if a.status == http.StatusInternalServerError {
			internal++
		}
		if token, ok := issued(a); ok {
			text = strings.Replace(text, token, "", 1) // here it belongs
			forbidden["a token of "+a.header.Get("Date")] = token
		}
		for whose, secret := range forbidden {
			if strings.Contains(text, secret) {
				t.Errorf("an answer has the secret of %s: %d %v", whose, a.status, a)
			}
		}
	}
	log := s.log.String()
	for whose, secret := range forbidden {
		if at := strings.Index(log, secret); at >= 0 {
			t.Errorf("the log has the secret of %s: …%.400s", whose, log[max(0, at-200):])
		}
	}
	if panics == 0 || internal == 0 || !strings.Contains(log, "store is closed") {
		t.Errorf("%d panics and %d internal errors: the worst was not tried", panics, internal)
	}
}

// issued is the token in an answer of the token endpoint.
func issued(a answer) (string, bool) {
	_, rest, found := strings.Cut(a.body, `"access_token":"`)
	token, _, closed := strings.Cut(rest, `"`)
	return token, found && closed
}

// What fails inside is told to nobody outside, in the shape of each surface.
func TestInternalErrors(t *testing.T) {
	s := start(t)
	h := holdersOf(t, "default")
	must(t, s.store.Close())
	for path, contentType := range map[string]string{evaluationPath: "application/json", evaluationsPath: "application/json", tokenPath: "application/json",
		"/v1/data/mandate": "application/problem+json", "/v1/explain": "application/problem+json", "/.well-known/jwks.json": "application/problem+json"} {
		method, body, lines := "POST", good, append(h.client("operator"), jsonType)
		switch path {
		case tokenPath:
			body, lines = clientCredentials, append(h.client("operator"), "Content-Type: application/x-www-form-urlencoded")
		case "/.well-known/jwks.json":
			method, body = "GET", ""
		}
		a := s.send(t, method, path, body, lines...)
		if a.status != http.StatusInternalServerError || a.header.Get("Content-Type") != contentType || a.header.Get("Cache-Control") != "no-store" ||
			strings.Contains(a.body, "store") || strings.Contains(a.body, "decision\":true") {
			t.Errorf("%s: %d %v %v", path, a.status, a, a.header)
		}
		if path == tokenPath && a.object(t)["error"] != "server_error" {
			t.Errorf("%s: %v", path, a)
		}
	}
	if a := s.send(t, "GET", "/readyz", ""); a.status != http.StatusServiceUnavailable {
		t.Errorf("ready without a store: %v", a)
	}
	if a := s.send(t, "GET", "/healthz", ""); a.status != http.StatusOK {
		t.Errorf("the process is well: %v", a)
	}
}

// The standing of what a credential rests on counts at every use, and its holder is told what is wrong.
func TestStanding(t *testing.T) {
	s := start(t)
	h := holdersOf(t, "default")
	for rule, row := range map[string]struct {
		credential credential
		status     int
		code       string
	}{
		"a revoked key":                        {h.key("revoked"), 401, "key_revoked"},
		"an expired key":                       {h.key("expired"), 401, "key_expired"},
		"a key whose owner is no developer":    {h.key("bob-read"), 401, "owner_not_developer"},
		"a key whose owner is disabled":        {h.key("walt-read"), 401, "owner_inactive"},
		"a key of a suspended organization":    {h.key("initech-read"), 401, "org_suspended"},
		"a disabled user":                      {h.user("walt", "walt"), 401, "user_disabled"},
		"a disabled client":                    {h.client("disabled-client"), 401, "client_disabled"},
		"a client of a suspended organization": {h.client("initech-sync"), 401, "org_suspended"},
		"a suspended vendor":                   {h.partner("closedco", "closedco-acme"), 403, "vendor_not_authorized"},
		"a suspended integration":              {h.partner("scanly", "scanly-acme"), 403, "vendor_not_authorized"},
		"a vendor in a suspended organization": {h.partner("backupco", "backupco-initech"), 401, "org_suspended"},
	} {
		a := s.ask(t, row.credential, "/v1/data/mandate", `{}`)
		if a.status != row.status || a.object(t)["code"] != row.code {
			t.Errorf("%s: want %d %s, got %v", rule, row.status, row.code, a)
		}
		if a := s.ask(t, row.credential, evaluationPath, question(caller, "documents:read", "r")); a.status != row.status {
			t.Errorf("%s at AuthZEN: want %d, got %v", rule, row.status, a)
		}
		d := s.ask(t, h.key("gateway"), evaluationPath, question(presented(t, row.credential), "documents:read", "r")).decision(t)
		if d.allowed() || d.reason() != row.code {
			t.Errorf("%s as a subject: want %s, got %s", rule, row.code, d.reason())
		}
	}
}
