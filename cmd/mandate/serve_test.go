package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// patience is how long anything that should happen may take on a busy machine.
const patience = 60 * time.Second

// process is a running mandate, whose output can be waited for.
type process struct {
	cmd     *exec.Cmd
	address string

	mu     sync.Mutex
	lines  []string
	more   chan struct{} // closed and replaced with each line
	exited chan error
}

func start(t *testing.T, dir string, args ...string) *process {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	p := &process{cmd: exec.CommandContext(ctx, "mandate", args...), more: make(chan struct{}), exited: make(chan error, 1)}
	p.cmd.Dir = dir
	p.cmd.Env = append(os.Environ(), "TMPDIR="+t.TempDir()) // a server that is killed leaves its folder there
	reader, writer := io.Pipe()
	p.cmd.Stdout, p.cmd.Stderr = writer, writer
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		scanner := bufio.NewScanner(reader)
		for scanner.Scan() {
			p.mu.Lock()
			p.lines = append(p.lines, scanner.Text())
			close(p.more)
			p.more = make(chan struct{})
			p.mu.Unlock()
		}
	}()
	go func() {
		p.exited <- p.cmd.Wait()
		_ = writer.Close()
	}()
	t.Cleanup(cancel)
	p.address = p.wait(t, `msg=serving address=(\S+)`)[1]
	return p
}

// wait returns the submatches of the first line that matches, now or later.
func (p *process) wait(t *testing.T, pattern string) []string {
	t.Helper()
	expression := regexp.MustCompile(pattern)
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	for seen := 0; ; {
		p.mu.Lock()
		for ; seen < len(p.lines); seen++ {
			if m := expression.FindStringSubmatch(p.lines[seen]); m != nil {
				p.mu.Unlock()
				return m
			}
		}
		more := p.more
		p.mu.Unlock()
		select {
		case <-more:
		case <-deadline.C:
			t.Fatalf("no line of the output matches %s:\n%s", pattern, p.output())
		}
	}
}

func (p *process) output() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.Join(p.lines, "\n")
}

// stop asks for a graceful end, and returns how the process ended.
func (p *process) stop(t *testing.T) error {
	t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-p.exited:
		return err
	case <-time.After(patience):
		t.Fatal("the server did not stop")
		return nil
	}
}

// commands are the printed commands, by their titles.
func (p *process) commands(t *testing.T) []string {
	t.Helper()
	p.wait(t, "^Stop with Ctrl-C")
	var commands []string
	lines := strings.Split(p.output(), "\n")
	for i, line := range lines {
		if strings.HasPrefix(line, "# ") {
			commands = append(commands, lines[i+1])
		}
	}
	return commands
}

func shell(t *testing.T, command string) map[string]any {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	output, err := exec.CommandContext(ctx, "sh", "-c", command).Output()
	if err != nil {
		t.Fatalf("%s: %v", command, err)
	}
	var answer map[string]any
	if err := json.Unmarshal(output, &answer); err != nil {
		t.Fatalf("%s: answered %s", command, output)
	}
	return answer
}

func TestPrintedCommandsWorkAsTheyStand(t *testing.T) {
	p := start(t, t.TempDir(), "serve", "--dev", "--listen", "127.0.0.1:0")
	commands := p.commands(t)
	if len(commands) != 5 {
		t.Fatalf("%d commands are printed, want 5:\n%s", len(commands), p.output())
	}
	if answer := shell(t, commands[0]); answer["decision"] != true {
		t.Errorf("the first command is to be allowed: %v", answer)
	}
	answer := shell(t, commands[1])
	if answer["decision"] != false || !strings.Contains(toJSON(t, answer), `"code":"role_missing"`) {
		t.Errorf("the second command is to be denied with its reason: %v", answer)
	}
	if answer := shell(t, commands[2]); answer["token_type"] != "Bearer" || answer["scope"] != "documents:read" || answer["expires_in"] != 600.0 {
		t.Errorf("the third command is to get a token: %v", answer)
	}
	if answer := shell(t, commands[3]); answer["decision"] != true {
		t.Errorf("the fourth command is to be allowed by a token: %v", answer)
	}
	if answer := toJSON(t, shell(t, commands[4])["evaluations"]); strings.Count(answer, `"decision":true`) != 2 || strings.Count(answer, `"decision":false`) != 1 {
		t.Errorf("the fifth command is to answer three questions: %s", answer)
	}
	if err := p.stop(t); err != nil {
		t.Errorf("the server ended with %v:\n%s", err, p.output())
	}
}

func toJSON(t *testing.T, v any) string {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestPolicyIsEditedWhileServing is what a newcomer does first: edit a policy, see the answer change, break it, see it
// refused while answers go on.
func TestPolicyIsEditedWhileServing(t *testing.T) {
	dir := t.TempDir()
	if err := os.CopyFS(filepath.Join(dir, "policies"), os.DirFS("../../policies")); err != nil {
		t.Fatal(err)
	}
	p := start(t, dir, "serve", "--dev", "--listen", "127.0.0.1:0")
	p.wait(t, "the policies of ./policies, which you can edit")
	denied := strings.Replace(p.commands(t)[0], "carol", "ivan", 1)
	if answer := shell(t, denied); answer["decision"] != false {
		t.Fatalf("ivan is no member of acme: %v", answer)
	}
	grants := filepath.Join(dir, "policies", "access", "grants.rego")
	original, err := os.ReadFile(grants)
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "policies", "access", "guest.rego"), `package mandate.access

grant := {"code": "guest", "message": "Ivan is a guest everywhere."} if input.principal.sub == "ivan"
`)
	p.wait(t, `msg="policies changed"`)
	if answer := shell(t, denied); answer["decision"] != true {
		t.Fatalf("the edited policy does not decide: %v\n%s", answer, p.output())
	}

	write(t, grants, string(original)+"\nbroken if {\n")
	p.wait(t, `msg="policies refused, the former ones go on serving"`)
	line := p.wait(t, `msg="policy problem".*`)[0]
	if !strings.Contains(line, "access/grants.rego:") {
		t.Errorf("the refusal does not name file and line: %s", line)
	}
	if answer := shell(t, denied); answer["decision"] != true {
		t.Errorf("after a broken edit the last good policy is to go on serving: %v", answer)
	}
	if err := p.stop(t); err != nil {
		t.Errorf("the server ended with %v", err)
	}
}

func write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

const serveDirectory = `
roles: {viewer: {permissions: ["documents:read"]}}
users: [{id: alice}]
orgs: [{id: acme, members: [{user: alice, roles: [viewer]}]}]
api_keys:
  - {id: gateway, key: key-of-the-gateway, scopes: [decide]}
  - {id: admin, key: key-of-the-admin, scopes: [manage, decide]}
`

func TestServeWithConfiguration(t *testing.T) {
	dir := t.TempDir()
	certificate, pool := makeCertificate(t, dir)
	write(t, filepath.Join(dir, "directory.yaml"), serveDirectory)
	write(t, filepath.Join(dir, "mandate.yaml"), `
listen: 127.0.0.1:0
data: ./data
tls: {certificate: `+certificate+`, key: server.key, client_ca: `+certificate+`}
tenants:
  default: {directory: directory.yaml}
  staging: {}
tokens: {code_lifetime: 60s}
`)
	p := start(t, dir, "serve", "--config", "mandate.yaml")
	// The server asks for a certificate, and serves those who have none (RFC 8705 §2).
	var askedFor atomic.Bool
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			askedFor.Store(true)
			return &tls.Certificate{}, nil
		}}}}
	var metadata struct {
		Issuer string `json:"issuer"`
	}
	get(t, client, "https://"+p.address+"/.well-known/oauth-authorization-server/t/staging", &metadata)
	if want := "https://" + p.address + "/t/staging"; metadata.Issuer != want || !askedFor.Load() {
		t.Errorf("issuer %q, want %q; asked for a certificate: %v", metadata.Issuer, want, askedFor.Load())
	}
	var keys struct{ Keys []struct{ Kid string } }
	get(t, client, "https://"+p.address+"/.well-known/jwks.json", &keys)

	// The command line asks the running server; the data folder is its own.
	locked := exec.CommandContext(t.Context(), "mandate", "decide", "--data", "data", "--subject", "user:alice", "--action", "documents:read", "--resource", "document:x", "--org", "acme")
	locked.Dir = dir
	if output, err := locked.CombinedOutput(); err == nil || !strings.Contains(string(output), "open the data folder data") {
		t.Errorf("a data folder in use was opened: %v\n%s", err, output)
	}
	if err := p.stop(t); err != nil {
		t.Fatalf("the server ended with %v:\n%s", err, p.output())
	}

	// What was imported and made is there after a restart, keys included, and the import is not repeated.
	write(t, filepath.Join(dir, "directory.yaml"), "nonsense: true")
	p = start(t, dir, "serve", "--config", "mandate.yaml")
	var after struct{ Keys []struct{ Kid string } }
	get(t, client, "https://"+p.address+"/.well-known/jwks.json", &after)
	// The RS256 key is made while the server runs already, so it may not have been there yet.
	for _, key := range keys.Keys {
		if !slices.Contains(after.Keys, key) || len(after.Keys) > 2 {
			t.Errorf("the signing keys did not last: %v, then %v", keys, after)
		}
	}
	if len(keys.Keys) == 0 {
		t.Error("there is no signing key")
	}
	if err := p.stop(t); err != nil {
		t.Errorf("the server ended with %v", err)
	}
}

func TestDecideAtARunningServer(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "directory.yaml"), serveDirectory)
	p := start(t, dir, "serve", "--data", "data", "--directory", "directory.yaml", "--listen", "127.0.0.1:0")
	for _, row := range []struct {
		name, key, subject string
		more               []string
		status             int
		output             string
	}{
		{"allowed", "key-of-the-gateway", "user:alice", nil, 0, "ALLOW  role:"},
		{"denied", "key-of-the-gateway", "user:bob", nil, 3, "DENY  principal_unknown:"},
		{"explained to an administrator", "key-of-the-admin", "user:alice", []string{"--explain"}, 0, "The rules that allowed it"},
		{"not explained to others", "key-of-the-gateway", "user:alice", []string{"--explain"}, 1, "the server answered 403 Forbidden: The caller's credential lacks the scope manage"},
		{"wrong credential", "wrong", "user:alice", nil, 1, "the server answered 401 Unauthorized: the credential is not valid"},
	} {
		t.Run(row.name, func(t *testing.T) {
			args := append([]string{"decide", "--server", "http://" + p.address, "--subject", row.subject,
				"--action", "documents:read", "--resource", "document:x", "--org", "acme"}, row.more...)
			cmd := exec.CommandContext(t.Context(), "mandate", args...)
			cmd.Env = append(os.Environ(), "MANDATE_AUTHORIZATION=Bearer "+row.key)
			output, _ := cmd.CombinedOutput()
			if cmd.ProcessState.ExitCode() != row.status || !strings.Contains(string(output), row.output) {
				t.Errorf("status %d, want %d and …%s…:\n%s", cmd.ProcessState.ExitCode(), row.status, row.output, output)
			}
		})
	}
	if strings.Contains(p.output(), "key-of-the") {
		t.Errorf("a secret is in the log:\n%s", p.output())
	}
}

func TestKeysAtARunningServer(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "directory.yaml"), serveDirectory)
	p := start(t, dir, "serve", "--data", "data", "--directory", "directory.yaml", "--listen", "127.0.0.1:0")
	mandate := func(key string, args ...string) (string, int) {
		cmd := exec.CommandContext(t.Context(), "mandate", args...)
		cmd.Env = append(os.Environ(), "MANDATE_SERVER=http://"+p.address, "MANDATE_AUTHORIZATION=Bearer "+key)
		output, _ := cmd.CombinedOutput()
		return string(output), cmd.ProcessState.ExitCode()
	}
	list, _ := mandate("key-of-the-admin", "keys")
	first := regexp.MustCompile(`(?m)^(\S{43}) +ES256 +signing `).FindStringSubmatch(list)
	if first == nil {
		t.Fatalf("no key signs: %s", list)
	}
	for _, row := range []struct {
		name, key string
		args      []string
		status    int
		output    string
	}{
		{"rotated", "key-of-the-admin", []string{"keys", "rotate"}, 0, ` ES256 +next .*\n` + first[1] + ` +ES256 +signing `},
		{"in JSON", "key-of-the-admin", []string{"keys", "--json"}, 0, `"status": "next"`},
		{"another algorithm", "key-of-the-admin", []string{"keys", "rotate", "--alg", "EdDSA", "--now"}, 0, ` EdDSA +signing `},
		{"revoked", "key-of-the-admin", []string{"keys", "revoke", "--", first[1]}, 0, ` ES256 +signing `},
		{"gone already", "key-of-the-admin", []string{"keys", "revoke", "--", first[1]}, 1, `the server answered 404 Not Found: there is no signing key with this id`},
		{"an unknown algorithm", "key-of-the-admin", []string{"keys", "rotate", "--alg", "HS256"}, 1, `400 Bad Request: alg must be one of: ES256`},
		{"by who may only ask", "key-of-the-gateway", []string{"keys"}, 1, `the server answered 403 Forbidden: `},
		{"by nobody", "wrong", []string{"keys"}, 1, `the server answered 401 Unauthorized: `},
	} {
		output, status := mandate(row.key, row.args...)
		if status != row.status || !regexp.MustCompile(row.output).MatchString(output) {
			t.Errorf("%s: status %d, want %d and %s:\n%s", row.name, status, row.status, row.output, output)
		}
	}
	if err := p.stop(t); err != nil {
		t.Errorf("the server ended with %v", err)
	}
}

// A refresh token that comes back after its successor was used may have been stolen: that is logged and counted.
func TestSecurityEventsAreSeen(t *testing.T) {
	p := start(t, t.TempDir(), "serve", "--dev", "--listen", "127.0.0.1:0", "--tokens-refresh-grace", "0s")
	password := p.wait(t, `^ +password +alice +(\S+)`)[1]
	operator := p.wait(t, `^ +API key +operator +(\S+)`)[1]
	base := "http://" + p.address
	first, _ := shell(t, "curl -s -X POST "+base+"/auth -u alice:"+password)["refresh_token"].(string)
	refresh := "curl -s " + base + "/auth/refresh -d refresh_token=" + first
	if answer := shell(t, refresh); answer["access_token"] == nil {
		t.Fatalf("not refreshed: %v", answer)
	}
	if answer := shell(t, refresh); answer["error"] != "invalid_grant" {
		t.Errorf("replayed: %v", answer)
	}
	line := p.wait(t, `level=WARN msg="security event" .*`)[0]
	kind := regexp.MustCompile(` type=(\S+)`).FindStringSubmatch(line)
	if kind == nil || !strings.Contains(line, "subject=alice") || !strings.Contains(line, "tenant=default") {
		t.Fatalf("logged %s", line)
	}
	metrics, err := exec.CommandContext(t.Context(), "curl", "-s", "-H", "Authorization: Bearer "+operator, base+"/metrics").Output()
	if want := `mandate_security_events_total{tenant="default",type="` + kind[1] + `"} 1`; err != nil || !strings.Contains(string(metrics), want) {
		t.Errorf("the metrics are without %s: %v", want, err)
	}
	if strings.Contains(line, first) || strings.Contains(string(metrics), first) {
		t.Error("a refresh token is shown")
	}
}

// Behind a proxy that is not named all callers would have one address, which the operator has to know.
func TestUnknownAddressesAreSaid(t *testing.T) {
	for _, row := range []struct {
		name   string
		more   []string
		warned bool
	}{
		{"no proxy", nil, false},
		{"a proxy that is not named", []string{"--allow-plaintext"}, true},
		{"a proxy before loopback", []string{"--public-url", "https://mandate.example"}, true},
		{"a proxy that is named", []string{"--allow-plaintext", "--trusted-proxies", "127.0.0.0/8"}, false},
	} {
		p := start(t, t.TempDir(), append([]string{"serve", "--data", "data", "--listen", "127.0.0.1:0"}, row.more...)...)
		if got := strings.Count(p.output(), "set trusted_proxies"); (got == 1) != row.warned || got > 1 {
			t.Errorf("%s: warned %d times:\n%s", row.name, got, p.output())
		}
		if err := p.stop(t); err != nil {
			t.Errorf("%s: the server ended with %v", row.name, err)
		}
	}
}

// Whoever only opens connections cannot take the memory of the machine: each may hold a body.
func TestConnectionsAreBounded(t *testing.T) {
	p := start(t, t.TempDir(), "serve", "--dev", "--listen", "127.0.0.1:0", "--limits-connections", "3")
	var connections []net.Conn
	for range 3 {
		connection, err := net.Dial("tcp", p.address)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = connection.Close() }()
		// A request of which the body never comes keeps its place; the answer to a first one says that it has one.
		if _, err := io.WriteString(connection, "GET /healthz HTTP/1.1\r\nHost: x.example\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		if answer, err := bufio.NewReader(connection).ReadString('\n'); err != nil || !strings.Contains(answer, "200") {
			t.Fatalf("%q, %v", answer, err)
		}
		connections = append(connections, connection)
	}
	turnedAway, err := net.Dial("tcp", p.address)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = turnedAway.Close() }()
	if answer, err := bufio.NewReader(turnedAway).ReadString('\n'); err != nil || !strings.Contains(answer, "503") {
		t.Errorf("one connection too many: %q, %v", answer, err)
	}
	for _, connection := range connections {
		_ = connection.Close()
	}
	if err := p.stop(t); err != nil {
		t.Errorf("the server ended with %v", err)
	}
}

func get(t *testing.T, client *http.Client, url string, into any) {
	t.Helper()
	response, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	if err := json.NewDecoder(response.Body).Decode(into); err != nil || response.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s, %v", url, response.Status, err)
	}
}

// makeCertificate writes a certificate for 127.0.0.1 and its key.
func makeCertificate(t *testing.T, dir string) (file string, pool *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{"server.pem": {Type: "CERTIFICATE", Bytes: der}, "server.key": {Type: "PRIVATE KEY", Bytes: private}} {
		var text bytes.Buffer
		if err := pem.Encode(&text, block); err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(dir, name), text.String())
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool = x509.NewCertPool()
	pool.AddCert(certificate)
	return "server.pem", pool
}
