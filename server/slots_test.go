package server

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"mandate/authn"
	"mandate/decisionlog"
	"mandate/directory"
)

// RefuseHeavy leaves the server no slot for heavy reads.
func (s *Server) RefuseHeavy() { s.heavy = &slots{} }

func TestSlotsAreBounded(t *testing.T) {
	who := func(tenant, org, subject string) *asking {
		return &asking{handler: &handler{tenant: Tenant{ID: directory.Tenant(tenant)}}, caller: &authn.Principal{Type: authn.APIKey, Subject: subject, Org: org}}
	}
	s := &slots{perCaller: 2, perOrg: 3, perTenant: 4, all: 5, taken: map[slotHolder]int{}}
	var releases []func()
	for i, row := range []struct {
		rule                 string
		tenant, org, subject string
		want                 bool
	}{
		{"a caller", "a", "acme", "x", true},
		{"once more", "a", "acme", "x", true},
		{"a caller has two", "a", "acme", "x", false},
		{"another of the organization", "a", "acme", "y", true},
		{"an organization has three", "a", "acme", "z", false},
		{"another organization", "a", "globex", "g", true},
		{"a tenant has four", "a", "", "admin", false},
		{"another tenant, the same name", "b", "", "x", true},
		{"the server has five", "c", "", "x", false},
	} {
		release, ok := s.take(who(row.tenant, row.org, row.subject))
		if ok != row.want {
			t.Errorf("%d: %s: %v", i, row.rule, ok)
		}
		if ok {
			releases = append(releases, release)
		}
	}
	for _, release := range releases {
		release()
	}
	if len(s.taken) != 0 {
		t.Errorf("left: %v", s.taken)
	}
}

// endingContext is over after it was asked so often.
type endingContext struct {
	context.Context
	left int
}

func (c *endingContext) Err() error {
	if c.left--; c.left < 0 {
		return context.DeadlineExceeded
	}
	return nil
}

// However short the time for each page is, going on at its end finds everything once.
func TestListingGoesOnWhereItsTimeEnded(t *testing.T) {
	folder := t.TempDir()
	log, err := decisionlog.Open(folder, decisionlog.Options{Tenant: "default", Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	const records = 4000
	for i := range records {
		mark := log.Mark()
		input := jsontext.Value(fmt.Sprintf(`{"subject":{"type":"user","id":"u%d"},"padding":"%01000d"}`, i%20, i))
		log.Record(&decisionlog.Description{Kind: decisionlog.Decision, Input: input}, time.Now(), decisionlog.Entry{})
		if err := log.Commit(mark); err != nil {
			t.Fatal(err)
		}
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	for _, oldestFirst := range []bool{false, true} {
		q := recordQuery{Query: decisionlog.Query{Subject: "user:u7", OldestFirst: oldestFirst}, limit: maxRecords}
		if oldestFirst {
			q.From = 1
		}
		found, pages := map[string]bool{}, 0
		for whole := false; !whole; pages++ {
			var listing *recordListing
			// Of a segment that is not sealed each frame is looked at first, a description and an entry for each record.
			ctx := &endingContext{t.Context(), 2*records + 5}
			if listing, whole, err = q.page(ctx, folder, "default"); err != nil {
				t.Fatal(err)
			}
			for _, item := range listing.Items {
				if found[item.ID] {
					t.Errorf("%s is found again", item.ID)
				}
				found[item.ID] = true
			}
			if next := listing.Next; next != "" {
				q.Until, err = decisionlog.ParseID(next)
			} else if oldestFirst {
				q.From, err = decisionlog.ParseID(listing.After)
				q.From++
			}
			if err != nil || pages > 100 {
				t.Fatal(pages, err)
			}
		}
		if len(found) != records/20 || pages < 2 {
			t.Errorf("oldest first %v: %d found in %d pages", oldestFirst, len(found), pages)
		}
	}
}
