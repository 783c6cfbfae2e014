package server_test

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

const clientCredentials = "grant_type=client_credentials"

// Sections 2 and 8: what a token request may be.
func TestTokenRequests(t *testing.T) {
	s := start(t)
	h := holdersOf(t, "default")
	sync := h.client("acme-sync")
	with := func(parameters string) string { return clientCredentials + "&" + parameters }
	post := func(id string) string {
		return with(url.Values{"client_id": {id}, "client_secret": {h.secret("client " + id)}}.Encode())
	}
	weird := "weird client+1%41:/&=?"
	const documents = "https%3A%2F%2Fdocuments.example"
	for _, row := range []struct {
		rule       string
		credential credential
		form       string
		status     int
		code       string // of the error
		scope      string // of the token
	}{
		{"AT-01 a client by Basic", sync, clientCredentials, 200, "", "documents:read"},
		{"a client in the body", nil, post("acme-sync"), 200, "", "documents:read"},
		{"OA-04 a wrong secret", basic("acme-sync", "wrong"), clientCredentials, 401, "invalid_client", ""},
		{"OA-04 an unknown client", basic("no-such-client", "wrong"), clientCredentials, 401, "invalid_client", ""},
		{"OA-04 nobody", nil, clientCredentials, 401, "invalid_client", ""},
		{"OA-04 a name only", nil, with("client_id=acme-sync"), 401, "invalid_client", ""},
		{"OA-04 a secret only", nil, with("client_secret=x"), 401, "invalid_client", ""},
		{"OA-04 a disabled client", h.client("disabled-client"), clientCredentials, 401, "invalid_client", ""},
		{"OA-04 a client of a suspended organization", h.client("initech-sync"), clientCredentials, 401, "invalid_client", ""},
		{"OA-04 a client without a secret", basic("key-client", "x"), clientCredentials, 401, "invalid_client", ""},
		{"OA-04 an API key", h.key("gateway"), clientCredentials, 401, "invalid_client", ""},
		{"OA-04 a user", h.user("alice", "alice"), clientCredentials, 401, "invalid_client", ""},
		{"OA-04 an API key for a client", basic("gateway", h.secret("key gateway")), clientCredentials, 401, "invalid_client", ""},
		{"OA-05 Basic is form-decoded", h.client(weird), clientCredentials, 200, "", "documents:read"},
		{"OA-05 with %20 for the spaces", basic(url.PathEscape(weird), url.PathEscape(h.secret("client "+weird))), clientCredentials, 401, "invalid_client", ""}, // PathEscape leaves + and :
		{"OA-05 as it is: +, % and : mean something else", basic(weird, h.secret("client "+weird)), clientCredentials, 401, "invalid_client", ""},
		{"OA-05 in the body", nil, post(weird), 200, "", "documents:read"},
		{"OA-05 encoded twice", basic(url.QueryEscape(url.QueryEscape(weird)), url.QueryEscape(h.secret("client "+weird))), clientCredentials, 401, "invalid_client", ""},
		{"OA-05 broken encoding", basic("acme%zzsync", "x"), clientCredentials, 401, "invalid_client", ""},
		{"OA-06 header and body", sync, post("acme-sync"), 400, "invalid_request", ""},
		{"OA-06 header and body of another", sync, post("operator"), 400, "invalid_request", ""},
		{"OA-06 a key and a client", h.key("gateway"), post("operator"), 400, "invalid_request", ""},
		{"OA-06 a pair and a client", append(h.pair("tenant-admin"), sync...), clientCredentials, 400, "invalid_request", ""},
		{"OA-06 client_id beside the header", sync, with("client_id=acme-sync"), 200, "", "documents:read"},
		{"OA-06 another client_id beside it", sync, with("client_id=operator"), 400, "invalid_request", ""},
		{"OA-08 grant_type twice", sync, with(clientCredentials), 400, "invalid_request", ""},
		{"OA-08 scope twice", sync, with("scope=documents:read&scope=documents:read"), 400, "invalid_request", ""},
		{"OA-08 client_id twice", nil, post("acme-sync") + "&client_id=acme-sync", 400, "invalid_request", ""},
		{"OA-08 client_secret twice", nil, post("acme-sync") + "&client_secret=x", 400, "invalid_request", ""},
		{"OA-08 audience twice", sync, with("audience=" + documents + "&audience=" + documents), 400, "invalid_request", ""},
		{"OA-08 twice, once escaped", sync, with("%67rant_type=client_credentials"), 400, "invalid_request", ""},
		{"OA-08 an unknown parameter twice", sync, with("foo=1&foo=2"), 400, "invalid_request", ""},
		{"OA-08 twice, once empty", sync, with("scope=&scope=documents:read"), 400, "invalid_request", ""},
		{"OA-09 unknown parameters are ignored", sync, with("foo=bar&Scope=x&state=1"), 200, "", "documents:read"},
		{"OA-09 empty ones are absent", sync, with("scope=&audience=&resource=&org=&client_id=&client_secret=&redirect_uri="), 200, "", "documents:read"},
		{"OA-09 an empty grant_type is absent", sync, "grant_type=", 400, "invalid_request", ""},
		{"OA-09 a parameter without =", sync, with("scope"), 200, "", "documents:read"},
		{"no grant_type", sync, "scope=documents:read", 400, "invalid_request", ""},
		{"an empty body", sync, "", 400, "invalid_request", ""},
		{"broken encoding", sync, with("scope=%zz"), 400, "invalid_request", ""},
		{"a semicolon", sync, "grant_type=client_credentials;scope=x", 400, "invalid_request", ""},
		{"OA-11 a known scope", sync, with("scope=documents:read"), 200, "", "documents:read"},
		{"OA-11 fewer than it may have", h.client("globex-reports"), with("scope=documents:write"), 200, "", "documents:write"},
		{"OA-11 all that it may have, told", h.client("globex-reports"), clientCredentials, 200, "", "documents:read documents:write"},
		{"OA-11 a scope that nobody knows", sync, with("scope=no-such-scope"), 400, "invalid_scope", ""},
		{"OA-11 a scope of the API that is not the client's", sync, with("scope=documents:write"), 400, "invalid_scope", ""},
		{"OA-11 one of two is not", sync, with("scope=documents:read+documents:write"), 400, "invalid_scope", ""},
		{"OA-11 a wildcard is no scope of the API", h.client("acme-writer"), with("scope=documents:*"), 400, "invalid_scope", ""},
		{"OA-11 a scope in capitals", sync, with("scope=Documents:read"), 400, "invalid_scope", ""},
		{"OA-11 decide is not for other APIs", sync, with("scope=decide"), 400, "invalid_scope", ""},
		{"OA-11 a client without scopes", h.client("no-scope"), clientCredentials, 400, "invalid_scope", ""},
		{"OA-12 a quote", sync, with("scope=%22documents:read%22"), 400, "invalid_scope", ""},
		{"OA-12 a backslash", sync, with(`scope=documents:read%5C`), 400, "invalid_scope", ""},
		{"OA-12 a tab between", sync, with("scope=documents:read%09documents:read"), 400, "invalid_scope", ""},
		{"OA-12 two spaces", sync, with("scope=documents:read++documents:read"), 400, "invalid_scope", ""},
		{"OA-12 a space in front", sync, with("scope=+documents:read"), 400, "invalid_scope", ""},
		{"OA-12 NUL", sync, with("scope=documents:read%00"), 400, "invalid_scope", ""},
		{"OA-12 beyond ASCII", sync, with("scope=documents:re%C3%A4d"), 400, "invalid_scope", ""},
		{"OA-12 no UTF-8", sync, with("scope=%FF"), 400, "invalid_request", ""},
		{"an audience that is no UTF-8", sync, with("audience=%FF"), 400, "invalid_request", ""},
		{"a resource that is no UTF-8", sync, with("resource=https://x.example/%FF"), 400, "invalid_request", ""},
		{"an organization that is no UTF-8", sync, with("org=%FF"), 400, "invalid_request", ""},
		{"an organization with NUL", sync, with("org=acme%00"), 400, "access_denied", ""},
		{"a client_id that is no UTF-8", sync, with("client_id=%FF"), 400, "invalid_request", ""},
		{"an unknown parameter that is no UTF-8", sync, with("%FE=%FF"), 400, "invalid_request", ""},
		{"OA-12 one scope twice is one", sync, with("scope=documents:read+documents:read"), 200, "", "documents:read"},
		{"OA-24 a grant that the client may not use", h.client("no-grant"), clientCredentials, 400, "unauthorized_client", ""},
		{"OA-24 a grant that there is not", sync, "grant_type=urn:x:none", 400, "unsupported_grant_type", ""},
		{"OA-24 a grant in capitals", sync, "grant_type=CLIENT_CREDENTIALS", 400, "unsupported_grant_type", ""},
		{"OA-27 password", sync, "grant_type=password&username=alice&password=x", 400, "unsupported_grant_type", ""},
		{"OA-27 implicit", sync, "grant_type=implicit", 400, "unsupported_grant_type", ""},
		{"OA-20 a code that nobody gave", sync, "grant_type=authorization_code&code=x", 400, "invalid_grant", ""},
		{"OA-22 a refresh token that nobody gave", sync, "grant_type=refresh_token&refresh_token=x", 400, "invalid_grant", ""},
		{"OA-29 a Basic client in the body", nil, post("basic-only"), 401, "invalid_client", ""},
		{"OA-29 a post client by Basic", h.client("post-only"), clientCredentials, 401, "invalid_client", ""},
		{"OA-29 a Basic client by Basic", h.client("basic-only"), clientCredentials, 200, "", "documents:read"},
		{"OA-29 a post client in the body", nil, post("post-only"), 200, "", "documents:read"},
		{"RI-01 a resource that is no URI", sync, with("resource=documents"), 400, "invalid_target", ""},
		{"RI-01 a path", sync, with("resource=%2Fdocuments"), 400, "invalid_target", ""},
		{"RI-01 without a scheme", sync, with("resource=%2F%2Fdocuments.example"), 400, "invalid_target", ""},
		{"RI-01 with a fragment", sync, with("resource=" + documents + "%23a"), 400, "invalid_target", ""},
		{"RI-01 with an empty fragment", sync, with("resource=" + documents + "%23"), 400, "invalid_target", ""},
		{"RI-02 an unknown audience", sync, with("audience=https%3A%2F%2Fnobody.example"), 400, "invalid_target", ""},
		{"RI-02 an unknown resource", sync, with("resource=https%3A%2F%2Fnobody.example"), 400, "invalid_target", ""},
		{"RI-02 an API that the client may not use", sync, with("resource=https%3A%2F%2Fpayments.example"), 400, "invalid_target", ""},
		{"RI-02 almost the audience", sync, with("resource=" + documents + "%2F"), 400, "invalid_target", ""},
		{"RI-02 the audience in capitals", sync, with("resource=HTTPS%3A%2F%2Fdocuments.example"), 400, "invalid_target", ""},
		{"RI-02 another tenant", h.client("operator"), with("resource=" + url.QueryEscape(publicURL+"/t/staging")), 400, "invalid_target", ""},
		{"RI-02 several possible, none named", h.client("many-apis"), clientCredentials, 400, "invalid_target", ""},
		{"RI-03 the resource asked for", sync, with("resource=" + documents), 200, "", "documents:read"},
		{"RI-03 by audience", sync, with("audience=" + documents), 200, "", "documents:read"},
		{"RI-03 by both, the same", sync, with("audience=" + documents + "&resource=" + documents), 200, "", "documents:read"},
		{"RI-06 two resources", h.client("many-apis"), with("resource=" + documents + "&resource=https%3A%2F%2Fpayments.example"), 400, "invalid_target", ""},
		{"RI-06 the same twice", sync, with("resource=" + documents + "&resource=" + documents), 200, "", "documents:read"},
		{"RI-06 audience and another resource", h.client("many-apis"), with("audience=" + documents + "&resource=https%3A%2F%2Fpayments.example"), 400, "invalid_target", ""},
		{"an organization of the client", sync, with("org=globex"), 200, "", "documents:read"},
		{"an organization of others", h.client("globex-reports"), with("org=acme"), 400, "access_denied", ""},
		{"an organization that there is not", sync, with("org=nowhere"), 400, "access_denied", ""},
	} {
		t.Run(row.rule, func(t *testing.T) {
			a := s.token(t, row.credential, row.form)
			if a.status != row.status {
				t.Fatalf("want %d, got %d %v", row.status, a.status, a)
			}
			checkTokenAnswer(t, a)
			if code, _ := a.object(t)["error"].(string); code != row.code {
				t.Errorf("want the code %q, got %v", row.code, a)
			}
			if scope, _ := a.object(t)["scope"].(string); scope != row.scope {
				t.Errorf("want the scope %q, got %v", row.scope, a)
			}
		})
	}
}

var described = regexp.MustCompile(`^[\x20\x21\x23-\x5B\x5D-\x7E]+$`)

// checkTokenAnswer: OA-01 to OA-04, OA-13 and OA-21, which hold for every answer of the token endpoint.
func checkTokenAnswer(t *testing.T, a answer) {
	t.Helper()
	object := a.object(t)
	if a.header.Get("Cache-Control") != "no-store" || a.header.Get("Pragma") != "no-cache" || a.header.Get("Content-Type") != "application/json" {
		t.Errorf("OA-01, OA-02: %v", a.header)
	}
	if challenged := strings.HasPrefix(a.header.Get("WWW-Authenticate"), "Basic realm="); challenged != (a.status == http.StatusUnauthorized) {
		t.Errorf("OA-04: %d with WWW-Authenticate %q", a.status, a.header.Get("WWW-Authenticate"))
	}
	if a.status == http.StatusOK {
		if object["token_type"] != "Bearer" || object["expires_in"].(float64) <= 0 || object["refresh_token"] != nil {
			t.Errorf("OA-02, OA-21: %v", a)
		}
		return
	}
	registered := []string{"invalid_request", "invalid_client", "invalid_grant", "unauthorized_client", "unsupported_grant_type", "invalid_scope", "invalid_target", "access_denied"}
	if a.status != 400 && a.status != 401 || !slices.Contains(registered, object["error"].(string)) {
		t.Errorf("OA-03: %d %v", a.status, a)
	}
	if description, _ := object["error_description"].(string); !described.MatchString(description) {
		t.Errorf("OA-13: %q", description)
	}
}

// OA-07, OA-10, OA-31: how a request may not be sent.
func TestTokenEnvelope(t *testing.T) {
	s := start(t)
	h := holdersOf(t, "default")
	const form, alias = "application/x-www-form-urlencoded", "/oauth/token"
	inBody := clientCredentials + "&client_id=acme-sync&client_secret=" + h.secret("client acme-sync")
	inJSON := `{"grant_type":"client_credentials","client_id":"acme-sync","client_secret":"` + h.secret("client acme-sync") + `"}`
	sync := h.client("acme-sync")
	for _, row := range []struct {
		rule, method, path, contentType, body string
		credential                            credential
		status                                int
	}{
		{"OA-10 POST of a form", "POST", tokenPath, form, inBody, nil, 200},
		{"OA-10 POST of a form with a charset", "POST", tokenPath, form + "; charset=UTF-8", inBody, nil, 200},
		{"OA-10 the alias takes forms", "POST", alias, form, inBody, nil, 200},
		{"OA-10 the alias takes JSON", "POST", alias, "application/json", inJSON, nil, 200},
		{"OA-10 only the alias takes JSON", "POST", tokenPath, "application/json", inJSON, nil, 400},
		{"OA-10 multipart", "POST", tokenPath, "multipart/form-data; boundary=x", "--x--", sync, 400},
		{"OA-10 text", "POST", tokenPath, "text/plain", inBody, nil, 400},
		{"OA-10 no type", "POST", tokenPath, "", inBody, nil, 400},
		{"OA-10 GET", "GET", tokenPath + "?" + clientCredentials, "", "", sync, 405},
		{"OA-10 GET at the alias", "GET", alias, "", "", sync, 405},
		{"OA-10 PUT", "PUT", tokenPath, form, clientCredentials, sync, 405},
		{"OA-07 id and secret in the query", "POST", tokenPath + "?client_id=acme-sync&client_secret=" + h.secret("client acme-sync"), form, clientCredentials, nil, 400},
		{"OA-07 the same at the alias", "POST", alias + "?client_id=acme-sync&client_secret=" + h.secret("client acme-sync"), form, clientCredentials, nil, 400},
		{"OA-07 beside a good header", "POST", tokenPath + "?client_secret=x", form, clientCredentials, sync, 400},
		{"OA-07 a grant in the query is none", "POST", tokenPath + "?" + clientCredentials, form, "", sync, 400},
		{"OA-31 a token in the query", "POST", tokenPath + "?access_token=x", form, clientCredentials, sync, 400},
		{"JSON: a parameter twice", "POST", alias, "application/json", `{"grant_type":"client_credentials","grant_type":"client_credentials"}`, sync, 400},
		{"JSON: twice after unescaping", "POST", alias, "application/json", `{"grant_type":"client_credentials","grant\u005ftype":"x"}`, sync, 400},
		{"JSON: a number", "POST", alias, "application/json", `{"grant_type":7}`, sync, 400},
		{"JSON: a list", "POST", alias, "application/json", `{"grant_type":["client_credentials"]}`, sync, 400},
		{"JSON: null", "POST", alias, "application/json", `{"grant_type":"client_credentials","scope":null}`, sync, 400},
		{"JSON: an array", "POST", alias, "application/json", `[]`, sync, 400},
		{"JSON: broken", "POST", alias, "application/json", `{`, sync, 400},
		{"JSON: empty", "POST", alias, "application/json", ``, sync, 400},
		{"JSON: names in capitals are unknown", "POST", alias, "application/json", `{"GRANT_TYPE":"client_credentials"}`, sync, 400},
		{"JSON: unknown members are ignored", "POST", alias, "application/json", strings.Replace(inJSON, "{", `{"foo":{"bar":[1]},"Client_ID":"x",`, 1), nil, 200},
		{"JSON: empty ones are absent", "POST", alias, "application/json", strings.Replace(inJSON, "{", `{"scope":"","audience":"","resource":"","org":"",`, 1), nil, 200},
		{"JSON: with a header as well", "POST", alias, "application/json", inJSON, sync, 400},
		{"JSON: also a client registered for Basic, as products send it", "POST", alias, "application/json", `{"grant_type":"client_credentials","client_id":"basic-only","client_secret":"` + h.secret("client basic-only") + `"}`, nil, 200},
		{"JSON: a wrong secret", "POST", alias, "application/json", strings.Replace(inJSON, `"}`, `x"}`, 1), nil, 401},
	} {
		t.Run(row.rule, func(t *testing.T) {
			lines := row.credential
			if row.contentType != "" {
				lines = append(lines[:len(lines):len(lines)], "Content-Type: "+row.contentType)
			}
			a := s.send(t, row.method, row.path, row.body, lines...)
			if a.status != row.status {
				t.Fatalf("want %d, got %d %v", row.status, a.status, a)
			}
			if row.status != http.StatusMethodNotAllowed {
				checkTokenAnswer(t, a)
			}
			if strings.Contains(a.body, "acme-sync-secret") {
				t.Errorf("the secret came back: %v", a)
			}
		})
	}
}

// OA-25: an unknown client and a wrong secret, whatever the client is, look alike to the byte.
func TestUnknownClientAndWrongSecretLookAlike(t *testing.T) {
	s := start(t)
	for _, send := range []func(id string) answer{
		func(id string) answer { return s.token(t, basic(url.QueryEscape(id), "wrong"), clientCredentials) },
		func(id string) answer {
			return s.token(t, nil, clientCredentials+"&client_secret=wrong&client_id="+url.QueryEscape(id))
		},
		func(id string) answer {
			quoted, _ := json.Marshal(id)
			return s.send(t, "POST", "/oauth/token", `{"grant_type":"client_credentials","client_secret":"wrong","client_id":`+string(quoted)+`}`, jsonType)
		},
		func(id string) answer { return s.ask(t, basic(id, "wrong"), evaluationPath, good) },
	} {
		unknown := send("no-such-client")
		unknown.header.Del("Date")
		for _, id := range []string{"operator", "disabled-client", "initech-sync", "key-client", "basic-only", "post-only", "alice", "gateway", "backupco",
			"../clients/operator", "operator/", "operator\x00", strings.Repeat("x", 3000), "weird client+1%41:/&=?"} {
			a := send(id)
			a.header.Del("Date")
			same := len(a.header) == len(unknown.header)
			for name, values := range a.header {
				same = same && slices.Equal(values, unknown.header[name])
			}
			if a.status != http.StatusUnauthorized || a.body != unknown.body || !same {
				t.Errorf("%.40q: %d %v %v", id, a.status, a, a.header)
			}
		}
	}
}

// AT-01 to AT-04, OA-26, RI-03: what a token is.
func TestAccessTokens(t *testing.T) {
	s := start(t)
	h := holdersOf(t, "default")
	seen := map[string]bool{}
	for _, row := range []struct{ client, audience, scope, org string }{
		{"acme-sync", "https://documents.example", "documents:read", "acme"},
		{"globex-reports", "https://documents.example", "documents:read documents:write", "globex"},
		{"operator", publicURL, "decide manage", ""},
		{"many-apis", "https://payments.example", "payments:read", ""},
	} {
		for range 3 {
			before := s.clock.now().Unix()
			a := s.token(t, h.client(row.client), url.Values{"grant_type": {"client_credentials"}, "resource": {row.audience}}.Encode())
			token, _ := a.object(t)["access_token"].(string)
			header, claims := s.verify(t, "default", token)
			if header["typ"] != "at+jwt" || header["alg"] != "ES256" || len(header) != 3 {
				t.Errorf("AT-01: %v", header)
			}
			for claim, want := range map[string]any{"iss": publicURL, "sub": row.client, "client_id": row.client, "azp": row.client, "aud": row.audience, "scope": row.scope} {
				if claims[claim] != want {
					t.Errorf("AT-02, AT-04 %s: %s is %v, not %v", row.client, claim, claims[claim], want)
				}
			}
			if org, _ := claims["org"].(string); org != row.org {
				t.Errorf("%s: org is %q, not %q", row.client, org, row.org)
			}
			iat, exp := int64(claims["iat"].(float64)), int64(claims["exp"].(float64))
			if iat < before || iat > s.clock.now().Unix() || exp-iat != int64(a.object(t)["expires_in"].(float64)) {
				t.Errorf("%s: iat %d, exp %d: %v", row.client, iat, exp, a)
			}
			jti := claims["jti"].(string)
			random, err := base64.RawURLEncoding.DecodeString(strings.ReplaceAll(jti, ".", "_"))
			if err != nil || len(random)*8 < 128 || seen[jti] || seen[token] {
				t.Errorf("OA-26: jti %q again or too short", jti)
			}
			seen[jti], seen[token] = true, true
		}
	}
	lifetimes := map[string]time.Duration{"https://documents.example": 10 * time.Minute, "https://payments.example": 5 * time.Minute}
	for audience, want := range lifetimes {
		a := s.token(t, h.client("many-apis"), url.Values{"grant_type": {"client_credentials"}, "audience": {audience}}.Encode())
		if got := a.object(t)["expires_in"]; got != want.Seconds() {
			t.Errorf("a token for %s lives %v s, not %v", audience, got, want)
		}
	}
}
