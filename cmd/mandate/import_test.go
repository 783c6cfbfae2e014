package main

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
)

// manyLines is a file of an organization, users and then their memberships.
func manyLines(t *testing.T, users int) string {
	t.Helper()
	var b bytes.Buffer
	b.WriteString("{\"role\": {\"id\": \"viewer\", \"permissions\": []}}\n{\"org\": {\"id\": \"acme\"}}\n")
	for i := range users {
		fmt.Fprintf(&b, "{\"user\": {\"id\": \"user-%d\", \"email\": \"user-%d@acme.example\"}}\n", i, i)
	}
	for i := range users {
		fmt.Fprintf(&b, "{\"member\": {\"org\": \"acme\", \"user\": \"user-%d\", \"roles\": [\"viewer\"]}}\n", i)
	}
	name := filepath.Join(t.TempDir(), "members.jsonl")
	if err := os.WriteFile(name, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// importFor runs an import and kills it after the time given, when that is not 0. It says whether it had come to its end.
func importFor(t *testing.T, limit time.Duration, args ...string) (output string, ended bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	if limit > 0 {
		ctx, cancel = context.WithTimeout(t.Context(), limit)
	}
	defer cancel()
	cmd := exec.CommandContext(ctx, "mandate", append([]string{"import"}, args...)...) // it kills with SIGKILL
	text, err := cmd.CombinedOutput()
	if err != nil && (limit == 0 || ctx.Err() == nil) {
		t.Fatalf("%v: %s", err, text)
	}
	return string(text), err == nil
}

func exportedLines(t *testing.T, data string) string {
	t.Helper()
	text, err := exec.CommandContext(t.Context(), "mandate", "export", "--format", "jsonl", "--data", data).Output()
	if err != nil {
		t.Fatalf("export: %v", err)
	}
	return string(text)
}

// TestKilledImportGoesOn kills imports at moments of chance, then lets one come to its end, several times over.
func TestKilledImportGoesOn(t *testing.T) {
	if testing.Short() {
		t.Skip("it imports and kills for some seconds")
	}
	const users = 15_000
	file, whole := manyLines(t, users), filepath.Join(t.TempDir(), "whole")
	began := time.Now()
	importFor(t, 0, file, "--data", whole)
	took := time.Since(began)
	want := exportedLines(t, whole)
	if lines := strings.Count(want, "\n"); lines != 2+2*users {
		t.Fatalf("%d lines are exported", lines)
	}
	random := rand.New(rand.NewPCG(1, 2))
	resumed := 0
	for round := range 3 {
		data := filepath.Join(t.TempDir(), "killed")
		kills, resumes := 0, 0
		for {
			limit := time.Duration(0)
			if kills < 6 {
				limit = 1 + time.Duration(random.Int64N(int64(took)/3))
			}
			output, ended := importFor(t, limit, file, "--data", data)
			if strings.Contains(output, "going on after line") {
				resumes++
			}
			if ended {
				break
			}
			kills++
		}
		resumed += resumes
		if got := exportedLines(t, data); got != want {
			t.Fatalf("round %d: after %d kills and %d resumptions the export has %d bytes, that of one import %d", round, kills, resumes, len(got), len(want))
		}
		t.Logf("round %d: %d kills, %d resumptions", round, kills, resumes)
	}
	if resumed == 0 {
		t.Error("no import was killed between two chunks")
	}
}

// TestInterruptedImportIsKnown stops an import at a bad line in its second chunk.
func TestInterruptedImportIsKnown(t *testing.T) {
	dir := t.TempDir()
	text, err := os.ReadFile(manyLines(t, 1500))
	if err != nil {
		t.Fatal(err)
	}
	file, data := filepath.Join(dir, "members.jsonl"), filepath.Join(dir, "data")
	write := func(text []byte) {
		t.Helper()
		if err := os.WriteFile(file, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	run := func(args ...string) (string, error) {
		output, err := exec.CommandContext(t.Context(), "mandate", append(args, "--data", data)...).CombinedOutput()
		return string(output), err
	}
	write(append(bytes.Clone(text), "{\"user\": {\"id\": \"bob\", \"email\": \"nowhere\"}}\n"...))
	output, err := run("import", file)
	for _, want := range []string{file + ":3003: user.email: is not a bare email address", "all up to line 2000 is imported"} {
		if err == nil || !strings.Contains(output, want) {
			t.Fatalf("%v: %s has no %q", err, output, want)
		}
	}
	server := start(t, dir, "serve", "--data", data, "--listen", "127.0.0.1:0")
	server.wait(t, `an import has not come to its end.*lines=2000`)
	if err := server.stop(t); err != nil {
		t.Fatal(err)
	}

	write([]byte("{\"user\": {\"id\": \"bob\"}}\n"))
	if output, err = run("import", file); err == nil || !strings.Contains(output, "import that again to go on, or give it up with --restart") {
		t.Fatalf("%v: %s", err, output)
	}
	write(append(bytes.Clone(text), "{\"user\": {\"id\": \"bob\", \"email\": \"bob@acme.example\"}}\n"...))
	output, err = run("import", file, "--json")
	_, document, _ := strings.Cut(output, "going on after line 2000, up to which this was imported before\n")
	var summary importSummary
	if err != nil || json.Unmarshal([]byte(document), &summary) != nil || summary.Records != 1003 || summary.ResumedAfter != 2000 {
		t.Fatalf("%v: %s", err, output)
	}
	if output, err = run("import", file); err != nil || !strings.Contains(output, "Imported 3003 records") {
		t.Fatalf("%v: %s", err, output)
	}
}

func TestProgressIsToldInMeasure(t *testing.T) {
	for _, row := range []struct {
		name     string
		terminal bool
		steps    []time.Duration // of the clock, before each call
		want     string
	}{
		{"short work is done in silence", true, []time.Duration{time.Second, 900 * time.Millisecond}, ""},
		{"a line of the log, then one each ten seconds", false, []time.Duration{time.Second, time.Second, 9 * time.Second, time.Second},
			"2,000 records, 1,000 a second, 20 %, 8s left\n4,000 records, 333 a second, 40 %, 18s left\n"},
		{"a line of a terminal is written over", true, []time.Duration{2 * time.Second, 100 * time.Millisecond, 900 * time.Millisecond},
			"1,000 records, 500 a second, 10 %, 18s left\r" + strings.Repeat(" ", 43) + "\r3,000 records, 1,000 a second, 30 %, 7s left"},
	} {
		t.Run(row.name, func(t *testing.T) {
			var out bytes.Buffer
			now := time.Now()
			m := newMeter(&out)
			m.terminal, m.began, m.now = row.terminal, now, func() time.Time { return now }
			for i, step := range row.steps {
				now = now.Add(step)
				m.show(amount{records: (i + 1) * 1000, done: int64(i+1) * 10, total: 100})
			}
			if out.String() != row.want {
				t.Errorf("got  %q\nwant %q", &out, row.want)
			}
		})
	}
	if got := (amount{records: 10, done: 60, before: 50, total: 100}).after(time.Second); got != "10 records, 10 a second, 60 %, 4s left" {
		t.Errorf("after a resumption: %s", got)
	}
	if got := (amount{records: 10, done: 60}).after(time.Second); got != "10 records, 10 a second" {
		t.Errorf("of an unknown total: %s", got)
	}
}
