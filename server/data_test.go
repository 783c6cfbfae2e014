package server_test

import (
	"context"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"

	"mandate/engine"
)

// policySet is the three decisions that every set must have, with the text of one of them and other files beside.
func policySet(t testing.TB, files map[string]string) *engine.PolicySet {
	t.Helper()
	folder := fstest.MapFS{}
	for _, name := range []string{"access", "tokens", "manage"} {
		folder[name+".rego"] = &fstest.MapFile{Data: []byte("package mandate." + name + "\n\ndecision := {\"allow\": true, \"reasons\": [{\"code\": \"yes\", \"message\": \"Yes.\"}]}\n")}
	}
	for name, text := range files {
		folder[name] = &fstest.MapFile{Data: []byte(text)}
	}
	set, err := engine.Compile(context.Background(), folder)
	must(t, err)
	return set
}

// OP-01: POST /v1/data/<path> answers as OPA's own data API does.
func TestDataAPI(t *testing.T) {
	s := start(t)
	h := holdersOf(t, "default")
	s.engines["default"].Swap(policySet(t, map[string]string{
		"team/sub.rego": `package team.sub

answer := 42

no := false

nothing := null

echo := input

sum := input.a + input.b

only if input.yes

greeting := sprintf("hello %s", [input.name])

mode := data.custom.maintenance

some_facts := count(data.users)
`}))
	for _, row := range []struct{ rule, path, body, want string }{
		{"a rule", "team/sub/answer", `{}`, `"result":42`},
		{"without a body", "team/sub/answer", ``, `"result":42`},
		{"false is a result", "team/sub/no", `{}`, `"result":false`},
		{"null is a result", "team/sub/nothing", `{}`, `"result":null`},
		{"with input", "team/sub/sum", `{"input":{"a":1,"b":2}}`, `"result":3`},
		{"input is passed on as it is", "team/sub/echo", `{"input":{"n":1e2,"s":"\u00e9","l":[null,true]}}`, `"result":{"l":[null,true],"n":1e2,"s":"é"}`},
		{"input is a string", "team/sub/echo", `{"input":"x"}`, `"result":"x"`},
		{"input is null", "team/sub/echo", `{"input":null}`, `"result":null`},
		{"input is false", "team/sub/echo", `{"input":false}`, `"result":false`},
		{"unknown members are ignored", "team/sub/answer", `{"foo":1,"Input":2}`, `"result":42`},
		{"facts through a rule", "team/sub/mode", `{}`, `"result":false`},
		{"facts counted by a rule", "team/sub/some_facts", `{}`, `"result":10`},
		{"a package", "team/sub", `{"input":{"yes":true}}`, `"only":true`},
		{"an escaped path", "te%61m/sub/%61nswer", `{}`, `"result":42`},
	} {
		a := s.ask(t, h.pair("tenant-admin"), "/v1/data/"+row.path, row.body)
		if a.status != http.StatusOK || !strings.Contains(a.body, row.want) || !strings.Contains(a.body, `"decision_id":"`) {
			t.Errorf("%s: want %s, got %d %v", row.rule, row.want, a.status, a)
		}
	}
	for rule, path := range map[string]string{
		"an undefined rule": "/team/sub/only", "input is missing": "/team/sub/echo", "an unknown package": "/no/such/package", "a part of a number": "/team/sub/answer/x",
		"the whole document": "", "facts": "/orgs/acme/profile", "all facts": "/orgs", "users": "/users", "users by an escape": "/%75sers/alice", "keys": "/apikeys",
		"private state": "/private", "private secrets": "/private/secrets", "private by an escape": "/p%72ivate/keys", "system": "/system", "system bundles": "/system/bundles",
		"OPA's policy API": "/../policies", "further up": "/../../v1/policies/x",
		"a climb": "/team/../orgs/acme/profile", "an escaped climb": "/team/%2e%2e/orgs", "a climb in one segment": "/team%2f..%2forgs", "a dot": "/./orgs",
		"a slash within": "/team%2fsub%2fanswer", "NUL": "/team%00/sub", "in capitals": "/TEAM/sub/answer", "quotes": "/team/%22sub%22", "brackets": "/team[\"sub\"]",
	} {
		a := s.ask(t, h.pair("tenant-admin"), "/v1/data"+path, `{}`)
		if _, defined := a.object(t)["result"]; a.status != http.StatusOK || defined {
			t.Errorf("%s is undefined: 200 without result, got %d %.300v", rule, a.status, a)
		}
	}
	for rule, row := range map[string]struct {
		path, body string
		status     int
	}{
		"broken JSON":           {"/team/sub/answer", `{`, 400},
		"an array":              {"/team/sub/answer", `[]`, 400},
		"two values":            {"/team/sub/answer", `{} {}`, 400},
		"input twice":           {"/team/sub/answer", `{"input":1,"input":2}`, 400},
		"a name twice in input": {"/team/sub/echo", `{"input":{"a":1,"\u0061":2}}`, 400},
		"a number too large":    {"/team/sub/echo", `{"input":1e400}`, 400},
		"too deep":              {"/team/sub/echo", `{"input":` + strings.Repeat("[", 100) + strings.Repeat("]", 100) + `}`, 400},
		"an empty segment":      {"/team//sub", `{}`, 400},
		"a slash at the end":    {"/team/sub/", `{}`, 400},
		"broken escape":         {"/team/%zz", `{}`, 400},
		"no UTF-8":              {"/team/%ff", `{}`, 400},
		"33 segments":           {strings.Repeat("/a", 33), `{}`, 400},
	} {
		if a := s.raw(t, "POST /v1/data"+row.path+" HTTP/1.1\r\nHost: x.example\r\nConnection: close\r\n"+strings.Join(h.pair("tenant-admin"), "\r\n")+
			"\r\n"+jsonType+"\r\nContent-Length: "+strconv.Itoa(len(row.body))+"\r\n\r\n"+row.body); a.status != row.status {
			t.Errorf("%s: want %d, got %d %v", rule, row.status, a.status, a)
		}
	}
	for _, path := range []string{"/v1/query", "/v1/compile", "/v1/config", "/v1/status", "/v0/data", "/debug/pprof", "/v1/dataset"} {
		for _, method := range []string{"GET", "POST", "PUT", "DELETE"} {
			if a := s.send(t, method, path, `{}`, append(h.pair("tenant-admin"), jsonType)...); a.status != http.StatusNotFound {
				t.Errorf("%s %s: %d %v", method, path, a.status, a)
			}
		}
	}
	for _, method := range []string{"PUT", "DELETE"} { // OPA's writes of policies
		if a := s.send(t, method, "/v1/policies/x", `package x`, append(h.pair("tenant-admin"), "Content-Type: text/plain")...); a.status != http.StatusMethodNotAllowed {
			t.Errorf("%s: %d %v", method, a.status, a)
		}
	}
	for _, method := range []string{"PUT", "PATCH", "DELETE"} { // OPA's writes of data
		if a := s.send(t, method, "/v1/data/custom/maintenance", `true`, append(h.pair("tenant-admin"), jsonType)...); a.status != http.StatusMethodNotAllowed {
			t.Errorf("%s: %d %v", method, a.status, a)
		}
	}
}

// Who may ask for documents and for explanations is the policy's matter.
func TestDataAndExplainPermissions(t *testing.T) {
	s := start(t)
	h := holdersOf(t, "default")
	for _, row := range []struct {
		who           string
		credential    credential
		data, explain int
		code          string // of the refusal
	}{
		{"nobody", nil, 401, 401, "credential_missing"},
		{"a wrong key", bearer("x"), 401, 401, "credential_invalid"},
		{"a key with manage and decide", h.pair("tenant-admin"), 200, 200, ""},
		{"a key with manage", h.key("manage-only"), 200, 200, ""},
		{"a key with decide", h.key("gateway"), 200, 403, "scope_missing"}, // data.query takes no more than decide
		{"a key with decide, bound to an organization", h.key("acme-gateway"), 403, 403, ""},
		{"a key with manage, bound to an organization", h.key("acme-manager"), 403, 403, "wrong_org"},
		{"a key with other scopes", h.key("acme-read"), 403, 403, "scope_missing"},
		{"a key with the scope *", h.key("dora-star"), 403, 403, "scope_missing"},
		{"a user, even an admin", h.user("alice", "alice"), 403, 403, "scope_missing"},
		{"a vendor", h.partner("backupco", "backupco-acme"), 403, 403, "scope_missing"},
		{"a client with both", h.client("operator"), 200, 200, ""},
		{"a client with neither", h.client("acme-sync"), 403, 403, "scope_missing"},
	} {
		t.Run(row.who, func(t *testing.T) {
			data := s.ask(t, row.credential, "/v1/data/mandate/access/decision", `{"input":{}}`)
			explain := s.ask(t, row.credential, "/v1/explain", good)
			if data.status != row.data || explain.status != row.explain {
				t.Errorf("want %d and %d, got %v and %.300v", row.data, row.explain, data, explain)
			}
			for _, a := range []answer{data, explain} {
				if a.status == 200 {
					continue
				}
				problem := a.object(t)
				if a.header.Get("Content-Type") != "application/problem+json" || a.header.Get("X-Request-ID") != problem["request_id"] || problem["request_id"] == "" ||
					problem["status"] != float64(a.status) || problem["title"] == "" || problem["detail"] == "" || (row.code != "" && problem["code"] != row.code) {
					t.Errorf("no problem of RFC 9457 with the code %s: %v %v", row.code, a.header, a)
				}
			}
		})
	}
}

func TestExplain(t *testing.T) {
	s := start(t)
	h := holdersOf(t, "default")
	for _, row := range []struct{ rule, body, want string }{
		{"a permit", good, "allow"},
		{"a denial", bad, "deny"},
		{"broken", `{`, "bad request"},
		{"without a subject", `{}`, "bad request"},
		{"a credential that is wrong", question(presented(t, bearer("no-such-key")), "documents:read", "r"), "deny"},
	} {
		if a := s.ask(t, h.pair("tenant-admin"), "/v1/explain", row.body); a.verdict() != row.want {
			t.Errorf("%s: want %s, got %.300v", row.rule, row.want, a)
		}
	}
	a := s.ask(t, h.pair("tenant-admin"), "/v1/explain", question(presented(t, h.user("alice", "alice")), "documents:read", "report"))
	explanation, _ := a.object(t)["explanation"].(map[string]any)
	if a.verdict() != "allow" || explanation["rules"] == nil || explanation["facts"] == nil {
		t.Errorf("no explanation: %.300v", a)
	}
	for holder, secret := range h.secrets {
		if strings.Contains(a.body, secret) || strings.Contains(a.body, "private") {
			t.Errorf("the explanation shows the secret of %s", holder)
		}
	}
}

// A policy that goes wrong is a denial, or for a data query no answer; never an allow and never the service's fault.
func TestPoliciesThatFail(t *testing.T) {
	s := start(t)
	h := holdersOf(t, "default")
	s.engines["default"].Swap(policySet(t, map[string]string{
		"access.rego": `package mandate.access

decision := {"allow": true, "n": input.context.n}

decision := {"allow": true} if input.context.fine

decision := {"allow": true} if input.context.divide == 1 / input.context.by
`,
		"tokens.rego":  "package mandate.tokens\n\ndecision := {\"allow\": true, \"scopes\": [\"decide\"], \"lifetime\": 1000000, \"claims\": {\"sub\": \"root\"}}\n",
		"team/c.rego":  "package team.c\n\nv := input.a\n\nv := input.b\n",
		"team/ok.rego": "package team.ok\n\nv := 1 / input.by\n",
	}))
	ask := func(context string) string { return strings.TrimSuffix(good, "}") + `,"context":` + context + `}` }
	for rule, row := range map[string][2]string{
		"fine":                            {`{"fine":true}`, "allow"},
		"undefined":                       {`{}`, "deny"},
		"in conflict with itself":         {`{"n":1,"fine":true}`, "deny"},
		"with a member that no one knows": {`{"n":1}`, "deny"},
		"dividing by zero":                {`{"divide":1,"by":0}`, "deny"},
	} {
		a := s.ask(t, h.key("gateway"), evaluationPath, ask(row[0]))
		if a.verdict() != row[1] {
			t.Errorf("%s: want %s, got %v", rule, row[1], a)
		}
		checkShape(t, a)
	}
	if a := s.ask(t, h.pair("tenant-admin"), "/v1/data/team/c/v", `{"input":{"a":1,"b":2}}`); a.status != http.StatusUnprocessableEntity || a.object(t)["code"] != "policy_error" {
		t.Errorf("a data query in conflict: %v", a)
	}
	if a := s.ask(t, h.pair("tenant-admin"), "/v1/data/team/ok/v", `{"input":{"by":0}}`); a.status >= 500 || strings.Contains(a.body, `"result":`) {
		t.Errorf("a data query divides by zero: %v", a)
	}
	a := s.token(t, h.client("operator"), clientCredentials)
	if a.status != http.StatusBadRequest || a.object(t)["error"] != "access_denied" || strings.Contains(a.body, "sub") {
		t.Errorf("a token policy that sets sub and lives for days: %v", a)
	}
	checkTokenAnswer(t, a)
}
