package server

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/gofiber/fiber/v2"

	"mandate/authn"
	"mandate/datastore"
	"mandate/datastore/memo"
	"mandate/engine"
)

// thenAt is an earlier instant that a request asks about.
type thenAt struct {
	at time.Time
	// authn tells who the subjects were then.
	authn *authn.Authenticator
}

// asOf is the revision or the time in the query, empty for none.
func asOf(c *fiber.Ctx) (string, error) {
	if len(c.Request().URI().QueryString()) == 0 {
		return "", nil
	}
	switch sent := c.Request().URI().QueryArgs().PeekMulti("as_of"); {
	case len(sent) == 0:
		return "", nil
	case len(sent) == 1 && len(sent[0]) > 0:
		return string(sent[0]), nil
	}
	return "", badRequest("as_of must be one revision or time: leave it out to ask about the present")
}

// past is the request as of the instant that its query names: with the facts and the policies of then. The caller is who it is now, and
// the policies of now say whether it may ask, for each organization that the requests are about, as the action decisions.as_of. Without
// an as_of it is the request itself.
func (a *asking) past(ctx context.Context, requests ...evaluationRequest) (*asking, error) {
	if a.asOf == "" {
		return a, nil
	}
	if err := a.permitPast(requests); err != nil {
		return nil, err
	}
	revision, at, err := a.instant(ctx)
	if err != nil {
		return nil, err
	}
	view, err := a.server.store.ViewAt(ctx, revision)
	if err != nil {
		return nil, pastFailure(err)
	}
	a.view = view
	earlier := *a
	earlier.reading, earlier.then = memo.Over(view), &thenAt{at: at, authn: a.tenant.Authn.At(at)}
	state, found, err := a.tenant.Policies.State(ctx, view)
	if err != nil {
		return nil, pastFailure(err)
	}
	if found {
		if earlier.policies, err = a.tenant.Policies.Compiled(ctx, view, state.Active); err != nil {
			return nil, pastFailure(err)
		}
	}
	return &earlier, nil
}

func (a *asking) permitPast(requests []evaluationRequest) error {
	if a.local {
		return nil
	}
	var orgs []string
	for _, r := range requests {
		if org := r.org(); !slices.Contains(orgs, org) {
			orgs = append(orgs, org)
		}
	}
	if orgs == nil {
		orgs = []string{""}
	}
	for _, org := range orgs {
		resource := map[string]any{"type": "decision", "id": "as_of"}
		if org != "" {
			resource["properties"] = map[string]string{"org": org}
		}
		if _, err := a.manage("decisions.as_of", resource); err != nil {
			return err
		}
	}
	return nil
}

// org is the organization that the resource of a request names, empty when it names none.
func (r *evaluationRequest) org() string {
	var resource struct {
		Type       string `json:"type"`
		ID         string `json:"id"`
		Properties struct {
			Org string `json:"org"`
		} `json:"properties"`
	}
	if json.Unmarshal(r.Resource, &resource) != nil {
		return "" // the request is refused for it when it is decided
	}
	if resource.Type == "organization" {
		return resource.ID
	}
	return resource.Properties.Org
}

// instant is the revision that as_of names and when it was committed, or the time that it names and the revision that was the newest then.
func (a *asking) instant(ctx context.Context) (datastore.Revision, time.Time, error) {
	store := a.server.store
	if at, err := time.Parse(time.RFC3339, a.asOf); err == nil {
		revision, err := store.RevisionAt(ctx, at)
		if errors.Is(err, datastore.ErrRevisionAhead) {
			return 0, at, badRequest("as_of is in the future: it must be a time that has been")
		}
		return revision, at, pastFailure(err)
	}
	number, err := strconv.ParseUint(a.asOf, 10, 64)
	if err != nil || number == 0 {
		return 0, time.Time{}, badRequest("as_of must be the revision of an answer, or a time such as 2026-11-17T10:00:00Z")
	}
	revision := datastore.Revision(number)
	if revision > store.Newest() {
		return 0, time.Time{}, badRequest(fmt.Sprintf("as_of is in the future: the newest revision is %d", store.Newest()))
	}
	for change, err := range store.Watch(ctx, revision-1) {
		return revision, change.Time, pastFailure(err)
	}
	return 0, time.Time{}, ctx.Err()
}

// pastFailure says what to do when history does not reach back so far.
func pastFailure(err error) error {
	if errors.Is(err, datastore.ErrRevisionGone) {
		return &requestError{http.StatusGone, "revision_gone",
			"the facts of then are no longer kept: the time for which they are is over. The setting history in the configuration keeps more from now on"}
	}
	return err
}

// evaluateThen decides as it would have been decided then.
func (a *asking) evaluateThen(ctx context.Context, read func() (evaluationRequest, error)) (engine.Answer, error) {
	request, err := read()
	if err != nil {
		return engine.Answer{}, err
	}
	in, err := a.input(ctx, a.reading, request)
	if err != nil {
		return engine.Answer{}, err
	}
	answer, err := a.tenant.Engine.AsOf(ctx, a.reading, a.policies, engine.Access, in, a.then.at)
	return answer, a.reportPolicy(ctx, answer.Decision, err)
}

// resolve is who a named subject is, or was.
func (a *asking) resolve(ctx context.Context, r *memo.Reading, who subject) (*authn.Principal, error) {
	if a.then != nil {
		return a.then.authn.Resolve(ctx, r, who.Type, who.ID)
	}
	return a.tenant.Authn.Resolve(ctx, r, who.Type, who.ID)
}
