package server_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
)

// The pages of the documentation show every operation, are safe and accessible like those for people (TestPagesAreAccessible), and
// may be kept.
func TestDocumentationPages(t *testing.T) {
	s := start(t)
	for _, base := range []string{"", "/t/staging"} {
		var document struct {
			Paths map[string]map[string]any
		}
		must(t, json.Unmarshal([]byte(s.send(t, "GET", base+"/openapi.json", "").body), &document))
		shown := map[string]int{}
		first := s.send(t, "GET", base+"/docs", "")
		pages := []answer{first}
		for _, a := range parsePage(t, first.body).all("a") {
			if to := a.attr["href"]; strings.HasPrefix(to, base+"/docs/") {
				pages = append(pages, s.send(t, "GET", to, ""))
			}
		}
		for _, page := range pages {
			if page.status != http.StatusOK || !strings.HasPrefix(page.header.Get("Cache-Control"), "public") || page.header.Get("X-Frame-Options") != "DENY" ||
				!strings.HasPrefix(page.header.Get("Content-Security-Policy"), "default-src 'none'; style-src 'self'; form-action 'none'") {
				t.Errorf("%d %v", page.status, page.header)
			}
			for id := range checkDocumentation(t, parsePage(t, page.body)) {
				shown[id]++
			}
		}
		for path, item := range document.Paths {
			for method, operation := range item {
				o, ok := operation.(map[string]any)
				if id, _ := o["operationId"].(string); ok && shown[id] != 1 {
					t.Errorf("%s %s%s is shown %d times", method, base, path, shown[id])
				}
			}
		}
	}
	if a := s.send(t, "GET", "/docs/nothing", ""); a.status != http.StatusNotFound || !strings.Contains(a.body, `href="/docs"`) {
		t.Error(a)
	}
}

// checkDocumentation returns the ids of a page.
func checkDocumentation(t *testing.T, root *element) map[string]bool {
	t.Helper()
	title := root.all("h1")[0].text
	if html := root.all("html"); html[0].attr["lang"] != "en" {
		t.Errorf("%s: no language", title)
	}
	for _, once := range []string{"title", "h1", "main"} {
		if len(root.all(once)) != 1 {
			t.Errorf("%s: %d of %s, want one", title, len(root.all(once)), once)
		}
	}
	ids := map[string]bool{}
	for _, e := range root.all("h2", "h3", "section", "nav", "pre", "code") {
		if id := e.attr["id"]; ids[id] {
			t.Errorf("%s: the id %s is there twice", title, id)
		} else if id != "" {
			ids[id] = true
		}
	}
	for _, e := range root.all("section") {
		if !ids[e.attr["aria-labelledby"]] {
			t.Errorf("%s: a section without a heading", title)
		}
	}
	for _, e := range root.all("nav") {
		if e.attr["aria-label"] == "" {
			t.Errorf("%s: a navigation without a name", title)
		}
	}
	for _, e := range root.all("th") {
		if e.attr["scope"] == "" {
			t.Errorf("%s: a heading of a table without a scope", title)
		}
	}
	for _, e := range root.all("pre") {
		if e.attr["tabindex"] != "0" {
			t.Errorf("%s: what can be scrolled cannot be reached with a keyboard", title)
		}
	}
	if found := root.all("script", "style", "img", "iframe", "form"); len(found) > 0 {
		t.Errorf("%s: has %s", title, found[0].name)
	}
	return ids
}
