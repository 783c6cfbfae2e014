package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"mandate/policies"
)

// TestPolicySets runs what a security team types, at a running server, where activating takes two persons in the tenant "careful".
func TestPolicySets(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "directory.yaml"), operationsDirectory+"  - {id: reviewer, key: key-of-the-reviewer, scopes: [manage]}\n")
	write(t, filepath.Join(dir, "careful.yaml"), "tenant: careful\n"+operationsDirectory+"  - {id: reviewer, key: key-of-the-reviewer, scopes: [manage]}\n")
	write(t, filepath.Join(dir, "mandate.yaml"), `
tenants:
  default: {directory: directory.yaml}
  careful: {directory: careful.yaml, policies_rule: {two_person: true, replay: 1h}}
`)
	p := start(t, dir, "serve", "--config", "mandate.yaml", "--data", "data", "--listen", "127.0.0.1:0")
	testscript.Run(t, testscript.Params{Dir: "testdata/policies", Setup: func(env *testscript.Env) error {
		env.Setenv("MANDATE_SERVER", "http://"+p.address)
		env.Setenv("MANDATE_AUTHORIZATION", "Bearer key-of-the-admin")
		return fs.WalkDir(policies.FS, ".", func(name string, entry fs.DirEntry, err error) error {
			to := filepath.Join(env.WorkDir, "policies", filepath.FromSlash(name))
			switch {
			case err != nil:
				return err
			case entry.IsDir():
				return os.MkdirAll(to, 0o700)
			case strings.HasSuffix(name, "_test.rego"): // theirs are run where they are
				return nil
			}
			text, err := fs.ReadFile(policies.FS, name)
			if err != nil {
				return err
			}
			return os.WriteFile(to, text, 0o600)
		})
	}})
}

func TestPoliciesRule(t *testing.T) {
	for _, row := range []struct {
		rule    policiesRuleConfig
		problem string
	}{
		{policiesRuleConfig{}, ""},
		{policiesRuleConfig{TwoPerson: true}, ""},
		{policiesRuleConfig{TwoPerson: true, Replay: 1}, ""},
		{policiesRuleConfig{Replay: 1}, "replay is of the rule two_person: true"},
		{policiesRuleConfig{TwoPerson: true, Replay: -1}, "replay must be between 0s and 8760h"},
	} {
		if problem := row.rule.complete(); problem != row.problem {
			t.Errorf("%+v: %q, want %q", row.rule, problem, row.problem)
		}
	}
}
