package server

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/gofiber/fiber/v2"

	"mandate/authn"
	"mandate/datastore"
	"mandate/decisionlog"
	"mandate/delivery"
	"mandate/directory"
	"mandate/engine"
	"mandate/manage"
	"mandate/server/partneriam"
	"mandate/server/scim"
	"mandate/tokens"
)

// surface is a family of routes with one shape of errors.
type surface int

const (
	surfaceProblem    surface = iota // RFC 9457
	surfaceAuthZEN                   // an error message, as a JSON string (AuthZEN §10.1.2)
	surfaceOAuth                     // RFC 6749 §5.2: who cannot be authenticated is an invalid client
	surfaceBearer                    // the same shape, for a resource that a bearer token opens (RFC 6750 §3, RFC 7591 §3.2.2)
	surfaceExchange                  // the same shape, where a user or an API key is authenticated
	surfacePartnerIAM                // {"ErrorCode", "Message", "Description"}
	surfaceOEM                       // {"error", "error_description", "status"}, with codes of its own
	surfaceSCIM                      // RFC 7644 §3.12
)

// requestError is a request that cannot be answered as it is. Code is stable; Detail says what to change.
type requestError struct {
	Status int
	Code   string
	Detail string
}

func (e *requestError) Error() string { return e.Detail }

func badRequest(detail string) error {
	return &requestError{http.StatusBadRequest, "invalid_request", detail}
}

// failure is an error as it goes over the wire.
type failure struct {
	status     int
	code       string // of problem+json
	oauth      string // RFC 6749 §5.2, RFC 6750 §3.1
	oem        string
	detail     string
	scope      string // that is missing (RFC 6750 §3)
	retryAfter string // seconds
	problems   directory.Problems
	groups     []directory.PolicyTurn // that nobody has acknowledged
}

// authnFailures maps the ways in which authentication fails.
func authnFailures() map[authn.Kind]failure {
	return map[authn.Kind]failure{
		authn.Missing:           {status: http.StatusUnauthorized, code: "credential_missing"},
		authn.Ambiguous:         {status: http.StatusBadRequest, code: "credential_ambiguous", oauth: "invalid_request"},
		authn.Malformed:         {status: http.StatusUnauthorized, code: "credential_malformed", oauth: "invalid_token"},
		authn.Invalid:           {status: http.StatusUnauthorized, code: "credential_invalid", oauth: "invalid_token"},
		authn.Inactive:          {status: http.StatusUnauthorized, code: "credential_inactive", oauth: "invalid_token"},
		authn.VendorRefused:     {status: http.StatusForbidden, code: "vendor_not_authorized", oauth: "invalid_token"},
		authn.InsufficientScope: {status: http.StatusForbidden, code: "insufficient_scope", oauth: "insufficient_scope"},
		authn.Busy:              {status: http.StatusTooManyRequests, code: "too_many_sign_ins", oauth: "temporarily_unavailable", retryAfter: "5"},
		authn.BadProof:          {status: http.StatusUnauthorized, code: "dpop_proof_invalid", oauth: "invalid_dpop_proof"},
		authn.NonceRequired:     {status: http.StatusUnauthorized, code: "dpop_nonce_required", oauth: "use_dpop_nonce"},
	}
}

// failureOf is the one table from typed errors to responses. What it does not know is internal, and told to the operator
// only.
func failureOf(err error) (f failure, known bool) {
	var (
		request *requestError
		authErr *authn.Error
		token   *tokens.Error
		tooMany *rateError
		partner *partneriam.Error

		refusal  *manage.Refusal
		conflict *manage.Conflict
		away     *manage.Unavailable
		invalid  *manage.Invalid
		policies *engine.CompileError
		unagreed *manage.Unacknowledged

		malformed *scim.Error
	)
	switch {
	case errors.As(err, &tooMany):
		return failure{status: http.StatusTooManyRequests, code: "rate_limited", oauth: "temporarily_unavailable", detail: tooMany.Error(),
			retryAfter: seconds(tooMany.wait)}, true
	case errors.As(err, &partner):
		return failure{status: partner.Status, code: "partner_iam", oauth: "invalid_request", detail: partner.Description}, true
	case errors.As(err, &request):
		return failure{status: request.Status, code: request.Code, oauth: "invalid_request", detail: request.Detail}, true
	case errors.As(err, &authErr):
		f = authnFailures()[authErr.Kind]
		f.detail, f.scope = authErr.Detail, authErr.Scope
		if authErr.RetryAfter > 0 {
			f.retryAfter = seconds(authErr.RetryAfter)
		}
		if authErr.Code != "" {
			f.code = authErr.Code
		}
		return f, true
	case errors.As(err, &token):
		f = failure{status: http.StatusBadRequest, code: token.Code, oauth: token.Code, detail: token.Description}
		if token.Code == "invalid_client" {
			f.status = http.StatusUnauthorized
		}
		return f, true
	case errors.As(err, &refusal):
		return failure{status: http.StatusForbidden, code: refusal.Code, oauth: "access_denied", detail: refusal.Message}, true
	case errors.As(err, &conflict):
		return failure{status: http.StatusConflict, code: conflict.Code, oauth: "invalid_request", detail: conflict.Message}, true
	case errors.As(err, &away):
		return failure{status: http.StatusServiceUnavailable, code: away.Code, oauth: "temporarily_unavailable", detail: away.Message,
			retryAfter: seconds(away.RetryAfter)}, true
	case errors.As(err, &invalid):
		return failure{status: http.StatusUnprocessableEntity, code: "invalid_record", oauth: "invalid_request", detail: invalid.Error(), problems: invalid.Problems}, true
	case errors.As(err, &policies):
		return failure{status: http.StatusUnprocessableEntity, code: "policies_refused", oauth: "invalid_request", detail: "the policy set is not admitted",
			problems: problemsOf(policies)}, true
	case errors.As(err, &unagreed):
		return failure{status: http.StatusConflict, code: "not_acknowledged", oauth: "invalid_request", detail: unagreed.Error(), groups: unagreed.Groups}, true
	case errors.Is(err, manage.ErrNotFound):
		return failure{status: http.StatusNotFound, code: "not_found", oauth: "invalid_request", detail: manage.ErrNotFound.Error()}, true
	case errors.Is(err, manage.ErrChanged):
		return failure{status: http.StatusPreconditionFailed, code: "revision_changed", oauth: "invalid_request", detail: manage.ErrChanged.Error()}, true
	case errors.As(err, &malformed):
		return failure{status: http.StatusBadRequest, code: malformed.Type, oauth: "invalid_request", detail: malformed.Detail}, true
	case errors.Is(err, manage.ErrTooMany):
		return failure{status: http.StatusBadRequest, code: "too_many", oauth: "invalid_request", detail: manage.ErrTooMany.Error()}, true
	case errors.Is(err, manage.ErrKeyReused):
		return failure{status: http.StatusUnprocessableEntity, code: "idempotency_key_reused", oauth: "invalid_request", detail: manage.ErrKeyReused.Error()}, true
	case errors.Is(err, datastore.ErrConflict):
		return failure{status: http.StatusServiceUnavailable, code: "busy", oauth: "temporarily_unavailable", detail: "too many writes at once: try again", retryAfter: "1"}, true
	case errors.Is(err, decisionlog.ErrNotLogged):
		return failure{status: http.StatusServiceUnavailable, code: "decision_log_unavailable", oauth: "temporarily_unavailable",
			detail: "the decision cannot be logged, and is therefore a denial: its operator finds the reason in the log of the service", retryAfter: "5"}, true
	case errors.Is(err, delivery.ErrNoMail):
		return failure{status: http.StatusNotImplemented, code: "mail_not_configured", oauth: "invalid_request", detail: delivery.ErrNoMail.Error()}, true
	case errors.Is(err, authn.ErrReset):
		return failure{status: http.StatusForbidden, code: "reset_link_invalid", oauth: "invalid_request", detail: authn.ErrReset.Error()}, true
	case errors.Is(err, tokens.ErrNoSuchKey):
		return failure{status: http.StatusNotFound, code: "key_not_found", oauth: "invalid_request", detail: tokens.ErrNoSuchKey.Error()}, true
	case errors.Is(err, tokens.ErrTooManyKeys):
		return failure{status: http.StatusConflict, code: "too_many_keys", oauth: "invalid_request", detail: tokens.ErrTooManyKeys.Error()}, true
	case errors.Is(err, datastore.ErrTooLarge):
		return failure{status: http.StatusRequestEntityTooLarge, code: "too_large", oauth: "invalid_request", detail: "the request has more to store than one record can hold"}, true
	case errors.Is(err, context.Canceled):
		return failure{status: http.StatusServiceUnavailable, code: "stopping", oauth: "temporarily_unavailable", detail: "the server is shutting down"}, true
	}
	return failure{status: http.StatusInternalServerError, code: "internal", oauth: "server_error", detail: "something went wrong here; it has been logged"}, false
}

// problemsOf are those of a policy set, each at its place as a compiler says it.
func problemsOf(refused *engine.CompileError) directory.Problems {
	var problems directory.Problems
	for _, p := range refused.Problems[:min(len(refused.Problems), maxPolicyProblems)] {
		at := p.File
		if p.Line > 0 {
			at += ":" + strconv.Itoa(p.Line)
		}
		problems = append(problems, directory.Problem{Field: at, Message: strings.Join(strings.Fields(p.Message), " ")})
	}
	return problems
}

// maxPolicyProblems is how many problems of a policy set are told.
const maxPolicyProblems = 200

// routeFailure turns Fiber's own errors into the request's fault that they are.
func routeFailure(e *fiber.Error) error {
	switch e.Code {
	case http.StatusNotFound:
		return &requestError{http.StatusNotFound, "not_found", "there is nothing at this path"}
	case http.StatusMethodNotAllowed:
		return &requestError{http.StatusMethodNotAllowed, "method_not_allowed", "this path does not take this method: see the Allow header"}
	case http.StatusRequestEntityTooLarge:
		return &requestError{http.StatusRequestEntityTooLarge, "body_too_large", "the body is larger than this server accepts"}
	case http.StatusRequestHeaderFieldsTooLarge:
		return &requestError{http.StatusRequestHeaderFieldsTooLarge, "header_too_large", "the header is larger than this server accepts"}
	case http.StatusRequestTimeout:
		return &requestError{http.StatusRequestTimeout, "request_timeout", "the request did not arrive in time"}
	case http.StatusInternalServerError:
		return e
	}
	return &requestError{http.StatusBadRequest, "invalid_request", "the request is not valid HTTP"}
}

// fail writes the response for err in the surface's shape.
func (s *Server) fail(c *fiber.Ctx, at surface, err error) {
	f := s.failure(c, err)
	var partner *partneriam.Error
	switch at {
	case surfaceOAuth:
		f = f.atOAuth(err)
	case surfaceBearer, surfaceExchange:
		f = f.atBearer(at)
	case surfaceOEM:
		f = f.atOEM(c.Get(fiber.HeaderAuthorization))
	case surfacePartnerIAM:
		f, partner = f.atPartnerIAM(err)
	case surfaceSCIM:
		f = f.atSCIM()
	}
	c.Status(f.status)
	c.Set(fiber.HeaderCacheControl, "no-store")
	if f.retryAfter != "" {
		c.Set(fiber.HeaderRetryAfter, f.retryAfter)
	}
	for _, challenge := range f.challenges(at, c.Get(fiber.HeaderAuthorization), s.resourceOf(c)) {
		c.Response().Header.Add(fiber.HeaderWWWAuthenticate, challenge)
	}
	var body any
	contentType := fiber.MIMEApplicationJSON
	switch at {
	case surfaceAuthZEN:
		body = f.detail
	case surfaceOAuth, surfaceBearer, surfaceExchange:
		c.Set(fiber.HeaderPragma, "no-cache")
		body = map[string]string{"error": f.oauth, "error_description": f.description()}
	case surfacePartnerIAM:
		body = partner
	case surfaceSCIM:
		contentType = scim.MediaType
		body = f.scimBody()
	case surfaceOEM:
		body = map[string]any{"error": f.oem, "error_description": f.detail, "status": f.status}
	case surfaceProblem:
		contentType = "application/problem+json"
		body = s.problem(c, f)
	}
	text, err := json.Marshal(body, json.Deterministic(true))
	if err != nil {
		text = []byte(`"internal error"`)
	}
	c.Response().Header.SetContentType(contentType)
	c.Response().SetBodyRaw(text)
}

// failure is what the caller is told of err. What only the operator may know is logged.
func (s *Server) failure(c *fiber.Ctx, err error) failure {
	f, known := failureOf(err)
	var token *tokens.Error
	if errors.As(err, &token) && token.Cause != nil {
		s.log.Error("token refused for an internal reason", "route", c.Route().Path, "error", err, "cause", token.Cause)
	} else if !known {
		s.log.Error("request failed", "route", c.Route().Path, "error", err)
	}
	return f
}

// problem is the RFC 9457 body. It has a request id even when the caller sent none, to be found in a report.
func (s *Server) problem(c *fiber.Ctx, f failure) map[string]any {
	id := strings.ToValidUTF8(string(c.Response().Header.Peek(fiber.HeaderXRequestID)), "\uFFFD")
	if id == "" {
		id = s.decisions.next()
		c.Set(fiber.HeaderXRequestID, id)
	}
	body := map[string]any{
		"type": "about:blank", "title": http.StatusText(f.status), "status": f.status,
		"code": f.code, "detail": f.detail, "request_id": id,
	}
	if len(f.problems) > 0 {
		fields := make([]map[string]string, len(f.problems))
		for i, p := range f.problems {
			fields[i] = map[string]string{"field": p.Field, "message": p.Message}
		}
		body["errors"] = fields
	}
	if len(f.groups) > 0 {
		body["groups"] = f.groups
	}
	return body
}

// resourceOf is where the metadata of the tenant is that the request was for, as a protected resource.
func (s *Server) resourceOf(c *fiber.Ctx) string {
	tenant := DefaultTenant
	if rest, ok := strings.CutPrefix(c.Path(), "/t/"); ok {
		name, _, _ := strings.Cut(rest, "/")
		tenant = directory.Tenant(name)
	}
	h := s.tenants[tenant]
	if h == nil {
		return ""
	}
	return h.resourceMetadataURL()
}

// atOAuth is the failure as RFC 6749 §5.2 has it: whoever cannot be authenticated is an invalid client.
func (f failure) atOAuth(err error) failure {
	var authErr *authn.Error
	if !errors.As(err, &authErr) {
		return f
	}
	switch authErr.Kind {
	case authn.Ambiguous:
		f.oauth = "invalid_request"
	case authn.Busy:
	case authn.BadProof, authn.NonceRequired:
		f.status = http.StatusBadRequest // RFC 9449 §5, §8
	default:
		f.status, f.oauth = http.StatusUnauthorized, "invalid_client"
	}
	return f
}

// atBearer gives every failure the code that the shape needs.
func (f failure) atBearer(at surface) failure {
	switch {
	case f.oauth != "":
	case at == surfaceExchange && f.status == http.StatusUnauthorized:
		f.oauth = "invalid_client"
	default:
		f.oauth = "invalid_request"
	}
	return f
}

// challenges are the WWW-Authenticate fields (RFC 9110 §11.6.1): Basic for clients at OAuth endpoints (RFC 6749 §5.2) and
// for users at the exchange endpoints, else Bearer, with an error code only when there was a credential at all (RFC 6750
// §3.1), and DPoP, which has the error when that was what was sent (RFC 9449 §7.1). Where a resource has metadata, they say
// where (RFC 9728 §5.1).
func (f failure) challenges(at surface, sent, metadata string) []string {
	if f.status != http.StatusUnauthorized && f.oauth != "insufficient_scope" {
		return nil
	}
	const basic = `Basic realm="mandate", charset="UTF-8"`
	if at == surfaceOAuth {
		return []string{basic}
	}
	parameters := ""
	if f.code != "credential_missing" && f.oauth != "" {
		parameters = `, error="` + f.oauth + `", error_description="` + f.description() + `"`
	}
	if f.scope != "" {
		parameters += `, scope="` + f.scope + `"`
	}
	if metadata != "" {
		parameters += `, resource_metadata="` + metadata + `"`
	}
	bearer := `Bearer realm="mandate"`
	dpop := `DPoP realm="mandate", algs="` + strings.Join(directory.AcceptedAlgorithms(), " ") + `"`
	scheme, _, _ := strings.Cut(sent, " ")
	switch {
	case at == surfaceExchange:
		return []string{basic, bearer + parameters}
	case strings.EqualFold(scheme, "DPoP"):
		return []string{dpop + parameters, bearer}
	}
	return []string{bearer + parameters, dpop}
}

// description has only the characters that RFC 6749 §5.2 allows: ASCII without control characters, " and \.
func (f failure) description() string {
	return strings.Map(func(c rune) rune {
		switch {
		case c == '"' || c == '\\':
			return '\''
		case c < ' ' || c > '~':
			return '?'
		}
		return c
	}, f.detail)
}
