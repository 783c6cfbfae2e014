package main

import (
	"encoding/json"
	"fmt"
	"html"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// TestDocs reads the pages of /docs as a newcomer does: every link leads somewhere, and every example, run as it stands and in
// order beside the example of serve --dev, is answered with what is shown.
//
// With MANDATE_RECORD_EXAMPLES it records the answers instead, into the file that the server shows.
func TestDocs(t *testing.T) {
	dir := t.TempDir()
	p := start(t, dir, "serve", "--dev", "--listen", "127.0.0.1:0")
	p.wait(t, `Stop with Ctrl-C`)
	write(t, filepath.Join(dir, ".curlrc"), "write-out = \"\\n%{http_code}\"\n")
	env := append(os.Environ(), "CURL_HOME="+dir)
	for _, m := range regexp.MustCompile(`(?m)^  (password|client secret|API key|API secret|vendor token|partner token) +(\S+) +(\S+)$`).FindAllStringSubmatch(p.output(), -1) {
		name := strings.ToUpper(m[2] + "_" + m[1])
		env = append(env, strings.NewReplacer("-", "_", " ", "_").Replace(name)+"="+m[3])
	}
	origin := "http://" + p.address
	first := fetchPage(t, origin+"/docs")
	recorded, ran := map[string]recordedAnswer{}, 0
	for _, link := range linksOf(first) {
		text := fetchPage(t, origin+link)
		for _, anchor := range regexp.MustCompile(`href="#([^"]+)"`).FindAllStringSubmatch(text, -1) {
			if !strings.Contains(text, ` id="`+anchor[1]+`"`) {
				t.Errorf("%s: the anchor %s leads nowhere", link, anchor[1])
			}
		}
		for _, more := range linksOf(text) {
			fetchPage(t, origin+more)
		}
		for _, e := range examplesOf(text) {
			ran++
			got := runExample(t, env, e)
			if got.Status >= 400 {
				t.Errorf("%s: %s\nis answered %v", e.id, e.command, got)
			}
			recorded[e.id] = got
			if os.Getenv("MANDATE_RECORD_EXAMPLES") == "" {
				e.check(t, got)
			}
		}
	}
	if ran < 60 {
		t.Errorf("only %d examples were found", ran)
	}
	if os.Getenv("MANDATE_RECORD_EXAMPLES") != "" {
		text, err := json.MarshalIndent(recorded, "", "\t")
		if err != nil {
			t.Fatal(err)
		}
		shown := withoutSecrets(strings.ReplaceAll(string(text), origin, "https://mandate.example")) + "\n"
		if err := os.WriteFile("../../server/openapi_examples.json", []byte(shown), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// withoutSecrets leaves how secrets and tokens begin, so that no scanner finds one here.
func withoutSecrets(text string) string {
	text = regexp.MustCompile(`(mdt_[a-z]+_|whsec_)([a-z-]+_)?[A-Za-z0-9._+/=-]{24,}`).ReplaceAllString(text, "${1}${2}…")
	return regexp.MustCompile(`eyJ[\w-]+\.[\w-]+\.[\w-]+`).ReplaceAllString(text, "eyJ…")
}

type recordedAnswer struct {
	Status int `json:"status"`
	Body   any `json:"body,omitempty"`
}

type shownExample struct{ id, command, answer string }

func fetchPage(t *testing.T, url string) string {
	t.Helper()
	response, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	if response.StatusCode != http.StatusOK {
		t.Errorf("%s is answered %d", url, response.StatusCode)
	}
	if policy := response.Header.Get("Content-Security-Policy"); strings.Contains(response.Header.Get("Content-Type"), "html") && !strings.HasPrefix(policy, "default-src 'none'") {
		t.Errorf("%s has the policy %q", url, policy)
	}
	return string(text)
}

func linksOf(text string) []string {
	var links []string
	for _, m := range regexp.MustCompile(`href="(/[^"]*)"`).FindAllStringSubmatch(text, -1) {
		if !slices.Contains(links, m[1]) && m[1] != "/openapi.json" && m[1] != "/assets/style.css" {
			links = append(links, html.UnescapeString(m[1]))
		}
	}
	return links
}

func examplesOf(text string) []shownExample {
	var all []shownExample
	for _, section := range strings.Split(text, "<section")[1:] {
		id := regexp.MustCompile(`aria-labelledby="([^"]+)"`).FindStringSubmatch(section)
		command := regexp.MustCompile(`(?s)<code class="command">(.*?)</code>`).FindStringSubmatch(section)
		if command == nil {
			continue
		}
		e := shownExample{id: id[1], command: html.UnescapeString(command[1])}
		if answer := regexp.MustCompile(`(?s)<code class="answer">(.*?)</code>`).FindStringSubmatch(section); answer != nil {
			e.answer = html.UnescapeString(answer[1])
		}
		all = append(all, e)
	}
	return all
}

func runExample(t *testing.T, env []string, e shownExample) recordedAnswer {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "sh", "-c", e.command)
	cmd.Env = env
	output, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v", e.command, err)
	}
	at := strings.LastIndexByte(string(output), '\n')
	body, code := string(output)[:at], string(output)[at+1:]
	var got recordedAnswer
	if got.Status, err = strconv.Atoi(code); err != nil {
		t.Fatalf("%s: %s", e.command, output)
	}
	if body == "" {
		return got
	}
	if err := json.Unmarshal([]byte(body), &got.Body); err != nil {
		t.Fatalf("%s: %s", e.command, output)
	}
	got.Body = withoutUses(got.Body)
	return got
}

// withoutUses leaves out when a credential was used last, which is noted after a while.
func withoutUses(value any) any {
	switch v := value.(type) {
	case map[string]any:
		delete(v, "last_used_at")
		for name, member := range v {
			v[name] = withoutUses(member)
		}
	case []any:
		for i, item := range v {
			v[i] = withoutUses(item)
		}
	}
	return value
}

func (e shownExample) check(t *testing.T, got recordedAnswer) {
	t.Helper()
	if e.answer == "" && got.Body == nil {
		return
	}
	var shown any
	if err := json.Unmarshal([]byte(e.answer), &shown); err != nil {
		t.Errorf("%s: no answer is shown for %v: record it with MANDATE_RECORD_EXAMPLES=1", e.id, got)
		return
	}
	if differing := differ("", shown, got.Body); differing != "" {
		t.Errorf("%s: %s: shown\n%s\ngot\n%v", e.id, differing, e.answer, got.Body)
	}
}

// differ says where two answers differ in what is the same in every run.
func differ(at string, shown, got any) string {
	if reflect.TypeOf(shown) != reflect.TypeOf(got) {
		return fmt.Sprintf("%s is another type", at)
	}
	switch s := shown.(type) {
	case map[string]any:
		g, _ := got.(map[string]any)
		for name := range g {
			if _, ok := s[name]; !ok {
				return at + "." + name + " is not shown"
			}
		}
		for name, member := range s {
			if _, ok := g[name]; !ok {
				return at + "." + name + " is missing"
			}
			if isNew(name) {
				continue
			}
			if found := differ(at+"."+name, member, g[name]); found != "" {
				return found
			}
		}
	case []any:
		g, _ := got.([]any)
		if len(s) != len(g) {
			return fmt.Sprintf("%s has %d items, not %d", at, len(g), len(s))
		}
		for i := range s {
			if found := differ(fmt.Sprintf("%s[%d]", at, i), s[i], g[i]); found != "" {
				return found
			}
		}
	default:
		if shown != got && !isOfThisRun(shown) {
			return fmt.Sprintf("%s is %v", at, got)
		}
	}
	return ""
}

// isOfThisRun says whether it is a URL of this server, whose port is another each time, or the revision of its policies.
func isOfThisRun(value any) bool {
	text, _ := value.(string)
	return strings.HasPrefix(text, "http://127.0.0.1:") || shortRevision(text) != ""
}

// isNew says whether a member is made anew in each run.
func isNew(name string) bool {
	return name == "at" || strings.HasSuffix(name, "_at") || strings.HasSuffix(name, "revision") ||
		slices.Contains([]string{"decision_id", "key", "secret", "token", "client_secret", "access_token", "refresh_token", "prefix", "kid", "challenge", "device_code", "user_code",
			"verification_uri_complete", "request_uri", "x", "y", "n", "signed_metadata", "next_cursor", "bytes", "rules", "facts", "signs_from"}, name)
}
