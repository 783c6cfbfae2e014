package main

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

const operationsDirectory = `
roles:
  viewer: {permissions: ["documents:read"]}
  editor: {permissions: ["documents:read", "documents:write"]}
  developer: {permissions: ["documents:read"]}
  admin: {permissions: ["*"]}
apis: [{id: documents, audience: "https://documents.example", scopes: ["documents:read", "documents:write"]}]
users: [{id: alice}, {id: erin}, {id: grace}, {id: zoe}]
orgs:
  - {id: acme, name: Acme Industries, members: [{user: alice, roles: [admin, developer]}]}
  - {id: globex, name: Globex Corporation, members: [{user: erin, roles: [admin, developer]}]}
  - {id: initech, name: Initech, members: [{user: grace, roles: [admin]}]}
vendors: [{id: paperless, name: Paperless}]
clients:
  - id: paperless-app
    kind: web
    party: third
    vendor: paperless
    grant_types: [authorization_code, refresh_token, "urn:ietf:params:oauth:grant-type:token-exchange"]
    redirect_uris: ["https://paperless.example/callback"]
    scopes: ["documents:read"]
    audiences: ["https://documents.example"]
api_keys:
  - {id: gateway, key: key-of-the-gateway, scopes: [decide]}
  - {id: admin, key: key-of-the-admin, scopes: [manage, decide]}
`

// TestOperations runs what operators type, at a running server. Each script has organizations of its own.
func TestOperations(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "directory.yaml"), operationsDirectory)
	p := start(t, dir, "serve", "--data", "data", "--directory", "directory.yaml", "--listen", "127.0.0.1:0", "--dns-resolver", "127.0.0.1:1",
		"--mail-folder", "mail", "--mail-from", "no-reply@mandate.example")
	testscript.Run(t, testscript.Params{Dir: "testdata/operations", Setup: func(env *testscript.Env) error {
		env.Setenv("MANDATE_SERVER", "http://"+p.address)
		env.Setenv("MANDATE_AUTHORIZATION", "Bearer key-of-the-admin")
		return nil
	}})
}

// TestWritesAreRepeatedOnce has a server that fails in ways that pass.
func TestWritesAreRepeatedOnce(t *testing.T) {
	const problem = `{"code": "busy", "detail": "too many writes at once"}`
	fail := func(status int, retryAfter string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", retryAfter)
			w.WriteHeader(status)
			_, _ = io.WriteString(w, problem)
		}
	}
	drop := func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }
	breakOff := func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "100")
		_, _ = io.WriteString(w, "{")
	}
	for _, row := range []struct {
		name    string
		first   http.HandlerFunc
		command string
		calls   int
		wrong   string
	}{
		{"the connection breaks", drop, "orgs suspend acme", 2, ""},
		{"the connection breaks while reading", drop, "orgs show acme", 2, ""},
		{"the answer breaks off", breakOff, "orgs suspend acme", 2, ""},
		{"503 for a moment", fail(http.StatusServiceUnavailable, "1"), "orgs suspend acme", 2, ""},
		{"429 for a moment", fail(http.StatusTooManyRequests, "1"), "orgs create acme", 2, ""},
		{"503 for too long", fail(http.StatusServiceUnavailable, "60"), "orgs suspend acme", 1, "try again in 1m0s"},
		{"503 for nobody knows how long", fail(http.StatusServiceUnavailable, ""), "orgs suspend acme", 1, "too many writes at once"},
		{"500", fail(http.StatusInternalServerError, "1"), "orgs suspend acme", 1, "500 Internal Server Error"},
		{"a write without a key", drop, "keys rotate", 1, "EOF"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			var keys []string
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				keys = append(keys, r.Header.Get("Idempotency-Key"))
				if len(keys) == 1 {
					row.first(w, r)
					return
				}
				_, _ = io.WriteString(w, `{"id": "acme", "revision": 7}`)
			}))
			output, err := commandAt(t, server.URL, strings.Fields(row.command)...)
			server.Close()
			if len(keys) != row.calls || keys[0] != keys[len(keys)-1] {
				t.Errorf("%d calls with the keys %q, want %d with one", len(keys), keys, row.calls)
			}
			if reads := strings.Contains(row.command, "show") || row.command == "keys rotate"; (keys[0] == "") != reads {
				t.Errorf("the Idempotency-Key is %q", keys[0])
			}
			if row.wrong == "" && (err != nil || !strings.Contains(output, "acme")) {
				t.Errorf("%v: %s", err, output)
			}
			if row.wrong != "" && (err == nil || !strings.Contains(err.Error(), row.wrong)) {
				t.Errorf("the error is %v, want …%s…", err, row.wrong)
			}
		})
	}
}

// commandAt runs a command in this process, and returns what it has printed.
func commandAt(t *testing.T, url string, args ...string) (string, error) {
	t.Helper()
	environment := map[string]string{"MANDATE_SERVER": url, "MANDATE_AUTHORIZATION": "Bearer key"}
	cmd := command(func(name string) (string, bool) { value, ok := environment[name]; return value, ok })
	var b strings.Builder
	cmd.SetOut(&b)
	cmd.SetErr(&b)
	cmd.SetArgs(args)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	err := cmd.ExecuteContext(ctx)
	return b.String(), err
}

// TestAnswersOfOthers is about servers that are none, or mean harm.
func TestAnswersOfOthers(t *testing.T) {
	for _, row := range []struct {
		name, command string
		status        int
		answer, wrong string
	}{
		{"a page", "orgs show acme", http.StatusOK, "<html>", "is no Mandate server"},
		{"a list", "orgs show acme", http.StatusOK, "[]", "is no Mandate server"},
		{"no listing", "orgs list", http.StatusOK, `{"items": 1}`, "not a listing"},
		{"a redirect", "orgs show acme", http.StatusFound, "", "302 Found"},
		{"an error page", "orgs show acme", http.StatusBadGateway, "<html>\x1b[2J", "502 Bad Gateway: <html>\uFFFD[2J"},
		{"an error for the terminal", "orgs show acme", http.StatusConflict, `{"code": "x", "detail": "\u001b]0;owned\u0007"}`, "409 Conflict: \uFFFD]0;owned\uFFFD"},
		{"errors for the terminal", "orgs show acme", http.StatusUnprocessableEntity, `{"errors": [{"field": "\u001b[2J", "message": "is\rwrong"}]}`,
			"\n  \uFFFD[2J: is\uFFFDwrong"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Location", "http://elsewhere.invalid")
				w.WriteHeader(row.status)
				_, _ = io.WriteString(w, row.answer)
			}))
			defer server.Close()
			output, err := commandAt(t, server.URL, strings.Fields(row.command)...)
			if err == nil || !strings.Contains(err.Error(), row.wrong) {
				t.Errorf("the error is %v, want …%s…\n%s", err, row.wrong, output)
			}
		})
	}
}

// TestListingsFollowPages has a server with more records than it shows at once.
func TestListingsFollowPages(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.RawQuery {
		case "limit=500", "limit=3":
			_, _ = io.WriteString(w, `{"items": [{"id": "a"}, {"id": "b"}], "next_cursor": "b&c"}`)
		case "cursor=b%26c&limit=500", "cursor=b%26c&limit=1":
			_, _ = io.WriteString(w, `{"items": [], "next_cursor": "d"}`)
		case "cursor=d&limit=500", "cursor=d&limit=1":
			_, _ = io.WriteString(w, `{"items": [{"id": "e"}]}`)
		default:
			http.Error(w, r.URL.RawQuery, http.StatusBadRequest)
		}
	}))
	defer server.Close()
	for _, row := range []struct{ command, want string }{
		{"orgs list --json", "{\"id\":\"a\"}\n{\"id\":\"b\"}\n{\"id\":\"e\"}\n"},
		{"orgs list --json --limit 0", "{\"id\":\"a\"}\n{\"id\":\"b\"}\n{\"id\":\"e\"}\n"},
		{"orgs list --json --limit 3", "{\"id\":\"a\"}\n{\"id\":\"b\"}\n{\"id\":\"e\"}\n"},
		{"orgs", "ID  STATUS  PARENT  NAME\na   -       -       -\nb   -       -       -\ne   -       -       -\n"},
		{"orgs --csv", "\"id\",\"status\",\"parent\",\"name\"\n\"a\",\"\",\"\",\"\"\n\"b\",\"\",\"\",\"\"\n\"e\",\"\",\"\",\"\"\n"},
	} {
		if output, err := commandAt(t, server.URL, strings.Fields(row.command)...); err != nil || output != row.want {
			t.Errorf("%s: %v\n%s", row.command, err, output)
		}
	}
}

// TestRolesAreChangedTogether has somebody else change the member between reading and writing.
func TestRolesAreChangedTogether(t *testing.T) {
	answers := []string{`{"roles": ["viewer"], "revision": 3}`, "", `{"roles": ["auditor"], "revision": 5}`, `{"roles": ["auditor", "editor"], "revision": 6}`}
	var asked []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil || len(asked) == len(answers) {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		asked = append(asked, r.Method+r.Header.Get("If-Match")+string(body))
		answer := answers[len(asked)-1]
		if answer == "" {
			w.WriteHeader(http.StatusPreconditionFailed)
		}
		_, _ = io.WriteString(w, answer)
	}))
	output, err := commandAt(t, server.URL, "members", "add-role", "acme", "bob", "editor")
	server.Close()
	want := `GET PATCH"3"{"roles":["viewer","editor"]} GET PATCH"5"{"roles":["auditor","editor"]}`
	if got := strings.Join(asked, " "); err != nil || got != want || !strings.Contains(output, "auditor,editor") {
		t.Errorf("%v\n%s\nasked %s\nwant  %s", err, output, got, want)
	}
}

func TestCells(t *testing.T) {
	for _, row := range []struct{ name, document, want string }{
		{"texts, lists and what lies below", `{"id": "a", "roles": ["x", "y"], "n": 1, "ok": false, "by": {"sub": "s"}, "none": null}`, "id=a roles=x,y n=1 ok=false by.sub=s none="},
		{"times are in UTC", `{"at": "2026-01-31T12:00:00.5+02:00", "expires_at": "2026-01-31T12:00:00Z"}`, "at=2026-01-31T10:00:00Z expires_at=2026-01-31T12:00:00Z"},
		{"other texts stay", `{"name": "2026-01-31T12:00:00+02:00"}`, "name=2026-01-31T12:00:00+02:00"},
		{"escape sequences", `{"name": "\u001b[31mred\u009b0m\u0007\u007f"}`, "name=\uFFFD[31mred\uFFFD0m\uFFFD\uFFFD"},
		{"lines and tabs", `{"name": "a\nb\tc\rd\u2028e"}`, "name=a\uFFFDb\uFFFDc\uFFFDd\uFFFDe"},
		{"what is read from right to left", `{"name": "a\u202eb\u2066c"}`, "name=a\uFFFDb\uFFFDc"},
		{"in lists", `{"roles": ["\u001b[2J", {"a": "\u001b"}]}`, "roles=\uFFFD[2J,{\"a\": \"\\u001b\"}"},
		{"names of members", `{"metadata": {"a\nb": 1}}`, "metadata.a\nb=1"},
		{"letters of others", `{"name": "Škoda 東京 cafe\u0301 «\u00a0x"}`, "name=Škoda 東京 cafe\u0301 «\u00a0x"},
	} {
		t.Run(row.name, func(t *testing.T) {
			found, err := cells([]byte(row.document), "", 0)
			var got []string
			for _, c := range found {
				got = append(got, c.member+"="+c.text)
			}
			if text := strings.Join(got, " "); err != nil || text != row.want {
				t.Errorf("%v\n%q\nwant\n%q", err, text, row.want)
			}
		})
	}
}

func TestJSONLine(t *testing.T) {
	for document, want := range map[string]string{
		"{\n  \"a\": [1, 2]\n}":             `{"a":[1,2]}`,
		"{\"a\": \"\u009b0m\u007f\u202e\"}": `{"a":"\u009b0m\u007f\u202e"}`,
		"{\"a\": \"\U000e0001é東\"}":         `{"a":"\udb40\udc01é東"}`,
	} {
		if got, err := jsonLine([]byte(document)); err != nil || got != want {
			t.Errorf("%q: %s, %v", document, got, err)
		}
	}
}

func TestHarmless(t *testing.T) {
	for field, want := range map[string]string{
		"": "", "acme": "acme", "1": "1", "a=1": "a=1", "'quoted": "'quoted",
		"=1+1": "'=1+1", "+49": "'+49", "-1": "'-1", "@SUM(A1)": "'@SUM(A1)", "\t=1": "'\t'=1", "＝1": "'＝1", " =1": " '=1",
		"a;=1": "a;'=1", "a;b": "a;b", "a; =1": "a; '=1", "a\t@b": "a\t'@b", `a;"=1`: `a;"'=1`, "a;-1;+2": "a;'-1;'+2", "a b =1": "a b =1",
	} {
		if got := harmless(field); got != want {
			t.Errorf("%q: %q, want %q", field, got, want)
		}
	}
}

func TestEndOf(t *testing.T) {
	now := time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)
	for text, want := range map[string]string{
		"72h": "2026-02-03T12:00:00Z", "2027-01-31T12:00:00+01:00": "2027-01-31T12:00:00+01:00", "": "", "-1h": "!", "0s": "!", "tomorrow": "!", "2027-01-31": "!",
	} {
		got, err := endOf(text, now)
		if (err != nil) != (want == "!") || (err == nil && got != want) {
			t.Errorf("%q: %v, %v", text, got, err)
		}
	}
}

// TestTableOfNouns checks what no compiler does: that each command is there once, and that its flags are told apart.
func TestTableOfNouns(t *testing.T) {
	for _, c := range command(os.LookupEnv).Commands() {
		if c.GroupID == "" {
			continue
		}
		if c.Example == "" || len(c.Commands()) == 0 {
			t.Errorf("%s has no example or nothing to do", c.CommandPath())
		}
		seen := map[string]bool{}
		for _, verb := range c.Commands() {
			if seen[verb.Name()] || verb.Short == "" {
				t.Errorf("%s is there twice, or says nothing of itself", verb.CommandPath())
			}
			seen[verb.Name()] = true
			for line := range strings.SplitSeq(verb.UsageString()+verb.Short, "\n") {
				if strings.Contains(line, "?") {
					t.Errorf("%s: %s", verb.CommandPath(), line)
				}
			}
		}
	}
}
