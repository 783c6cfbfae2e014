package server

import (
	"context"
	"net/http"

	"github.com/gofiber/fiber/v2"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	semconv "go.opentelemetry.io/otel/semconv/v1.40.0"
	"go.opentelemetry.io/otel/trace"

	"mandate/datastore"
	"mandate/engine"
)

// maxSpans bounds the spans of one request: a batch has a thousand decisions.
const maxSpans = 32

// trace makes a span of a request, within the trace of the caller if it sends one (W3C Trace Context). It names the route pattern,
// never the path or the query as sent: they may carry secrets.
func (s *Server) trace(c *fiber.Ctx) error {
	ctx := propagation.TraceContext{}.Extract(s.base, headerCarrier{c})
	ctx, span := s.tracer.Start(ctx, c.Method(), trace.WithSpanKind(trace.SpanKindServer))
	defer span.End()
	c.SetUserContext(ctx)
	err := c.Next()
	route, status := c.Route().Path, c.Response().StatusCode()
	span.SetName(c.Method() + " " + route)
	span.SetAttributes(semconv.HTTPRequestMethodKey.String(c.Method()), semconv.HTTPRoute(route), semconv.HTTPResponseStatusCode(status))
	if status >= http.StatusInternalServerError {
		span.SetStatus(codes.Error, http.StatusText(status))
	}
	return err
}

// headerCarrier reads the trace context of a request.
type headerCarrier struct{ c *fiber.Ctx }

// Get is a copy: it may outlive the request.
func (h headerCarrier) Get(key string) string { return string(h.c.Request().Header.Peek(key)) }

// Set does nothing: a trace goes no further from here.
func (h headerCarrier) Set(string, string) {}

// Keys are not asked for by W3C Trace Context.
func (h headerCarrier) Keys() []string { return nil }

// spans are those within the span of a request; the zero value makes none.
type spans struct {
	tracer trace.Tracer
	ctx    context.Context //nolint:containedctx // that of the request's span, not to cancel by
	made   int
}

func (s *Server) spansOf(c *fiber.Ctx) spans {
	if s.tracer == nil || !trace.SpanFromContext(c.UserContext()).IsRecording() {
		return spans{}
	}
	return spans{tracer: s.tracer, ctx: c.UserContext()}
}

// begin begins a span, which is nil when there is none.
func (s *spans) begin(name string) trace.Span {
	if s.tracer == nil || s.made == maxSpans {
		return nil
	}
	s.made++
	_, span := s.tracer.Start(s.ctx, name)
	return span
}

func end(span trace.Span) {
	if span != nil {
		span.End()
	}
}

// decided ends the span of a decision. What was asked is in the decision log, which the id leads to.
func decided(span trace.Span, p engine.Point, answer engine.Answer, at datastore.Revision) {
	if span == nil {
		return
	}
	defer span.End()
	if answer.Decision == nil {
		return
	}
	span.SetAttributes(attribute.String("mandate.decision.id", answer.ID.String()), attribute.String("mandate.decision.point", string(p)),
		attribute.Bool("mandate.decision.allow", answer.Allow), attribute.Int64("mandate.data.revision", int64(at)),
		attribute.String("mandate.policy.revision", answer.PolicyRevision))
}
