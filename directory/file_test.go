package directory_test

import (
	"errors"
	"strings"
	"testing"

	"mandate/directory"
)

func TestProblemsNameFieldAndLine(t *testing.T) {
	for _, row := range []struct{ name, text, want string }{
		{"unknown key", "users:\n  - {id: alice, usrname: a}", `line 2: unknown key "usrname"`},
		{"unknown top-level key", "people: []", `line 1: unknown key "people"`},
		{"unknown key of a domain", "orgs:\n  - id: acme\n    domains:\n      - {domain: a.example, verified: true}", `line 4: unknown key "verified"`},
		{"key given twice", "users:\n  - id: alice\n    id: bob", `line 3: mapping key "id" already defined at line 2`},
		{"wrong type keeps the value to itself", "users:\n  - {id: alice, password: [hunter2]}", "line 2: seq cannot be used as text here"},
		{"list expected", "orgs: acme", "line 1: str cannot be used as a list here"},
		{"not a duration", "apis: [{id: a, audience: \"https://a.example\", token_lifetime: soon}]", "line 1: str cannot be used as a duration such as 10m here"},
		{"two documents", "users: []\n---\nusers: []", "there is a second document in the file"},
		{"missing id", "users:\n  - {username: alice}", "line 2: users[0].id: is missing"},
		{"id twice", "users:\n  - {id: alice}\n  - {id: alice}", `line 3: users[1].id: "alice" is there twice`},
		{"control character in an id", "users: [{id: \"a\\u0000b\"}]", "line 1: users[0].id: may have printable ASCII characters only, and no space at either end"},
		{"look-alike id", "users: [{id: \"аlice\"}]", "line 1: users[0].id: may have printable ASCII characters only, and no space at either end"},
		{"space around an id", "users: [{id: \"alice \"}]", "line 1: users[0].id: may have printable ASCII characters only, and no space at either end"},
		{"long id", "users: [{id: " + strings.Repeat("a", 256) + "}]", "line 1: users[0].id: is longer than 255 bytes"},
		{"unknown user", "orgs:\n  - id: acme\n    members:\n      - {user: alice, roles: []}", `line 4: orgs[0].members[0].user: there is no user "alice", neither in this file nor in the store`},
		{"unknown role", "users: [{id: alice}]\norgs:\n  - id: acme\n    members:\n      - user: alice\n        roles: [boss]", `line 6: orgs[0].members[0].roles[0]: there is no role "boss", neither of the tenant nor of the organization "acme": define it under roles`},
		{"role of another organization", "users: [{id: alice}]\norgs:\n  - {id: globex, roles: {boss: {permissions: []}}}\n  - {id: acme, members: [{user: alice, roles: [boss]}]}", `line 4: orgs[1].members[0].roles[0]: there is no role "boss", neither of the tenant nor of the organization "acme": define it under roles`},
		{"member twice", "users: [{id: alice}]\norgs: [{id: acme, members: [{user: alice, roles: []}, {user: alice, roles: []}]}]", `line 2: orgs[0].members[1].user: "alice" is a member twice`},
		{"unknown parent", "orgs: [{id: acme, parent: globex}]", `line 1: orgs[0].parent: there is no org "globex", neither in this file nor in the store`},
		{"own parent", "orgs: [{id: acme, parent: acme}]", "line 1: orgs[0].parent: is the organization itself"},
		{"unknown status", "orgs: [{id: acme, status: closed}]", `line 1: orgs[0].status: is "closed", must be one of active, suspended`},
		{"domain of two", "orgs:\n  - {id: acme, domains: [a.example]}\n  - {id: globex, domains: [a.example]}", `line 3: orgs[1].domains[0]: "a.example" is already a verified domain of "acme"`},
		{"domain in upper case", "orgs: [{id: acme, domains: [A.example]}]", "line 1: orgs[0].domains[0]: must be a domain name in lower case, such as acme.example"},
		{"connection without audience", "orgs: [{id: acme, connections: [{id: c, issuer: \"https://i.example\", client_id: m}]}]", "line 1: orgs[0].connections[0].audiences: is missing: without one, tokens that the provider made for others would count"},
		{"email", "users: [{id: alice, email: \"Alice <a@b.example>\"}]", "line 1: users[0].email: is not a bare email address"},
		{"password hash", "users: [{id: alice, password_hash: \"$2y$10$abc\"}]", "line 1: users[0].password_hash: is not an argon2id hash in PHC form ($argon2id$v=19$m=…,t=…,p=…$salt$hash)"},
		{"password hash that would exhaust the machine", "users: [{id: alice, password_hash: \"$argon2id$v=19$m=4194304,t=1,p=1$AAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAA\"}]", "line 1: users[0].password_hash: has parameters out of bounds: at most m=262144, t=16, p=16; salt of 8 bytes or more, hash of 16 to 128 bytes"},
		{"username with a colon", "users: [{id: alice, username: \"a:b\", password: x}]", "line 1: users[0].username: has a colon, so the user could never sign in with a password (RFC 7617 §2)"},
		{"client with a user's id", "users: [{id: alice}]\nclients: [{id: alice}]", `line 2: clients[0].id: "alice" is already the id of user alice: ids of users, clients and API keys, and usernames, share one space`},
		{"username of a client's id", "clients: [{id: sync}]\nusers: [{id: bob, username: sync}]", `line 1: clients[0].id: "sync" is already the id of the username of user bob: ids of users, clients and API keys, and usernames, share one space`},
		{"client kind", "clients: [{id: c, kind: robot}]", `line 1: clients[0].kind: is "robot", must be one of service, web, native, spa`},
		{"secret of a public client", "clients: [{id: c, token_endpoint_auth_method: none, secret: abc}]", "line 1: clients[0].secret: has no use: the client authenticates with none"},
		{"redirect URI with a fragment", "clients: [{id: c, redirect_uris: [\"https://a.example/#x\"]}]", "line 1: clients[0].redirect_uris[0]: must be an absolute URI without a fragment, such as https://documents.example"},
		{"scope with a space", "clients: [{id: c, scopes: [\"a b\"]}]", `line 1: clients[0].scopes[0]: must be 1 to 255 visible ASCII characters without " and \`},
		{"secret and hash", "vendors: [{id: v, token: a, token_hash: \"hmac-sha256$x$y\"}]", "line 1: vendors[0].token: is given together with its hash: give one of them"},
		{"mistyped secret", "vendors: [{id: v, token: mdt_vt_v_abc}]", "line 1: vendors[0].token: begins with mdt_ but its checksum is wrong: it was copied in part or mistyped"},
		{"token with a colon", "vendors: [{id: v, token: \"a:b\"}]", "line 1: vendors[0].token: must not have a colon or a space, for it is joined to its other half by a colon"},
		{"API key that looks like a pair", "api_keys: [{id: k, key: \"YTpi\"}]", "line 1: api_keys[0].key: looks like another kind of token (a JWT, or two halves around a colon) or has a space: choose another"},
		{"owner without an organization", "users: [{id: alice}]\napi_keys: [{id: k, owner: alice}]", "line 2: api_keys[0].owner: needs an org: an owner holds a key for one organization"},
		{"owner who is no member", "users: [{id: alice}]\norgs: [{id: acme}]\napi_keys: [{id: k, org: acme, owner: alice}]", `line 3: api_keys[0].owner: user "alice" is no member of the organization "acme"`},
		{"secret of a bearer key", "api_keys: [{id: k, secret: abc}]", "line 1: api_keys[0].secret: is for keys of the kind pair"},
		{"integration twice", "vendors: [{id: v}]\norgs: [{id: acme}]\nintegrations:\n  - {id: i1, vendor: v, org: acme}\n  - {id: i2, vendor: v, org: acme}", `line 5: integrations[1].vendor: vendor "v" has an integration with "acme" already`},
		{"integration of nobody", "integrations: [{id: i, vendor: v}]", "line 1: integrations[0].org: is missing"},
		{"audience twice", "apis:\n  - {id: a, audience: \"https://a.example\"}\n  - {id: b, audience: \"https://a.example\"}", `line 3: apis[1].audience: is already the audience of "a"`},
		{"lifetime", "apis: [{id: a, audience: \"https://a.example\", token_lifetime: 48h}]", "line 1: apis[0].token_lifetime: must be between 1s and 24h"},
		{"relation without a type", "relations: [{resource: plan, relation: owner, subject: \"user:a\"}]", "line 1: relations[0].resource: must be written type:id, such as document:plan"},
		{"custom value above another", "custom: {a: 1, a/b: 2}", "line 1: custom.a/b: lies below custom.a, which has a value of its own"},
		{"custom path", "custom: {a//b: 1}", "line 1: custom.a//b: is not a path: segments of 1 to 1024 bytes between single slashes"},
	} {
		t.Run(row.name, func(t *testing.T) {
			_, err := newFixture(t, 1).load(t, row.text)
			var problems directory.Problems
			if !errors.As(err, &problems) {
				t.Fatalf("the file was not refused with problems: %v", err)
			}
			for _, p := range problems {
				if p.String() == row.want {
					return
				}
			}
			t.Errorf("got:\n%v\nwant:\n%s", err, row.want)
		})
	}
}

func TestProblemsAgainstTheStore(t *testing.T) {
	f := newFixture(t, 1)
	f.mustLoad(t, "users: [{id: alice, username: al}]\nclients: [{id: sync}]\napis: [{id: a, audience: \"https://a.example\"}]\ncustom: {flags/beta: true}")
	for text, want := range map[string]string{
		"clients: [{id: alice}]":                           "already the id of one of the users",
		"clients: [{id: al}]":                              "already the username of user alice",
		"users: [{id: sync}]":                              "already the id of one of the clients",
		"users: [{id: bob, username: sync}]":               "already the id of one of the clients",
		"users: [{id: bob, username: al}]":                 "belongs to another record already",
		"apis: [{id: b, audience: \"https://a.example\"}]": `already the audience of "a"`,
		"custom: {flags: 1}":                               "has custom/flags/beta below it",
		"custom: {flags/beta/more: 1}":                     "has a value at custom.flags/beta above it",
	} {
		if _, err := f.load(t, text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want …%s…", text, err, want)
		}
	}
}

func TestAllProblemsAreReported(t *testing.T) {
	_, err := newFixture(t, 1).load(t, "users:\n  - {id: \"\"}\n  - {id: bob, email: x}\norgs:\n  - {id: acme, status: no}")
	var problems directory.Problems
	if !errors.As(err, &problems) || len(problems) != 3 {
		t.Errorf("want three problems, got:\n%v", err)
	}
}

func FuzzParseFile(f *testing.F) {
	f.Add(everything)
	f.Add("users: [{id: a, password: b}]")
	f.Add("custom: &a {x: *a}")
	f.Fuzz(func(_ *testing.T, text string) {
		file, err := directory.ParseFile(strings.NewReader(text))
		if (file == nil) == (err == nil) {
			panic("either a file or an error")
		}
	})
}
