package main

import (
	"context"
	"errors"
	"io"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
)

// ceiling starts the bare handler in a process of its own.
func ceiling(t *testing.T) *child {
	t.Helper()
	c, err := startChild(t.Context(), "bare handler", "/readyz", ceilingRole)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.stop)
	return c
}

func TestLoad(t *testing.T) {
	c := ceiling(t)
	var exchanges []exchange
	for _, q := range generate(1, 2, 3, 10).questions {
		body, err := json.Marshal(q)
		if err != nil {
			t.Fatal(err)
		}
		exchanges = append(exchanges, exchange{request: post(c.address, mandatePath, "Bearer x", body), expect: [][]byte{[]byte(`"decision":true`)}})
	}
	var answers atomic.Int64
	err := each(t.Context(), c.address, exchanges, 3, func(_ int, body []byte) error {
		answers.Add(1)
		a, err := mandateAnswer(body)
		if err == nil && (!a.allow || a.code() != "role") {
			err = errors.New("not the constant: " + a.String())
		}
		return err
	})
	if err != nil || answers.Load() != 10 {
		t.Errorf("%d answers, %v", answers.Load(), err)
	}
	got, err := drive(t.Context(), c.address, exchanges, 3, 100*time.Millisecond)
	if err != nil || got.perSecond <= 0 || got.p50 <= 0 || got.p99 < got.p50 {
		t.Errorf("%+v, %v", got, err)
	}

	// What is not the expected answer ends the measurement.
	wrong := append([]exchange{{request: exchanges[0].request, expect: [][]byte{[]byte(`"decision":false`)}}}, exchanges...)
	if _, err := drive(t.Context(), c.address, wrong, 3, time.Minute); err == nil || !strings.Contains(err.Error(), "lacks") {
		t.Errorf("an unexpected answer: %v", err)
	}
	malformed := []exchange{{request: post(c.address, mandatePath, "", []byte("{"))}}
	if _, err := drive(t.Context(), c.address, malformed, 1, time.Minute); err == nil || !strings.Contains(err.Error(), "answer 400") {
		t.Errorf("a refusal: %v", err)
	}
	interrupted, cancel := context.WithCancelCause(t.Context())
	reason := errors.New("interrupted")
	time.AfterFunc(50*time.Millisecond, func() { cancel(reason) })
	if _, err := drive(interrupted, c.address, exchanges, 3, time.Minute); !errors.Is(err, reason) {
		t.Errorf("an interruption: %v", err)
	}
}

func TestChildrenEnd(t *testing.T) {
	c := ceiling(t)
	if err := c.check(); err != nil {
		t.Errorf("a running child: %v", err)
	}
	c.stop()
	if err := c.check(); err == nil || !strings.Contains(err.Error(), "bare handler has ended") {
		t.Errorf("a stopped child: %v", err)
	}
	c.stop() // again, as when a suite stops what it has stopped before

	if _, err := startChild(t.Context(), "OPA server", "/health", opaRole, "/nowhere/at/all"); err == nil || !strings.Contains(err.Error(), "/nowhere/at/all") {
		t.Errorf("a child that cannot start does not say why: %v", err)
	}
	interrupted, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := startChild(interrupted, "bare handler", "/readyz", ceilingRole); !errors.Is(err, context.Canceled) {
		t.Errorf("a child that is not wanted any more: %v", err)
	}
}

func TestAddressIsReadFromWholeLines(t *testing.T) {
	o := &childOutput{announced: make(chan string, 1)}
	for _, part := range []string{"noise\nlevel=INFO msg=serving addr", "ess=127.0.0.1:12", "345 issuer=http://127.0.0.1:0\n", "address=127.0.0.1:9\n", strings.Repeat("x", 40<<10)} {
		if _, err := io.WriteString(o, part); err != nil {
			t.Fatal(err)
		}
	}
	if got := <-o.announced; got != "127.0.0.1:12345" {
		t.Errorf("address %s", got)
	}
	if n := len(o.last()); n > 16<<10 {
		t.Errorf("%d bytes of output are kept", n)
	}
}

func TestOptions(t *testing.T) {
	o, err := parseOptions([]string{"-short", "-rounds", "4", "decisions"}, io.Discard)
	if err != nil || o.Rounds != 4 || o.Requests != 1000 || len(o.suites) != 1 {
		t.Errorf("%+v, %v", o, err)
	}
	for _, args := range [][]string{{"nonsense"}, {"-rounds", "0"}, {"-duration", "1h"}, {"-orgs", "100000", "-members", "10000"}, {"-nonsense"}} {
		if _, err := parseOptions(args, io.Discard); err == nil {
			t.Errorf("%v is accepted", args)
		}
	}
}

func TestChildrenGetNoSettings(t *testing.T) {
	t.Setenv("MANDATE_LISTEN", "0.0.0.0:1")
	t.Setenv("BENCH_TEST", "kept")
	settings := strings.Join(childEnvironment(os.Environ()), "\n")
	if strings.Contains(settings, "MANDATE_LISTEN") || !strings.Contains(settings, "BENCH_TEST=kept") {
		t.Errorf("environment:\n%s", settings)
	}
}
