package server_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// good is a question that the gateway may ask and that is answered with yes; bad is one answered with no.
var (
	good = question(named("user", "bob"), "documents:read", "report")
	bad  = question(named("user", "bob"), "documents:write", "report")
)

// Section 1 of the standards' rows: one evaluation.
func TestEvaluation(t *testing.T) {
	s := start(t)
	gateway := holdersOf(t, "default").key("gateway")
	const (
		subject  = `"subject":{"type":"user","id":"bob"}`
		action   = `"action":{"name":"documents:read"}`
		resource = `"resource":{"type":"document","id":"report","properties":{"org":"acme"}}`
	)
	of := func(members ...string) string { return "{" + strings.Join(members, ",") + "}" }
	rows := []struct{ rule, body, want string }{
		{"AZ-01 a permit is 200 and true", good, "allow"},
		{"AZ-02 a denial is 200 and false, never 403", bad, "deny"},
		{"AZ-03 no subject: 400", of(action, resource), "bad request"},
		{"AZ-03 no action: 400", of(subject, resource), "bad request"},
		{"AZ-03 no resource: 400", of(subject, action), "bad request"},
		{"AZ-04 no subject.type: 400", of(`"subject":{"id":"bob"}`, action, resource), "bad request"},
		{"AZ-04 no subject.id: 400", of(`"subject":{"type":"user"}`, action, resource), "bad request"},
		{"AZ-04 no action.name: 400", of(subject, `"action":{}`, resource), "bad request"},
		{"AZ-04 no resource.type: 400", of(subject, action, `"resource":{"id":"report"}`), "bad request"},
		{"AZ-04 no resource.id: 400", of(subject, action, `"resource":{"type":"document"}`), "bad request"},
		{"AZ-04 subject.type is empty: 400", of(`"subject":{"type":"","id":"bob"}`, action, resource), "bad request"},
		{"AZ-04 subject.id is empty: 400", of(`"subject":{"type":"user","id":""}`, action, resource), "bad request"},
		{"AZ-04 action.name is empty: 400", of(subject, `"action":{"name":""}`, resource), "bad request"},
		{"AZ-04 resource.type is empty: 400", of(subject, action, `"resource":{"type":"","id":"report"}`), "bad request"},
		{"AZ-04 resource.id is empty: 400", of(subject, action, `"resource":{"type":"document","id":""}`), "bad request"},
		{"AZ-06 unknown members at the top are ignored", of(`"foo":1`, subject, action, resource, `"futureField":{"a":[null]}`), "allow"},
		{"AZ-06 unknown members in entities are ignored", of(`"subject":{"type":"user","id":"bob","x":1}`, `"action":{"name":"documents:read","y":[]}`, resource), "allow"},
		{"AZ-06 page and options mean nothing here", of(subject, action, resource, `"page":{"customAttr":1}`, `"options":{"evaluations_semantic":"bogus"}`), "allow"},
		{"AZ-07 the order of members has no meaning", of(`"resource":{"properties":{"org":"acme"},"id":"report","type":"document"}`, action, `"subject":{"id":"bob","type":"user"}`), "allow"},
		{"AZ-19 context is optional, an empty one is fine", of(subject, action, resource, `"context":{}`), "allow"},
		{"AZ-19 context may hold anything", of(subject, action, resource, `"context":{"a":null,"b":[1,{"c":"d"}],"":0}`), "allow"},
		{"AZ-18 properties of the resource reach the policy", of(subject, action, `"resource":{"type":"document","id":"report","properties":{"org":"globex"}}`), "deny"},
		{"AZ-18 without properties there is no organization", of(subject, action, `"resource":{"type":"document","id":"report"}`), "deny"},
		{"DESIGN a named subject that nobody knows: deny", question(named("user", "nobody"), "documents:read", "report"), "deny"},
		{"DESIGN a type that nobody knows: deny", question(named("wizard", "bob"), "documents:read", "report"), "deny"},
		{"DESIGN an id like a path: deny", question(named("user", "../users/bob"), "documents:read", "report"), "deny"},
		{"DESIGN an id with NUL: deny", question(named("user", `bob\u0000`), "documents:read", "report"), "deny"},
		{"DESIGN an id of 4 KiB: deny", question(named("user", strings.Repeat("b", 4096)), "documents:read", "report"), "deny"},
		{"DESIGN a credential of an unknown kind: 400", question(named("credential", "somebody"), "documents:read", "report"), "bad request"},
		{"DESIGN a credential without its properties: 400", question(named("credential", "authorization"), "documents:read", "report"), "bad request"},
		{"DESIGN half a key pair as a subject: 400", question(`{"type":"credential","id":"apikey","properties":{"apikey":"x"}}`, "documents:read", "report"), "bad request"},
		{"DESIGN a credential's property is a number: 400", question(`{"type":"credential","id":"authorization","properties":{"authorization":1}}`, "documents:read", "report"), "bad request"},
	}
	wrong := map[string]string{"string": `"x"`, "array": `[]`, "number": `7`, "null": `null`, "boolean": `true`}
	for kind, value := range wrong {
		for member, body := range map[string]string{
			"subject": of(`"subject":`+value, action, resource), "action": of(subject, `"action":`+value, resource), "resource": of(subject, action, `"resource":`+value),
			"context": of(subject, action, resource, `"context":`+value), "subject.properties": of(`"subject":{"type":"user","id":"bob","properties":`+value+`}`, action, resource),
			"action.properties":   of(subject, `"action":{"name":"documents:read","properties":`+value+`}`, resource),
			"resource.properties": of(subject, action, `"resource":{"type":"document","id":"report","properties":`+value+`}`),
		} {
			rows = append(rows, struct{ rule, body, want string }{fmt.Sprintf("AZ-05 %s is of type %s: 400", member, kind), body, "bad request"})
		}
	}
	wrong["string"] = `{}`
	for kind, value := range wrong {
		for member, body := range map[string]string{
			"subject.type": of(`"subject":{"type":`+value+`,"id":"bob"}`, action, resource), "subject.id": of(`"subject":{"type":"user","id":`+value+`}`, action, resource),
			"action.name": of(subject, `"action":{"name":`+value+`}`, resource), "resource.type": of(subject, action, `"resource":{"type":`+value+`,"id":"report"}`),
			"resource.id": of(subject, action, `"resource":{"type":"document","id":`+value+`}`),
		} {
			kind := strings.Replace(kind, "string", "object", 1)
			rows = append(rows, struct{ rule, body, want string }{fmt.Sprintf("AZ-05 %s is of type %s: 400", member, kind), body, "bad request"})
		}
	}
	for _, row := range rows {
		t.Run(row.rule, func(t *testing.T) {
			a := s.ask(t, gateway, evaluationPath, row.body)
			if a.verdict() != row.want {
				t.Fatalf("want %s, got %v", row.want, a)
			}
			checkShape(t, a)
		})
	}
}

// checkShape: AZ-20, a decision has a context that is an object; AZ-09, an error is a message, in JSON; BE-08, neither
// is for caches.
func checkShape(t *testing.T, a answer) {
	t.Helper()
	if got := a.header.Get("Content-Type"); got != "application/json" {
		t.Errorf("Content-Type is %q", got)
	}
	if got := a.header.Get("Cache-Control"); got != "no-store" {
		t.Errorf("Cache-Control is %q", got)
	}
	if a.status != http.StatusOK {
		var message string
		if err := json.Unmarshal([]byte(a.body), &message); err != nil || message == "" {
			t.Errorf("the error is no message: %v", a)
		}
		return
	}
	object := a.object(t)
	context, ok := object["context"].(map[string]any)
	if _, decided := object["decision"].(bool); !decided || !ok {
		t.Errorf("not a Decision: %v", a)
	}
	for _, member := range []string{"decision_id", "policy_revision", "data_revision", "reasons"} {
		if context[member] == nil {
			t.Errorf("the context lacks %s: %v", member, a)
		}
	}
}

func TestSameRequestSameDecision(t *testing.T) {
	s := start(t)
	gateway := holdersOf(t, "default").key("gateway")
	ids := map[string]bool{}
	for range 10 {
		a := s.ask(t, gateway, evaluationPath, good)
		if a.verdict() != "allow" {
			t.Fatalf("AZ-21: %v", a)
		}
		ids[a.decision(t).Context.DecisionID] = true
	}
	if len(ids) != 10 {
		t.Errorf("10 decisions have %d ids", len(ids))
	}
}

// AZ-10, AZ-11 and AZ-14 to AZ-17: what comes before the body.
func TestEvaluationEnvelope(t *testing.T) {
	s := start(t)
	h := holdersOf(t, "default")
	gateway := h.key("gateway")
	const form = "application/x-www-form-urlencoded"
	for _, row := range []struct {
		rule, method, contentType, body string
		credential                      credential
		status                          int
	}{
		{"AZ-10 application/json", "POST", "application/json", good, gateway, 200},
		{"AZ-10 with a charset", "POST", "application/json; charset=utf-8", good, gateway, 200},
		{"AZ-10 with a charset in capitals and quotes", "POST", `Application/JSON;charset="UTF-8"`, good, gateway, 200},
		{"AZ-10 none", "POST", "", good, gateway, 400},
		{"AZ-10 text/plain", "POST", "text/plain", good, gateway, 400},
		{"AZ-10 a form", "POST", form, good, gateway, 400},
		{"AZ-10 XML", "POST", "application/xml", good, gateway, 400},
		{"AZ-10 another charset", "POST", "application/json; charset=utf-16", good, gateway, 400},
		{"AZ-10 only begins like it", "POST", "application/jsonp", good, gateway, 400},
		{"AZ-10 a suffix is another type", "POST", "application/authzen+json", good, gateway, 400},
		{"AZ-10 two types in one", "POST", "application/json, text/plain", good, gateway, 400},
		{"AZ-10 malformed parameters", "POST", "application/json; charset", good, gateway, 400},
		{"AZ-11 GET", "GET", "application/json", "", gateway, 405},
		{"AZ-11 PUT", "PUT", "application/json", good, gateway, 405},
		{"AZ-11 PATCH", "PATCH", "application/json", good, gateway, 405},
		{"AZ-11 DELETE", "DELETE", "application/json", good, gateway, 405},
		{"AZ-11 HEAD", "HEAD", "application/json", "", gateway, 405},
		{"AZ-15 nobody", "POST", "application/json", good, nil, 401},
		{"AZ-15 a wrong key", "POST", "application/json", good, bearer("no-such-key"), 401},
		{"AZ-15 another scheme", "POST", "application/json", good, credential{"Authorization: Digest abc"}, 401},
		{"AZ-15 a scheme without a credential", "POST", "application/json", good, credential{"Authorization: Bearer"}, 401},
		{"AZ-15 a wrong pair", "POST", "application/json", good, credential{"X-API-Key: a", "X-API-Secret: b"}, 401},
		{"AZ-15 a wrong password", "POST", "application/json", good, basic("alice", "wrong"), 401},
		{"AZ-17 nobody and no member: 401, not 400", "POST", "application/json", `{}`, nil, 401},
		{"AZ-17 nobody and no JSON: 401", "POST", "application/json", `{`, nil, 401},
		{"AZ-17 nobody and no body: 401", "POST", "text/plain", "", nil, 401},
		{"AZ-17 a wrong key and broken JSON: 401", "POST", "application/json", `[`, bearer("no-such-key"), 401},
	} {
		for _, path := range []string{evaluationPath, evaluationsPath} {
			t.Run(row.rule+path, func(t *testing.T) {
				lines := row.credential
				if row.contentType != "" {
					lines = append(lines[:len(lines):len(lines)], "Content-Type: "+row.contentType)
				}
				a := s.send(t, row.method, path, row.body, lines...)
				if a.status != row.status {
					t.Fatalf("want %d, got %d %v", row.status, a.status, a)
				}
				challenge := a.header.Get("WWW-Authenticate")
				if (a.status == 401) != strings.HasPrefix(challenge, `Bearer realm="`) {
					t.Errorf("AZ-16: WWW-Authenticate is %q", challenge)
				}
				if anonymous := row.credential == nil; a.status == 401 && anonymous == strings.Contains(challenge, "error=") {
					t.Errorf("BE-02: an error only when there was a credential, got %q", challenge)
				}
				if a.status == 405 && !strings.Contains(a.header.Get("Allow"), "POST") {
					t.Errorf("Allow is %q", a.header.Get("Allow"))
				}
			})
		}
	}
}

// AZ-12, AZ-13: whatever the request id is, it comes back unchanged, and nothing more than it.
func TestRequestID(t *testing.T) {
	s := start(t)
	gateway := holdersOf(t, "default").key("gateway")
	for _, id := range []string{
		"bfe9eb29-ab87-4ca3-be83-a1d5d8305716", "1", "with spaces and\ttab", `"quoted\"; a=b`, "<script>alert(1)</script>",
		"%0d%0aSet-Cookie:%20a=b", `\r\nSet-Cookie: a=b`, "Grüße-名前-🙂", "\xff\xfe\x80", "{{7*7}}${jndi:ldap://x.example}", strings.Repeat("x", 4096), ",a, b;",
	} {
		for _, row := range []struct {
			rule, path, body string
			length           int
			credential       credential
			status           int
		}{
			{"200", evaluationPath, good, len(good), gateway, 200},
			{"400", evaluationPath, `{`, 1, gateway, 400},
			{"401", evaluationPath, good, len(good), nil, 401},
			{"404", "/nothing", good, len(good), gateway, 404},
			{"405", "/healthz", good, len(good), gateway, 405},
			{"413", evaluationPath, "{", bodyLimit + 1, gateway, 413},
			{"a batch", evaluationsPath, good, len(good), gateway, 200},
			{"400 at the token endpoint", tokenPath, good, len(good), nil, 400},
			{"403 at the data API", "/v1/data/mandate", `{}`, 2, holdersOf(t, "default").key("acme-read"), 403},
		} {
			text := "POST " + row.path + " HTTP/1.1\r\nHost: mandate.example\r\nConnection: close\r\nContent-Type: application/json\r\n" +
				strings.Join(append(row.credential[:len(row.credential):len(row.credential)], "X-Request-ID: "+id), "\r\n") +
				fmt.Sprintf("\r\nContent-Length: %d\r\n\r\n%s", row.length, row.body)
			a := s.raw(t, text)
			if a.status != row.status || a.header.Get("X-Request-ID") != id || len(a.header.Values("X-Request-ID")) != 1 || a.header.Get("Set-Cookie") != "" {
				t.Errorf("AZ-12 %s: id %.40q came back as %.40q with %d %.100v", row.rule, id, a.header.Values("X-Request-ID"), a.status, a)
			}
		}
	}
	t.Run("AZ-13 without one", func(t *testing.T) {
		if a := s.ask(t, gateway, evaluationPath, good); a.verdict() != "allow" || a.header.Get("X-Request-ID") != "" {
			t.Errorf("%v with %q", a, a.header.Get("X-Request-ID"))
		}
	})
	t.Run("a header folded over lines adds none", func(t *testing.T) {
		a := s.raw(t, "GET /healthz HTTP/1.1\r\nHost: x.example\r\nConnection: close\r\nX-Request-ID: a\r\n Set-Cookie: b=c\r\n\r\n")
		if a.header.Get("Set-Cookie") != "" || strings.ContainsAny(a.header.Get("X-Request-ID"), "\r\n") {
			t.Errorf("%v", a.header)
		}
	})
}

// AZ-60: ids are compared as they are. bob may read; nobody that looks like bob may.
func TestLookAlikeIDs(t *testing.T) {
	s := start(t)
	gateway := holdersOf(t, "default").key("gateway")
	alike := []string{
		"Bob", "BOB", "bOb", " bob", "bob ", "\tbob", "bob\n", "bob\r\n", "bob\x00", "\x00bob", "bo\x00b", "bob\u200b", "\u200bbob", "\ufeffbob", "bob\u00ad",
		"b\u043eb", "\u0432ob", "b\u03bfb", "ｂｏｂ", "b\u00f6b", "bo\u0308b", "𝐛𝐨𝐛", "b0b", "bob.", "./bob", "../users/bob", "/bob", "bob/", "bob//", "users/bob",
		"bob%00", "%62ob", "bo%62", "b%6Fb", "%2562ob", "bob;", "bob?", "bob#", "bob,alice", "bob*", "*", "b?b", "bob\\", `bob"`, "'bob'", `"bob"`, "bob@acme.example",
		"user:bob", "bob:", ":bob", "bob\u2028", "bob\u202e", "bob\u00a0", "bob\u3000", "~bob", "bob+", "bob|alice", "(bob)", "${bob}", "bobbob", "bo", "null", "0",
	}
	for _, id := range alike {
		quoted, err := json.Marshal(id)
		must(t, err)
		for what, body := range map[string]string{
			"subject.id":          `{"subject":{"type":"user","id":` + string(quoted) + `},"action":{"name":"documents:read"},"resource":{"type":"document","id":"r","properties":{"org":"acme"}}}`,
			"shared resource.id":  `{"subject":{"type":"user","id":"frank"},"action":{"name":"documents:read"},"resource":{"type":"document","id":` + strings.ReplaceAll(string(quoted), "bob", "plan") + `,"properties":{"org":"acme"}}}`,
			"organization":        `{"subject":{"type":"user","id":"bob"},"action":{"name":"documents:read"},"resource":{"type":"document","id":"r","properties":{"org":` + strings.ReplaceAll(string(quoted), "bob", "acme") + `}}}`,
			"organization itself": `{"subject":{"type":"user","id":"bob"},"action":{"name":"documents:read"},"resource":{"type":"organization","id":` + strings.ReplaceAll(string(quoted), "bob", "acme") + `}}`,
			"subject.type":        `{"subject":{"type":` + strings.ReplaceAll(string(quoted), "bob", "user") + `,"id":"bob"},"action":{"name":"documents:read"},"resource":{"type":"document","id":"r","properties":{"org":"acme"}}}`,
			"action.name":         `{"subject":{"type":"user","id":"bob"},"action":{"name":` + strings.ReplaceAll(string(quoted), "bob", "documents:read") + `},"resource":{"type":"document","id":"r","properties":{"org":"acme"}}}`,
		} {
			if a := s.ask(t, gateway, evaluationPath, body); a.verdict() != "deny" {
				t.Errorf("%s made of %q: %v", what, id, a)
			}
		}
	}
	for _, id := range []string{`bob`, `\u0062\u006f\u0062`} { // an escape is another spelling of the same id
		if a := s.ask(t, gateway, evaluationPath, question(named("user", id), "documents:read", "r")); a.verdict() != "allow" {
			t.Errorf("%s: %v", id, a)
		}
	}
}
