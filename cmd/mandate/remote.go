package main

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"mandate/datastore"
	"mandate/directory"
	"mandate/manage"
	"mandate/server"
)

const (
	authorizationEnv = "MANDATE_AUTHORIZATION"
	serverEnv        = "MANDATE_SERVER"
	defaultServer    = "http://127.0.0.1:8080"
	maxAnswer        = 16 << 20
	remoteTimeout    = 30 * time.Second
)

// A request is repeated once: soon when the connection failed, else when the server says, unless that is too long to wait.
const (
	reconnectAfter = 300 * time.Millisecond
	maxRetryAfter  = 10 * time.Second
)

// remote is a tenant, and the running server that it is asked at if there is one.
type remote struct{ tenant, server, authorizationFile string }

func (r *remote) addFlags(flags *pflag.FlagSet) {
	r.addServerFlags(flags, "URL of a running server (default: $"+serverEnv+" unless there is --data, else work on the data folder)")
}

func (r *remote) addServerFlags(flags *pflag.FlagSet, about string) {
	flags.StringVar(&r.tenant, "tenant", string(server.DefaultTenant), "tenant to ask")
	flags.StringVar(&r.server, "server", "", about)
	flags.StringVar(&r.authorizationFile, "authorization-file", "", "file with the Authorization header for the server (default: $"+authorizationEnv+")")
}

// chosen says whether the operator means a running server, and no data folder.
func (r *remote) chosen(cmd *cobra.Command, lookupEnv func(string) (string, bool)) bool {
	if r.server == "" && !cmd.Flags().Changed("data") {
		r.server, _ = lookupEnv(serverEnv)
	}
	return r.server != ""
}

// call is a request to the server. One that only reads, or has an idempotency key, can be repeated.
type call struct {
	method, path string
	body         []byte
	media        string // of the body, JSON when empty
	key          string // Idempotency-Key
	ifMatch      uint64 // revision, 0 for any
	confirmed    bool
	list, show   string // commands that help when there is no such record, and when it was changed
	larger       string // what to do when the body is too large
}

// send makes a request to the server, with the credential that the operator gave, and returns the body of the answer.
func (r remote) send(cmd *cobra.Command, lookupEnv func(string) (string, bool), method, path string, body []byte) ([]byte, error) {
	return r.call(cmd, lookupEnv, call{method: method, path: path, body: body})
}

func (r remote) call(cmd *cobra.Command, lookupEnv func(string) (string, bool), q call) ([]byte, error) {
	authorization, err := r.authorization(lookupEnv)
	if err != nil {
		return nil, err
	}
	base, err := r.base(cmd)
	if err != nil {
		return nil, err
	}
	for repeated := false; ; repeated = true {
		text, err := q.once(cmd.Context(), base, authorization)
		if err == nil {
			return text, nil
		}
		again, after := q.repeatable(err)
		if repeated || !again {
			return nil, err
		}
		timer := time.NewTimer(after)
		select {
		case <-timer.C:
		case <-cmd.Context().Done():
			timer.Stop()
			return nil, err
		}
	}
}

func (r remote) authorization(lookupEnv func(string) (string, bool)) (string, error) {
	authorization, _ := lookupEnv(authorizationEnv)
	if r.authorizationFile != "" {
		text, err := os.ReadFile(r.authorizationFile)
		if err != nil {
			return "", fmt.Errorf("read the credential: %w", err)
		}
		authorization = strings.TrimSpace(string(text))
	}
	if authorization == "" {
		return "", errors.New("no credential for the server: set " + authorizationEnv + " or --authorization-file")
	}
	return authorization, nil
}

func (r remote) checkTenant() error {
	if !datastore.TenantID(r.tenant).Valid() {
		return fmt.Errorf("--tenant %q must be lower case letters, digits and inner hyphens, at most 63", r.tenant)
	}
	return nil
}

// base is the URL of the tenant at the server. Only over loopback can it be plain text.
func (r remote) base(cmd *cobra.Command) (string, error) {
	if err := r.checkTenant(); err != nil {
		return "", err
	}
	u, err := url.Parse(r.server)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return "", fmt.Errorf("the server %q is not an http or https URL such as %s", r.server, defaultServer)
	}
	if u.User != nil || strings.ContainsAny(r.server, "?#") {
		return "", fmt.Errorf("the URL of the server must have no user, query or fragment, only be such as %s: the credential is set with %s", defaultServer, authorizationEnv)
	}
	plaintext, _ := cmd.Flags().GetBool("allow-plaintext")
	if u.Scheme != "https" && !plaintext && !server.Loopback(u.Hostname()) {
		return "", fmt.Errorf("%s is not a loopback address and its URL is not https, so %s: use https, or --allow-plaintext", u.Host, plainText)
	}
	return server.Issuer(r.server, directory.Tenant(r.tenant)), nil
}

func (q call) once(ctx context.Context, base, authorization string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, remoteTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, q.method, base+q.path, bytes.NewReader(q.body))
	if err != nil {
		return nil, fmt.Errorf("ask the server: %w", err)
	}
	request.Header.Set("Authorization", authorization)
	switch {
	case q.method == http.MethodPatch:
		request.Header.Set("Content-Type", "application/merge-patch+json")
	case len(q.body) > 0:
		request.Header.Set("Content-Type", cmp.Or(q.media, "application/json"))
	}
	if q.key != "" {
		request.Header.Set("Idempotency-Key", q.key)
	}
	if q.ifMatch > 0 {
		request.Header.Set("If-Match", `"`+strconv.FormatUint(q.ifMatch, 10)+`"`)
	}
	if q.confirmed {
		request.Header.Set("Confirm", "true")
	}
	// A redirect could lead to plain text.
	client := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	response, err := client.Do(request)
	if err != nil {
		return nil, &connectionError{base, err}
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer+1))
	if err != nil {
		return nil, &connectionError{base, err}
	}
	if response.StatusCode != http.StatusOK && response.StatusCode != http.StatusCreated {
		return nil, q.refusal(response, text)
	}
	if len(text) > maxAnswer {
		return nil, fmt.Errorf("the server's answer is larger than %d bytes", maxAnswer)
	}
	return text, nil
}

// repeatable says whether the request can be repeated after it failed so, and when.
func (q call) repeatable(err error) (bool, time.Duration) {
	if q.method != http.MethodGet && q.key == "" {
		return false, 0
	}
	var broken *connectionError
	if errors.As(err, &broken) {
		return true, reconnectAfter
	}
	var refused *serverError
	if !errors.As(err, &refused) {
		return false, 0
	}
	if refused.status != http.StatusTooManyRequests && refused.status != http.StatusServiceUnavailable {
		return false, 0
	}
	return refused.retryAfter > 0 && refused.retryAfter <= maxRetryAfter, refused.retryAfter
}

// connectionError means that there was no answer, or a part of one.
type connectionError struct {
	server string
	err    error
}

func (e *connectionError) Unwrap() error { return e.err }

func (e *connectionError) Error() string {
	var untrusted *tls.CertificateVerificationError
	switch {
	case errors.Is(e.err, syscall.ECONNREFUSED):
		return fmt.Sprintf("no server answers at %s: start one with mandate serve, or say where it is with --server or %s", e.server, serverEnv)
	case errors.As(e.err, &untrusted):
		return fmt.Sprintf("ask the server: %v: SSL_CERT_FILE can name a file with the CA that vouches for it", e.err)
	}
	return fmt.Sprintf("ask the server: %v", e.err)
}

// serverError is an answer that is no success, whichever of the two shapes it has: a problem (RFC 9457), or a message.
type serverError struct {
	status     int
	retryAfter time.Duration
	advice     string

	Code   string `json:"code"`
	Detail string `json:"detail"`
	Errors []struct {
		Field   string `json:"field"`
		Message string `json:"message"`
	} `json:"errors"`
	Groups []manage.PolicyTurn `json:"groups"` // that nobody has acknowledged
}

func (q call) refusal(response *http.Response, body []byte) error {
	e := &serverError{status: response.StatusCode}
	var message string
	if json.Unmarshal(body, &message) == nil {
		e.Detail = message
	} else if json.Unmarshal(body, e) != nil {
		e.Detail = string(body[:min(len(body), 1<<10)])
	}
	if seconds, err := strconv.Atoi(response.Header.Get("Retry-After")); err == nil {
		e.retryAfter = time.Duration(min(max(seconds, 0), 1<<20)) * time.Second
	}
	e.advice = q.advice(e)
	return e
}

// advice is what to do next.
func (q call) advice(e *serverError) string {
	switch {
	case e.status == http.StatusUnauthorized:
		return authorizationEnv + ` must be the whole header, such as "Bearer mdt_ak_…", with a credential of this tenant that still is good`
	case e.status == http.StatusRequestEntityTooLarge && q.larger != "":
		return q.larger
	case e.status == http.StatusNotFound && q.list != "":
		return "see " + q.list
	case e.status == http.StatusPreconditionFailed && q.show != "":
		return "read it with " + q.show + ", and repeat with the revision that it has now"
	case slices.Contains([]string{"last_admin", "role_in_use", "client_unbound"}, e.Code) && !q.confirmed:
		return "if you mean it, repeat with --confirm"
	case e.retryAfter > 0:
		return fmt.Sprintf("try again in %s", e.retryAfter)
	}
	return ""
}

func (e *serverError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "the server answered %d %s", e.status, http.StatusText(e.status))
	if detail := strings.TrimSpace(e.Detail); len(e.Errors) == 0 && detail != "" {
		fmt.Fprintf(&b, ": %s", printable(detail))
	}
	for _, problem := range e.Errors {
		fmt.Fprintf(&b, "\n  %s: %s", cmp.Or(printable(problem.Field), "the request"), printable(problem.Message))
	}
	if e.advice != "" {
		fmt.Fprintf(&b, "\n%s", e.advice)
	}
	return b.String()
}
