package server_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"mandate/datastore"
	"mandate/directory"
)

// Requests go on while facts change and policies are swapped, and every answer is one that was right at its revision:
// a batch never shows two states, and a change is seen by the first request after it.
func TestAnswersWhileEverythingChanges(t *testing.T) {
	s := start(t)
	h := holdersOf(t, "default")
	tenant := directory.Tenant("default")
	setRoles := func(roles ...string) {
		_, err := s.store.Update(t.Context(), func(tx datastore.Tx) error {
			for _, user := range []string{"bob", "ned"} {
				if err := tenant.Member("acme", user).Put(t.Context(), tx, directory.Member{Roles: roles, Status: directory.Active}); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	}
	setRoles("viewer")
	pair := `{"evaluations":[` + good + `,` + strings.Replace(good, "bob", "ned", 1) + `]}`
	original := s.engines["default"].Policies()
	open := policySet(t, map[string]string{"more.rego": "package more\n\nx := 1\n"})

	var stop atomic.Bool
	var others sync.WaitGroup
	asked := make([]atomic.Int64, 4)
	asking := func(i int, path, body string, c credential, check func(a answer) bool) {
		others.Go(func() {
			for !stop.Load() {
				if a := s.ask(t, c, path, body); !check(a) {
					t.Errorf("%s: %v", path, a)
					return
				}
				asked[i].Add(1)
			}
		})
	}
	asking(0, evaluationsPath, pair, h.key("gateway"), func(a answer) bool {
		got := a.answers(t)
		return got == "tt" || got == "ff"
	})
	asking(1, evaluationPath, question(presented(t, h.client("acme-sync")), "documents:read", "r"), h.key("gateway"), func(a answer) bool { return a.verdict() == "allow" })
	asking(2, "/v1/data/mandate/access/decision", `{"input":{}}`, h.pair("tenant-admin"), func(a answer) bool { return a.status == http.StatusOK })
	// However often the policies are swapped meanwhile, a batch is decided by one set.
	many := `{"evaluations":[` + strings.TrimSuffix(strings.Repeat(bad+",", 300), ",") + `]}`
	asking(3, "/t/staging"+evaluationsPath, many, holdersOf(t, staging).key("gateway"), func(a answer) bool {
		got := a.answers(t)
		return got == strings.Repeat("t", 300) || got == strings.Repeat("f", 300)
	})
	others.Go(func() {
		for !stop.Load() {
			s.engines[staging].Swap(open)
			if a := s.ask(t, holdersOf(t, staging).key("gateway"), "/t/staging"+evaluationPath, bad); a.verdict() != "allow" {
				t.Errorf("the new policies allow: %v", a)
				return
			}
			s.engines[staging].Swap(original)
			if a := s.ask(t, holdersOf(t, staging).key("gateway"), "/t/staging"+evaluationPath, bad); a.verdict() != "deny" {
				t.Errorf("the old policies deny: %v", a)
				return
			}
		}
	})
	enough := func() bool {
		for i := range asked {
			if asked[i].Load() < 20 {
				return false
			}
		}
		return true
	}
	for round := 0; !t.Failed() && (round < 20 || !enough()); round++ {
		for _, row := range []struct {
			role, want string
		}{{"viewer", "allow"}, {"developer", "allow"}, {"none", "deny"}} {
			setRoles(row.role)
			if a := s.ask(t, h.key("gateway"), evaluationPath, good); a.verdict() != row.want {
				t.Errorf("the very next decision after the role became %s: want %s, got %v", row.role, row.want, a)
			}
		}
	}
	stop.Store(true)
	others.Wait()
	if log := s.log.String(); strings.Contains(log, `"level":"ERROR"`) {
		t.Errorf("errors in the log: %.2000s", log)
	}
}

// halfSent begins a request and returns once the server has read its header and waits for the body.
func (s *running) halfSent(t testing.TB, c credential, body string) net.Conn {
	t.Helper()
	connection, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
	must(t, err)
	t.Cleanup(func() { _ = connection.Close() })
	must(t, connection.SetDeadline(time.Now().Add(30*time.Second)))
	_, err = fmt.Fprintf(connection, "POST %s HTTP/1.1\r\nHost: x.example\r\nExpect: 100-continue\r\n%s\r\n%s\r\nContent-Length: %d\r\n\r\n", evaluationPath, strings.Join(c, "\r\n"), jsonType, len(body))
	must(t, err)
	const goOn = "HTTP/1.1 100 Continue\r\n\r\n"
	said := make([]byte, len(goOn))
	if _, err := io.ReadFull(connection, said); err != nil || string(said) != goOn {
		t.Fatalf("%q %v", said, err)
	}
	return connection
}

func finish(t testing.TB, connection net.Conn, body string) answer {
	t.Helper()
	_, err := io.WriteString(connection, body)
	must(t, err)
	response, err := http.ReadResponse(bufio.NewReader(connection), nil)
	must(t, err)
	return read(t, response)
}

// untilRefused returns when the server takes no new connections.
func (s *running) untilRefused(t testing.TB) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; {
		connection, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
		if err != nil {
			return
		}
		_ = connection.Close()
		if time.Now().After(deadline) {
			t.Fatal("the server still takes connections")
		}
	}
}

// A shutdown answers what is in flight, takes nothing new, and then Serve returns.
func TestShutdownFinishesWhatIsInFlight(t *testing.T) {
	s := start(t)
	h := holdersOf(t, "default")
	inFlight := []net.Conn{s.halfSent(t, h.key("gateway"), good), s.halfSent(t, h.user("alice", "alice"), question(caller, "documents:read", "r"))}
	stopped := make(chan error, 1)
	go func() { stopped <- s.server.Shutdown(context.Background()) }()
	s.untilRefused(t)
	select {
	case err := <-stopped:
		t.Fatalf("shut down with requests in flight: %v", err)
	default:
	}
	if a := finish(t, inFlight[0], good); a.verdict() != "allow" {
		t.Errorf("the first: %v", a)
	}
	if a := finish(t, inFlight[1], question(caller, "documents:read", "r")); a.verdict() != "allow" {
		t.Errorf("the second: %v", a)
	}
	for _, connection := range inFlight {
		must(t, connection.Close())
	}
	if err := <-stopped; err != nil {
		t.Errorf("shut down: %v", err)
	}
	if err := <-s.served; err != nil {
		t.Errorf("serve: %v", err)
	}
}

// A shutdown that may not wait longer cancels what is left: it is refused, and not decided.
func TestShutdownThatCannotWait(t *testing.T) {
	s := start(t)
	h := holdersOf(t, "default")
	connection := s.halfSent(t, h.key("gateway"), good)
	over, cancel := context.WithCancel(context.Background())
	cancel()
	if err := s.server.Shutdown(over); !errors.Is(err, context.Canceled) {
		t.Errorf("shut down: %v", err)
	}
	a := finish(t, connection, good)
	if a.status != http.StatusServiceUnavailable || strings.Contains(a.body, "decision") {
		t.Errorf("after the end: %d %v", a.status, a)
	}
}

// A server that is told to stop before it serves does not serve.
func TestShutdownBeforeServe(t *testing.T) {
	s := start(t)
	must(t, s.server.Shutdown(context.Background()))
	must(t, <-s.served)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	must(t, s.server.Serve(listener, nil))
	if connection, err := net.Dial("tcp", listener.Addr().String()); err == nil {
		_ = connection.Close()
		t.Error("it takes connections")
	}
}
