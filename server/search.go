package server

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/gofiber/fiber/v2"

	"mandate/access"
	"mandate/datastore"
	"mandate/datastore/memo"
	"mandate/engine"
)

// Bounds of one page of a search: its results, the decisions and the time that it may take, and what it remembers of the facts.
const (
	usualResults   = 100
	maxResults     = 1000
	maxSearched    = 20_000
	maxSearchTime  = 2 * time.Second
	searchMemory   = 16 << 20
	maxLimitDigits = 18
)

// searchRoutes are those of AuthZEN Search (§8), and of all that a subject can do. The policy mandate.manage decides who may search,
// as the action access.search; with an organization in what is searched for, that is the property org.
func (h *handler) searchRoutes(base string) {
	app := h.server.app
	for _, k := range []searchKind{searchSubjects, searchResources, searchActions} {
		app.Post(base+"/access/v1/search/"+string(k), h.on(surfaceAuthZEN, h.searches(refuseQuery, k)))
	}
	app.Post(base+"/v1/access/reach", h.limited(decisionRoutes, surfaceProblem, h.searches(acceptQuery, searchReach)))
}

// searchKind says what is searched for.
type searchKind string

const (
	searchSubjects  searchKind = "subject"
	searchResources searchKind = "resource"
	searchActions   searchKind = "action"
	searchReach     searchKind = "reach" // resources, each with its actions
)

// searchRequest is a Search API request (AuthZEN §8). What is searched for need not be there. Unknown members are ignored.
type searchRequest struct {
	evaluationRequest `json:",inline"`
	Page              jsontext.Value `json:"page"`
	Options           jsontext.Value `json:"options"`
	Org               string         `json:"org"` // of a search for all that a subject can do

	limit     int // -1 when it was not sent
	token     string
	everybody bool
}

// SearchResponse is a Search API response (AuthZEN §8.3).
type SearchResponse struct {
	Page struct {
		NextToken string `json:"next_token"`
		Count     int    `json:"count"`
	} `json:"page"`
	Context SearchContext `json:"context"`
	Results []any         `json:"results"`
}

// SearchContext says what was asked, so that nobody takes a narrow search for a complete one.
type SearchContext struct {
	// Candidates are those about whom the policy was asked, in words.
	Candidates []string `json:"candidates"`
	Everybody  bool     `json:"everybody"`
	Asked      int      `json:"asked"`
	// Failed are the decisions that the policy could not make, which are denials.
	Failed int `json:"failed,omitzero"`
	// Reasons are those of the results, in their order.
	Reasons        []engine.Reason    `json:"reasons,omitempty"`
	PolicyRevision string             `json:"policy_revision"`
	DataRevision   datastore.Revision `json:"data_revision"`
}

// Reached is a resource with the actions that the subject can take on it.
type Reached struct {
	Resource jsontext.Value  `json:"resource"`
	Actions  []ReachedAction `json:"actions"`
}

// ReachedAction is an action, and why it is allowed.
type ReachedAction struct {
	Name   string `json:"name"`
	Reason string `json:"reason,omitempty"`
}

// searched is where a search goes on: as of the same revisions, with the same limit.
type searched struct {
	Revision datastore.Revision `json:"r"`
	Policy   string             `json:"p"`
	Limit    int                `json:"l"`
	Cursor   access.Cursor      `json:"c"`
}

// search is one page of a search in progress.
type search struct {
	*asking
	kind    searchKind
	request searchRequest
	reading *memo.Reading // of the revision that the search began at
	facts   access.Facts
	at      time.Time
	from    searched
	within  string   // the organization of which alone the caller may be told
	actions []string // that were asked about, in words
	answer  SearchResponse
}

func (h *handler) searches(query secretsInQuery, kind searchKind) fiber.Handler {
	return func(c *fiber.Ctx) error {
		return h.ask(c, query, []string{"decide", "manage"}, func(a *asking) error {
			body, err := jsonBody(c)
			if err != nil {
				return err
			}
			s := &search{asking: a, kind: kind, at: a.tenant.Now()}
			if s.request, err = readSearch(kind, body); err != nil {
				return err
			}
			org := s.org()
			resource := map[string]any{"type": "access", "id": string(kind)}
			if org != "" {
				resource["properties"] = map[string]string{"org": org}
			}
			if _, err := a.manage("access.search", resource); err != nil {
				return err
			}
			if err := s.confine(org); err != nil {
				return err
			}
			release, err := a.slot()
			if err != nil {
				return err
			}
			defer release()
			if err := s.run(a.server.base, org); err != nil {
				return err
			}
			return writeJSON(c, s.answer)
		})
	}
}

// confine keeps the search within the organization, unless the caller may search the whole tenant. Everybody is not of one organization.
func (s *search) confine(org string) error {
	if org == "" {
		return nil
	}
	_, err := s.manage("access.search", map[string]any{"type": "access", "id": string(s.kind)})
	if err != nil && s.request.everybody {
		return err
	}
	if err != nil {
		s.within = org
	}
	return nil
}

// readSearch reads a request. Everything but what is searched for must be complete (AuthZEN §8.4 to §8.6).
func readSearch(kind searchKind, body []byte) (searchRequest, error) {
	q := searchRequest{limit: -1}
	if err := json.Unmarshal(body, &q); err != nil {
		return q, badRequest("the body is not a search request")
	}
	var err error
	whole := q.evaluationRequest
	nameless := map[string]string{"name": "x"}
	switch kind {
	case searchSubjects:
		whole.Subject, err = filled(q.Subject, map[string]string{"id": "x"})
	case searchResources:
		whole.Resource, err = filled(q.Resource, map[string]string{"id": "x"})
	case searchActions:
		q.Action = nil
		whole.Action, err = filled(jsontext.Value("{}"), nameless)
	case searchReach:
		q.Action, q.Resource = nil, nil
		whole.Action, whole.Resource = jsontext.Value(`{"name":"x"}`), jsontext.Value(`{"type":"x","id":"x"}`)
	}
	if err != nil {
		return q, err
	}
	if _, err := whole.validate(); err != nil {
		return q, err
	}
	return q, q.readPage()
}

func (q *searchRequest) readPage() error {
	var page struct {
		Token      jsontext.Value `json:"token"`
		Limit      jsontext.Value `json:"limit"`
		Properties jsontext.Value `json:"properties"`
	}
	if q.Page != nil && (q.Page.Kind() != '{' || json.Unmarshal(q.Page, &page) != nil) {
		return badRequest("page must be an object")
	}
	if page.Token != nil && json.Unmarshal(page.Token, &q.token) != nil {
		return badRequest("page.token must be a string: the next_token of the page before")
	}
	if page.Limit != nil && (len(page.Limit) > maxLimitDigits || json.Unmarshal(page.Limit, &q.limit) != nil || q.limit < 0) {
		return badRequest("page.limit must be an integer that is not negative")
	}
	if page.Properties != nil && page.Properties.Kind() != '{' {
		return badRequest("page.properties must be an object")
	}
	var options struct {
		Everybody bool `json:"everybody"`
	}
	if q.Options != nil && (q.Options.Kind() != '{' || json.Unmarshal(q.Options, &options) != nil) {
		return badRequest("options must be an object; options.everybody, if sent, true or false")
	}
	q.everybody = options.Everybody
	return nil
}

// filled is an entity with other members, whatever it had under their names.
func filled(entity jsontext.Value, members map[string]string) (jsontext.Value, error) {
	parts := map[string]jsontext.Value{}
	if entity != nil && (entity.Kind() != '{' || json.Unmarshal(entity, &parts) != nil) {
		return nil, badRequest("subject, action and resource must be objects")
	}
	for name, value := range members {
		text, err := json.Marshal(value)
		if err != nil {
			return nil, fmt.Errorf("encode an entity: %w", err)
		}
		parts[name] = text
	}
	text, err := json.Marshal(parts, json.Deterministic(true))
	if err != nil {
		return nil, fmt.Errorf("encode an entity: %w", err)
	}
	return text, nil
}

// knownAs is what the facts know an entity by.
func knownAs(entity jsontext.Value) access.Resource {
	var e struct {
		Type       string `json:"type"`
		ID         string `json:"id"`
		Properties struct {
			Org jsontext.Value `json:"org"`
		} `json:"properties"`
	}
	if entity == nil || json.Unmarshal(entity, &e) != nil {
		return access.Resource{}
	}
	about := access.Resource{Entity: access.Entity{Type: e.Type, ID: e.ID}}
	if e.Properties.Org == nil || json.Unmarshal(e.Properties.Org, &about.Org) != nil {
		about.Org = ""
	}
	return about
}

// org is the organization that the search is confined to, empty for none.
func (s *search) org() string {
	if s.kind == searchReach {
		return s.request.Org
	}
	about := knownAs(s.request.Resource)
	if about.Type == access.Organization && s.kind != searchResources {
		return about.ID
	}
	return about.Org
}

func (s *search) run(ctx context.Context, org string) error {
	if err := s.begin(); err != nil {
		return err
	}
	remembering := memo.New(s.server.store, memo.Options{Bytes: searchMemory, Now: s.tenant.Now})
	s.reading = remembering.BeginAt(s.from.Revision)
	defer s.reading.End()
	s.facts = access.Facts{Tenant: s.tenant.ID, Reader: s.reading, Within: s.within}
	err := s.page(ctx, org)
	switch {
	case errors.Is(err, datastore.ErrRevisionGone):
		return badRequest("the search began too long ago: begin again, without page.token")
	case errors.Is(err, access.ErrTooMany):
		return badRequest(access.ErrTooMany.Error())
	}
	return err
}

// begin is at the newest revision, or where the page before has ended.
func (s *search) begin() error {
	limit := s.request.limit
	if s.request.token == "" {
		if limit < 0 {
			limit = usualResults
		}
		s.from = searched{Revision: s.asking.reading.Revision(), Policy: s.policies.Revision(), Limit: min(limit, maxResults)}
		return nil
	}
	wrong := badRequest("page.token is not that of this search: nothing of it may be changed between its pages")
	sealed, err := base64.RawURLEncoding.DecodeString(s.request.token)
	if err != nil {
		return wrong
	}
	text, err := s.tenant.Master.Open(sealed, s.sealedFor())
	if err != nil || json.Unmarshal(text, &s.from) != nil || (limit >= 0 && min(limit, maxResults) != s.from.Limit) {
		return wrong
	}
	if s.from.Policy != s.policies.Revision() {
		return badRequest("the policies have changed since the search began: begin again, without page.token")
	}
	return nil
}

// sealedFor is what a token is good for: this search of this caller.
func (s *search) sealedFor() string {
	q := s.request
	question := memo.Part(memo.Part(memo.Part(nil, string(s.caller.Type)), s.caller.Subject), s.caller.Org)
	question = memo.Part(memo.Part(question, string(s.tenant.ID)), s.kind)
	for _, part := range []jsontext.Value{q.Subject, q.Action, q.Resource, q.Context} {
		part = part.Clone()
		_ = part.Canonicalize() // fails for what is no JSON only
		question = memo.Part(question, part)
	}
	question = memo.Part(memo.Part(question, q.Org), fmt.Sprint(q.everybody))
	key := memo.KeyOf(question)
	return "page of a search " + hex.EncodeToString(key[:])
}

func (s *search) page(ctx context.Context, org string) error {
	candidates, ask, err := s.plan(ctx, org)
	if err != nil {
		return err
	}
	s.answer.Results = []any{}
	s.answer.Context = SearchContext{Candidates: candidates.Asked, Everybody: s.request.everybody, PolicyRevision: s.from.Policy, DataRevision: s.from.Revision}
	inTime, cancel := context.WithTimeout(ctx, maxSearchTime)
	defer cancel()
	steps := 0
	next, err := candidates.From(ctx, s.from.Cursor, func() bool {
		steps++
		return steps == 1 || (s.answer.Context.Asked < maxSearched && inTime.Err() == nil)
	}, func(e access.Entity) error { return ask(ctx, e) })
	if err != nil {
		return err
	}
	s.answer.Page.Count = len(s.answer.Results)
	s.answer.Context.Candidates = append(s.answer.Context.Candidates, s.actions...)
	if next.Done {
		return nil
	}
	s.from.Cursor = next
	text, err := json.Marshal(s.from)
	if err != nil {
		return fmt.Errorf("encode a page token: %w", err)
	}
	sealed, err := s.tenant.Master.Seal(text, s.sealedFor())
	if err != nil {
		return fmt.Errorf("seal a page token: %w", err)
	}
	s.answer.Page.NextToken = base64.RawURLEncoding.EncodeToString(sealed)
	return nil
}

// plan finds who or what is asked about, and how.
func (s *search) plan(ctx context.Context, org string) (access.Candidates, func(context.Context, access.Entity) error, error) {
	q := s.request
	subject, about := knownAs(q.Subject), knownAs(q.Resource)
	switch s.kind {
	case searchSubjects:
		about.Org = org
		candidates, err := s.facts.Subjects(ctx, subject.Type, about, q.everybody)
		return candidates, s.trying(q.Subject, "id", func(r *evaluationRequest, entity jsontext.Value) { r.Subject = entity }), err
	case searchResources:
		candidates, err := s.facts.Resources(ctx, about.Type, subject.Entity, org, q.everybody)
		return candidates, s.trying(q.Resource, "id", func(r *evaluationRequest, entity jsontext.Value) { r.Resource = entity }), err
	case searchActions:
		candidates, err := s.facts.Actions(ctx, subject.Entity, org)
		return candidates, s.trying(nil, "name", func(r *evaluationRequest, entity jsontext.Value) { r.Action = entity }), err
	}
	candidates, err := s.facts.Reach(ctx, subject.Entity, org, q.everybody)
	if err == nil && org == "" {
		org, err = s.facts.OrgOf(ctx, subject.Entity) // what is bound to one is asked about there only
	}
	return candidates, func(ctx context.Context, e access.Entity) error { return s.reach(ctx, subject.Entity, e, org) }, err
}

// trying asks about candidates that become results when they are allowed.
func (s *search) trying(part jsontext.Value, member string, put func(*evaluationRequest, jsontext.Value)) func(context.Context, access.Entity) error {
	return func(ctx context.Context, e access.Entity) error {
		entity, err := filled(part, map[string]string{member: e.ID})
		if err != nil {
			return err
		}
		r := s.request.evaluationRequest
		put(&r, entity)
		d, err := s.decide(ctx, r)
		if err != nil || !d.Allow {
			return err
		}
		if len(s.answer.Results) == s.from.Limit {
			return access.ErrEnough
		}
		s.answer.Results = append(s.answer.Results, entity)
		s.answer.Context.Reasons = append(s.answer.Context.Reasons, firstReason(d))
		return nil
	}
}

func firstReason(d *engine.Decision) engine.Reason {
	if len(d.Reasons) == 0 {
		return engine.Reason{}
	}
	return d.Reasons[0]
}

// decide asks the policy about one candidate, which is no decision that anybody acts on: it is not recorded.
func (s *search) decide(ctx context.Context, r evaluationRequest) (*engine.Decision, error) {
	s.answer.Context.Asked++
	in, err := s.input(ctx, s.reading, r)
	if err != nil {
		return nil, err
	}
	d, err := s.tenant.Engine.Again(ctx, s.reading, s.policies, engine.Access, in, s.at)
	if failed := (*engine.EvaluationError)(nil); errors.As(err, &failed) {
		s.answer.Context.Failed++
		if failed.Kind == engine.FactsUnavailable {
			return nil, fmt.Errorf("search: %w", err)
		}
	}
	return d, s.reportPolicy(ctx, d, err)
}

// reach asks for which actions the subject may use a resource.
func (s *search) reach(ctx context.Context, subject, e access.Entity, org string) error {
	var properties jsontext.Value
	if e.Type == access.Organization {
		org = e.ID
	} else if org != "" {
		text, err := json.Marshal(map[string]string{"org": org})
		if err != nil {
			return fmt.Errorf("encode an entity: %w", err)
		}
		properties = text
	}
	resource, err := json.Marshal(struct {
		Type       string         `json:"type"`
		ID         string         `json:"id"`
		Properties jsontext.Value `json:"properties,omitzero"`
	}{e.Type, e.ID, properties})
	if err != nil {
		return fmt.Errorf("encode an entity: %w", err)
	}
	actions, err := s.facts.Actions(ctx, subject, org)
	if err != nil {
		return err
	}
	s.actions = actions.Asked
	found := Reached{Resource: resource}
	_, err = actions.From(ctx, access.Cursor{}, func() bool { return true }, func(action access.Entity) error {
		name, err := filled(nil, map[string]string{"name": action.ID})
		if err != nil {
			return err
		}
		d, err := s.decide(ctx, evaluationRequest{Subject: s.request.Subject, Action: name, Resource: resource, Context: s.request.Context})
		if err == nil && d.Allow {
			found.Actions = append(found.Actions, ReachedAction{action.ID, firstReason(d).Code})
		}
		return err
	})
	if err != nil || len(found.Actions) == 0 {
		return err
	}
	if len(s.answer.Results) == s.from.Limit {
		return access.ErrEnough
	}
	s.answer.Results = append(s.answer.Results, found)
	return nil
}
