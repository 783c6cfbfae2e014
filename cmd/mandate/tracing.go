package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"time"

	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	semconv "go.opentelemetry.io/otel/semconv/v1.40.0"
	"go.opentelemetry.io/otel/trace"
)

// tracingConfig is where traces are sent, by OTLP over HTTP.
type tracingConfig struct {
	// Endpoint is the URL of a collector, such as http://127.0.0.1:4318/v1/traces. There are no traces without.
	Endpoint string `yaml:"endpoint"`
	// Sample is the share of the requests that begin a trace. A request that belongs to one already is traced as that is.
	Sample float64 `yaml:"sample"`
}

func (c tracingConfig) check() (problems []error) {
	if at, err := url.Parse(c.Endpoint); c.Endpoint != "" && (err != nil || at.Host == "" || (at.Scheme != "http" && at.Scheme != "https")) {
		problems = append(problems, errors.New("tracing.endpoint must be the URL of a collector, such as http://127.0.0.1:4318/v1/traces"))
	}
	if c.Sample < 0 || c.Sample > 1 {
		problems = append(problems, errors.New("tracing.sample must be between 0 and 1"))
	}
	return problems
}

// lastTraces is for how long the end waits for the last spans to be sent.
const lastTraces = 5 * time.Second

// tracer returns what makes spans, nil without an endpoint, and what sends the last ones at the end.
func (c tracingConfig) tracer(ctx context.Context) (trace.Tracer, func() error, error) {
	if c.Endpoint == "" {
		return nil, func() error { return nil }, nil
	}
	exporter, err := otlptracehttp.New(ctx, otlptracehttp.WithEndpointURL(c.Endpoint))
	if err != nil {
		return nil, nil, fmt.Errorf("tracing: %w", err)
	}
	provider := sdktrace.NewTracerProvider(sdktrace.WithBatcher(exporter), sdktrace.WithSampler(sdktrace.ParentBased(sdktrace.TraceIDRatioBased(c.Sample))),
		sdktrace.WithResource(resource.NewSchemaless(semconv.ServiceName("mandate"))))
	end := func() error {
		ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastTraces)
		defer cancel()
		if err := provider.Shutdown(ending); err != nil {
			return fmt.Errorf("send the last traces: %w", err)
		}
		return nil
	}
	return provider.Tracer("mandate"), end, nil
}
