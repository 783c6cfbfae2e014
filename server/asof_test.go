package server_test

import (
	"fmt"
	"net/http"
	"testing"
	"time"
)

// Only what can answer for an earlier instant takes as_of: nobody may take an answer for the present for another.
func TestAsOfGoesWithEvaluationsOnly(t *testing.T) {
	s := start(t)
	h := holdersOf(t, "default")
	id, _ := s.decides(t, "bob", "documents:read", "acme")
	search := question(named("user", "bob"), "documents:read", "x")
	for _, row := range []struct{ method, path, query, body string }{
		{http.MethodPost, "/access/v1/search/subject", "as_of=1", search},
		{http.MethodPost, "/v1/access/reach", "as_of=1", search},
		{http.MethodGet, "/v1/access/unused", "as_of=1", ""},
		{http.MethodPost, "/v1/data", "as_of=1", "{}"},
		{http.MethodGet, "/v1/decisions", "as_of=1", ""},
		{http.MethodGet, "/v1/decisions/" + id, "as_of=1", ""},
		{http.MethodGet, "/v1/decisions/" + id + "/explanation", "as_of=1", ""},
		{http.MethodPost, "/v1/apikeys/gateway/drill", "as_of=1", ""},
		{http.MethodGet, "/v1/keys", "as_of=1", ""},
		{http.MethodGet, "/v1/users", "as_of=1", ""},
		{http.MethodGet, "/v1/users/bob", "as_of=1", ""},
		{http.MethodPatch, "/v1/users/bob", "as_of=1", `{"title":"then"}`},
		{http.MethodPost, evaluationPath, "as_of=", search},
		{http.MethodPost, evaluationPath, "as_of=1&as_of=2", search},
	} {
		a := s.managed(t, h.pair("tenant-admin"), row.method, row.path+"?"+row.query, row.body)
		if a.status != http.StatusBadRequest {
			t.Errorf("%s %s?%s: %v", row.method, row.path, row.query, a)
		}
	}
}

// An answer about an earlier instant says so, and so does its record, also that of an item that is no request.
func TestAsOfIsSaid(t *testing.T) {
	s := start(t)
	admin := holdersOf(t, "default").pair("tenant-admin")
	type said struct {
		Context struct {
			ID   string `json:"decision_id"`
			AsOf string `json:"as_of"`
		} `json:"context"`
	}
	good := question(named("user", "bob"), "documents:read", "report")
	then := fmt.Sprint("?as_of=", s.store.Newest())
	var one, explained, present, again said
	var batch struct{ Evaluations []said }
	s.ask(t, admin, evaluationPath+then, good).decode(t, &one)
	s.ask(t, admin, "/v1/explain"+then, good).decode(t, &explained)
	s.ask(t, admin, evaluationPath, good).decode(t, &present)
	s.ask(t, admin, evaluationsPath+then, `{"evaluations":[`+good+`,7,{"subject":{}}]}`).decode(t, &batch)
	s.managed(t, admin, http.MethodGet, "/v1/decisions/"+one.Context.ID+"/explanation", "").decode(t, &again)
	if at, err := time.Parse(time.RFC3339Nano, one.Context.AsOf); err != nil || at.After(time.Now()) || explained.Context.AsOf != one.Context.AsOf ||
		again.Context.AsOf != one.Context.AsOf || present.Context.AsOf != "" || len(batch.Evaluations) != 3 {
		t.Fatalf("%+v %+v %+v %+v %+v", one, explained, again, present, batch)
	}
	for _, e := range batch.Evaluations {
		record := s.managed(t, admin, http.MethodGet, "/v1/decisions/"+e.Context.ID, "").object(t)
		if e.Context.AsOf != one.Context.AsOf || record["kind"] != "as_of" {
			t.Errorf("%+v is recorded as %v", e, record)
		}
	}
}
