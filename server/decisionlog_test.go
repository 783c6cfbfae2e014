package server_test

import (
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"

	"mandate/decisionlog"
	"mandate/server"
)

// records are those of the default tenant so far, of one kind.
func (s *running) records(t testing.TB, kind decisionlog.Kind) (found []decisionlog.Record) {
	t.Helper()
	for r, err := range decisionlog.Find(t.Context(), s.logs[server.DefaultTenant].Folder(), decisionlog.Query{Kind: kind, OldestFirst: true}) {
		must(t, err)
		found = append(found, r)
	}
	return found
}

// said is a record in one line: its code and its details in order, without where the request came from.
func said(r decisionlog.Record) string {
	var parts []string
	for name, value := range r.Description.Details {
		switch name {
		case "address", "jti", "expires_at", "grant_id":
			value = "…"
		}
		parts = append(parts, name+"="+value)
	}
	slices.Sort(parts)
	code := ""
	if len(r.Description.Reasons) > 0 {
		code = r.Description.Reasons[0].Code + " "
	}
	return code + strings.Join(parts, " ")
}

func TestFailedAuthenticationsAreRecorded(t *testing.T) {
	s := start(t)
	h := holdersOf(t, "default")
	genuine := s.issue(t, h.client("operator"), "")
	long := strings.Repeat("x", 7000)
	const here, evaluation, token = "address=… ", "route=POST /access/v1/evaluation", "route=POST /oauth2/token"
	for name, row := range map[string]struct {
		path   string
		body   string
		lines  []string
		wanted string // empty when nothing is recorded
	}{
		"nothing sent":            {evaluationPath, good, []string{jsonType}, ""},
		"a good key":              {evaluationPath, good, append(h.key("gateway"), jsonType), ""},
		"an unknown key":          {evaluationPath, good, append(bearer("mdt_key_unknown"), jsonType), "credential_invalid " + here + "credential=api_key " + evaluation},
		"half a pair":             {evaluationPath, good, []string{"X-API-Key: " + h.secret("key tenant-admin"), jsonType}, "credential_malformed " + here + "credential=api_key credential_id=tenant-admin " + evaluation},
		"a wrong secret of a key": {evaluationPath, good, []string{"X-API-Key: " + h.secret("key tenant-admin"), "X-API-Secret: wrong", jsonType}, "credential_invalid " + here + "credential=api_key credential_id=tenant-admin " + evaluation},
		"a wrong client secret":   {evaluationPath, good, append(basic("operator", "wrong"), jsonType), "credential_invalid " + here + "credential=client_secret credential_id=operator " + evaluation},
		"a wrong password":        {evaluationPath, good, append(basic("alice", "hunter2"), jsonType), "credential_invalid " + here + "credential=password credential_id=alice " + evaluation},
		"a password as the name":  {evaluationPath, good, append(basic("hunter2", "alice"), jsonType), "credential_invalid " + here + "credential=password " + evaluation},
		"no base64":               {evaluationPath, good, []string{"Authorization: Basic ???", jsonType}, "credential_malformed " + here + "credential=basic " + evaluation},
		"another scheme":          {evaluationPath, good, []string{"Authorization: Digest hunter2", jsonType}, "credential_malformed " + here + "credential=api_key " + evaluation},
		"two credentials":         {evaluationPath, good, append(append(h.key("gateway"), basic("operator", "x")...), jsonType), "credential_ambiguous " + here + evaluation},
		"a torn token":            {evaluationPath, good, append(bearer(genuine[:len(genuine)-8]+"AAAAAAAA"), jsonType), "credential_invalid " + here + "credential=access_token credential_id=operator " + evaluation},
		"a pair of nobody":        {evaluationPath, good, append(bearer("vendor:partner"), jsonType), "credential_invalid " + here + "credential=partner_token " + evaluation},
		"a megabyte of an id":     {evaluationPath, good, append(basic(long, long), jsonType), "credential_malformed " + here + "credential=password " + evaluation},
		"a client at its endpoint": {tokenPath, "grant_type=client_credentials&client_id=operator&client_secret=wrong", []string{formType},
			"credential_invalid " + here + "credential=client_secret credential_id=operator " + token},
		"a client that nobody knows": {tokenPath, "grant_type=client_credentials&client_id=" + long + "&client_secret=wrong", []string{formType},
			"credential_invalid " + here + "credential=client_secret " + token},
		"only the name of one": {tokenPath, "grant_type=client_credentials&client_id=operator", []string{formType},
			"credential_invalid " + here + "credential=client_id credential_id=operator " + token},
		"no good assertion": {tokenPath, "grant_type=client_credentials&client_assertion=a.b.c&client_assertion_type=urn:ietf:params:oauth:client-assertion-type:jwt-bearer", []string{formType},
			"credential_invalid " + here + "credential=client_assertion " + token},
		"at the exchange":      {"/auth", "", basic("alice", "hunter2"), "credential_invalid " + here + "credential=password credential_id=alice route=POST /auth"},
		"a route that manages": {"/v1/orgs", "{}", append(bearer("mdt_key_unknown"), jsonType), "credential_invalid " + here + "credential=api_key route=POST /v1/orgs"},
		"introspection":        {"/oauth2/introspect", "token=x", append(bearer("mdt_key_unknown"), formType), "credential_invalid " + here + "credential=api_key route=POST /oauth2/introspect"},
	} {
		before := len(s.records(t, decisionlog.Authentication))
		s.send(t, "POST", row.path, row.body, row.lines...)
		var got []string
		for _, r := range s.records(t, decisionlog.Authentication)[before:] {
			got = append(got, said(r))
			if r.Allow || r.Description.Details["address"] != "127.0.0.1" {
				t.Errorf("%s: %+v", name, r)
			}
			text, err := json.Marshal(r.Description)
			must(t, err)
			if len(text) > 700 || regexp.MustCompile(`hunter2|wrong|xxxx|mdt_key`).Match(text) {
				t.Errorf("%s: the record is %s", name, text)
			}
		}
		if want := strings.Fields(row.wanted); strings.Join(got, "\n") != strings.Join(want, " ") {
			t.Errorf("%s is recorded as\n%s, want\n%s", name, strings.Join(got, "\n"), row.wanted)
		}
	}
}

// A flood of what is refused alike costs the log little.
func TestFloodOfRefusedCredentialsIsSmall(t *testing.T) {
	s := start(t)
	refuse := func() {
		if a := s.ask(t, bearer("mdt_key_unknown"), evaluationPath, good); a.status != http.StatusUnauthorized {
			t.Fatal(a)
		}
	}
	refuse()
	before := s.logs[server.DefaultTenant].Stats()
	for range 100 {
		refuse()
	}
	after := s.logs[server.DefaultTenant].Stats()
	if entries, bytes := after.Entries-before.Entries, after.Bytes-before.Bytes; entries != 100 || bytes > 100*80 {
		t.Errorf("%d records of %d bytes", entries, bytes)
	}
}

func TestSignInsAreRecorded(t *testing.T) {
	s := start(t)
	if shown := s.browser(t).get("/login").signIn("alice", "hunter2"); shown.status != http.StatusForbidden {
		t.Fatal(shown.status, shown.body)
	}
	got := s.records(t, decisionlog.Authentication)
	if len(got) != 1 || said(got[0]) != "credential_invalid address=… credential=password credential_id=alice route=POST /login" {
		t.Errorf("%v", got)
	}
}

func TestTokensAreRecorded(t *testing.T) {
	s := start(t)
	h := holdersOf(t, "default")
	const token = "route=POST /oauth2/token "
	for name, row := range map[string]struct {
		path   string
		body   string
		as     credential
		wanted string
	}{
		"a client's own": {tokenPath, "grant_type=client_credentials", h.client("operator"),
			"address=… audience=https://mandate.example client=operator credential=client_secret credential_id=operator expires_at=… grant_type=client_credentials jti=… lifetime=300 " + token + "scope=decide manage subject=operator subject_type=client"},
		"a scope too many": {tokenPath, "grant_type=client_credentials&scope=none", h.client("operator"),
			"invalid_scope address=… client=operator credential=client_secret credential_id=operator grant_type=client_credentials " + token + "scope=none"},
		"hostile parameters": {tokenPath, "grant_type=" + strings.Repeat("g", 9000) + "&scope=" + strings.Repeat("s", 9000), h.client("operator"),
			"unsupported_grant_type address=… client=operator credential=client_secret credential_id=operator grant_type=" + strings.Repeat("g", 200) + "… " + token + "scope=" + strings.Repeat("s", 200) + "…"},
		"no good refresh token": {tokenPath, "grant_type=refresh_token&refresh_token=stolen", h.client("operator"), "*stolen"},
		"for a password":        {"/auth", "", h.user("alice", "alice"), "*credential=password credential_id=alice"},
		"for an API key":        {"/auth", "", h.key("gateway"), "*credential=api_key credential_id=gateway"},
		"refreshed":             {"/auth/refresh", "refresh_token=stolen", nil, "*grant_type=refresh_token"},
	} {
		before := len(s.records(t, decisionlog.Token))
		a := s.send(t, "POST", row.path, row.body, append(slices.Clone(row.as), formType)...)
		got := s.records(t, decisionlog.Token)[before:]
		if len(got) != 1 || got[0].Allow != (a.status == http.StatusOK) {
			t.Errorf("%s: %v, records %v", name, a, got)
			continue
		}
		if part, ok := strings.CutPrefix(row.wanted, "*"); ok {
			if strings.Contains(said(got[0]), part) == (part == "stolen") {
				t.Errorf("%s: %s", name, said(got[0]))
			}
		} else if said(got[0]) != row.wanted {
			t.Errorf("%s is recorded as\n%s, want\n%s", name, said(got[0]), row.wanted)
		}
		if a.status == http.StatusOK {
			issued := a.object(t)["access_token"].(string)
			if text, err := json.Marshal(got[0].Description); err != nil || strings.Contains(string(text), issued[:40]) || strings.Contains(string(text), issued[len(issued)-40:]) {
				t.Errorf("%s: the token is in the record %s, %v", name, text, err)
			}
		}
	}
}

func TestMetricsOfTheDecisionLog(t *testing.T) {
	s := start(t)
	h := holdersOf(t, "default")
	for range 3 {
		s.ask(t, h.key("gateway"), evaluationPath, good)
	}
	s.ask(t, bearer("mdt_key_unknown"), evaluationPath, good)
	s.issue(t, h.client("operator"), "")
	s.token(t, h.client("operator"), "grant_type=client_credentials&scope=none")
	a := s.send(t, "GET", "/metrics", "", h.client("operator")...)
	for _, wanted := range []string{
		`mandate_decisions_total{outcome="allow",point="mandate/access",remembered="false",tenant="default"} 1`,
		`mandate_decisions_total{outcome="allow",point="mandate/access",remembered="true",tenant="default"} 2`,
		`mandate_decision_duration_seconds_count{point="mandate/access",remembered="true",tenant="default"} 2`,
		`mandate_authentication_failures_total{code="credential_invalid",tenant="default"} 1`,
		`mandate_tokens_total{outcome="issued",tenant="default"} 1`,
		`mandate_tokens_total{outcome="refused",tenant="default"} 1`,
		`mandate_decision_log_failing{tenant="default"} 0`,
		fmt.Sprintf(`mandate_policy_info{revision="%s",tenant="default"} 1`, s.engines[server.DefaultTenant].Policies().Revision()),
	} {
		if !strings.Contains(a.body, wanted+"\n") {
			t.Errorf("%s is missing", wanted)
		}
	}
	for _, name := range []string{"mandate_decision_log_entries_total", "mandate_decision_log_bytes_total", "mandate_policy_activated_timestamp_seconds", "mandate_store_revision"} {
		if !regexp.MustCompile(`(?m)^` + name + `(\{.*\})? [1-9]`).MatchString(a.body) {
			t.Errorf("%s is missing or 0", name)
		}
	}
}
