package server_test

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"mandate/directory"
)

func TestSCIMStopsWithItsKey(t *testing.T) {
	s := start(t)
	p := s.provider(t, "acme")
	admin := holdersOf(t, "default").pair("tenant-admin")
	for _, step := range []struct{ path, off, on string }{
		{"/v1/orgs/acme", `{"status": "suspended"}`, `{"status": "active"}`},
		{"/v1/apikeys/acme-scim", `{"status": "revoked"}`, ""},
	} {
		p.do(t, "GET", "/Users", "").wantMembers(t, http.StatusOK, nil)
		s.managed(t, admin, "PATCH", step.path, step.off).wantMembers(t, http.StatusOK, nil)
		if a := p.do(t, "GET", "/Users", ""); a.status != http.StatusUnauthorized && a.status != http.StatusForbidden {
			t.Errorf("%s: %v", step.path, a)
		}
		if a := p.do(t, "POST", "/Users", `{`+userSchema+`,"userName":"late@acme.example"}`); a.status != http.StatusUnauthorized && a.status != http.StatusForbidden {
			t.Errorf("%s: %v", step.path, a)
		}
		if step.on != "" {
			s.managed(t, admin, "PATCH", step.path, step.on).wantMembers(t, http.StatusOK, nil)
		}
	}
}

// Once a deletion is acknowledged, not one decision allows the member.
func TestDeprovisionedMembersAreStoppedAtOnce(t *testing.T) {
	const clients, before, after = 8, 5, 10
	s := start(t)
	p := s.provider(t, "acme")
	gateway := holdersOf(t, "default").key("gateway")
	for round := range 5 {
		id := p.user(t, fmt.Sprintf("leaver%d@acme.example", round))
		p.do(t, "PATCH", "/Groups/viewer", `{`+patchOp+`,"Operations":[{"op":"add","path":"members","value":[{"value":"`+id+`"}]}]}`)
		asked := question(named("user", id), "documents:read", "report")
		if !s.allowed(t, id) {
			t.Fatal("the member is not allowed before")
		}
		var gone atomic.Bool
		var late, refused atomic.Int32
		var early, all sync.WaitGroup
		early.Add(clients)
		for range clients {
			all.Go(func() {
				ready := sync.OnceFunc(early.Done)
				defer ready() // a request that fails ends this client
				for range before {
					s.ask(t, gateway, evaluationPath, asked)
				}
				ready()
				// What fails for another reason counts as asked, so that nobody waits for more.
				for n := 0; n < after; {
					acknowledged := gone.Load()
					verdict := s.ask(t, gateway, evaluationPath, asked).verdict()
					if !acknowledged {
						continue
					}
					switch n++; verdict {
					case "allow":
						late.Add(1)
					case "deny":
						refused.Add(1)
					}
				}
			})
		}
		early.Wait()
		a := p.do(t, "DELETE", "/Users/"+id, "")
		gone.Store(true)
		all.Wait()
		if a.status != http.StatusNoContent || late.Load() > 0 || refused.Load() == 0 {
			t.Fatalf("%v: afterwards %d decisions allow a member who is gone, and %d do not", a, late.Load(), refused.Load())
		}
	}
}

// What an index answers is answered however many members there are; the rest is bounded.
func TestSearchesAreBounded(t *testing.T) {
	s := start(t)
	file := &directory.File{Orgs: []directory.OrgEntry{{ID: "hooli"}}}
	for i := range 5100 {
		id := fmt.Sprintf("h%04d", i)
		file.Users = append(file.Users, directory.UserEntry{ID: id, Username: id + "@hooli.example"})
		file.Orgs[0].Members = append(file.Orgs[0].Members, directory.MemberEntry{User: id, Roles: []string{"viewer"}})
	}
	_, err := directory.Importer{Store: s.store, Master: s.master}.Import(t.Context(), "default", file)
	must(t, err)
	p := s.provider(t, "hooli")
	p.do(t, "GET", "/Users?startIndex=5099&count=5", "").wantMembers(t, http.StatusOK, map[string]any{"totalResults": 5100, "itemsPerPage": 2})
	p.do(t, "GET", "/Users?count=0", "").wantMembers(t, http.StatusOK, map[string]any{"totalResults": 5100, "itemsPerPage": 0})
	if ids := p.found(t, "/Users", `active eq true and userName eq "h5099@hooli.example"`); ids != "h5099" {
		t.Errorf("found %q", ids)
	}
	p.do(t, "GET", "/Users?filter="+url.QueryEscape(`userName sw "h"`), "").wantSCIM(t, http.StatusBadRequest, "tooMany")
	p.do(t, "GET", "/Users?startIndex=5000&filter="+url.QueryEscape(`groups.value eq "viewer"`), "").wantMembers(t, http.StatusOK, map[string]any{"totalResults": 5100, "itemsPerPage": 100})
	p.do(t, "GET", "/Groups/viewer", "").wantSCIM(t, http.StatusBadRequest, "tooMany")
	p.do(t, "GET", "/Groups", "").wantSCIM(t, http.StatusBadRequest, "tooMany")
	p.do(t, "GET", "/Groups?excludedAttributes=members", "").wantMembers(t, http.StatusOK, map[string]any{"totalResults": 2})
	p.do(t, "GET", "/Groups/viewer?excludedAttributes=members", "").wantMembers(t, http.StatusOK, map[string]any{"id": "viewer"})
	if a := p.do(t, "PATCH", "/Groups/viewer", `{`+patchOp+`,"Operations":[{"op":"remove","path":"members[value eq \"h0001\"]"}]}`); a.status != http.StatusNoContent {
		t.Error(a)
	}
	p.do(t, "PUT", "/Groups/viewer", `{`+groupOf+`,"displayName":"viewer"}`).wantSCIM(t, http.StatusBadRequest, "tooMany")
	add := func(n int) answer {
		var values []string
		for i := range n {
			values = append(values, fmt.Sprintf(`{"value":"h%04d"}`, i))
		}
		return p.do(t, "PATCH", "/Groups/editor", `{`+patchOp+`,"Operations":[{"op":"add","path":"members","value":[`+strings.Join(values, ",")+`]}]}`)
	}
	add(1001).wantSCIM(t, http.StatusBadRequest, "tooMany")
	if a := add(1000); a.status != http.StatusNoContent {
		t.Error(a)
	}
	if a := add(1000); a.status != http.StatusNoContent { // which changes nothing
		t.Error(a)
	}
	p.do(t, "GET", "/Users?count=1&filter="+url.QueryEscape(`groups.value eq "editor"`), "").wantMembers(t, http.StatusOK, map[string]any{"totalResults": 1000})
}
