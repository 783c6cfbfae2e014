package directory_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"
	"time"

	"mandate/datastore"
	"mandate/directory"
)

// streamed is what an import of lines did, with the secrets that it made.
type streamed struct {
	directory.Streamed
	made []directory.Made
}

func (f fixture) stream(t *testing.T, store datastore.Store, r io.Reader, restart bool) (streamed, error) {
	t.Helper()
	var s streamed
	var err error
	s.Streamed, err = directory.Stream{Store: store, Master: f.master, Now: time.Now, Restart: restart,
		Progress: func(_ directory.Streamed, made []directory.Made) { s.made = append(s.made, made...) },
	}.Import(t.Context(), "default", "members.jsonl", r)
	return s, err
}

func (f fixture) exportLines(t *testing.T) string {
	t.Helper()
	view, err := f.View(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer view.Close()
	var b bytes.Buffer
	if err := directory.ExportLines(t.Context(), "default", view, &b, func(int) {}); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func (f fixture) unfinished(t *testing.T) (directory.Unfinished, bool) {
	t.Helper()
	view, err := f.View(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer view.Close()
	u, found, err := directory.Tenant("default").Unfinished().Find(t.Context(), view)
	if err != nil {
		t.Fatal(err)
	}
	return u, found
}

// people are lines of an organization, its role, users and then their memberships.
func people(n int) io.Reader {
	return generated(2+2*n, func(w io.Writer, i int) {
		switch {
		case i == 0:
			_, _ = fmt.Fprintln(w, `{"role": {"id": "viewer", "permissions": ["documents:read"]}}`)
		case i == 1:
			_, _ = fmt.Fprintln(w, `{"org": {"id": "acme", "name": "Acme"}}`)
		case i < 2+n:
			_, _ = fmt.Fprintf(w, "{\"user\": {\"id\": \"user-%d\", \"email\": \"user-%d@acme.example\"}}\n", i-2, i-2)
		default:
			_, _ = fmt.Fprintf(w, "{\"member\": {\"org\": \"acme\", \"user\": \"user-%d\", \"roles\": [\"viewer\"]}}\n", i-2-n)
		}
	})
}

// generated reads lines that are made as they are read.
func generated(n int, line func(w io.Writer, i int)) io.Reader {
	return &generator{n: n, line: line}
}

type generator struct {
	n, next int
	line    func(w io.Writer, i int)
	rest    bytes.Buffer
}

func (g *generator) Read(p []byte) (int, error) {
	for g.rest.Len() < len(p) && g.next < g.n {
		g.line(&g.rest, g.next)
		g.next++
	}
	return g.rest.Read(p)
}

func TestLinesOfAnExportAreImportedAgain(t *testing.T) {
	first, second := newFixture(t, 1), newFixture(t, 1)
	first.mustLoad(t, everything)
	// A parent that sorts after its child, and a circle.
	first.mustLoad(t, "orgs: [{id: alpha, parent: zulu}, {id: zulu}, {id: ring-a, parent: ring-b}, {id: ring-b, parent: ring-a}]")
	exported := first.exportLines(t)
	for _, secret := range []string{"correct horse", "s3cret-of-sync", "key-of-acme", "admin-id", "vendor-token", "secret-at-old", "redacted"} {
		if strings.Contains(exported, secret) {
			t.Errorf("the export has %q:\n%s", secret, exported)
		}
	}
	done, err := second.stream(t, second, strings.NewReader(exported), false)
	if err != nil {
		t.Fatal(err)
	}
	if lines := strings.Count(exported, "\n"); len(done.made) != 0 || done.Records != lines || done.Lines != lines || done.Bytes != int64(len(exported)) {
		t.Errorf("%+v of %d lines and %d bytes", done, lines, len(exported))
	}
	if again := second.exportLines(t); again != exported {
		t.Errorf("the export of an import of an export differs:\n%s\n---\n%s", exported, again)
	}
	// Nothing but a secret that Mandate presents itself is lost on the way that a file does not lose.
	if first.export(t) != second.export(t) {
		t.Errorf("as a file, the two differ:\n%s\n---\n%s", first.export(t), second.export(t))
	}
}

func TestLineProblems(t *testing.T) {
	const before = `{"role": {"id": "viewer", "permissions": []}}
{"org": {"id": "acme"}}

{"user": {"id": "alice"}}
`
	for _, row := range []struct{ name, line, want string }{
		{"not JSON", `user: alice`, "line 5: is not JSON: invalid character 'u' at start of value"},
		{"cut off", `{"user": {"id": "bob"`, "line 5: user: is not JSON: unexpected EOF"},
		{"two values", `{"user": {"id": "bob"}} {}`, "line 5: is not JSON: invalid character '{' after top-level value"},
		{"two records", `{"user": {"id": "bob"}, "vendor": {"id": "v"}}`, `line 5: must have one member, such as {"user": {"id": "alice"}}`},
		{"no record", `{}`, `line 5: must have one member, such as {"user": {"id": "alice"}}`},
		{"null", `{"user": null}`, `line 5: must have one member, such as {"user": {"id": "alice"}}`},
		{"unknown record", `{"person": {"id": "bob"}}`, "line 5: person: is not known"},
		{"unknown member", `{"user": {"id": "bob", "usrname": "b"}}`, "line 5: user.usrname: is not known"},
		{"another case", `{"user": {"ID": "bob"}}`, "line 5: user.ID: is not known"},
		{"internal member", `{"org": {"id": "acme", "Within": true}}`, "line 5: org.Within: is not known"},
		{"member twice", `{"user": {"id": "bob", "id": "eve"}}`, "line 5: user.id: is given twice"},
		{"type", `{"user": {"id": 7}}`, "line 5: user.id: must be text"},
		{"type keeps the value to itself", `{"user": {"id": "bob", "password": ["hunter2"]}}`, "line 5: user.password: must be text"},
		{"element", `{"member": {"org": "acme", "user": "alice", "roles": ["viewer", 7]}}`, "line 5: member.roles[1]: must be text"},
		{"time", `{"member": {"org": "acme", "user": "alice", "joined_at": "yesterday"}}`, "line 5: member.joined_at: must be a time such as 2030-01-31T12:00:00Z"},
		{"duration", `{"api": {"id": "a", "audience": "https://a.example", "token_lifetime": "soon"}}`, "line 5: api.token_lifetime: must be a duration such as 10m"},
		{"domain", `{"org": {"id": "acme", "domains": [{"domain": "a.example", "verified": true}]}}`, "line 5: org.domains[0].verified: is not known"},
		{"email", `{"user": {"id": "bob", "email": "nowhere"}}`, "line 5: user.email: is not a bare email address in ASCII, such as alice@acme.example"},
		{"user who comes later", `{"member": {"org": "acme", "user": "bob", "roles": []}}`, `line 5: member.user: there is no user "bob"`},
		{"unknown role", `{"member": {"org": "acme", "user": "alice", "roles": ["boss"]}}`, `line 5: member.roles[0]: there is no role "boss", neither of the tenant nor of the organization "acme"`},
		{"unknown organization", `{"member": {"org": "globex", "user": "alice", "roles": []}}`, `line 5: member.org: there is no org "globex"`},
		{"role of an unknown organization", `{"role": {"org": "globex", "id": "boss", "permissions": []}}`, `line 5: role.org: there is no org "globex"`},
		{"permission", `{"role": {"id": "boss", "permissions": ["a b"]}}`, `line 5: role.permissions[0]: must be 1 to 255 visible ASCII characters without " and \`},
		{"permission of an organization's role", `{"role": {"org": "acme", "id": "boss", "permissions": ["a b"]}}`, `line 5: role.permissions[0]: must be 1 to 255 visible ASCII characters without " and \`},
		{"missing parent", `{"org": {"id": "globex", "parent": "initech"}}`, `line 5: org.parent: there is no org "initech"`},
		{"client with a user's id", `{"client": {"id": "alice"}}`, `line 5: client.id: "alice" is already the id of one of the users: ids of users, clients and API keys share one space`},
		{"username of another", `{"user": {"id": "bob", "username": "alice"}}`, "line 5: user bob: username: belongs to another record already"},
		{"custom path", `{"custom": {"path": "a//b", "value": 1}}`, "line 5: custom: is not a path: segments of 1 to 1024 bytes between single slashes"},
		{"a line that is too long", `{"user": {"id": "` + strings.Repeat("a", 4<<20) + `"}}`, "line 5: is longer than 4 MiB"},
		{"more than one commit holds", `{"custom": {"path": "large", "value": "` + strings.Repeat("a", 1<<20) + `"}}`,
			"line 5: is too large for one commit: give the members of an organization lines of their own"},
	} {
		t.Run(row.name, func(t *testing.T) {
			f := newFixture(t, 1)
			_, err := f.stream(t, f, strings.NewReader(before+row.line+"\n"+`{"user": {"id": "bob"}}`), false)
			var problems directory.Problems
			if !errors.As(err, &problems) || !strings.HasPrefix(problems.Error()+"\n", row.want+"\n") {
				t.Errorf("got %v\nwant %s", err, row.want)
			}
		})
	}
}

func TestSmallStreamIsAllOrNothing(t *testing.T) {
	f := newFixture(t, 1)
	_, err := f.stream(t, f, strings.NewReader("{\"user\": {\"id\": \"alice\"}}\n{\"user\": {\"id\": \"\"}}\n"), false)
	if err == nil {
		t.Fatal("a user without an id was taken")
	}
	if exported := f.exportLines(t); exported != "" {
		t.Errorf("a failed import left something behind: %s", exported)
	}
	if _, found := f.unfinished(t); found {
		t.Error("an import that has written nothing counts as begun")
	}
}

func TestStreamIsIdempotentAndKeepsSecrets(t *testing.T) {
	f := newFixture(t, 1)
	const text = "{\"client\": {\"id\": \"sync\"}}\n{\"api_key\": {\"id\": \"admin\", \"kind\": \"pair\"}}"
	first, err := f.stream(t, f, strings.NewReader(text), false)
	if err != nil {
		t.Fatal(err)
	}
	again, err := f.stream(t, f, strings.NewReader(text), false)
	if err != nil {
		t.Fatal(err)
	}
	if len(first.made) != 3 || len(again.made) != 0 || again.Revision != first.Revision {
		t.Errorf("first %+v, then %+v", first, again)
	}
}

func TestStreamGoesOnAfterACrash(t *testing.T) {
	whole := newFixture(t, 1)
	if _, err := whole.stream(t, whole, people(5000), false); err != nil {
		t.Fatal(err)
	}
	f := newFixture(t, 1)
	written := 0
	for after := range 3 { // none, one and two commits more each time
		done, err := f.stream(t, &interrupted{f, after}, people(5000), false)
		if !errors.Is(err, errCrash) || done.Resumed != written {
			t.Fatalf("%+v, %v; %d lines had been written", done, err, written)
		}
		written = done.Lines
		if state, found := f.unfinished(t); found != (after > 0) || state.Lines != written {
			t.Errorf("after %d commits more, unfinished is %+v (%v)", after, state, found)
		}
	}
	done, err := f.stream(t, f, people(5000), false)
	if err != nil {
		t.Fatal(err)
	}
	if done.Resumed != written || done.Records != 10_002-written || done.Lines != 10_002 {
		t.Errorf("%+v after %d lines", done, written)
	}
	if _, found := f.unfinished(t); found {
		t.Error("an import that has ended counts as unfinished")
	}
	if f.exportLines(t) != whole.exportLines(t) {
		t.Error("an import that was resumed differs from one that was not interrupted")
	}
}

func TestOnlyTheSameLinesGoOn(t *testing.T) {
	f := newFixture(t, 1)
	if _, err := f.stream(t, &interrupted{f, 2}, people(5000), false); !errors.Is(err, errCrash) {
		t.Fatal(err)
	}
	before := f.exportLines(t)
	for name, r := range map[string]io.Reader{
		"another beginning": io.MultiReader(strings.NewReader("\n"), people(5000)),
		"shorter":           strings.NewReader(`{"user": {"id": "alice"}}`),
		"nothing":           strings.NewReader(""),
	} {
		_, err := f.stream(t, f, r, false)
		var other *directory.UnfinishedError
		if !errors.As(err, &other) || other.Lines != 4000 || other.Source != "members.jsonl" {
			t.Errorf("%s: %v", name, err)
		}
	}
	if f.exportLines(t) != before {
		t.Error("a refused import has written something")
	}
	if _, err := f.stream(t, f, strings.NewReader(`{"user": {"id": "alice"}}`), true); err != nil {
		t.Fatal(err)
	}
	if _, found := f.unfinished(t); found {
		t.Error("an import that was given up counts as unfinished")
	}
}

func TestABadLineIsCorrectedAndTheImportGoesOn(t *testing.T) {
	f := newFixture(t, 1)
	bad := io.MultiReader(people(3000), strings.NewReader("{\"user\": {\"id\": \"bob\", \"email\": \"nowhere\"}}\n"))
	done, err := f.stream(t, f, bad, false)
	var problems directory.Problems
	if !errors.As(err, &problems) || problems[0].Line != 6003 || done.Lines != 6000 {
		t.Fatalf("%+v, %v", done, err)
	}
	good := io.MultiReader(people(3000), strings.NewReader("{\"user\": {\"id\": \"bob\", \"email\": \"bob@acme.example\"}}\n"))
	if done, err = f.stream(t, f, good, false); err != nil || done.Resumed != 6000 || done.Records != 3 {
		t.Fatalf("%+v, %v", done, err)
	}
}

// TestChunkTooLargeForOneCommitIsHalved has paths that are longer than their lines, for each slash in them is escaped.
func TestChunkTooLargeForOneCommitIsHalved(t *testing.T) {
	f := newFixture(t, 1)
	before := f.Newest()
	slashes := strings.Repeat("/", 900)
	done, err := f.stream(t, f, generated(1000, func(w io.Writer, i int) {
		_, _ = fmt.Fprintf(w, "{\"relation\": {\"resource\": \"a:%s%d\", \"relation\": \"owner\", \"subject\": \"b:%s\"}}\n", slashes, i, slashes)
	}), false)
	if err != nil || done.Records != 1000 || done.Revision < before+3 {
		t.Fatalf("%+v, %v", done, err)
	}
}

func TestStreamEndsWithItsContext(t *testing.T) {
	f := newFixture(t, 1)
	ctx, cancel := context.WithCancel(t.Context())
	importer := directory.Stream{Store: f, Master: f.master, Now: time.Now, Progress: func(directory.Streamed, []directory.Made) { cancel() }}
	done, err := importer.Import(ctx, "default", "endless", generated(1<<40, func(w io.Writer, i int) {
		_, _ = fmt.Fprintf(w, "{\"vendor\": {\"id\": \"v-%d\", \"token\": \"t-%d\"}}\n", i, i)
	}))
	if !errors.Is(err, context.Canceled) || done.Lines == 0 {
		t.Errorf("%+v, %v", done, err)
	}
}

// TestMemoryOfAStreamIsBounded looks at the heap after each commit. The suite import of bench does so with a million.
func TestMemoryOfAStreamIsBounded(t *testing.T) {
	if testing.Short() {
		t.Skip("it imports 20,000 records")
	}
	f := newFixture(t, 1)
	var early, late uint64
	importer := directory.Stream{Store: f, Master: f.master, Now: time.Now, Progress: func(done directory.Streamed, _ []directory.Made) {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		if done.Records <= 6000 {
			early = max(early, m.HeapAlloc)
		}
		late = m.HeapAlloc
	}}
	begun := time.Now()
	done, err := importer.Import(t.Context(), "default", "members.jsonl", people(10_000))
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d records, %.0f a second; heap %d MiB after 6,000, %d MiB after all", done.Records,
		float64(done.Records)/time.Since(begun).Seconds(), early>>20, late>>20)
	if late > early+(16<<20) {
		t.Errorf("the heap has grown from %d to %d bytes", early, late)
	}
}
