package main

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestSecretsAreNotLostInSilence writes to a device that is full, as a disk may be.
func TestSecretsAreNotLostInSilence(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() { _ = full.Close() })
	answer := `{"id": "k", "items": [], "keys": [], "decision": true, "key": "mdt_ak_x", "token": "mdt_vt_x"}`
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, answer) }))
	t.Cleanup(server.Close)
	folder := t.TempDir()
	lines, file := filepath.Join(folder, "lines.jsonl"), filepath.Join(folder, "file.yaml")
	write(t, lines, `{"vendor": {"id": "backupco"}}`)
	write(t, file, `vendors: [{id: backupco}]`)
	const lost = "the secret was made but could not be shown: rotate it"
	for _, row := range []struct{ command, wrong string }{
		{"apikeys create k", lost},
		{"apikeys create k --json", lost},
		{"vendors rotate backupco", lost},
		{"import " + lines + " --data " + folder + "/lines", lost},
		{"import " + lines + " --json --data " + folder + "/json", lost},
		{"import " + file + " --data " + folder + "/file", lost},
		{"orgs show acme", "write the output"},
		{"orgs show acme --json", "write the output"},
		{"orgs list", "write the output"},
		{"orgs list --csv", "write the output"},
		{"orgs delete acme --yes", "write the output"},
		{"keys --json", "write the output"},
		{"keys", "write the output"},
		{"decide --subject user:a --action b --resource c:d", "write the output"},
	} {
		t.Run(row.command, func(t *testing.T) {
			cmd := command(func(name string) (string, bool) {
				value, ok := map[string]string{serverEnv: server.URL, authorizationEnv: "Bearer key"}[name]
				return value, ok
			})
			cmd.SetOut(full)
			cmd.SetErr(io.Discard)
			cmd.SetArgs(strings.Fields(row.command))
			if err := cmd.ExecuteContext(t.Context()); err == nil || !strings.Contains(err.Error(), row.wrong) {
				t.Errorf("the error is %v, want %s", err, row.wrong)
			}
		})
	}
}

func TestReplaceFile(t *testing.T) {
	const text, former = "hashes", "of others"
	for _, row := range []struct {
		name   string
		before func(t *testing.T, name string)
		fails  bool
	}{
		{"a new file", func(*testing.T, string) {}, false},
		{"a file that all may read", func(t *testing.T, name string) {
			write(t, name, former)
			if err := os.Chmod(name, 0o644); err != nil {
				t.Fatal(err)
			}
		}, false},
		{"a link to a file of others", func(t *testing.T, name string) {
			write(t, name+".target", former)
			if err := os.Symlink(name+".target", name); err != nil {
				t.Fatal(err)
			}
		}, true},
		{"a file, when writing fails", func(t *testing.T, name string) { write(t, name, former) }, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			folder := t.TempDir()
			name := filepath.Join(folder, "export.yaml")
			row.before(t, name)
			err := replaceFile(name, func(to io.Writer) error {
				_, err := io.WriteString(to, text)
				if row.fails {
					err = errors.New("the disk is full")
				}
				return err
			})
			want := text
			if row.fails {
				want = former
			}
			if got, _ := os.ReadFile(name); (err != nil) != row.fails || string(got) != want {
				t.Errorf("%q, %v", got, err)
			}
			if info, err := os.Lstat(name); !row.fails && (err != nil || info.Mode() != 0o600) {
				t.Errorf("%v, %v", info, err)
			}
			if target, err := os.ReadFile(name + ".target"); err == nil && string(target) != former {
				t.Errorf("the target of the link is %q", target)
			}
			if left, _ := filepath.Glob(filepath.Join(folder, ".*")); left != nil {
				t.Errorf("left over: %v", left)
			}
		})
	}
}

func TestErrorsAreShown(t *testing.T) {
	long := strings.Repeat("ü", maxErrorLine)
	for text, want := range map[string]string{
		"plain":                    "plain",
		"one\ntwo":                 "one\ntwo",
		"user.\x1b]0;x\x07: is":    "user.\uFFFD]0;x\uFFFD: is",
		"CN=\u202ecod.exe\r\x1b[K": "CN=\uFFFDcod.exe\uFFFD\uFFFD[K",
		long + "\nafter":           long + "\nafter",
		long + "ü\nafter":          long + "…\nafter",
	} {
		if got := shownError(errors.New(text)); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
	if lines := strings.Split(shownError(errors.New(strings.Repeat("x\n", 3*maxErrorLines))), "\n"); len(lines) != maxErrorLines+1 {
		t.Errorf("%d lines, the last is %q", len(lines), lines[len(lines)-1])
	}
}

func TestServerAndTenantAreChecked(t *testing.T) {
	for _, row := range []struct{ arguments, wrong string }{
		{"--server http://alice:hunter2@127.0.0.1:1", "must have no user, query or fragment"},
		{"--server http://127.0.0.1:1?x=hunter2", "must have no user, query or fragment"},
		{"--server http://127.0.0.1:1#hunter2", "must have no user, query or fragment"},
		{"--tenant ../v1", "--tenant \"../v1\" must be lower case"},
		{"--tenant a?b", "must be lower case"},
	} {
		_, err := commandAt(t, "http://127.0.0.1:1", append([]string{"orgs", "list"}, strings.Fields(row.arguments)...)...)
		if err == nil || !strings.Contains(err.Error(), row.wrong) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v, want %s", row.arguments, err, row.wrong)
		}
	}
}
