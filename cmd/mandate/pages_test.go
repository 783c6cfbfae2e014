package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// notRun says of each line of a console block in the pages why no test runs it. The line that starts the server of a page is not
// among them: the test starts it as it stands, but at a free port.
func notRun() map[string]string {
	return map[string]string{
		"mandate serve --config mandate.yaml": "it serves with TLS on all addresses: TestServeWithConfiguration; the configuration itself is checked",
	}
}

// shownOnly says of each other language why its blocks are not run.
func shownOnly() map[string]string {
	return map[string]string{
		"go":   "a part of a program: server/oauth2_client_test.go is the whole",
		"js":   "a part of a program: interop/openid-client.mjs is the whole",
		"rego": "a part of a policy: opa-users.md runs it",
	}
}

// Where the pages say that things are. In a test they are elsewhere.
const (
	pageAddress  = "127.0.0.1:8080"
	pageReceiver = "127.0.0.1:8090"
	pageFolder   = "/tmp/mandate-dev-1234"
)

// configFile is what a page's configuration is called, with which it may start the server.
const configFile = "mandate.yaml"

// TestPages does what the README and each page of docs say, and compares what comes of it with what they show.
func TestPages(t *testing.T) {
	pages, err := filepath.Glob("../../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range append(pages, "../../README.md") {
		t.Run(filepath.Base(name), func(t *testing.T) {
			t.Parallel()
			text, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			checkLinks(t, name, string(text))
			tryPage(t, string(text))
		})
	}
}

// checkLinks follows the links of a page to files and headings.
func checkLinks(t *testing.T, name, page string) {
	t.Helper()
	for _, link := range regexp.MustCompile(`\]\(([^)]+)\)`).FindAllStringSubmatch(page, -1) {
		target, heading, _ := strings.Cut(link[1], "#")
		if strings.HasPrefix(target, "https:") {
			continue
		}
		file := name
		if target != "" {
			file = filepath.Join(filepath.Dir(name), target)
		}
		if _, err := os.Stat(file); err != nil {
			t.Errorf("the link to %s leads nowhere", link[1])
		}
		if heading == "" {
			continue
		}
		if text, err := os.ReadFile(file); err != nil || !slices.Contains(anchorsOf(string(text)), heading) {
			t.Errorf("the link to %s leads to no heading: %v", link[1], err)
		}
	}
}

// anchorsOf are the headings of a page as links name them.
func anchorsOf(page string) []string {
	var all []string
	for _, heading := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(page, -1) {
		bare := regexp.MustCompile(`[^\w -]`).ReplaceAllString(strings.ToLower(heading[1]), "")
		all = append(all, strings.ReplaceAll(bare, " ", "-"))
	}
	return all
}

// block is a fenced block of a page.
type block struct {
	language, text string
	line           int
}

func blocksOf(page string) []block {
	var all []block
	for _, at := range regexp.MustCompile("(?ms)^```(\\w*)\n(.*?)^```$").FindAllStringSubmatchIndex(page, -1) {
		all = append(all, block{page[at[2]:at[3]], page[at[4]:at[5]], 1 + strings.Count(page[:at[0]], "\n")})
	}
	return all
}

// tryPage runs the blocks of a page in one shell, in a folder that has the policies, as the repository has, and the example as
// a directory file.
func tryPage(t *testing.T, page string) {
	dir := t.TempDir()
	if err := os.CopyFS(filepath.Join(dir, "policies"), os.DirFS("../../policies")); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "directory.yaml"), exampleYAML)
	page = strings.ReplaceAll(page, pageReceiver, freeAddress(t))
	blocks := blocksOf(page)
	// The first configuration is there before the server, which may be started with it.
	if i := slices.IndexFunc(blocks, func(b block) bool { return b.language == "yaml" }); i >= 0 {
		write(t, filepath.Join(dir, configFile), blocks[i].text)
	}
	server := start(t, dir, append(startOf(t, page), "--listen", "127.0.0.1:0", "--dns-resolver", emptyDNS(t))...)
	folder := server.wait(t, `^ +Variables +\. (\S+)/env$`)[1]
	page = strings.NewReplacer(pageAddress, server.address, pageFolder, folder).Replace(page)
	blocks = blocksOf(page)
	sh, logged := startShell(t, dir), 0
	if fences := strings.Count(page, "```"); fences != 2*len(blocks) {
		t.Errorf("the page has %d fences, and %d blocks were found", fences, len(blocks))
	}
	for i, b := range blocks {
		switch b.language {
		case "sh":
			output, status := sh.run(t, b)
			if status != 0 && status != int(statusDenied) {
				t.Fatalf("line %d: status %d\n%s\n%s\n%s", b.line, status, b.text, output, server.output())
			}
			shown := block{}
			if i+1 < len(blocks) {
				shown = blocks[i+1]
			}
			if problem := shown.matches(output); problem != nil {
				t.Fatalf("line %d: %v\n%s\n%s", b.line, problem, b.text, output)
			}
		case "log":
			for line := range strings.Lines(b.text) {
				logged = server.waitAfter(t, logged, pattern(strings.TrimSpace(line)))
			}
		case "json", "text":
			if i == 0 || blocks[i-1].language != "sh" {
				t.Errorf("line %d: this is shown after no command", b.line)
			}
		case "console":
			for line := range strings.Lines(b.text) {
				if line = strings.TrimSpace(line); notRun()[line] == "" && !strings.HasPrefix(line, startCommand) {
					t.Errorf("line %d: neither run nor known: %s", b.line, line)
				}
			}
		case "yaml":
			configured(t, dir, b)
		default:
			if shownOnly()[b.language] == "" {
				t.Errorf("line %d: what are blocks of the language %q?", b.line, b.language)
			}
		}
	}
}

// waitAfter waits for a line that matches, after those that were seen, and returns how many have been seen then.
func (p *process) waitAfter(t *testing.T, seen int, pattern string) int {
	t.Helper()
	expression := regexp.MustCompile(pattern)
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	for {
		p.mu.Lock()
		at := slices.IndexFunc(p.lines[seen:], expression.MatchString)
		more := p.more
		p.mu.Unlock()
		if at >= 0 {
			return seen + at + 1
		}
		select {
		case <-more:
		case <-deadline.C:
			t.Fatalf("no further line of the output matches %s:\n%s", pattern, p.output())
		}
	}
}

const startCommand = "go run ./cmd/mandate serve --dev"

// startOf are the arguments of the command by which a page says to start the server.
func startOf(t *testing.T, page string) []string {
	t.Helper()
	found := regexp.MustCompile(`(?m)^ *` + startCommand + `(.*)$`).FindStringSubmatch(page)
	if found == nil {
		t.Fatalf("the page does not say %s", startCommand)
	}
	return append([]string{"serve", "--dev"}, strings.Fields(found[1])...)
}

// configured checks a configuration that a page shows, and leaves it to the commands of the page.
func configured(t *testing.T, dir string, b block) {
	t.Helper()
	write(t, filepath.Join(dir, configFile), b.text)
	cmd := exec.CommandContext(t.Context(), "mandate", "config", "--config", configFile)
	cmd.Dir = dir
	if output, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("line %d: %v\n%s", b.line, err, output)
	}
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

// emptyDNS is a DNS server that knows no name (RFC 1035 §4.1.1), so that what the pages show of domains does not rest on the
// network.
func emptyDNS(t *testing.T) (address string) {
	t.Helper()
	l, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		const header, response, noSuchName = 12, 0x80, 3
		for message := make([]byte, 512); ; {
			n, from, err := l.ReadFrom(message)
			if err != nil {
				return
			}
			if n < header {
				continue
			}
			message[2] |= response
			message[3] = noSuchName
			clear(message[6:header])                                  // counts of what follows the question
			end := header + bytes.IndexByte(message[header:n], 0) + 5 // its name, type and class
			_, _ = l.WriteTo(message[:min(end, n)], from)
		}
	}()
	return l.LocalAddr().String()
}

// pageShell runs block after block.
type pageShell struct {
	dir   string
	input io.Writer
	lines *bufio.Reader
}

const endOfBlock = "\x1e"

func startShell(t *testing.T, dir string) *pageShell {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 4*patience)
	cmd := exec.CommandContext(ctx, "sh")
	cmd.Dir = dir
	cmd.WaitDelay = time.Second
	input, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	reader, writer := io.Pipe()
	cmd.Stdout, cmd.Stderr = writer, writer
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = writer.CloseWithError(cmd.Wait())
	}()
	t.Cleanup(func() {
		cancel()
		_ = reader.Close()
		<-ended
	})
	return &pageShell{dir: dir, input: input, lines: bufio.NewReader(reader)}
}

// run returns what a block prints, and its status.
func (s *pageShell) run(t *testing.T, b block) (output string, status int) {
	t.Helper()
	write(t, filepath.Join(s.dir, "block.sh"), b.text)
	if _, err := fmt.Fprintf(s.input, ". ./block.sh </dev/null; printf '%s%%d%s' $?\n", endOfBlock, endOfBlock); err != nil {
		t.Fatal(err)
	}
	text, err := s.lines.ReadString(endOfBlock[0])
	code, codeErr := s.lines.ReadString(endOfBlock[0])
	if err := errors.Join(err, codeErr); err != nil {
		t.Fatalf("line %d: the shell has ended: %v\n%s\n%s", b.line, err, b.text, text)
	}
	if _, err := fmt.Sscanf(code, "%d", &status); err != nil {
		t.Fatal(err)
	}
	return strings.TrimSuffix(text, endOfBlock), status
}

// matches says how what a page shows after a command differs from what that printed. Where nothing is shown nothing may be
// printed, so that no error goes unseen.
func (b block) matches(output string) error {
	switch b.language {
	case "json":
		return b.matchesJSON(output)
	case "text":
		return b.matchesText(output)
	}
	if strings.TrimSpace(output) != "" {
		return errors.New("it prints what the page does not show")
	}
	return nil
}

// pattern matches what a text shows: … stands for anything, and spaces for any number of them.
func pattern(shown string) string {
	return strings.ReplaceAll(regexp.MustCompile(`\s+`).ReplaceAllString(regexp.QuoteMeta(shown), `\s+`), "…", ".*")
}

// matchesText compares line by line. A line … stands for any number of lines.
func (b block) matchesText(output string) error {
	lines := strings.Split(strings.ReplaceAll(strings.TrimRight(output, "\r\n "), "\r", ""), "\n")
	skipping := false
	for shown := range strings.Lines(strings.TrimRight(b.text, "\n")) {
		if shown = strings.TrimSpace(shown); shown == "…" {
			skipping = true
			continue
		}
		like := regexp.MustCompile(`^\s*` + pattern(shown) + `\s*$`)
		at := 0
		if skipping {
			at = slices.IndexFunc(lines, like.MatchString)
		}
		if at < 0 || at >= len(lines) || !like.MatchString(lines[at]) {
			return fmt.Errorf("it does not print the line %q", shown)
		}
		lines, skipping = lines[at+1:], false
	}
	if len(lines) > 0 && !skipping {
		return fmt.Errorf("it prints more than the page shows: %q", lines)
	}
	return nil
}

// others stands for the members and items that are not shown.
const others = "…"

func (b block) matchesJSON(output string) error {
	text := strings.NewReplacer(", …}", `, "…": 0}`, "{…}", `{"…": 0}`, ", …]", `, "…"]`).Replace(b.text)
	shown, printed := json.NewDecoder(strings.NewReader(text)), json.NewDecoder(strings.NewReader(output))
	for {
		var want, got any
		wantErr, gotErr := shown.Decode(&want), printed.Decode(&got)
		if errors.Is(wantErr, io.EOF) && errors.Is(gotErr, io.EOF) {
			return nil
		}
		if err := errors.Join(wantErr, gotErr); err != nil {
			return fmt.Errorf("not as many answers are printed as shown, or they are no JSON: %w", err)
		}
		if at := differing("", want, got); at != "" {
			return fmt.Errorf("the page shows another %s", at)
		}
	}
}

// differing says where an answer differs from the one that is shown: in more than revisions, times, and what … stands for.
func differing(at string, shown, got any) string {
	same := shown == nil && got == nil
	switch want := shown.(type) {
	case map[string]any:
		got, ok := got.(map[string]any)
		_, more := want[others]
		for name := range got {
			if _, there := want[name]; !there && !more {
				return at + "." + name
			}
		}
		for name, value := range want {
			if name == others {
				continue
			}
			actual, there := got[name]
			if !there {
				return at + "." + name
			}
			if _, number := actual.(float64); number && (name == "revision" || name == "data_revision") {
				continue
			}
			if at := differing(at+"."+name, value, actual); at != "" {
				return at
			}
		}
		same = ok
	case []any:
		got, ok := got.([]any)
		if len(want) > 0 && want[len(want)-1] == others {
			want = want[:len(want)-1]
			got = got[:min(len(got), len(want))]
		}
		same = ok && len(got) == len(want)
		for i := 0; same && i < len(want); i++ {
			if at := differing(fmt.Sprintf("%s[%d]", at, i), want[i], got[i]); at != "" {
				return at
			}
		}
	case string:
		got, ok := got.(string)
		same = ok && (regexp.MustCompile(`(?s)^`+pattern(want)+`$`).MatchString(got) || isTime(want) && isTime(got))
	case float64, bool:
		same = shown == got
	}
	if !same {
		return at + fmt.Sprintf(" than %v", got)
	}
	return ""
}

func isTime(s string) bool {
	_, err := time.Parse(time.RFC3339, s)
	return err == nil
}
