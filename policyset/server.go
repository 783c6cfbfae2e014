package policyset

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/open-policy-agent/opa/v1/util"

	"mandate/directory"
	"mandate/engine"
)

const (
	requestLimit  = time.Minute // for one request, beside what it waits for
	firstRetry    = time.Second
	maxRedirects  = 5
	longPollAgain = time.Second // at the soonest, whatever the server does
)

// ServerOptions are those of a source that is a bundle server.
type ServerOptions struct {
	URL string
	// TokenFile holds the bearer token. It is read for each request, so that it can be replaced.
	TokenFile string
	Verify    *Verification // nil when bundles need no signature
	// MinDelay and MaxDelay are between which times it is asked again.
	MinDelay, MaxDelay time.Duration
	// LongPolling is for how long a server that can do that may wait for a change before it answers; 0 for never.
	LongPolling time.Duration
}

// Server is the source of the bundles that an HTTP server gives, as OPA's bundle protocol has it.
func Server(o ServerOptions) Source {
	o.MaxDelay = max(o.MaxDelay, o.MinDelay)
	return &server{o: o, client: &http.Client{CheckRedirect: redirect}, waits: o.LongPolling > 0}
}

// server is used by one goroutine at a time.
type server struct {
	o      ServerOptions
	client *http.Client
	waits  bool   // the server can wait for a change
	etag   string // of what it gave last
	bad    error  // what is wrong with that
	// answered says that the last request gave something, good or bad.
	answered bool
}

// redirect follows to where the operator's server says, but the token goes nowhere else.
func redirect(r *http.Request, via []*http.Request) error {
	first := via[0].URL
	switch {
	case len(via) > maxRedirects:
		return errors.New("too many redirects")
	case first.Scheme == "https" && r.URL.Scheme != "https":
		return errors.New("it redirects to where there is no TLS")
	case r.URL.Host != first.Host || r.URL.Scheme != first.Scheme:
		r.Header.Del("Authorization")
	}
	return nil
}

func (s *server) Kind() string { return "server" }

// String is the URL without what may be secret in it.
func (s *server) String() string {
	u, err := url.Parse(s.o.URL)
	if err != nil {
		return ""
	}
	return (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}).String()
}

func (s *server) First(ctx context.Context) (*engine.PolicySet, error) {
	files, err := s.download(ctx)
	if err != nil {
		return nil, err
	}
	set, err := engine.Admit(ctx, files)
	s.bad = err
	return set, err
}

func (s *server) Follow(ctx context.Context, seen string, testing func(), apply func(*engine.PolicySet, error) error) error {
	failures := 0
	if !s.answered {
		failures = 1
	}
	wait := time.NewTimer(s.delay(0, failures))
	defer wait.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-wait.C:
		}
		begin := time.Now()
		set, err := s.ask(ctx, seen, testing)
		if ctx.Err() != nil {
			return nil
		}
		if apply(set, err) != nil {
			s.etag, s.answered = "", false
		} else if set != nil {
			seen = set.Revision()
		}
		if failures++; s.answered {
			failures = 0
		}
		wait.Reset(s.delay(time.Since(begin), failures))
	}
}

// delay is until when it is asked again after a request that took so long.
func (s *server) delay(took time.Duration, failures int) time.Duration {
	switch {
	case failures > 0:
		return util.DefaultBackoff(float64(firstRetry), float64(max(s.o.MaxDelay, firstRetry)), failures)
	case s.waits && s.etag != "":
		return max(0, longPollAgain-took)
	}
	more, err := rand.Int(rand.Reader, big.NewInt(int64(s.o.MaxDelay-s.o.MinDelay)+1))
	if err != nil {
		return s.o.MaxDelay
	}
	return s.o.MinDelay + time.Duration(more.Int64())
}

// ask gives a set that is not the one seen, neither set nor error when there is none, or says what is wrong.
func (s *server) ask(ctx context.Context, seen string, testing func()) (*engine.PolicySet, error) {
	files, err := s.download(ctx)
	if errors.Is(err, errNotModified) {
		return nil, s.bad
	}
	if err != nil {
		return nil, err
	}
	revision, err := engine.RevisionOf(files)
	if err == nil && revision == seen {
		s.bad = nil
		return nil, nil
	}
	var set *engine.PolicySet
	if err == nil {
		testing()
		set, err = engine.Admit(ctx, files)
	}
	s.bad = err
	return set, err
}

var errNotModified = errors.New("not modified")

// download gets the bundle unless it is the one that was got last: then errNotModified.
func (s *server) download(ctx context.Context) ([]engine.File, error) {
	s.answered = false
	limit := requestLimit
	prefer := "modes=snapshot"
	if s.waits {
		limit += s.o.LongPolling
		prefer += ";wait=" + strconv.Itoa(int(s.o.LongPolling/time.Second))
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, s.o.URL, nil)
	if err != nil {
		return nil, fmt.Errorf("ask the bundle server: %w", err)
	}
	r.Header.Set("Prefer", prefer)
	if s.etag != "" {
		r.Header.Set("If-None-Match", s.etag)
	}
	token, err := s.token()
	if err != nil {
		return nil, err
	}
	if !token.IsZero() {
		r.Header.Set("Authorization", "Bearer "+token.Expose())
	}
	answer, err := s.client.Do(r)
	if err != nil {
		return nil, fmt.Errorf("ask the bundle server %s: %w", s, cause(err))
	}
	defer answer.Body.Close()
	switch {
	case answer.StatusCode == http.StatusNotModified && s.etag != "":
		s.answered = true
		return nil, errNotModified
	case answer.StatusCode != http.StatusOK:
		return nil, fmt.Errorf("the bundle server %s answers %d %s", s, answer.StatusCode, http.StatusText(answer.StatusCode))
	}
	raw, err := io.ReadAll(io.LimitReader(answer.Body, MaxBundle+1))
	if err != nil {
		s.etag = ""
		return nil, fmt.Errorf("download from the bundle server %s: %w", s, err)
	}
	s.answered, s.etag = true, answer.Header.Get("ETag")
	s.waits = s.o.LongPolling > 0 && answer.Header.Get("Content-Type") == "application/vnd.openpolicyagent.bundles"
	files, err := ReadBundle(raw, s.o.Verify)
	s.bad = err
	return files, err
}

// cause is an error of the client without the URL, which may hold what is secret.
func cause(err error) error {
	if of := (*url.Error)(nil); errors.As(err, &of) {
		return cmp.Or(of.Err, err)
	}
	return err
}

func (s *server) token() (directory.Secret, error) {
	if s.o.TokenFile == "" {
		return directory.Secret{}, nil
	}
	text, err := os.ReadFile(s.o.TokenFile)
	if err != nil {
		return directory.Secret{}, fmt.Errorf("read the token for the bundle server: %w", err)
	}
	return directory.NewSecret(strings.TrimSpace(string(text))), nil
}
