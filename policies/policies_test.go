package policies_test

import (
	"bytes"
	"context"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"testing"

	"mandate/policies"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/format"
	"github.com/open-policy-agent/opa/v1/rego"
	"github.com/open-policy-agent/opa/v1/storage"
	"github.com/open-policy-agent/opa/v1/storage/inmem"
	"github.com/open-policy-agent/opa/v1/tester"
)

// sources reads the embedded policies by path.
func sources(t *testing.T) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := fs.WalkDir(policies.FS, ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		text, err := policies.FS.ReadFile(path)
		files[path] = string(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(files) == 0 {
		t.Fatal("no policy is embedded")
	}
	return files
}

// modules parses the policies, without their tests unless tests is set.
func modules(t *testing.T, tests bool) map[string]*ast.Module {
	t.Helper()
	parsed := map[string]*ast.Module{}
	for path, text := range sources(t) {
		if !tests && strings.HasSuffix(path, "_test.rego") {
			continue
		}
		module, err := ast.ParseModuleWithOpts(path, text, ast.ParserOptions{ProcessAnnotation: true})
		if err != nil {
			t.Fatal(err)
		}
		parsed[path] = module
	}
	return parsed
}

// compiled compiles the policies strictly.
func compiled(t *testing.T, tests bool) *ast.Compiler {
	t.Helper()
	compiler := ast.NewCompiler().WithStrict(true)
	if compiler.Compile(modules(t, tests)); compiler.Failed() {
		t.Fatal(compiler.Errors)
	}
	return compiler
}

func TestPoliciesCompileStrictly(t *testing.T) {
	compiler := compiled(t, false)
	for _, name := range []string{"access", "tokens", "manage"} {
		if len(compiler.GetRulesExact(ast.MustParseRef("data.mandate."+name+".decision"))) == 0 {
			t.Errorf("package mandate.%s has no rule decision", name)
		}
	}
}

func TestPoliciesAreFormatted(t *testing.T) {
	for path, text := range sources(t) {
		formatted, err := format.Source(path, []byte(text))
		if err != nil {
			t.Errorf("%s: %v", path, err)
		} else if !bytes.Equal(formatted, []byte(text)) {
			t.Errorf("%s is not formatted; run opa fmt -w policies", path)
		}
	}
}

func TestPolicyTests(t *testing.T) {
	ctx := t.Context()
	all := modules(t, true)
	store := inmem.New()
	txn := storage.NewTransactionOrDie(ctx, store)
	defer store.Abort(ctx, txn)

	// A builtin that fails makes its rule undefined, which a test could take for a refusal.
	results, err := tester.NewRunner().
		SetCompiler(ast.NewCompiler().WithStrict(true)).
		SetStore(store).
		CapturePrintOutput(true).
		RaiseBuiltinErrors(true).
		SetModules(all).
		RunTests(ctx, txn)
	if err != nil {
		t.Fatal(err)
	}
	count := 0
	for result := range results {
		count++
		t.Run(strings.TrimPrefix(result.Package, "data.mandate.")+"."+result.Name, func(t *testing.T) {
			if result.Error != nil {
				t.Errorf("%s: %v", result.Location, result.Error)
			}
			if result.Fail {
				t.Errorf("%s: failed", result.Location)
				for name, sub := range result.SubResults.Iter {
					if sub.Fail {
						t.Errorf("case %s failed", strings.Join(name, ": "))
					}
				}
			}
			if result.Skip {
				t.Errorf("%s: skipped", result.Location)
			}
			if t.Failed() && len(result.Output) > 0 {
				t.Logf("printed:\n%s", result.Output)
			}
		})
	}
	if count == 0 {
		t.Fatal("no test ran")
	}
}

// recorder notes every path that a policy reads.
type recorder struct {
	storage.Store
	paths []string
}

func (r *recorder) Read(ctx context.Context, txn storage.Transaction, path storage.Path) (any, error) {
	r.paths = append(r.paths, strings.Join(path, "/"))
	return r.Store.Read(ctx, txn, path)
}

// documentDepth is the number of segments in the path of a fact, by its collection.
func documentDepth(segments []string) int {
	switch segments[0] {
	case "orgs":
		if len(segments) > 2 && segments[2] == "profile" {
			return 3
		}
		return 4
	case "consents":
		return 3
	case "relations":
		return 5
	default:
		return 2
	}
}

// Facts are read one by one from a store that may hold millions: a policy that reads above a document would
// have them all collected.
func TestDecisionsReadSingleFacts(t *testing.T) {
	facts := map[string]any{
		"orgs": map[string]any{"acme": map[string]any{
			"profile": map[string]any{"status": "active", "parent": "msp"},
			"members": map[string]any{
				"alice": map[string]any{"roles": []any{"viewer", "developer"}, "status": "active"},
				"bob":   map[string]any{"roles": []any{}, "status": "active"},
				"dora":  map[string]any{"roles": []any{"manager"}, "status": "active"},
			},
			"roles":        map[string]any{"manager": map[string]any{"permissions": []any{"orgs.members.*", "documents:*"}}},
			"integrations": map[string]any{"backupco": map[string]any{"status": "active", "scopes": []any{"documents:read"}}},
		}, "msp": map[string]any{
			"profile": map[string]any{"status": "active"},
			"members": map[string]any{"mia": map[string]any{"roles": []any{"operator"}, "status": "active"}},
			"roles":   map[string]any{"operator": map[string]any{"permissions": []any{"children:*"}}},
		}},
		"roles": map[string]any{"viewer": map[string]any{"permissions": []any{"documents:read"}}},
		"users": map[string]any{
			"alice": map[string]any{"status": "active"}, "bob": map[string]any{"status": "active"},
			"dora": map[string]any{"status": "active"}, "mia": map[string]any{"status": "active"},
		},
		"apis":    map[string]any{"documents": map[string]any{"audience": "https://documents.example", "scopes": []any{"documents:read"}}},
		"apikeys": map[string]any{"key": map[string]any{"org": "acme", "owner": "alice", "status": "active", "scopes": []any{"documents:read"}}},
		"vendors": map[string]any{"backupco": map[string]any{"status": "active"}},
		"clients": map[string]any{"sync": map[string]any{
			"status": "active", "org": "acme", "grant_types": []any{"client_credentials"},
			"scopes": []any{"documents:read"}, "audiences": []any{"https://documents.example"},
		}, "partner": map[string]any{
			"status": "active", "party": "third", "grant_types": []any{"authorization_code"},
			"scopes": []any{"documents:read"}, "audiences": []any{"https://documents.example"},
		}},
		"consents": map[string]any{"alice": map[string]any{"partner": map[string]any{
			"orgs": map[string]any{"acme": map[string]any{"scopes": map[string]any{"https://documents.example": []any{"documents:read"}}}},
		}}},
		"relations": map[string]any{"document": map[string]any{"report": map[string]any{"viewer": map[string]any{"user:bob": map[string]any{}}}}},
	}
	caller := map[string]any{"type": "client", "sub": "gateway", "scopes": []any{"decide", "manage"}}
	access := func(kind, id, verb string) map[string]any {
		return map[string]any{
			"subject":   map[string]any{"type": kind, "id": id},
			"action":    map[string]any{"name": "documents:" + verb},
			"resource":  map[string]any{"type": "document", "id": "report", "properties": map[string]any{"org": "acme"}},
			"principal": map[string]any{"type": kind, "sub": id},
			"caller":    caller,
		}
	}
	sync := map[string]any{"type": "client", "sub": "sync"}
	token := map[string]any{"principal": sync, "caller": sync, "request": map[string]any{
		"stage": "issue", "grant_type": "client_credentials", "issuer": "https://mandate.example", "audience": "https://documents.example",
		"api": "documents", "default_lifetime": 600,
	}}

	partner := map[string]any{"type": "client", "sub": "partner"}
	userToken := map[string]any{"principal": map[string]any{"type": "user", "sub": "alice", "org": "acme"}, "caller": partner, "request": map[string]any{
		"stage": "issue", "grant_type": "authorization_code", "issuer": "https://mandate.example",
		"audience": "https://documents.example", "api": "documents", "default_lifetime": 600,
	}}
	keyToken := map[string]any{"principal": map[string]any{"type": "apikey", "sub": "key"}, "request": map[string]any{
		"stage": "issue", "grant_type": "api_key", "issuer": "https://mandate.example", "audience": "https://documents.example",
		"api": "documents", "default_lifetime": 600,
	}}

	manages := func(kind, id, org string) map[string]any {
		caller := map[string]any{"type": kind, "sub": id, "scopes": []any{"manage"}, "credential": map[string]any{"type": "access_token", "id": "t"}}
		if org != "" {
			caller["org"] = org
		}
		return map[string]any{
			"action": map[string]any{"name": "orgs.members.update"},
			"resource": map[string]any{"type": "member", "id": "bob", "properties": map[string]any{
				"org": "acme", "sole_holder_of": []any{},
				"before": map[string]any{"roles": []any{}, "status": "active"},
				"after":  map[string]any{"roles": []any{"viewer"}, "status": "active"},
			}},
			"caller": caller,
		}
	}

	for _, row := range []struct {
		name, policy string
		input        map[string]any
		allow        bool
		facts        int // distinct documents that the decision depends on, the record of the calling client among them
	}{
		{"role", "access", access("user", "alice", "read"), true, 6},
		{"no role", "access", access("user", "alice", "write"), false, 10},
		{"relation", "access", access("user", "bob", "read"), true, 7},
		{"outsider", "access", access("user", "mallory", "read"), false, 2},
		{"client", "access", access("client", "sync", "read"), true, 3},
		{"key", "access", access("apikey", "key", "read"), true, 7},
		{"vendor", "access", access("vendor", "backupco", "read"), true, 4},
		{"token", "tokens", token, true, 3},
		{"token of a user", "tokens", userToken, true, 6},
		{"token of a key", "tokens", keyToken, true, 5},
		{"manage", "manage", manages("client", "gateway", ""), true, 2},
		{"manage, bound", "manage", manages("client", "sync", "acme"), true, 1},
		{"manage as a member", "manage", manages("user", "dora", "acme"), true, 6},
		{"manage as a parent", "manage", manages("user", "mia", "msp"), true, 7},
		{"manage without a role", "manage", manages("user", "alice", "acme"), false, 7},
		{"manage out of reach", "manage", manages("user", "alice", "globex"), false, 1},
	} {
		t.Run(row.name, func(t *testing.T) {
			ctx := t.Context()
			store := &recorder{Store: inmem.NewFromObject(facts)}
			query, err := rego.New(
				rego.Query("data.mandate."+row.policy+".decision"),
				rego.Compiler(compiled(t, false)),
				rego.Store(store),
				rego.StrictBuiltinErrors(true),
			).PrepareForEval(ctx)
			if err != nil {
				t.Fatal(err)
			}
			store.paths = nil
			results, err := query.Eval(ctx, rego.EvalInput(row.input))
			if err != nil {
				t.Fatal(err)
			}
			decision, _ := results[0].Expressions[0].Value.(map[string]any)
			if decision["allow"] != row.allow {
				t.Errorf("allow is %v, not %v: %v", decision["allow"], row.allow, decision["reasons"])
			}
			documents := map[string]bool{}
			for _, path := range store.paths {
				segments := strings.Split(path, "/")
				depth := documentDepth(segments)
				if len(segments) < depth {
					t.Errorf("read %q, which is not one fact but a collection", path)
					continue
				}
				documents[strings.Join(segments[:depth], "/")] = true
			}
			if len(documents) != row.facts {
				t.Errorf("read %d facts, not %d: %v", len(documents), row.facts, slices.Sorted(maps.Keys(documents)))
			}
			t.Logf("%d reads: %v", len(store.paths), store.paths)
		})
	}
}
