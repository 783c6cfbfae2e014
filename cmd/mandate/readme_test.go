package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestREADME runs the README's shell blocks as they stand, one after the other, beside the server that its first
// command starts.
func TestREADME(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, command := range []string{"\n    go run ./cmd/mandate serve --dev\n", "\n    go test ./...\n"} {
		if !strings.Contains(string(readme), command) {
			t.Errorf("the README does not give the command%s", command)
		}
	}
	dir := t.TempDir()
	if err := os.CopyFS(filepath.Join(dir, "policies"), os.DirFS("../../policies")); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "directory.yaml"), exampleYAML)
	write(t, filepath.Join(dir, "mandate.yaml"), "listen: 127.0.0.1:8443\n")
	p := start(t, dir, "serve", "--dev", "--listen", "127.0.0.1:0")
	script := strings.NewReplacer("127.0.0.1:8080", p.address)
	env := append(os.Environ(),
		"GATEWAY="+p.wait(t, `API key +documents-gateway +(\S+)`)[1],
		"OPERATOR="+p.wait(t, `API key +operator +(\S+)`)[1])
	blocks := regexp.MustCompile("(?s)```sh\n(.*?)```").FindAllStringSubmatch(string(readme), -1)
	run := func(block int) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), "sh", "-c", script.Replace(blocks[block][1]))
		cmd.Dir, cmd.Env = dir, env
		output, err := cmd.CombinedOutput()
		if status := cmd.ProcessState.ExitCode(); err != nil && status != int(statusDenied) {
			t.Fatalf("%s\n%v\n%s", blocks[block][1], err, output)
		}
		return string(output)
	}
	want := func(output, text string) {
		t.Helper()
		if !strings.Contains(output, text) {
			t.Errorf("want …%s… in:\n%s", text, output)
		}
	}
	if len(blocks) != 4 {
		t.Fatalf("the README has %d shell blocks, this test knows 4", len(blocks))
	}
	want(run(0), `"decision":false,"context":{"decision_id":`)
	want(run(0), `"code":"not_a_member"`)
	run(1)
	p.wait(t, `msg="policies changed"`)
	want(run(0), `"decision":true`)
	explained := run(2)
	want(explained, "DENY  role_missing")
	want(explained, "orgs/acme/members/bob")
	last := run(3)
	want(last, "They are shown this once")
	want(last, "ALLOW  role")
	want(last, "listen: 127.0.0.1:8443")
	if copied, err := os.ReadFile(filepath.Join(dir, "copy.yaml")); err != nil || !strings.Contains(string(copied), "id: acme-sync") {
		t.Errorf("the export is missing or empty: %v", err)
	}
}
