package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
)

// TestPartnersPage runs the shell blocks of docs/partners.md as they stand.
func TestPartnersPage(t *testing.T) {
	page, err := os.ReadFile("../../docs/partners.md")
	if err != nil {
		t.Fatal(err)
	}
	p := start(t, t.TempDir(), "serve", "--dev", "--listen", "127.0.0.1:0")
	env := os.Environ()
	for name, printed := range map[string]string{"ACME_SYNC": "client secret +acme-sync", "ACME_KEY": "API key +acme-key", "DOCUMENTS_API": "client secret +documents-api",
		"INTEGRATION": "partner token +backupco-globex", "PARTNER_SYNC": "client secret +partner-sync"} {
		env = append(env, name+"="+p.wait(t, printed+` +(\S+)`)[1])
	}
	script := strings.NewReplacer("127.0.0.1:8080", p.address)
	wanted := []string{`"token_endpoint":`, `"access_token":`, `"access_token":`, `"refresh_token":`, `"access_token":`, `"active":true`}
	blocks := regexp.MustCompile("(?s)```sh\n(.*?)```").FindAllStringSubmatch(string(page), -1)
	if len(blocks) != len(wanted) {
		t.Fatalf("the page has %d shell blocks, this test knows %d", len(blocks), len(wanted))
	}
	for i, block := range blocks {
		cmd := exec.CommandContext(t.Context(), "sh", "-c", script.Replace(block[1]))
		cmd.Env = env
		output, err := cmd.CombinedOutput()
		if err != nil || !strings.Contains(string(output), wanted[i]) {
			t.Errorf("%s\n%v, want …%s… in:\n%s", block[1], err, wanted[i], output)
		}
		if i == 1 {
			var answer struct {
				Token string `json:"access_token"`
			}
			if err := json.Unmarshal(output, &answer); err != nil {
				t.Fatal(err)
			}
			env = append(env, "TOKEN="+answer.Token)
		}
	}
}
