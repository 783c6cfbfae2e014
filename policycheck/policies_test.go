package policycheck

import (
	"crypto/rand"
	"os"
	"testing"

	"mandate/datastore"
	"mandate/datastore/badgerstore"
	"mandate/directory"
	"mandate/engine"
	"mandate/policies"
)

// runner runs scenarios by the embedded policies over a store of its own.
func runner(t *testing.T) Runner {
	t.Helper()
	set, err := engine.CompileTested(t.Context(), policies.FS)
	if err != nil {
		t.Fatal(err)
	}
	var root [32]byte
	_, _ = rand.Read(root[:])
	master, err := directory.NewMasterKey(root)
	if err != nil {
		t.Fatal(err)
	}
	return Runner{Set: set, Store: another(t), Master: master}
}

// another is a store with nothing in it.
func another(t *testing.T) datastore.Store {
	t.Helper()
	store, err := badgerstore.Open(t.TempDir(), badgerstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	return store
}

func TestScenariosOfThePolicies(t *testing.T) {
	all, err := ReadScenarios(os.DirFS("../policies"))
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < 3 {
		t.Fatalf("%d scenarios", len(all))
	}
	results, err := runner(t).RunScenarios(t.Context(), all)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range results {
		if r.Outcome != Passed {
			t.Errorf("%s:%d: %s: %s\n%v", r.File, r.Line, r.Name, r.Message, r.Details)
		}
	}
	if len(results) < 25 {
		t.Errorf("%d requests were asked", len(results))
	}
}

// The tests that come with the policies pass, and reach nearly all of them.
func TestCoverageOfThePolicies(t *testing.T) {
	set, err := engine.CompileTested(t.Context(), policies.FS)
	if err != nil {
		t.Fatal(err)
	}
	results, coverage, err := RunTests(t.Context(), set.Files(), Options{Coverage: true})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range results {
		if r.Outcome != Passed {
			t.Errorf("%s:%d: %s: %s\n%v", r.File, r.Line, r.Name, r.Message, r.Details)
		}
	}
	if coverage.Percent < 97 {
		t.Errorf("%.1f %% of the policies are covered", coverage.Percent)
	}
	t.Logf("%d tests, %.2f %%, %d lines are not covered", len(results), coverage.Percent, coverage.NotCovered)
	for _, f := range coverage.Files {
		if f.NotCovered > 0 {
			t.Logf("%s: %v", f.File, f.Missing)
		}
	}
}
