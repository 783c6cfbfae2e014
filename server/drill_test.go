package server_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
)

// drilled is what is said of a credential that has leaked.
type drilled struct {
	Holder      drilledHolder `json:"holder"`
	Complete    bool          `json:"complete"`
	Grants      []struct{}    `json:"grants"`
	Descendants []struct {
		drilledHolder
		Action string `json:"action"`
		Revoke bool   `json:"revoke"`
	} `json:"descendants"`
	Changes map[string]int `json:"changes"`
	Deeds   struct {
		Count    int    `json:"count"`
		First    string `json:"first"`
		Complete bool   `json:"complete"`
		Deeds    []struct {
			Kind    string `json:"kind"`
			Action  string `json:"action"`
			Org     string `json:"org"`
			Outcome string `json:"outcome"`
			Count   int    `json:"count"`
		} `json:"deeds"`
	} `json:"deeds"`
	Reach searched `json:"reach"`
}

type drilledHolder struct {
	Type string `json:"type"`
	ID   string `json:"id"`
	Org  string `json:"org"`
}

// leak makes a key of the tenant, and what descends from it: tokens, keys made by it and by those, a client, and a rotated key.
type leak struct {
	key, child, grandchild, rotated, client string // secrets
	tokens                                  tokensOf
}

func (s *running) leak(t testing.TB, h holders) (l leak) {
	t.Helper()
	secret := func(as credential, method, path, body, member string, status int) string {
		made, _ := s.managed(t, as, method, path, body).wantMembers(t, status, nil)[member].(string)
		if made == "" {
			t.Fatalf("%s %s has made no %s", method, path, member)
		}
		return made
	}
	const scopes = `"scopes":["manage","documents:read"]`
	l.key = secret(h.pair("tenant-admin"), "POST", "/v1/apikeys", `{"id":"leaked","kind":"bearer",`+scopes+`}`, "key", http.StatusCreated)
	leaked := bearer(l.key)
	l.child = secret(leaked, "POST", "/v1/apikeys", `{"id":"child","kind":"bearer",`+scopes+`}`, "key", http.StatusCreated)
	l.grandchild = secret(bearer(l.child), "POST", "/v1/apikeys", `{"id":"grandchild","org":"acme","kind":"bearer","scopes":["documents:read"]}`, "key", http.StatusCreated)
	l.client = secret(leaked, "POST", "/v1/clients", `{"id":"evil","kind":"service","grant_types":["client_credentials"],"scopes":["documents:read"],"audiences":["https://documents.example"],"org":"acme"}`, "client_secret", http.StatusCreated)
	l.rotated = secret(leaked, "POST", "/v1/apikeys/acme-read/rotate", "", "key", http.StatusOK)
	s.managed(t, leaked, "PATCH", "/v1/orgs/acme", `{"name":"Acme, renamed"}`).wantOutcome(t, "renamed", http.StatusOK, "")
	form := url.Values{"audience": {documentsAPI}}.Encode()
	l.tokens = s.send(t, "POST", "/auth", form, append(leaked, formType)...).tokens(t)
	return l
}

// works says what a credential is answered when it asks what it may do itself.
func (s *running) works(t testing.TB, c credential) int {
	t.Helper()
	return s.ask(t, c, evaluationPath, question(caller, "documents:read", "x")).status
}

// A drill names what descends from a leaked key and no secret; after its revocation none of that works, and everything else does.
func TestDrilledKeyIsRevokedWithItsDescendants(t *testing.T) {
	s := start(t)
	h := holdersOf(t, "default")
	admin := h.pair("tenant-admin")
	l := s.leak(t, h)
	subject := presented(t, bearer(l.tokens.Access))
	asked := func() bool {
		var a struct {
			Decision bool `json:"decision"`
		}
		s.ask(t, h.key("gateway"), evaluationPath, question(subject, "documents:read", "x")).decode(t, &a)
		return a.Decision
	}
	descending := map[string]credential{"the key": bearer(l.key), "a key that it made": bearer(l.child), "a key of that": bearer(l.grandchild),
		"a key that it rotated": bearer(l.rotated), "a client that it made": basic("evil", l.client)}
	others := map[string]credential{"a key of the organization": h.key("dora-write"), "a key of the tenant": h.key("tenant-read"), "a client": h.client("acme-sync"),
		"a pair": h.pair("acme-pair"), "a vendor": h.partner("backupco", "backupco-acme"), "a key that decides": h.key("gateway")}
	for name, c := range descending {
		if got := s.works(t, c); got != http.StatusOK {
			t.Fatalf("before: %s answers %d", name, got)
		}
	}
	if !asked() {
		t.Fatal("the token of the key does not work before")
	}

	a := s.managed(t, admin, "POST", "/v1/apikeys/leaked/drill", "")
	var d drilled
	a.decode(t, &d)
	var found []string
	for _, of := range d.Descendants {
		found = append(found, fmt.Sprint(of.Type, ":", of.ID, " ", of.Action, " ", of.Revoke))
	}
	want := []string{"apikey:child apikeys.create true", "apikey:grandchild apikeys.create true", "client:evil clients.create true", "apikey:acme-read apikeys.rotate true"}
	if !slices.Equal(found, want) || !d.Complete || len(d.Grants) != 1 || d.Changes["orgs.update"] != 1 {
		t.Errorf("the drill says %v, %d grants, %v", found, len(d.Grants), d.Changes)
	}
	var counts []string
	for _, deed := range d.Deeds.Deeds {
		counts = append(counts, fmt.Sprintf("%s %s %s %s %d", deed.Kind, deed.Action, deed.Org, deed.Outcome, deed.Count))
	}
	for _, want := range []string{"decision apikeys.create  allow 1", "decision orgs.update acme allow 1", "decision documents:read acme allow 2"} {
		if !slices.Contains(counts, want) {
			t.Errorf("the log says %q, want %q", counts, want)
		}
	}
	if len(d.Reach.Results) != 2 || d.Deeds.First == "" || !d.Deeds.Complete {
		t.Errorf("it reaches %+v, and did something first at %s", d.Reach.Results, d.Deeds.First)
	}
	for _, secret := range []string{l.key, l.child, l.grandchild, l.rotated, l.client, l.tokens.Access, l.tokens.Refresh} {
		if strings.Contains(a.body, secret) {
			t.Errorf("a secret is in the report: %v", a)
		}
	}

	revoked := s.managed(t, admin, "POST", "/v1/apikeys/leaked/drill/revoke", "", "Idempotency-Key: once")
	revoked.wantMembers(t, http.StatusOK, map[string]any{"grants": 1})
	for name, c := range descending {
		if got := s.works(t, c); got != http.StatusUnauthorized {
			t.Errorf("after: %s answers %d", name, got)
		}
	}
	if asked() {
		t.Error("after: the token of the key is allowed")
	}
	refresh := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {l.tokens.Refresh}}.Encode()
	if a := s.send(t, "POST", "/auth/refresh", refresh, formType); a.status < 400 {
		t.Errorf("after: the refresh token is good: %v", a)
	}
	for name, c := range others {
		if got := s.works(t, c); got != http.StatusOK {
			t.Errorf("after: %s answers %d", name, got)
		}
	}
	if again := s.managed(t, admin, "POST", "/v1/apikeys/leaked/drill/revoke", "", "Idempotency-Key: once"); again.body != revoked.body {
		t.Errorf("repeated: %v", again)
	}
	// All of it was one commit, with a record of each change.
	revision := fmt.Sprint(revoked.object(t)["revision"])
	for _, path := range []string{"/v1/apikeys/leaked", "/v1/apikeys/child", "/v1/apikeys/grandchild", "/v1/apikeys/acme-read", "/v1/clients/evil"} {
		s.managed(t, admin, "GET", path, "").wantMembers(t, http.StatusOK, map[string]any{"revision": revision})
	}
	audit := s.managed(t, admin, "GET", "/v1/audit?limit=6", "").body
	if strings.Count(audit, `"apikeys.update"`) != 4 || strings.Count(audit, `"clients.update"`) != 1 || strings.Count(audit, `"apikeys.drill"`) != 1 {
		t.Errorf("the audit records are %s", audit)
	}
}

// Whose a secret is learns only who may drill it. What is unknown and what is out of reach look the same.
func TestSecretsAreIdentified(t *testing.T) {
	s := start(t)
	h := holdersOf(t, "default")
	l := s.leak(t, h)
	admin := h.pair("tenant-admin")
	acme, alice, erin := h.key("acme-manager"), s.administrator(t, h, "alice", "acme"), s.administrator(t, h, "erin", "globex")
	for _, row := range []struct {
		name, secret string
		as           credential
		want         string
	}{
		{"a key", l.key, admin, "apikey leaked "},
		{"a key of an organization", l.grandchild, admin, "apikey grandchild acme"},
		{"the same for its manager", l.grandchild, acme, "apikey grandchild acme"},
		{"the same for its administrator", l.grandchild, alice, "apikey grandchild acme"},
		{"the same for another's", l.grandchild, erin, "404"},
		{"one of the tenant", l.key, acme, "404"},
		{"a secret of a client", l.client, admin, "client evil acme"},
		{"a key that was imported", h.secret("key dora-write"), admin, "apikey dora-write acme"},
		{"a vendor's token", h.secret("vendor backupco"), admin, "vendor backupco "},
		{"a partner token", h.secret("integration backupco-acme"), admin, "integration backupco acme"},
		{"a partner token of the organization", h.secret("integration backupco-acme"), alice, "integration backupco acme"},
		{"unknown", "mdt_ak_leaked_0000", admin, "404"},
		{"mistyped", l.key[:len(l.key)-1] + "x", admin, "404"},
		{"unknown to an organization", "no-such-secret", acme, "404"},
		{"without the scope", l.key, h.key("gateway"), "403"},
	} {
		body, err := json.Marshal(map[string]string{"secret": row.secret})
		must(t, err)
		a := s.managed(t, row.as, "POST", "/v1/credentials/identify", string(body))
		var of drilledHolder
		got := fmt.Sprint(a.status)
		if a.status == http.StatusOK {
			a.decode(t, &of)
			got = of.Type + " " + of.ID + " " + of.Org
		}
		if got != row.want {
			t.Errorf("%s: %q, want %q: %v", row.name, got, row.want, a)
		}
		if strings.Contains(a.body, row.secret) {
			t.Errorf("%s: the answer has the secret", row.name)
		}
	}
	for _, secret := range []string{l.key, l.grandchild, l.client} {
		if strings.Contains(s.log.String(), secret) {
			t.Error("a secret is in the log of the service")
		}
	}
}

// A drill is for those who manage the credential: each part of it.
func TestDrillIsPermitted(t *testing.T) {
	s := start(t)
	h := holdersOf(t, "default")
	s.leak(t, h)
	for _, row := range []struct {
		name, path string
		as         credential
		status     int
	}{
		{"a key of the organization", "/v1/apikeys/alice-read", h.key("acme-manager"), 200},
		{"its administrator", "/v1/apikeys/dora-write", s.administrator(t, h, "alice", "acme"), 200},
		{"another organization's administrator", "/v1/apikeys/alice-read", s.administrator(t, h, "erin", "globex"), 404},
		{"a key of the tenant", "/v1/apikeys/leaked", h.key("acme-manager"), 404},
		{"a key that is not there", "/v1/apikeys/nothing", h.key("acme-manager"), 404},
		{"not there at all", "/v1/apikeys/nothing", h.pair("tenant-admin"), 404},
		{"without the scope", "/v1/apikeys/alice-read", h.key("gateway"), 403},
		{"a client", "/v1/clients/acme-sync", h.pair("tenant-admin"), 200},
		{"a client of several organizations", "/v1/clients/acme-sync", h.key("acme-manager"), 403},
		{"a client of others", "/v1/clients/globex-reports", h.key("acme-manager"), 404},
		{"a vendor", "/v1/vendors/scanly", h.pair("tenant-admin"), 200},
		{"a vendor, of an organization", "/v1/vendors/scanly", h.key("acme-manager"), 404},
		{"an integration", "/v1/orgs/acme/integrations/backupco", h.key("acme-manager"), 200},
		{"an integration of others", "/v1/orgs/globex/integrations/scanly", h.key("acme-manager"), 404},
	} {
		for _, what := range []string{"/drill", "/drill/revoke"} {
			if a := s.managed(t, row.as, "POST", row.path+what, ""); a.status != row.status {
				t.Errorf("%s%s: %v, want %d", row.name, what, a, row.status)
			}
		}
	}
	for name, c := range map[string]credential{"a key": h.key("alice-read"), "a client": h.client("acme-sync"), "a vendor": h.partner("backupco", "backupco-acme")} {
		if got := s.works(t, c); got == http.StatusOK {
			t.Errorf("%s works after it was revoked", name)
		}
	}
}
