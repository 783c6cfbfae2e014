package server_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"mandate/server"
)

// A request is a span in the caller's trace, with one for the credential and one for each decision. Nothing of what was sent is in them.
func TestRequestsAreTraced(t *testing.T) {
	recorder := tracetest.NewSpanRecorder()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(recorder), sdktrace.WithSampler(sdktrace.ParentBased(sdktrace.NeverSample())))
	s := start(t, func(o *server.Options) { o.Tracer = provider.Tracer("mandate") })
	gateway := holdersOf(t, "default").key("gateway")
	const body = `{"subject":{"type":"user","id":"bob"},"action":{"name":"documents:read"},"resource":{"type":"document","id":"secret-plan","properties":{"org":"acme"}}}`
	batch := `{"evaluations":[` + strings.TrimSuffix(strings.Repeat(body+",", 40), ",") + `]}`
	const parent = "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	for _, row := range []struct {
		name, path, body, parent string
		want                     []string // names of the spans, which end before those they are in
		spans                    int
	}{
		{"one question", evaluationPath, body, parent, []string{"authenticate", "decide", "POST " + evaluationPath}, 3},
		{"a batch is bounded", evaluationsPath, batch, parent, []string{"authenticate", "decide", "POST " + evaluationsPath}, 33},
		{"nobody's trace", evaluationPath, body, "", nil, 0},
	} {
		t.Run(row.name, func(t *testing.T) {
			recorder.Reset()
			lines := append([]string{jsonType}, gateway...)
			if row.parent != "" {
				lines = append(lines, row.parent)
			}
			if got := s.send(t, http.MethodPost, row.path, row.body, lines...); got.status != http.StatusOK {
				t.Fatal(got)
			}
			ended := recorder.Ended()
			var names []string
			for _, span := range ended {
				if span.SpanContext().TraceID().String() != "0af7651916cd43dd8448eb211c80319c" {
					t.Errorf("%s is in the trace %v", span.Name(), span.SpanContext().TraceID())
				}
				if !slices.Contains(names, span.Name()) {
					names = append(names, span.Name())
				}
				if text := fmt.Sprint(span.Name(), span.Attributes()); strings.Contains(text, "secret-plan") || strings.Contains(text, "gateway") {
					t.Errorf("the span has what was sent: %s", text)
				}
			}
			if len(ended) != row.spans || !slices.Equal(names, row.want) {
				t.Errorf("%d spans %v, want %d %v", len(ended), names, row.spans, row.want)
			}
		})
	}
}
