// Package server is the HTTP face of Mandate: routes, request and response shapes, and the one table that maps errors
// to responses. Nothing else knows HTTP.
//
// It must never keep a string or slice of a Fiber context beyond its handler, follow the Host header, write a query
// string, a header value or a body into a log, or answer an error in a shape of its own outside the table.
package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gofiber/fiber/v2"
	"github.com/gofiber/fiber/v2/middleware/recover"
	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"

	"mandate/authn"
	"mandate/datastore"
	"mandate/datastore/memo"
	"mandate/directory"
	"mandate/engine"
	"mandate/manage"
	"mandate/policyset"
	"mandate/replay"
	"mandate/tokens"
)

// DefaultTenant is served at the root; every other tenant under /t/{tenant}.
const DefaultTenant = directory.Tenant("default")

const (
	readTimeout  = 15 * time.Second
	writeTimeout = 15 * time.Second
	idleTimeout  = 2 * time.Minute
	maxHeader    = 32 << 10 // large cookies that a proxy passes on
)

// Tenant is what the server serves for one tenant.
type Tenant struct {
	ID         directory.Tenant
	Issuer     string // public URL of the tenant's base: no trailing slash
	Engine     *engine.Engine
	Authn      *authn.Authenticator
	Tokens     *tokens.Issuer
	Manage     *manage.Manager
	Policies   *policyset.Library
	Deliveries Deliveries           // nil where no mail is sent
	Master     *directory.MasterKey // seals what the pages carry from one request to the next
	Now        func() time.Time
	// RefuseQueryCredentials says that no credential is taken from a query, not at the administrative API either.
	RefuseQueryCredentials bool
	// ClientCertificates says that the listener asks clients for certificates (RFC 8705).
	ClientCertificates bool
	Metrics            []prometheus.Collector // figures of the tenant beside those of the engine
	Shadow             *replay.Shadow
}

// Issuer is the public URL of a tenant, given that of the server.
func Issuer(publicURL string, t directory.Tenant) string {
	base := strings.TrimSuffix(publicURL, "/")
	if t == DefaultTenant {
		return base
	}
	return base + "/t/" + string(t)
}

// Options of a Server.
type Options struct {
	Store datastore.Store
	// Memo remembers what is computed from the store, for all tenants.
	Memo      *memo.Memo
	Tenants   []Tenant
	BodyLimit int
	// Connections is how many are served at once. Each may hold a body of BodyLimit before anybody has authenticated.
	Connections int
	// Proxied says that callers come through a proxy. Their addresses are known only when it is one of TrustedProxies.
	Proxied        bool
	TrustedProxies []netip.Prefix
	RateLimits     RateLimits
	Tracer         trace.Tracer // no traces when nil
	Log            *slog.Logger
}

// Server serves tenants over HTTP.
type Server struct {
	app       *fiber.App
	store     datastore.Store
	memo      *memo.Memo
	log       *slog.Logger
	tracer    trace.Tracer
	proxied   bool
	trusted   []netip.Prefix
	limits    map[routes]limiters
	decisions idSource
	tenants   map[directory.Tenant]*handler
	stopping  atomic.Bool
	waiting   atomic.Int32 // requests that wait for a revision
	heavy     *slots
	tails     *slots
	serving   sync.Mutex
	jobs      sync.WaitGroup // what runs beside requests
	listener  net.Listener   // once it is served
	// base ends when a shutdown gives up waiting: then whatever still runs is cancelled.
	base   context.Context
	cancel context.CancelFunc
}

// New makes a server; Serve starts it.
func New(o Options) (*Server, error) {
	ids, err := newIDSource()
	if err != nil {
		return nil, err
	}
	s := &Server{store: o.Store, memo: o.Memo, log: o.Log, tracer: o.Tracer, proxied: o.Proxied, trusted: o.TrustedProxies,
		limits: newLimiters(o.RateLimits), decisions: ids,
		heavy: heavySlots(), tails: tailSlots(), tenants: map[directory.Tenant]*handler{}}
	s.base, s.cancel = context.WithCancel(context.Background())
	s.app = fiber.New(fiber.Config{
		AppName: "mandate", DisableStartupMessage: true,
		BodyLimit: o.BodyLimit, ReadBufferSize: maxHeader, Concurrency: o.Connections,
		ReadTimeout: readTimeout, WriteTimeout: writeTimeout, IdleTimeout: idleTimeout,
		StrictRouting: true, CaseSensitive: true,
		ErrorHandler: s.routeError,
	})
	if s.tracer != nil {
		s.app.Use(s.trace)
	}
	s.app.Use(s.receive, recover.New(recover.Config{EnableStackTrace: true, StackTraceHandler: s.logPanic}))
	s.app.Get("/healthz", s.healthz)
	s.app.Get("/readyz", s.readyz)
	for _, t := range o.Tenants {
		if err := s.routes(t); err != nil {
			return nil, err
		}
	}
	return s, s.metrics()
}

// routes mounts everything of one tenant. Well-known documents go between host and path (RFC 8414 §3.1, AuthZEN §9.2).
func (s *Server) routes(t Tenant) error {
	issuer, err := url.Parse(t.Issuer)
	if err != nil || issuer.Host == "" || issuer.RawQuery != "" || issuer.Fragment != "" {
		return fmt.Errorf("public_url %q is not a URL with a host and without query and fragment", t.Issuer)
	}
	base := ""
	if t.ID != DefaultTenant {
		base = "/t/" + string(t.ID)
	}
	h := &handler{server: s, tenant: t, origin: issuer.Scheme + "://" + issuer.Host, refused: refusedRequests(t.ID), inQuery: queryCredentials(t.ID)}
	h.gates = s.newGates(t, h.refused)
	h.unauthenticated, h.issuing = failedAuthentications(t.ID), tokensIssued(t.ID)
	s.tenants[t.ID] = h
	for _, path := range []string{"/.well-known/oauth-authorization-server" + base, "/.well-known/oauth-protected-resource" + base,
		base + "/.well-known/openid-configuration", base + "/.well-known/jwks.json"} {
		h.crossOrigin(path, http.MethodGet)
	}
	for _, path := range []string{"/oauth2/token", "/oauth2/revoke", "/oauth2/register", "/oauth2/par", "/oauth2/device_authorization"} {
		h.crossOrigin(base+path, http.MethodPost)
	}
	h.crossOrigin(base+"/userinfo", http.MethodGet, http.MethodPost)
	s.app.Post(base+"/access/v1/evaluation", h.on(surfaceAuthZEN, h.evaluation))
	s.app.Post(base+"/access/v1/evaluations", h.on(surfaceAuthZEN, h.evaluations))
	s.app.Post(base+"/v1/explain", h.limited(decisionRoutes, surfaceProblem, h.explain))
	s.app.Post(base+"/v1/data", h.limited(decisionRoutes, surfaceProblem, h.data))
	s.app.Post(base+"/v1/data/*", h.limited(decisionRoutes, surfaceProblem, h.data))
	s.app.Post(base+"/oauth2/token", h.on(surfaceOAuth, h.tokenForm))
	s.app.Post(base+"/oauth/token", h.on(surfaceOAuth, h.tokenFormOrJSON))
	s.app.Post(base+"/oauth2/par", h.on(surfaceOAuth, h.push))
	s.app.Post(base+"/oauth2/device_authorization", h.on(surfaceOAuth, h.deviceAuthorization))
	s.app.Post(base+"/oauth2/revoke", h.on(surfaceOAuth, h.revoke))
	s.app.Post(base+"/oauth2/introspect", h.on(surfaceOAuth, h.introspect))
	s.app.Post(base+"/oauth2/register", h.on(surfaceBearer, h.register))
	for _, path := range []string{"/auth", "/auth/", "/1/auth", "/1/auth/"} {
		s.app.Post(base+path, h.on(surfaceExchange, h.exchangeCredential))
	}
	for _, path := range []string{"/auth/refresh", "/1/auth/refresh"} {
		s.app.Post(base+path, h.on(surfaceExchange, h.refreshExchanged))
	}
	s.app.Get(base+"/userinfo", h.on(surfaceBearer, h.userinfo))
	s.app.Post(base+"/userinfo", h.on(surfaceBearer, h.userinfo))
	h.pageRoutes(base)
	h.keyRoutes(base)
	h.manageRoutes(base)
	h.recordRoutes(base)
	h.explanationRoutes(base)
	h.searchRoutes(base)
	h.drillRoutes(base)
	h.unusedRoutes(base)
	s.app.Get(base+"/.well-known/jwks.json", h.limited(unlimited, surfaceProblem, h.jwks))
	s.app.Get("/.well-known/oauth-protected-resource"+base, h.limited(unlimited, surfaceProblem, h.resourceMetadata))
	s.app.Get(base+"/.well-known/openid-configuration", h.limited(unlimited, surfaceProblem, h.openIDMetadata))
	s.app.Get("/.well-known/authzen-configuration"+base, h.limited(unlimited, surfaceProblem, h.authzenMetadata))
	s.app.Get("/.well-known/oauth-authorization-server"+base, h.limited(unlimited, surfaceProblem, h.oauthMetadata))
	h.documentRoutes(base)
	return nil
}

// Serve answers on the listener until Shutdown, also when that came first. With a TLS configuration it speaks HTTPS only.
func (s *Server) Serve(l net.Listener, config *tls.Config) error {
	l = onceListener{l, sync.OnceValue(l.Close)}
	if !s.take(l) {
		return l.Close()
	}
	if config != nil {
		l = tls.NewListener(l, config)
	}
	if err := s.app.Listener(l); err != nil {
		return fmt.Errorf("serve on %s: %w", l.Addr(), err)
	}
	return nil
}

func (s *Server) take(l net.Listener) bool {
	s.serving.Lock()
	defer s.serving.Unlock()
	if s.stopping.Load() {
		return false
	}
	s.listener = l
	return true
}

// Shutdown stops accepting, finishes what is in flight, and cancels what is left when ctx ends.
func (s *Server) Shutdown(ctx context.Context) error {
	s.stopping.Store(true)
	defer s.jobs.Wait()
	defer s.cancel()
	s.serving.Lock()
	l := s.listener
	s.serving.Unlock()
	if l != nil {
		// Fiber closes it as well, but only when it has got as far as to know it.
		if err := l.Close(); err != nil {
			return fmt.Errorf("stop listening: %w", err)
		}
	}
	if err := s.app.ShutdownWithContext(ctx); err != nil {
		return fmt.Errorf("shut down the server: %w", err)
	}
	return nil
}

// onceListener may be closed more than once.
type onceListener struct {
	net.Listener
	close func() error
}

func (l onceListener) Close() error { return l.close() }

// handler serves one tenant.
type handler struct {
	server *Server
	tenant Tenant
	origin string // of the issuer: scheme and host, never those of a request

	gates   map[routes]*gate
	refused *prometheus.CounterVec // by a rate limit
	inQuery prometheus.Counter     // credentials
	replays replays

	unusedReports reports

	unauthenticated *prometheus.CounterVec // failed authentications
	issuing         *prometheus.CounterVec // tokens
}

// on runs a handler under the rate limits of the surface, and answers its error in the surface's shape. Nothing leaves before
// what was decided for it is in the decision log.
func (h *handler) on(s surface, handle fiber.Handler) fiber.Handler {
	return h.limited(routesOf(s), s, handle)
}

// limited is on, for routes with other limits than the surface has.
func (h *handler) limited(of routes, s surface, handle fiber.Handler) fiber.Handler {
	gate := h.gates[of]
	return func(c *fiber.Ctx) error {
		h.recorded(c, func() error {
			if err := gate.enter(c); err != nil {
				return err
			}
			return handle(c)
		}, func(err error) { h.server.fail(c, s, err) })
		if len(c.Request().Header.Peek("DPoP")) > 0 {
			c.Set("DPoP-Nonce", h.tenant.Authn.Nonce()) // for the next proof (RFC 9449 §8.2)
		}
		return nil
	}
}

// receive is what happens to every request first. It logs the route pattern, never the path or the query as sent: they
// may carry secrets.
func (s *Server) receive(c *fiber.Ctx) error {
	copyRequestID(c)
	if err := plainFraming(c.Request().Header.RawHeaders()); err != nil {
		return err
	}
	if !s.log.Enabled(s.base, slog.LevelDebug) {
		return c.Next()
	}
	start := time.Now()
	err := c.Next()
	s.log.Debug("request", "method", c.Method(), "route", c.Route().Path, "status", c.Response().StatusCode(), "took", time.Since(start))
	return err
}

// copyRequestID returns X-Request-ID unchanged, on errors too (AuthZEN §10.1.3).
func copyRequestID(c *fiber.Ctx) {
	if id := c.Request().Header.Peek(fiber.HeaderXRequestID); len(id) > 0 {
		c.Response().Header.SetBytesV(fiber.HeaderXRequestID, id)
	}
}

func (s *Server) logPanic(c *fiber.Ctx, recovered any) {
	s.log.Error("panic in a handler", "route", c.Route().Path, "panic", fmt.Sprint(recovered))
}

func (s *Server) healthz(c *fiber.Ctx) error {
	return c.JSON(fiber.Map{"status": "ok"})
}

// readyz says whether requests can be answered: the store can be read, the decision logs can be written, and the server is not
// shutting down.
func (s *Server) readyz(c *fiber.Ctx) error {
	if s.stopping.Load() {
		return c.Status(fiber.StatusServiceUnavailable).JSON(fiber.Map{"status": "stopping"})
	}
	view, err := s.store.View(s.base)
	if err != nil {
		s.log.Error("the store cannot be read", "error", err)
		return c.Status(fiber.StatusServiceUnavailable).JSON(fiber.Map{"status": "store unavailable"})
	}
	defer view.Close()
	if s.cannotLog() {
		return c.Status(fiber.StatusServiceUnavailable).JSON(fiber.Map{"status": "decision log unavailable"})
	}
	return c.JSON(fiber.Map{"status": "ready", "revision": view.Revision(), "policies": s.policyState()})
}

// policyState says whether the source of some tenant's policies gives nothing good. The server is ready then, for it decides by what the
// source gave before; which tenant it is, and why, is not for everybody: it is in the metrics and the log.
func (s *Server) policyState() string {
	for _, h := range s.tenants {
		if h.tenant.Policies.Stale() {
			return "stale"
		}
	}
	return "current"
}

// routeError answers what never reached a handler: unknown routes, bodies over the limit, broken requests.
func (s *Server) routeError(c *fiber.Ctx, err error) error {
	copyRequestID(c) // a body over the limit does not come past the middleware
	var routed *fiber.Error
	if !errors.As(err, &routed) {
		s.fail(c, surfaceProblem, err)
		return nil
	}
	s.fail(c, surfaceProblem, routeFailure(routed))
	return nil
}
