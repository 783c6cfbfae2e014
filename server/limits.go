package server

import (
	"net/netip"
	"strconv"
	"time"

	"github.com/gofiber/fiber/v2"
	"github.com/prometheus/client_golang/prometheus"

	"mandate/authn"
	"mandate/datastore/memo"
	"mandate/directory"
	"mandate/ratelimit"
)

// routes is a family of routes that are limited alike.
type routes string

const (
	unlimited        routes = ""           // health, metrics and documents that anybody may read
	tokenRoutes      routes = "tokens"     // OAuth and its pages
	decisionRoutes   routes = "decisions"  // AuthZEN, data queries and explanations
	managementRoutes routes = "management" // everything else
)

// RateLimits bound how often requests are made, in each tenant by itself. The zero value is no limit. A batch of
// evaluations is one request.
type RateLimits struct{ Tokens, Decisions, Management RouteLimits }

// RouteLimits are those of one family of routes.
type RouteLimits struct {
	// Address is for each IPv4 address and each IPv6 network of 64 bits, all of which one subscriber has. Every request counts,
	// before anything of it is looked at.
	Address ratelimit.Limit
	// Client is for each client and each vendor, whatever tokens and credentials they come with.
	Client ratelimit.Limit
	// Credential is for each credential. The access tokens that a client has for one subject are one.
	Credential ratelimit.Limit
}

// routesOf is the family of a surface's routes, where nothing else is said. A new one is limited.
func routesOf(s surface) routes {
	switch s {
	case surfaceAuthZEN:
		return decisionRoutes
	case surfaceOAuth, surfaceBearer, surfaceExchange:
		return tokenRoutes
	}
	return managementRoutes
}

// limiter is one limit, common to all tenants.
type limiter struct {
	by     string // the name of its policy
	limit  ratelimit.Limit
	policy string // as a member of RateLimit-Policy
	state  string // how a member of RateLimit begins
	table  *ratelimit.Table
}

func newLimiter(by string, l ratelimit.Limit) *limiter {
	if l == (ratelimit.Limit{}) {
		return nil
	}
	return &limiter{by: by, limit: l, table: ratelimit.NewTable(l),
		policy: `"` + by + `";q=` + strconv.Itoa(l.Burst) + ";w=" + seconds(l.Window()), state: `"` + by + `";r=`}
}

// limiters are the limits of one family of routes; nil where there is none.
type limiters struct{ address, client, credential *limiter }

func newLimiters(l RateLimits) map[routes]limiters {
	made := map[routes]limiters{}
	for of, limits := range map[routes]RouteLimits{tokenRoutes: l.Tokens, decisionRoutes: l.Decisions, managementRoutes: l.Management} {
		made[of] = limiters{newLimiter("address", limits.Address), newLimiter("client", limits.Client), newLimiter("credential", limits.Credential)}
	}
	return made
}

// gate is where the requests of a family of routes come into a tenant.
type gate struct {
	limiters
	server  *Server
	tenant  directory.Tenant
	now     func() time.Time
	routes  routes
	refused *prometheus.CounterVec
}

type gateKey struct{} // of the gate among the locals of a request

// newGates makes the gates of a tenant. A family without limits has none.
func (s *Server) newGates(t Tenant, refused *prometheus.CounterVec) map[routes]*gate {
	gates := map[routes]*gate{}
	for of, limits := range s.limits {
		if limits == (limiters{}) {
			continue
		}
		gates[of] = &gate{limiters: limits, server: s, tenant: t.ID, now: t.Now, routes: of, refused: refused}
		for _, l := range []*limiter{limits.address, limits.client, limits.credential} {
			if l != nil {
				refused.WithLabelValues(string(of), l.by)
			}
		}
	}
	return gates
}

func refusedRequests(t directory.Tenant) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "mandate_rate_limited_total", Help: "Requests refused because of a rate limit.",
		ConstLabels: prometheus.Labels{"tenant": string(t)}}, []string{"routes", "by"})
}

// enter counts a request against its address, before anything of it is looked at.
func (g *gate) enter(c *fiber.Ctx) error {
	if g == nil {
		return nil
	}
	c.Locals(gateKey{}, g)
	if g.address == nil {
		return nil
	}
	var memory [128]byte
	key, known := g.byAddress(memory[:0], c)
	if !known {
		return nil
	}
	return g.take(c, g.address, key)
}

// byAddress appends what stands for the caller's address, if that is known.
func (g *gate) byAddress(key []byte, c *fiber.Ctx) ([]byte, bool) {
	addr := g.server.caller(c)
	if addr.Is6() {
		addr = netip.PrefixFrom(addr, 64).Masked().Addr()
	}
	var bytes [16]byte
	if addr.IsValid() {
		bytes = addr.As16()
	}
	return memo.Part(memo.Part(key, g.tenant), bytes[:]), addr.IsValid()
}

// admit counts the request of an authenticated party against its credential, and then against its client or vendor: one
// noisy token uses up nothing of what others of the same client have. A client that does not authenticate is counted for
// each address by itself, as anybody can use its name.
func (h *handler) admit(c *fiber.Ctx, p *authn.Principal) error {
	g, _ := c.Locals(gateKey{}).(*gate)
	if g == nil || (g.credential == nil && g.client == nil) {
		return nil
	}
	var memory [512]byte
	tenant := memo.Part(memory[:0], g.tenant)
	if p.Credential.Type == "none" {
		tenant, _ = g.byAddress(memory[:0], c)
	}
	party, id := partyOf(p, h.tenant.Issuer)
	if g.credential != nil {
		key := memo.Part(memo.Part(tenant, p.Credential.Type), p.Subject)
		if p.ClientID != "" {
			key = memo.Part(key, p.ClientID)
		} else {
			key = memo.Part(key, p.Credential.ID)
		}
		if err := g.take(c, g.credential, key); err != nil {
			return err
		}
	}
	if g.client == nil || id == "" {
		return nil
	}
	return g.take(c, g.client, memo.Part(memo.Part(tenant, party), id))
}

// partyOf is the client or vendor that acts by a credential; empty for a user or an API key by itself.
func partyOf(p *authn.Principal, issuer string) (authn.PrincipalType, string) {
	switch {
	case p.Type == authn.Vendor:
		return authn.Vendor, p.Subject
	case p.ClientID != "" && p.ClientID != issuer:
		return authn.Client, p.ClientID
	case p.AuthorizedParty != "":
		return authn.Client, p.AuthorizedParty
	case p.Type == authn.Client:
		return authn.Client, p.Subject
	}
	return "", ""
}

// rateError is a request too many.
type rateError struct {
	by   string
	wait time.Duration
}

func (e *rateError) Error() string {
	return "too many requests by this " + e.by + ": wait as long as the header Retry-After says"
}

func (g *gate) take(c *fiber.Ctx, l *limiter, key []byte) error {
	result := l.table.Take(key, g.now())
	// Decisions are so many that they carry the fields only when less than half of what is allowed remains.
	if g.routes != decisionRoutes || 2*result.Remaining < l.limit.Burst {
		l.tell(c, result)
	}
	if result.Allowed {
		return nil
	}
	g.refused.WithLabelValues(string(g.routes), l.by).Inc()
	return &rateError{l.by, result.RetryAfter}
}

// tell adds the limit to the lists RateLimit-Policy and RateLimit (draft-ietf-httpapi-ratelimit-headers-10): q requests at
// once, which are whole again after w seconds; r of them remain, and are whole again after t seconds. Of one that is used up,
// t says when there is another, as Retry-After does.
func (l *limiter) tell(c *fiber.Ctx, result ratelimit.Result) {
	const policies, states = "RateLimit-Policy", "RateLimit"
	header := &c.Response().Header
	var memory [256]byte
	header.SetBytesV(policies, append(list(memory[:0], header.Peek(policies)), l.policy...))
	until := result.Reset
	if !result.Allowed {
		until = result.RetryAfter
	}
	state := append(list(memory[:0], header.Peek(states)), l.state...)
	state = append(strconv.AppendInt(state, int64(result.Remaining), 10), ";t="...)
	header.SetBytesV(states, strconv.AppendInt(state, wholeSeconds(until), 10))
}

// list begins a list with what it has already (RFC 9651 §3.1).
func list(memory, members []byte) []byte {
	if len(members) == 0 {
		return memory
	}
	return append(append(memory, members...), ", "...)
}

func wholeSeconds(d time.Duration) int64 { return int64((d + time.Second - 1) / time.Second) }

func seconds(d time.Duration) string { return strconv.FormatInt(wholeSeconds(d), 10) }
