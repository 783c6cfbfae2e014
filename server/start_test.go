package server_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alexedwards/argon2id"
	"github.com/golang-jwt/jwt/v5"

	"mandate/authn"
	"mandate/datastore"
	"mandate/datastore/badgerstore"
	"mandate/datastore/memo"
	"mandate/decisionlog"
	"mandate/delivery"
	"mandate/directory"
	"mandate/engine"
	"mandate/manage"
	"mandate/policies"
	"mandate/policyset"
	"mandate/server"
	"mandate/tokens"
)

const (
	// publicURL is not where the tests connect to, so an answer that follows the connection or the Host shows.
	publicURL = "https://mandate.example"
	staging   = directory.Tenant("staging")
	bodyLimit = 1 << 20

	evaluationPath  = "/access/v1/evaluation"
	evaluationsPath = "/access/v1/evaluations"
	tokenPath       = "/oauth2/token"
)

// running is a server on a socket of its own, over a store of its own.
type running struct {
	url     string
	store   datastore.Store
	memo    *memo.Memo
	master  *directory.MasterKey
	engines map[directory.Tenant]*engine.Engine
	logs    map[directory.Tenant]*decisionlog.Log
	issuers map[directory.Tenant]*tokens.Issuer
	server  *server.Server
	served  chan error
	queues  map[directory.Tenant]*delivery.Queue
	mails   mailbox
	log     *logBuffer
	events  *logBuffer // security events
	clock   *clock
}

// logBuffer collects what the server logs.
type logBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// clock is the time of day, which tests can move.
type clock struct{ ahead atomic.Int64 }

func (c *clock) now() time.Time          { return time.Now().Add(time.Duration(c.ahead.Load())) }
func (c *clock) advance(d time.Duration) { c.ahead.Add(int64(d)) }

// defaultPolicies are compiled once: a set never changes. Their tests are those of package policies.
var defaultPolicies = sync.OnceValues(func() (*engine.PolicySet, error) {
	return engine.CompileTested(context.Background(), policies.FS)
})

var passwordChecks = sync.OnceValues(func() (*authn.PasswordChecks, error) { return authn.NewPasswordChecks(2) })

// start serves both tenants until the test ends. What alter makes of the options is served instead.
func start(t testing.TB, alter ...func(*server.Options)) *running {
	t.Helper()
	return startWith(t, fixture{}, alter...)
}

// fixture is what start uses instead of the usual.
type fixture struct {
	clock func(datastore.Store) memo.Clock      // for what is remembered
	wrap  func(datastore.Store) datastore.Store // around the store that requests read
	rule  policyRule                            // who may activate a policy set
}

func startWith(t testing.TB, f fixture, alter ...func(*server.Options)) *running {
	t.Helper()
	s := &running{log: &logBuffer{}, events: &logBuffer{}, clock: &clock{}, served: make(chan error, 1),
		engines: map[directory.Tenant]*engine.Engine{}, logs: map[directory.Tenant]*decisionlog.Log{}, issuers: map[directory.Tenant]*tokens.Issuer{}, queues: map[directory.Tenant]*delivery.Queue{}}
	seen.log(s.log)
	log := slog.New(slog.NewJSONHandler(s.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	opened, err := badgerstore.Open(t.TempDir(), badgerstore.Options{Logger: log})
	must(t, err)
	store := datastore.Store(opened)
	if f.wrap != nil {
		store = f.wrap(opened)
	}
	s.store = store
	remembering := memo.Options{Bytes: 64 << 20, Now: s.clock.now}
	if f.clock != nil {
		remembering.Clock = f.clock(store)
	}
	s.memo = memo.New(store, remembering)
	t.Cleanup(func() { _ = store.Close() }) // a test may have closed it
	master, err := directory.NewMasterKey([32]byte([]byte("the master key of these tests   ")))
	must(t, err)
	s.master = master
	set, err := defaultPolicies()
	must(t, err)
	passwords, err := passwordChecks()
	must(t, err)

	var mailer delivery.Mailer
	s.mails, mailer = mailServer(t)
	var tenants []server.Tenant
	for id, file := range fixtures() {
		_, err := directory.Importer{Store: store, Master: master}.Import(t.Context(), id, withCheapPasswords(t, readFixture(t, file)))
		must(t, err)
		issuer := server.Issuer(publicURL, id)
		// The limit is for policies that go wrong; the race detector on a busy machine must not meet it.
		folder := t.TempDir()
		s.logs[id], err = decisionlog.Open(folder, decisionlog.Options{Tenant: string(id), Key: master.SigningKey(id, "decision log"), Now: s.clock.now})
		must(t, err)
		t.Cleanup(func() { must(t, s.logs[id].Close()) })
		s.engines[id] = engine.New(datastore.TenantID(id), set, engine.Options{EvaluationLimit: 5 * time.Second, Now: s.clock.now, Log: s.logs[id]})
		library := policyset.New(policyset.Options{Tenant: id, Store: store, Engine: s.engines[id], Now: s.clock.now})
		must(t, library.Offer(t.Context(), set, "builtin"))
		authenticator := authn.New(authn.Options{Tenant: id, Master: master, Issuer: issuer, PasswordChecks: passwords, Store: store,
			Providers: authn.NewProviders(authn.ProviderOptions{AllowHTTP: true, Now: s.clock.now}), ClockLeeway: 30 * time.Second, Now: s.clock.now})
		s.issuers[id], err = tokens.NewIssuer(t.Context(), store, tokens.Options{Tenant: id, Issuer: issuer, Master: master,
			Policy: s.engines[id], Authn: authenticator, Lifetime: 5 * time.Minute, CodeLifetime: time.Minute, RefreshLifetime: 720 * time.Hour,
			RefreshGrace: 10 * time.Second, KeyLifetime: 90 * 24 * time.Hour, Report: func(e tokens.SecurityEvent) { fmt.Fprintln(s.events, e.Type, e.Grant, e.Client, e.Subject) }, Now: s.clock.now})
		must(t, err)
		queue := delivery.New(delivery.Options{Tenant: id, Store: opened, Master: master, HTTP: delivery.NewClient(true, loopback()), Mailer: mailer,
			Log: log, Now: s.clock.now})
		s.queues[id] = queue
		s.deliver(t, queue)
		tenants = append(tenants, server.Tenant{ID: id, Issuer: issuer, Engine: s.engines[id], Policies: library, Tokens: s.issuers[id], Authn: authenticator,
			Manage: manage.New(manage.Options{Tenant: id, Issuer: issuer, Store: store, Master: master, Policy: s.engines[id], Authn: authenticator,
				Tokens: s.issuers[id], Deliveries: queue, Policies: library, PolicyRule: f.rule.reading(folder), Now: s.clock.now, AllowHTTP: true}),
			Master: master, Now: s.clock.now})
		if id == server.DefaultTenant {
			tenants[len(tenants)-1].Deliveries = queue
		}
	}
	options := server.Options{Store: store, Memo: s.memo, Tenants: tenants, BodyLimit: bodyLimit, Log: log}
	for _, change := range alter {
		change(&options)
	}
	s.server, err = server.New(options)
	must(t, err)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	s.url = "http://" + listener.Addr().String()
	go func() { s.served <- s.server.Serve(listener, nil) }()
	t.Cleanup(func() {
		// A connection that was opened and never used counts as busy, up to the read timeout.
		connections.CloseIdleConnections()
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if err := s.server.Shutdown(ctx); err != nil {
			t.Errorf("shut down: %v", err)
		}
	})
	if ready := s.send(t, "GET", "/readyz", ""); ready.status != http.StatusOK {
		t.Fatalf("the server is not ready: %v", ready)
	}
	return s
}

// loopback is where the receivers of the tests are.
func loopback() []netip.Prefix { return []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")} }

// deliver lets the queue run until the test ends.
func (s *running) deliver(t testing.TB, queue *delivery.Queue) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		queue.Run(ctx)
		close(ended)
	}()
	t.Cleanup(func() {
		cancel()
		<-ended
	})
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// The fixtures.

func fixtures() map[directory.Tenant]string {
	return map[directory.Tenant]string{server.DefaultTenant: "testdata/directory.yaml", staging: "testdata/staging.yaml"}
}

func readFixture(t testing.TB, name string) *directory.File {
	t.Helper()
	file, err := os.Open(name)
	must(t, err)
	defer file.Close()
	parsed, err := directory.ParseFile(file)
	must(t, err)
	return parsed
}

// withCheapPasswords hashes the passwords at the least cost, which is no matter here, for there are many sign-ins.
func withCheapPasswords(t testing.TB, file *directory.File) *directory.File {
	t.Helper()
	for i := range file.Users {
		u := &file.Users[i]
		if u.Password.IsZero() {
			continue
		}
		hash, err := argon2id.CreateHash(u.Password.Expose(), &argon2id.Params{Memory: 8, Iterations: 1, Parallelism: 1, SaltLength: 16, KeyLength: 32})
		must(t, err)
		u.Password, u.PasswordHash = directory.Secret{}, hash
	}
	return file
}

// secrets are all those of a tenant, by the id of their holder: "client operator", "key gateway", "secret tenant-admin".
func secrets(t testing.TB, tenant directory.Tenant) map[string]string {
	t.Helper()
	file := readFixture(t, fixtures()[tenant])
	found := map[string]string{}
	add := func(holder string, s directory.Secret) {
		if !s.IsZero() {
			found[holder] = s.Expose()
		}
	}
	for _, u := range file.Users {
		add("user "+u.ID, u.Password)
	}
	for _, c := range file.Clients {
		add("client "+c.ID, c.Secret)
	}
	for _, k := range file.APIKeys {
		add("key "+k.ID, k.Key)
		add("secret "+k.ID, k.Secret)
	}
	for _, v := range file.Vendors {
		add("vendor "+v.ID, v.Token)
	}
	for _, i := range file.Integrations {
		add("integration "+i.ID, i.PartnerToken)
	}
	return found
}

// holders presents the secrets of a tenant's fixture as credentials.
type holders struct {
	t       testing.TB
	secrets map[string]string
}

func holdersOf(t testing.TB, tenant directory.Tenant) holders {
	t.Helper()
	return holders{t, secrets(t, tenant)}
}

func (h holders) secret(holder string) string {
	h.t.Helper()
	s, ok := h.secrets[holder]
	if !ok {
		h.t.Fatalf("the fixture has no %q", holder)
	}
	return s
}

// A credential is the header lines that present it.
type credential []string

func bearer(token string) credential { return credential{"Authorization: Bearer " + token} }

func basic(name, secret string) credential {
	return credential{"Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(name+":"+secret))}
}

func (h holders) key(id string) credential { return bearer(h.secret("key " + id)) }

func (h holders) pair(id string) credential {
	return credential{"X-API-Key: " + h.secret("key "+id), "X-API-Secret: " + h.secret("secret "+id)}
}

// client is form-encoded, as RFC 6749 §2.3.1 has it.
func (h holders) client(id string) credential {
	return basic(url.QueryEscape(id), url.QueryEscape(h.secret("client "+id)))
}

func (h holders) user(id, username string) credential { return basic(username, h.secret("user "+id)) }

func (h holders) partner(vendor, integration string) credential {
	return bearer(base64.StdEncoding.EncodeToString([]byte(h.secret("vendor "+vendor) + ":" + h.secret("integration "+integration))))
}

// Requests and answers.

type answer struct {
	status int
	header http.Header
	body   string
}

func (a answer) String() string {
	return strings.TrimSpace(http.StatusText(a.status)) + " " + a.body
}

// traffic is held against the OpenAPI document.
var traffic = newChecked(&http.Transport{MaxIdleConnsPerHost: 16})

var connections = &http.Client{Transport: traffic, Timeout: 30 * time.Second,
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}

// send makes a request with the header lines as they are given.
func (s *running) send(t testing.TB, method, path, body string, lines ...string) answer {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, s.url+path, strings.NewReader(body))
	must(t, err)
	for _, line := range lines {
		name, value, _ := strings.Cut(line, ": ")
		if name == "Host" {
			request.Host = value
		} else {
			request.Header.Add(name, value)
		}
	}
	seen.request(request.Header, body)
	response, err := connections.Do(request)
	must(t, err)
	return read(t, response)
}

func read(t testing.TB, response *http.Response) answer {
	t.Helper()
	body, err := io.ReadAll(response.Body)
	must(t, errors.Join(err, response.Body.Close()))
	a := answer{response.StatusCode, response.Header, string(body)}
	seen.answer(a)
	return a
}

// raw sends bytes that no HTTP client would, and reads one answer.
func (s *running) raw(t testing.TB, text string) answer {
	t.Helper()
	connection, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
	must(t, err)
	defer connection.Close()
	must(t, connection.SetDeadline(time.Now().Add(30*time.Second)))
	// The server may answer and close before it has read all.
	go func() { _, _ = io.WriteString(connection, text) }()
	response, err := http.ReadResponse(bufio.NewReader(connection), nil)
	must(t, err)
	return read(t, response)
}

const jsonType = "Content-Type: application/json"

// ask posts JSON with a credential.
func (s *running) ask(t testing.TB, c credential, path, body string, lines ...string) answer {
	t.Helper()
	return s.send(t, "POST", path, body, slices.Concat(c, credential{jsonType}, lines)...)
}

// token posts a form to the token endpoint.
func (s *running) token(t testing.TB, c credential, form string, lines ...string) answer {
	t.Helper()
	return s.send(t, "POST", tokenPath, form, slices.Concat(c, credential{"Content-Type: application/x-www-form-urlencoded"}, lines)...)
}

// issue gets an access token, for the audience if one is named.
func (s *running) issue(t testing.TB, c credential, audience string) string {
	t.Helper()
	form := url.Values{"grant_type": {"client_credentials"}, "audience": {audience}}
	a := s.token(t, c, form.Encode())
	token, _ := a.object(t)["access_token"].(string)
	if a.status != http.StatusOK || token == "" {
		t.Fatalf("no token: %v", a)
	}
	return token
}

// sign signs what only the tenant itself can.
func (s *running) sign(t testing.TB, tenant directory.Tenant, typ string, claims jwt.MapClaims) string {
	t.Helper()
	r := s.memo.Begin()
	defer r.End()
	signed, err := s.issuers[tenant].Sign(t.Context(), r, "", typ, claims)
	must(t, err)
	return signed
}

// object is the JSON object of the answer.
func (a answer) object(t testing.TB) map[string]any {
	t.Helper()
	var object map[string]any
	if err := json.Unmarshal([]byte(a.body), &object); err != nil {
		t.Fatalf("not a JSON object: %v", a)
	}
	return object
}

// decision is a Decision of an answer.
type decision struct {
	Decision *bool `json:"decision"`
	Context  struct {
		DecisionID   string `json:"decision_id"`
		DataRevision uint64 `json:"data_revision"`
		Reasons      []struct{ Code, Message string }
		Error        *struct {
			Status  int
			Message string
		}
	}
	Evaluations []decision
}

func (a answer) decision(t testing.TB) decision {
	t.Helper()
	var d decision
	if err := json.Unmarshal([]byte(a.body), &d); err != nil || a.status != http.StatusOK {
		t.Fatalf("not a decision: %v", a)
	}
	return d
}

func (d decision) allowed() bool { return d.Decision != nil && *d.Decision }

func (d decision) reason() string {
	if len(d.Context.Reasons) == 0 {
		return ""
	}
	return d.Context.Reasons[0].Code
}

// verdict is the answer in a word: allow, deny, or the status when there is none.
func (a answer) verdict() string {
	var d decision
	switch {
	case a.status != http.StatusOK || json.Unmarshal([]byte(a.body), &d) != nil || d.Decision == nil:
		return strings.ToLower(http.StatusText(a.status))
	case *d.Decision:
		return "allow"
	}
	return "deny"
}

// question is an evaluation request of a subject for a document of acme.
func question(subject, action, document string) string {
	return `{"subject":` + subject + `,"action":{"name":"` + action + `"},"resource":{"type":"document","id":"` + document +
		`","properties":{"org":"acme"}}}`
}

func named(kind, id string) string { return `{"type":"` + kind + `","id":"` + id + `"}` }

// caller is the subject that is the caller itself.
const caller = `{"type":"credential","id":"caller"}`

// presented is the subject that is a credential which the caller was given.
func presented(t testing.TB, c credential) string {
	t.Helper()
	properties := map[string]string{}
	for _, line := range c {
		name, value, _ := strings.Cut(line, ": ")
		properties[map[string]string{"Authorization": "authorization", "X-API-Key": "apikey", "X-API-Secret": "apisecret"}[name]] = value
	}
	id := "authorization"
	if properties["apikey"] != "" {
		id = "apikey"
	}
	subject, err := json.Marshal(map[string]any{"type": "credential", "id": id, "properties": properties})
	must(t, err)
	return string(subject)
}
