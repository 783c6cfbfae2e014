package server

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/swaggest/openapi-go/openapi31"

	"mandate/datastore"
	"mandate/delivery"
)

type noMail struct{}

func (noMail) Mail(context.Context, datastore.Tx, delivery.Message) error { return nil }

// TestEveryRouteIsDescribed finds routes without an entry in the tables of operations, and entries without a route.
func TestEveryRouteIsDescribed(t *testing.T) {
	s, err := New(Options{Tenants: []Tenant{{ID: DefaultTenant, Issuer: "https://mandate.example", Now: time.Now, Deliveries: noMail{}}}, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	undescribed := map[string]string{
		"GET /assets/style.css": "a part of the pages",
	}
	routes := map[string]bool{}
	for _, route := range s.app.GetRoutes(true) {
		if route.Method != http.MethodHead { // of each GET, by HTTP itself (RFC 9110 §9.3.2)
			routes[route.Method+" "+documentedPath(route.Path)] = true
		}
	}
	described := map[string]bool{}
	for _, o := range s.tenants[DefaultTenant].operations() {
		described[o.method+" "+o.path] = true
		if !routes[o.method+" "+o.path] {
			t.Errorf("%s %s is described and is no route", o.method, o.path)
		}
	}
	for route := range routes {
		if !described[route] && undescribed[route] == "" {
			t.Errorf("%s is not described: add an operation to a table in openapi_*.go", route)
		}
	}
}

// documentedPath is the path of a route as OpenAPI has it.
func documentedPath(route string) string {
	var segments []string
	for segment := range strings.SplitSeq(route, "/") {
		if name, ok := strings.CutPrefix(segment, ":"); ok {
			segment = "{" + name + "}"
		}
		segments = append(segments, segment)
	}
	path := strings.Join(segments, "/")
	return strings.NewReplacer("/v1/custom/*", "/v1/custom/{id}", "/v1/data/*", "/v1/data/{path}").Replace(path)
}

// The document is valid OpenAPI 3.1, for tenants at the root and below it, and every member has words.
func TestTheDocumentIsValid(t *testing.T) {
	for name, issuer := range map[string]string{"default": "https://mandate.example", "staging": "https://mandate.example/t/staging"} {
		t.Run(name, func(t *testing.T) {
			s, err := New(Options{Tenants: []Tenant{{ID: DefaultTenant, Issuer: issuer, Now: time.Now, Deliveries: noMail{}}}, Log: slog.New(slog.DiscardHandler)})
			if err != nil {
				t.Fatal(err)
			}
			spec, err := s.tenants[DefaultTenant].openAPI()
			if err != nil {
				t.Fatal(err)
			}
			text, err := json.Marshal(spec)
			if err != nil {
				t.Fatal(err)
			}
			document, err := openapi3.NewLoader().LoadFromData(text)
			if err != nil {
				t.Fatal(err)
			}
			if err := document.Validate(t.Context()); err != nil || !document.IsOpenAPI31OrLater() {
				t.Error(err)
			}
			for path, item := range spec.Paths.MapOfPathItemValues {
				for method, operation := range map[string]*openapi31.Operation{"GET": item.Get, "PUT": item.Put, "POST": item.Post, "PATCH": item.Patch, "DELETE": item.Delete} {
					if operation == nil {
						continue
					}
					for _, p := range operation.Parameters {
						if p.Parameter != nil && *p.Parameter.Description == "" {
							t.Errorf("%s %s: the parameter %s has no words: add them to memberWords", method, path, p.Parameter.Name)
						}
					}
				}
			}
			for name, p := range spec.Components.Parameters {
				if *p.Parameter.Description == "" {
					t.Errorf("the parameter %s has no words", name)
				}
			}
			for name, s := range spec.Components.Schemas {
				properties, _ := s["properties"].(schema)
				for member, described := range properties {
					if words := described.(schema)["description"]; words == nil && described.(schema)["$ref"] == nil && !wordless(name) {
						t.Errorf("the member %s of %s has no words: add them to memberWords", member, name)
					}
				}
			}
		})
	}
}

// wordless says whether the members of a schema are explained by the standard that they come from.
func wordless(name string) bool {
	return strings.HasPrefix(name, "Problem") || strings.HasPrefix(name, "Partner") || strings.HasPrefix(name, "SCIM") || strings.HasSuffix(name, "Error")
}

func BenchmarkOpenAPI(b *testing.B) {
	s, err := New(Options{Tenants: []Tenant{{ID: DefaultTenant, Issuer: "https://mandate.example", Now: time.Now, Deliveries: noMail{}}}, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		spec, err := s.tenants[DefaultTenant].openAPI()
		if err != nil {
			b.Fatal(err)
		}
		if _, err := json.Marshal(spec); err != nil {
			b.Fatal(err)
		}
	}
}
