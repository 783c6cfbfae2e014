package engine

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/fstest"

	"mandate/datastore/memo"
)

func TestCompileRefuses(t *testing.T) {
	const allow = `decision := {"allow": true}`
	for _, test := range []struct {
		name  string
		files map[string]string // beside a complete policy set
		want  []string          // lines
	}{
		{"syntax", map[string]string{"sub/bad.rego": "package x\n\np if {"}, []string{"sub/bad.rego:3: rego_parse_error: "}},
		{"Rego v0", map[string]string{"old.rego": "package x\n\np { true }"}, []string{"old.rego:3: rego_parse_error: "}},
		{"recursion", map[string]string{"x.rego": "package x\np if q\nq if p"}, []string{"x.rego:2: rego_recursion_error: ", "x.rego:3: rego_recursion_error: "}},
		{"types", map[string]string{"x.rego": "package x\np if count(1) == 2"}, []string{"x.rego:2: rego_type_error: "}},
		{"strict mode", map[string]string{"x.rego": "package x\nimport data.y\np if {\n\tv := 1\n}"},
			[]string{"x.rego:2: rego_compile_error: import data.y unused", "x.rego:4: rego_compile_error: assigned var v unused"}},
		{"package orgs", map[string]string{"x.rego": "# a comment\npackage orgs.acme\np := 1"},
			[]string{`x.rego:2: package "orgs" would hide the facts that policies read at data.orgs`}},
		{"package custom", map[string]string{"x.rego": "package custom\np := 1"}, []string{`x.rego:1: package "custom" would hide`}},
		{"package private", map[string]string{"x.rego": "package private\np := 1"}, []string{`x.rego:1: package "private" is reserved`}},
		{"package system", map[string]string{"x.rego": "package system.log\np := 1"}, []string{`x.rego:1: package "system" is reserved`}},
		{"data that hides facts", map[string]string{"data.json": `{"orgs": {}}`, "private/data.yaml": "a: 1", "system/data.yml": "a: 1"},
			[]string{`data.json: data "orgs" would hide the facts that policies read at data.orgs`, `private/data.yaml: data "private" is reserved`,
				`system/data.yml: data "system" is reserved`}},
		{"data twice", map[string]string{"data.json": `{"a": {"b": 1}}`, "a/data.yaml": "{b: 1, c: 2}"}, []string{"data.json: another file has a value at data.a.b too"}},
		{"data at a rule", map[string]string{"data.json": `{"mandate": {"access": {"decision": {"allow": true}}}}`},
			[]string{"access.rego:2: rego_compile_error: conflicting rule for data path mandate/access/decision found"}},
		{"data above a rule", map[string]string{"data.json": `{"mandate": 1}`},
			[]string{"access.rego:2: rego_compile_error: conflicting rule", "manage.rego:2: rego_compile_error: conflicting rule", "tokens.rego:2: rego_compile_error: conflicting rule"}},
		{"data that is none", map[string]string{"data.json": "[]", "x/data.json": "{", "y/data.yaml": "a: b: c"},
			[]string{"data.json: the data of a policy set is an object", "x/data.json: is not readable", "y/data.yaml: is not readable"}},
		{"data that a test misses", map[string]string{"data.json": `{"team": {"size": 3}}`, "x_test.rego": "package x_test\ntest_size if data.team.size == 4"},
			[]string{"x_test.rego:2: test data.x_test.test_size failed"}},
		{"network", map[string]string{"x.rego": `package x
p := http.send({"method": "get", "url": "http://localhost"})`}, []string{"x.rego:2: http.send is not available: policies must not reach the network"}},
		{"environment", map[string]string{"x.rego": "package x\np := opa.runtime()"}, []string{"x.rego:2: opa.runtime is not available: "}},
		{"memory without bound", map[string]string{"x.rego": "package x\np := bits.lsh(1, input.n)"}, []string{"x.rego:2: bits.lsh is not available: its result cannot be bounded"}},
		{"names", map[string]string{"x.rego": `package x
p := net.lookup_ip_addr("localhost")`}, []string{"x.rego:2: net.lookup_ip_addr is not available: "}},
		{"files", map[string]string{"x.rego": `package x
p := json.match_schema({}, input.schema)`}, []string{"x.rego:2: json.match_schema is not available: "}},
		{"missing decision", map[string]string{"manage.rego": "package mandate.manage\nother := 1"},
			[]string{"there is no rule data.mandate.manage.decision"}},
		{"decision is a function", map[string]string{"manage.rego": "package mandate.manage\ndecision(_) := 1"},
			[]string{"there is no rule data.mandate.manage.decision"}},
		{"decision only in tests", map[string]string{"manage.rego": "package mandate.manage\nother := 1", "manage_test.rego": "package mandate.manage\n" + allow},
			[]string{"there is no rule data.mandate.manage.decision"}},
		{"failing test", map[string]string{"x_test.rego": "package x_test\n\ntest_truth if 1 == 2\n\ntest_other if true"},
			[]string{"x_test.rego:3: test data.x_test.test_truth failed"}},
		{"failing cases", map[string]string{"x_test.rego": `package x_test

test_sums[name] if {
	some name, c in {"right": {"a": 1, "sum": 2}, "wrong": {"a": 2, "sum": 3}}
	c.a + c.a == c.sum
}`}, []string{"x_test.rego:3: test data.x_test.test_sums failed: wrong"}},
		{"test with an error", map[string]string{"x_test.rego": "package x_test\np := 1 if true\np := 2 if true\ntest_p if p == 1"},
			[]string{"x_test.rego:4: test data.x_test.test_p failed: x_test.rego:3: eval_conflict_error: "}},
		{"test that does not compile", map[string]string{"x_test.rego": "package x_test\ntest_p if data.x.f(1) == 1"},
			[]string{"x_test.rego:2: rego_type_error: undefined function data.x.f"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			fsys := accessPolicy(allow)
			for name, text := range test.files {
				fsys[name] = &fstest.MapFile{Data: []byte(text)}
			}
			set, err := Compile(t.Context(), fsys)
			refused := (*CompileError)(nil)
			if set != nil || !errors.As(err, &refused) {
				t.Fatalf("not refused: %v", err)
			}
			lines := strings.Split(err.Error(), "\n")
			for i, want := range test.want {
				if i >= len(lines) || !strings.HasPrefix(lines[i], want) {
					t.Fatalf("line %d is not %q:\n%v", i+1, want, err)
				}
			}
			if len(test.want) < len(lines) && test.name != "syntax" && test.name != "Rego v0" {
				t.Errorf("more than %d lines:\n%v", len(test.want), err)
			}
		})
	}
}

func TestCompileLeavesOut(t *testing.T) {
	fsys := accessPolicy(`decision := {"allow": true}`)
	set := compiled(t, fsys)
	for _, name := range []string{".git/hook.rego", ".hidden.rego", "README.md", "sub/.x/y.rego"} {
		fsys[name] = &fstest.MapFile{Data: []byte("no Rego")}
	}
	if compiled(t, fsys).Revision() != set.Revision() {
		t.Error("what is left out has changed the revision")
	}
	fsys["todo_test.rego"] = &fstest.MapFile{Data: []byte("package todo_test\ntodo_test_later if false")}
	if compiled(t, fsys).Revision() == set.Revision() {
		t.Error("a test has not changed the revision")
	}
}

func TestCompileLimits(t *testing.T) {
	fsys := accessPolicy(`decision := {"allow": true}`)
	fsys["large.rego"] = &fstest.MapFile{Data: make([]byte, maxPolicyBytes)}
	if _, err := Compile(t.Context(), fsys); err == nil || !strings.Contains(err.Error(), "more than") {
		t.Error("too large:", err)
	}
}

func TestCompileCancelled(t *testing.T) {
	fsys := accessPolicy(`decision := {"allow": true}`)
	fsys["x_test.rego"] = &fstest.MapFile{Data: []byte("package x_test\ntest_x if count(numbers.range(1, 1000000000000)) > 1")}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Compile(ctx, fsys); !errors.Is(err, context.Canceled) {
		t.Error("error is", err)
	}
}

func TestRevision(t *testing.T) {
	a := revisionOf([]File{{"a", "bc"}, {"d", "e"}})
	for _, files := range [][]File{nil, {{"a", "b"}, {"cd", "e"}}, {{"a", "bcde"}}, {{"d", "e"}, {"a", "bc"}}} {
		if revisionOf(files) == a {
			t.Errorf("%v has the same revision", files)
		}
	}
	set := exampleSet(t)
	if len(set.Revision()) != 64 || !strings.HasPrefix(set.Revision(), set.ShortRevision()) {
		t.Error(set.Revision(), set.ShortRevision())
	}
	if exampleSet(t).Revision() != set.Revision() {
		t.Error("the same content has another revision")
	}
}

// The rules of test files are not in the set that decides.
func TestTestsAreApart(t *testing.T) {
	fsys := accessPolicy(`decision := {"allow": true} if data.extra.grant`)
	fsys["extra_test.rego"] = &fstest.MapFile{Data: []byte("package extra\ngrant := true\ntest_allowed if data.mandate.access.decision.allow")}
	e := New(tenant, compiled(t, fsys), patient())
	if d, err := e.Decide(t.Context(), memo.Over(viewOf(t, nil)), e.Policies(), Access, []byte(`{}`)); d.Allow {
		t.Error("a test file has allowed:", d, err)
	}
}
