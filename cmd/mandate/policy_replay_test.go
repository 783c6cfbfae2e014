package main

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"mandate/engine"
	"mandate/replay"
)

// changedPolicies writes the built-in policies into folders: as they are under another revision, and with a rule more.
func changedPolicies(t *testing.T, dir string) {
	t.Helper()
	for _, folder := range []string{"same", "open"} {
		if text, err := exec.CommandContext(t.Context(), "mandate", "policy", "init", filepath.Join(dir, folder)).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, text)
		}
		tests, err := filepath.Glob(filepath.Join(dir, folder, "*", "*_test.rego"))
		if err != nil || len(tests) == 0 {
			t.Fatalf("%d tests: %v", len(tests), err)
		}
		for _, name := range tests { // theirs are run where they are
			if err := os.Remove(name); err != nil {
				t.Fatal(err)
			}
		}
		write(t, filepath.Join(dir, folder, "marker.rego"), "package marker\n\nname := \""+folder+"\"\n")
	}
	access := filepath.Join(dir, "open", "access", "access.rego")
	const decision = `decision := {"allow": true, "reasons": [grant], "obligations": []} if allow`
	changed := strings.Replace(read(t, access), decision, `decision := {"allow": true, "reasons": [{"code": "press", "message": "For everybody."}], "obligations": []} if {
	input.resource.id == "press-kit"
}

else := {"allow": true, "reasons": [grant], "obligations": []} if allow`, 1)
	write(t, access, changed)
}

// replayRun is a command and how it must end.
type replayRun struct {
	args   string
	status int
	said   []string
}

func (r replayRun) check(t *testing.T, dir, address string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "mandate", strings.Fields(r.args)...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "MANDATE_SERVER="+address, "MANDATE_AUTHORIZATION=Bearer key-of-the-admin")
	text, err := cmd.CombinedOutput()
	status := 0
	var failed *exec.ExitError
	if errors.As(err, &failed) {
		status = failed.ExitCode()
	} else if err != nil {
		t.Fatal(err)
	}
	if status != r.status {
		t.Errorf("mandate %s: status %d, want %d:\n%s", r.args, status, r.status, text)
	}
	for _, said := range r.said {
		if !strings.Contains(string(text), said) {
			t.Errorf("mandate %s does not say %q:\n%s", r.args, said, text)
		}
	}
}

// TestPolicyReplay replays at a running server, and on the data folder after its end.
func TestPolicyReplay(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "directory.yaml"), operationsDirectory)
	write(t, filepath.Join(dir, "expected.yaml"), "changes:\n  - {turns: allow, rule: press, subject: \"user:*\", note: ticket 4711}\n")
	write(t, filepath.Join(dir, "other.yaml"), "changes:\n  - {turns: deny, rule: press}\n  - {turns: allow, org: globex}\n")
	write(t, filepath.Join(dir, "wrong.yaml"), "changes:\n  - {turns: perhaps}\n")
	changedPolicies(t, dir)
	p := start(t, dir, "serve", "--data", "data", "--directory", "directory.yaml", "--listen", "127.0.0.1:0")
	address := "http://" + p.address
	const decide = "decide --action documents:read --org acme --resource document:press-kit --subject "
	for _, r := range []replayRun{
		{args: decide + "user:zoe", status: 3}, {args: decide + "user:zoe", status: 3}, {args: decide + "user:alice"},
		{args: "policy shadow", status: 1, said: []string{"404"}},
		{args: "policy replay same --since 1h", said: []string{"None turns"}},
		{args: "policy replay open --since 1h --point mandate/access", status: 3, said: []string{"3 decisions made again by ", "2 turn from deny to allow, 0 from allow to deny, 1 differ otherwise",
			"allow      2         press  acme  user:zoe    documents:read  mandate/access", "before  not_a_member", "after   press: For everybody.", "holds   data.mandate.access.decision"}},
		{args: "policy replay open --since 1h --point mandate/access --subject user:zoe --allow-change expected.yaml", said: []string{"Groups that turn as expected: 1"}},
		{args: "policy replay open --since 1h --allow-change other.yaml", status: 3, said: []string{"Expected, and not found: turns deny, rule press", "Expected, and not found: turns allow, org globex"}},
		{args: "policy replay open --since 1h --json", status: 3, said: []string{`"to_allow": 2`, `"unexpected": [`}},
		{args: "policy replay open --since 1h --allow-change wrong.yaml", status: 1, said: []string{`change 1: turns is "perhaps"`}},
		{args: "policy replay nothing", status: 1, said: []string{"404"}},
		{args: "policy replay open --log data/decisions/default", status: 1, said: []string{"--log goes with --data"}},
		{args: "policy replay open --sample 200%", status: 1, said: []string{"must be a share"}},
		{args: "policy replay active --since yesterday", status: 1, said: []string{"since must be a time"}},
		{args: "policy replay active --since 1h", said: []string{"None turns"}},
	} {
		r.check(t, dir, address)
	}
	if err := p.stop(t); err != nil {
		t.Fatal(err)
	}
	for _, r := range []replayRun{
		{args: "policy replay same --data data --since 1h", said: []string{"None turns"}},
		{args: "policy replay open --data data --since 1h --point mandate/access", status: 3, said: []string{"3 decisions made again by ", "2 turn from deny to allow"}},
		{args: "policy replay open --data data --log data/decisions/default --since 1h --workers 1 --limit 1 --point mandate/access", status: 3, said: []string{"1 decisions made again by "}},
		{args: "policy replay open --data data --log nowhere", status: 1, said: []string{"nowhere"}},
		{args: "policy replay nothing --data data", status: 1, said: []string{"neither a folder, nor a file"}},
		{args: "policy replay open --data empty", status: 1, said: []string{"there is no store"}},
	} {
		r.check(t, dir, "")
	}
	segments, err := filepath.Glob(filepath.Join(dir, "data", "decisions", "default", "*.log*"))
	if err != nil || len(segments) == 0 {
		t.Fatalf("%v: %v", segments, err)
	}
	replayRun{args: "policy replay open --data data --since 1h --log " + segments[0], status: 3, said: []string{"2 turn from deny to allow"}}.check(t, dir, "")
}

func TestExpectedChanges(t *testing.T) {
	group := replay.Group{Turns: engine.ToAllow, Point: "mandate/access", Rule: "granted_by_role", Org: "acme", Subject: "user:bob", Action: "documents:read"}
	for _, row := range []struct {
		name     string
		expected expectedChange
		want     bool
	}{
		{"anything", expectedChange{}, true},
		{"all members", expectedChange{"allow", "mandate/access", "granted_by_role", "acme", "user:bob", "documents:read", "why"}, true},
		{"another turn", expectedChange{Turns: "deny"}, false},
		{"any turn", expectedChange{Turns: "*"}, true},
		{"a prefix", expectedChange{Action: "documents:*"}, true},
		{"a suffix", expectedChange{Action: "*:read"}, true},
		{"in the middle", expectedChange{Rule: "granted*role"}, true},
		{"several", expectedChange{Rule: "*by*le"}, true},
		{"out of order", expectedChange{Rule: "*role*granted"}, false},
		{"overlapping", expectedChange{Org: "acm*me"}, false},
		{"without a star", expectedChange{Action: "documents"}, false},
		{"another org", expectedChange{Org: "globex"}, false},
		{"another point", expectedChange{Point: "mandate/tokens"}, false},
		{"another subject", expectedChange{Subject: "client:*"}, false},
	} {
		if got := row.expected.matches(group); got != row.want {
			t.Errorf("%s: %t", row.name, got)
		}
	}
}
