package server_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"mandate/datastore"
	"mandate/delivery"
	"mandate/directory"
	"mandate/manage"
	"mandate/outbound"
	"mandate/server"
)

// nameServer is a DNS server on this machine, over UDP and TCP.
type nameServer struct {
	address string
	manager *manage.Manager // of the default tenant, which asks it

	mu    sync.Mutex
	texts map[string][]string // by name; a name that is not there is NXDOMAIN
	rcode int                 // of every answer, unless it is 0
	asked int
	hold  chan struct{} // when set, answers wait for it
}

func newNameServer(t *testing.T) *nameServer {
	t.Helper()
	n := &nameServer{texts: map[string][]string{}}
	var udp net.PacketConn
	var tcp net.Listener
	for tcp == nil {
		var err error
		udp, err = net.ListenPacket("udp", "127.0.0.1:0")
		must(t, err)
		if tcp, err = net.Listen("tcp", udp.LocalAddr().String()); err != nil {
			must(t, udp.Close()) // the port is somebody's over TCP: try another
		}
	}
	for _, s := range []*dns.Server{{PacketConn: udp, Handler: n}, {Listener: tcp, Handler: n}} {
		started := make(chan struct{})
		s.NotifyStartedFunc = func() { close(started) }
		go func() { _ = s.ActivateAndServe() }()
		<-started
		t.Cleanup(func() { _ = s.Shutdown() })
	}
	n.address = udp.LocalAddr().String()
	return n
}

// ServeDNS implements dns.Handler.
func (n *nameServer) ServeDNS(w dns.ResponseWriter, question *dns.Msg) {
	n.mu.Lock()
	n.asked++
	reply := new(dns.Msg).SetRcode(question, n.rcode)
	reply.RecursionAvailable = true
	name := question.Question[0].Name
	texts, known := n.texts[strings.TrimSuffix(name, ".")]
	hold := n.hold
	n.mu.Unlock()
	if hold != nil {
		<-hold
	}
	if !known && reply.Rcode == 0 {
		reply.Rcode = dns.RcodeNameError
	}
	for _, text := range texts {
		reply.Answer = append(reply.Answer, &dns.TXT{Hdr: dns.RR_Header{Name: name, Rrtype: dns.TypeTXT, Class: dns.ClassINET}, Txt: []string{text}})
	}
	if _, udp := w.RemoteAddr().(*net.UDPAddr); udp {
		reply.Truncate(512)
	}
	_ = w.WriteMsg(reply)
}

// set changes what the server answers from now on.
func (n *nameServer) set(rcode int, name string, texts ...string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.rcode = rcode
	n.texts[name] = texts
	if texts == nil {
		delete(n.texts, name)
	}
}

func (n *nameServer) questions() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.asked
}

// use makes the managers of a server ask it.
func (n *nameServer) use(o *server.Options) {
	for i := range o.Tenants {
		t := &o.Tenants[i]
		queue := delivery.New(delivery.Options{Tenant: t.ID, Store: o.Store, Master: t.Master, HTTP: delivery.NewClient(true, nil),
			Log: slog.New(slog.NewJSONHandler(io.Discard, nil)), Now: t.Now})
		t.Manage = manage.New(manage.Options{Tenant: t.ID, Issuer: t.Issuer, Store: o.Store, Master: t.Master, Policy: t.Engine, Authn: t.Authn,
			Tokens: t.Tokens, Deliveries: queue, DNS: outbound.NewResolver(n.address), Now: t.Now})
		if t.ID == server.DefaultTenant {
			n.manager = t.Manage
		}
	}
}

// addDomain adds a domain, and returns its challenge: the name of the record and its value.
func (s *running) addDomain(t *testing.T, as credential, org, domain string) (name, value string) {
	t.Helper()
	a := s.managed(t, as, "POST", "/v1/orgs/"+org+"/domains", `{"domain": "`+domain+`"}`)
	made := a.wantMembers(t, http.StatusCreated, map[string]any{"domain": domain, "status": "pending"})
	challenge, _ := made["challenge"].(map[string]any)
	name, _ = challenge["name"].(string)
	value, _ = challenge["value"].(string)
	if challenge["type"] != "TXT" || name != "_mandate-challenge."+domain || !strings.HasPrefix(value, "mandate-verification=") || len(value) < 40 {
		t.Fatalf("the challenge is %v", challenge)
	}
	return name, value
}

func TestDomainsAreVerified(t *testing.T) {
	n := newNameServer(t)
	s := start(t, n.use)
	h := holdersOf(t, "default")
	admin, acme := h.pair("tenant-admin"), h.key("acme-manager")
	name, value := s.addDomain(t, acme, "acme", "acme.example")
	const path = "/v1/orgs/acme/domains/acme.example"
	many := make([]string, 100)
	for i := range many {
		many[i] = fmt.Sprintf("v=%d %s", i, strings.Repeat("x", 100))
	}
	for _, row := range []struct {
		name   string
		rcode  int
		texts  []string
		status int
		code   string
		says   string
	}{
		{"NXDOMAIN", 0, nil, http.StatusConflict, "challenge_not_met", "There is no TXT record"},
		{"NODATA", 0, []string{}, http.StatusConflict, "challenge_not_met", "There is no TXT record"},
		{"another value", 0, []string{"mandate-verification=another"}, http.StatusConflict, "challenge_not_met", `"mandate-verification=another"`},
		{"a value with more", 0, []string{value + "x", " " + value, strings.ToLower(value)}, http.StatusConflict, "challenge_not_met", "do not have the value"},
		{"many values, of which few are repeated", 0, many, http.StatusConflict, "challenge_not_met", "and 97 more"},
		{"a value that is no text", 0, []string{"\x00\u202e<b>\r\nSet-Cookie: a"}, http.StatusConflict, "challenge_not_met", `\r\n`},
		{"SERVFAIL", dns.RcodeServerFailure, nil, http.StatusServiceUnavailable, "dns_unavailable", "try again"},
		{"REFUSED", dns.RcodeRefused, nil, http.StatusServiceUnavailable, "dns_unavailable", "try again"},
	} {
		n.set(row.rcode, name, row.texts...)
		a := s.managed(t, acme, "POST", path+"/verify", "")
		a.wantStatus(t, row.status, row.code)
		detail, _ := a.object(t)["detail"].(string)
		if !strings.Contains(detail, row.says) || len(detail) > 600 || strings.ContainsAny(detail, "\x00\r\n\u202e") {
			t.Errorf("%s: said %q", row.name, detail)
		}
		if retry := a.header.Get("Retry-After"); (retry != "") != (row.status == http.StatusServiceUnavailable) {
			t.Errorf("%s: Retry-After is %q", row.name, retry)
		}
	}
	n.set(0, name, append(many, value)...) // truncated over UDP
	verified := s.managed(t, acme, "POST", path+"/verify", "", "Idempotency-Key: once")
	made := verified.wantMembers(t, http.StatusOK, map[string]any{"status": "verified", "domain": "acme.example"})
	if at, err := time.Parse(time.RFC3339, fmt.Sprint(made["verified_at"])); err != nil || time.Since(at).Abs() > time.Minute {
		t.Errorf("verified at %v, %v", made["verified_at"], err)
	}
	asked := n.questions()
	if again := s.managed(t, acme, "POST", path+"/verify", "", "Idempotency-Key: once"); again.body != verified.body {
		t.Errorf("repeated: %v", again)
	}
	s.managed(t, acme, "POST", path+"/verify", "").wantStatus(t, http.StatusConflict, "already_verified")
	if n.questions() != asked {
		t.Error("the DNS is asked for a domain that is verified already")
	}
	s.managed(t, admin, "GET", path, "").wantMembers(t, http.StatusOK, map[string]any{"status": "verified"})
	list := s.managed(t, acme, "GET", "/v1/orgs/acme/domains?status=verified", "")
	if !strings.Contains(list.body, `"domain":"acme.example"`) {
		t.Errorf("listed: %v", list)
	}
	s.managed(t, acme, "DELETE", path, "").wantMembers(t, http.StatusOK, nil)
	s.managed(t, acme, "GET", path, "").wantStatus(t, http.StatusNotFound, "not_found")
}

// TestDNSIsSlow: while the DNS does not answer, others write, and the answer is that one is to try again.
func TestDNSIsSlow(t *testing.T) {
	n := newNameServer(t)
	s := start(t, n.use)
	acme := holdersOf(t, "default").key("acme-manager")
	name, value := s.addDomain(t, acme, "acme", "acme.example")
	n.set(0, name, value)
	n.mu.Lock()
	n.hold = make(chan struct{})
	n.mu.Unlock()
	answered := make(chan answer)
	go func() { answered <- s.managed(t, acme, "POST", "/v1/orgs/acme/domains/acme.example/verify", "") }()
	for n.questions() == 0 {
		s.managed(t, acme, "PATCH", "/v1/orgs/acme", `{"name": "Acme, while the DNS is asked"}`).wantMembers(t, http.StatusOK, nil)
	}
	// The domain is removed and added again meanwhile: what was looked up is not for this one.
	s.managed(t, acme, "DELETE", "/v1/orgs/acme/domains/acme.example", "").wantMembers(t, http.StatusOK, nil)
	_, other := s.addDomain(t, acme, "acme", "acme.example")
	if other == value {
		t.Error("a domain that is added again has the same challenge")
	}
	n.mu.Lock()
	close(n.hold)
	n.hold = nil
	n.mu.Unlock()
	(<-answered).wantStatus(t, http.StatusConflict, "challenge_changed")
	s.managed(t, acme, "POST", "/v1/orgs/acme/domains/acme.example/verify", "").wantStatus(t, http.StatusConflict, "challenge_not_met")
}

func TestDomainsAreRefused(t *testing.T) {
	n := newNameServer(t)
	s := start(t, n.use)
	h := holdersOf(t, "default")
	admin, acme := h.pair("tenant-admin"), h.key("acme-manager")
	for _, domain := range []string{"example", "co.uk", "Acme.example", "acme.example.", "192.0.2.1", "\u0430cme.example", "acme\u3002example", "a b.example",
		"acme.example:53", "*.acme.example", "_mandate-challenge.acme.example", "acme.example\u0000"} {
		body := fmt.Sprintf(`{"domain": %q}`, domain)
		if strings.Contains(domain, "\u0000") {
			body = `{"domain": "acme.example\u0000"}`
		}
		a := s.managed(t, acme, "POST", "/v1/orgs/acme/domains", body)
		if a.status != http.StatusUnprocessableEntity {
			t.Errorf("%q: %v", domain, a)
		}
	}
	s.addDomain(t, acme, "acme", "acme.example")
	const path = "/v1/orgs/acme/domains/acme.example"
	s.managed(t, acme, "POST", "/v1/orgs/acme/domains", `{"domain": "acme.example"}`).wantStatus(t, http.StatusConflict, "already_exists")
	for name, body := range map[string]string{"status": `{"status": "verified"}`, "challenge": `{"challenge": {"type": "TXT", "name": "x", "value": "y"}}`,
		"time": `{"verified_at": "2026-01-02T03:04:05Z"}`} {
		if a := s.managed(t, acme, "PATCH", path, body); a.status != http.StatusUnprocessableEntity {
			t.Errorf("the %s is set by the caller: %v", name, a)
		}
		if a := s.managed(t, admin, "PUT", "/v1/orgs/acme/domains/other.example", body); a.status != http.StatusUnprocessableEntity {
			t.Errorf("the %s is set by the caller: %v", name, a)
		}
	}
	s.managed(t, acme, "PATCH", path, `{"auto_join": ["viewer"]}`).wantStatus(t, http.StatusConflict, "domain_not_verified")
	s.managed(t, acme, "POST", "/v1/orgs/acme/domains", `{"domain": "new.example", "auto_join": ["viewer"]}`).wantStatus(t, http.StatusConflict, "domain_not_verified")

	// Of another organization it is as of one that is not there, and nobody asks the DNS for it.
	s.addDomain(t, admin, "globex", "globex.example")
	asked := n.questions()
	for _, method := range []string{"GET", "PUT", "PATCH", "DELETE", "POST"} {
		for _, path := range []string{"/v1/orgs/%s/domains", "/v1/orgs/%s/domains/globex.example", "/v1/orgs/%s/domains/globex.example/verify"} {
			var answers []answer
			for _, org := range []string{"globex", "nothing"} {
				answers = append(answers, s.managed(t, acme, method, fmt.Sprintf(path, org), `{"domain": "globex.example"}`))
			}
			one, two := answers[0].object(t), answers[1].object(t)
			delete(one, "request_id")
			delete(two, "request_id")
			if answers[0].status < 400 || fmt.Sprint(one) != fmt.Sprint(two) {
				t.Errorf("%s %s: %v, and of no organization %v", method, path, answers[0], answers[1])
			}
		}
	}
	if n.questions() != asked {
		t.Error("somebody without permission has the DNS asked")
	}
}

// TestOneOrganizationHasADomain, also when two prove at once that it is theirs.
func TestOneOrganizationHasADomain(t *testing.T) {
	n := newNameServer(t)
	s := start(t, n.use)
	admin := holdersOf(t, "default").pair("tenant-admin")
	orgs := []string{"acme", "globex"}
	name, one := s.addDomain(t, admin, "acme", "shared.example")
	_, two := s.addDomain(t, admin, "globex", "shared.example")
	n.set(0, name, one, two)
	answers := make([]answer, len(orgs))
	var all sync.WaitGroup
	for i, org := range orgs {
		all.Go(func() {
			answers[i] = s.managed(t, admin, "POST", "/v1/orgs/"+org+"/domains/shared.example/verify", "")
		})
	}
	all.Wait()
	winner := slices.IndexFunc(answers, func(a answer) bool { return a.status == http.StatusOK })
	if winner < 0 {
		t.Fatalf("nobody has it: %v", answers)
	}
	loser := 1 - winner
	answers[loser].wantStatus(t, http.StatusConflict, "domain_taken")
	if strings.Contains(answers[loser].body, orgs[winner]) {
		t.Errorf("the loser is told who has it: %v", answers[loser])
	}
	s.managed(t, admin, "GET", "/v1/orgs/"+orgs[loser]+"/domains/shared.example", "").wantMembers(t, http.StatusOK, map[string]any{"status": "pending"})
	s.managed(t, admin, "DELETE", "/v1/orgs/"+orgs[winner]+"/domains/shared.example", "").wantMembers(t, http.StatusOK, nil)
	s.managed(t, admin, "POST", "/v1/orgs/"+orgs[loser]+"/domains/shared.example/verify", "").wantMembers(t, http.StatusOK, map[string]any{"status": "verified"})
}

// TestDomainsAreVerifiedAgain by a moved clock: what the DNS says for how long decides.
func TestDomainsAreVerifiedAgain(t *testing.T) {
	n := newNameServer(t)
	s := start(t, n.use)
	admin := holdersOf(t, "default").pair("tenant-admin")
	const path = "/v1/orgs/acme/domains/acme.example"
	name, value := s.addDomain(t, admin, "acme", "acme.example")
	met := func() { n.set(0, name, value) }
	gone := func() { n.set(0, name) }
	silent := func() { n.set(dns.RcodeServerFailure, name) }
	met()
	s.managed(t, admin, "POST", path+"/verify", "").wantMembers(t, http.StatusOK, nil)
	for _, step := range []struct {
		name    string
		dns     func()
		after   time.Duration
		asked   bool
		status  string
		failing bool
	}{
		{"too early", met, 23 * time.Hour, false, "verified", false},
		{"after a day", met, 2 * time.Hour, true, "verified", false},
		{"the record is gone", gone, 26 * time.Hour, true, "verified", true},
		{"and an hour later", gone, 61 * time.Minute, true, "verified", true},
		{"and comes back", met, 61 * time.Minute, true, "verified", false},
		{"the DNS is down", silent, 26 * time.Hour, true, "verified", true},
		{"for a week", silent, 7 * 24 * time.Hour, true, "verified", true},
		{"and is back", met, 61 * time.Minute, true, "verified", false},
		{"another value", func() { n.set(0, name, "another") }, 26 * time.Hour, true, "verified", true},
		{"for 71 hours", gone, 71 * time.Hour, true, "verified", true},
		{"for three days", gone, 61 * time.Minute, true, "pending", false},
		{"nothing more", met, 26 * time.Hour, false, "pending", false},
	} {
		step.dns()
		s.clock.advance(step.after)
		asked := n.questions()
		must(t, n.manager.Maintain(t.Context()))
		a := s.managed(t, admin, "GET", path, "")
		record := a.wantMembers(t, http.StatusOK, map[string]any{"status": step.status})
		if _, failing := record["failing_since"]; failing != step.failing || (n.questions() > asked) != step.asked {
			t.Errorf("%s: asked %v, %v", step.name, n.questions() > asked, a)
		}
	}
	// What was lost is verified by the same challenge, and by anybody who proves it now.
	s.managed(t, admin, "POST", path+"/verify", "").wantMembers(t, http.StatusOK, map[string]any{"status": "verified"})
	s.clock.advance(26 * time.Hour)
	silent()
	must(t, n.manager.Maintain(t.Context()))
	s.clock.advance(14 * 24 * time.Hour)
	must(t, n.manager.Maintain(t.Context()))
	s.managed(t, admin, "GET", path, "").wantMembers(t, http.StatusOK, map[string]any{"status": "pending"})
	_, two := s.addDomain(t, admin, "globex", "acme.example")
	n.set(0, name, two)
	s.managed(t, admin, "POST", "/v1/orgs/globex/domains/acme.example/verify", "").wantMembers(t, http.StatusOK, map[string]any{"status": "verified"})
}

// TestImportedDomainsAreNotLookedUp.
func TestImportedDomainsAreNotLookedUp(t *testing.T) {
	n := newNameServer(t)
	s := start(t, n.use)
	s.change(t, func(ctx context.Context, tx datastore.Tx) error {
		file := &directory.File{Orgs: []directory.OrgEntry{{ID: "acme", Within: true, Domains: []directory.DomainEntry{{Domain: "acme.example", Status: directory.Verified}}}}}
		_, err := file.Put(ctx, directory.Tenant("default"), tx, s.master)
		return err
	})
	s.clock.advance(30 * 24 * time.Hour)
	must(t, n.manager.Maintain(t.Context()))
	a := s.managed(t, holdersOf(t, "default").pair("tenant-admin"), "GET", "/v1/orgs/acme/domains/acme.example", "")
	if record := a.wantMembers(t, http.StatusOK, map[string]any{"status": "verified"}); record["challenge"] != nil || n.questions() > 0 {
		t.Errorf("asked %d times, %v", n.questions(), a)
	}
}

// TestAutoJoin: who signs in with a verified address in a verified domain becomes a member, once.
func TestAutoJoin(t *testing.T) {
	n := newNameServer(t)
	s := start(t, n.use)
	admin := holdersOf(t, "default").pair("tenant-admin")
	const domain = "/v1/orgs/globex/domains/globex.example"
	name, value := s.addDomain(t, admin, "globex", "globex.example")
	n.set(0, name, value)
	s.managed(t, admin, "POST", domain+"/verify", "").wantMembers(t, http.StatusOK, nil)
	s.managed(t, admin, "PATCH", domain, `{"auto_join": ["nothing"]}`).wantStatus(t, http.StatusUnprocessableEntity, "invalid_record")
	s.managed(t, admin, "PUT", "/v1/orgs/globex/roles/guest", `{"permissions": ["documents:read"]}`).wantMembers(t, http.StatusCreated, nil)
	s.managed(t, admin, "PATCH", domain, `{"auto_join": ["viewer", "guest"]}`).wantMembers(t, http.StatusOK, map[string]any{"auto_join": "[viewer guest]", "status": "verified"})
	if a := s.managed(t, admin, "GET", domain, ""); strings.Count(a.body, value) != 1 {
		t.Errorf("the challenge is not kept: %v", a)
	}
	user := func(id, email string, verified bool) {
		t.Helper()
		// A new address is not verified, whatever is said with it.
		for range 2 {
			s.managed(t, admin, "PUT", "/v1/users/"+id, fmt.Sprintf(`{"username": %q, "email": %q, "email_verified": %v, "status": "active"}`, id, email, verified)).
				wantMembers(t, http.StatusOK, nil)
		}
	}
	roles := func(user string) string {
		t.Helper()
		a := s.managed(t, admin, "GET", "/v1/orgs/globex/members/"+user, "")
		return fmt.Sprint(a.object(t)["roles"])
	}
	signIn := func(user, password string) {
		t.Helper()
		s.login(t, user, password)
	}
	passwords := map[string]string{}
	for _, id := range []string{"alice", "bob", "ned"} {
		passwords[id] = secrets(t, "default")["user "+id]
	}
	for _, row := range []struct {
		name, email string
		verified    bool
		want        string
	}{
		{"no address", "", false, "<nil>"},
		{"an address that is not verified", "ned@globex.example", false, "<nil>"},
		{"an address below the domain", "ned@sub.globex.example", true, "<nil>"},
		{"the domain in another place", "globex.example@acme.example", true, "<nil>"},
		{"an address in the domain", "Ned@Globex.EXAMPLE", true, "[viewer guest]"},
	} {
		if row.email != "" {
			user("ned", row.email, row.verified)
		}
		signIn("ned", passwords["ned"])
		if got := roles("ned"); got != row.want {
			t.Errorf("%s: the roles are %s, want %s", row.name, got, row.want)
		}
	}
	s.managed(t, admin, "PUT", "/v1/orgs/globex/members/ned", `{"roles": ["guest"]}`).wantMembers(t, http.StatusOK, nil)
	signIn("ned", passwords["ned"])
	if got := roles("ned"); got != "[guest]" {
		t.Errorf("a membership is changed: %s", got)
	}
	s.managed(t, admin, "DELETE", "/v1/orgs/globex/members/ned", "").wantMembers(t, http.StatusOK, nil)
	signIn("ned", passwords["ned"])
	if got := roles("ned"); got != "<nil>" {
		t.Errorf("a membership that was taken away is back: %s", got)
	}

	// Not of an organization that is suspended, and not by a domain that is lost.
	user("bob", "bob@globex.example", true)
	s.managed(t, admin, "PATCH", "/v1/orgs/globex", `{"status": "suspended"}`).wantMembers(t, http.StatusOK, nil)
	signIn("bob", passwords["bob"])
	s.managed(t, admin, "PATCH", "/v1/orgs/globex", `{"status": "active"}`).wantMembers(t, http.StatusOK, nil)
	if got := roles("bob"); got != "<nil>" {
		t.Errorf("joined a suspended organization: %s", got)
	}
	s.managed(t, admin, "DELETE", domain, "").wantMembers(t, http.StatusOK, nil)
	signIn("bob", passwords["bob"])
	if got := roles("bob"); got != "<nil>" {
		t.Errorf("joined by a domain that is not there: %s", got)
	}
	audit := s.managed(t, admin, "GET", "/v1/orgs/globex/audit?action=orgs.members.join", "")
	var log struct{ Items []directory.Audit }
	if err := json.Unmarshal([]byte(audit.body), &log); err != nil || len(log.Items) != 1 || log.Items[0].Resource.ID != "ned" ||
		log.Items[0].By != (directory.AuditParty{}) || log.Items[0].Reason != "auto_join" {
		t.Errorf("who has joined is not in %v", audit)
	}
}
