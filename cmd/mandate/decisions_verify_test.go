package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The log is verified beside a running server, and what is changed, cut off or signed by another is told with the exit status 1.
func TestVerifyDecisions(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "directory.yaml"), serveDirectory)
	p := start(t, dir, "serve", "--data", "data", "--directory", "directory.yaml", "--listen", "127.0.0.1:0")
	for i := range 40 {
		if _, err := evaluateSome(p.address, 0, i); err != nil {
			t.Fatal(err)
		}
	}
	log := filepath.Join(dir, "data", "decisions", "default", "0000000000000001.log")
	mandate := func(args ...string) (string, int) {
		cmd := exec.CommandContext(t.Context(), "mandate", append([]string{"decisions"}, args...)...)
		cmd.Dir = dir
		output, _ := cmd.CombinedOutput()
		return string(output), cmd.ProcessState.ExitCode()
	}
	key, _ := mandate("public-key", "--data", "data")
	write(t, filepath.Join(dir, "auditor.pem"), key)
	inBase64, _ := mandate("public-key", "--data", "data", "--json")
	inBase64 = strings.Split(inBase64, `"`)[3]
	if output, status := mandate("verify", "--data", "data"); status != 0 || !strings.Contains(output, "GOOD") {
		t.Errorf("while the server runs: %d, %s", status, output)
	}
	if err := p.stop(t); err != nil {
		t.Fatal(err)
	}
	today, status := mandate("verify", "--data", "data", "--json")
	if status != 0 || !strings.Contains(today, `"head":`) {
		t.Errorf("as JSON: %d, %s", status, today)
	}
	write(t, filepath.Join(dir, "today.json"), today)
	whole, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	none := strings.Repeat("A", 43) + "="
	for _, row := range []struct {
		name   string
		log    []byte
		args   []string
		status int
		output string
	}{
		{"good", whole, []string{"--public-key", "auditor.pem", "--anchor", "today.json"}, 0, "GOOD"},
		{"the key in base64", whole, []string{"--public-key", inBase64}, 0, "GOOD"},
		{"another key", whole, []string{"--public-key", none}, 1, "TAMPERED  forged: segment 1, "},
		{"no key", whole, []string{"--public-key", "nonsense"}, 1, "mandate decisions public-key prints it"},
		{"a record changed", append(append(append([]byte{}, whole[:400]...), whole[400]^1), whole[401:]...), nil, 1, "TAMPERED  changed: segment 1, "},
		{"the end cut off", whole[:len(whole)/2], []string{"--anchor", "today.json"}, 1, "TAMPERED  truncated: segment 1, "},
		{"another tenant", whole, []string{"--tenant", "staging"}, 1, "verify the decision log of the tenant staging in data"},
		{"no master key", whole, []string{"--master-key", "nowhere"}, 1, "give one with --public-key"},
	} {
		write(t, log, string(row.log))
		output, status := mandate(append([]string{"verify", "--data", "data"}, row.args...)...)
		if status != row.status || !strings.Contains(output, row.output) {
			t.Errorf("%s: status %d, want %d and …%s…:\n%s", row.name, status, row.status, row.output, output)
		}
	}
}
