package server

import (
	"errors"
	"net/http"
	"net/url"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/gofiber/fiber/v2"

	"mandate/engine"
	"mandate/manage"
)

// maxQuerySegments bounds the path of a data query.
const maxQuerySegments = 32

// data answers like OPA's Data API, POST with input: the document at the path, or no result when it is undefined. The
// policy mandate.manage decides who may ask, as the action data.query. It is part of the administrative
// API, where credentials may come in the query.
func (h *handler) data(c *fiber.Ctx) error {
	return h.ask(c, acceptQuery, []string{"decide", "manage"}, func(a *asking) error {
		body := []byte(`{}`)
		if len(c.Request().Body()) > 0 {
			var err error
			if body, err = jsonBody(c); err != nil {
				return err
			}
		}
		var request struct {
			Input jsontext.Value `json:"input"`
		}
		if err := json.Unmarshal(body, &request); err != nil {
			return badRequest("the body must be an object with the member input")
		}
		path, err := dataPath(strings.Clone(c.Params("*")))
		if err != nil {
			return err
		}
		if err := a.permit("data.query", "data", strings.Join(path, "/")); err != nil {
			return err
		}
		queried, err := a.tenant.Engine.Query(a.server.base, a.reading, a.policies, path, request.Input)
		if err != nil {
			return a.policyFailure(err)
		}
		response := map[string]any{"decision_id": queried.ID.String()}
		if queried.Result != nil {
			response["result"] = jsontext.Value(queried.Result)
		}
		return writeJSON(c, response)
	})
}

// dataPath splits the rest of the URL's path into segments, which may be escaped.
func dataPath(rest string) ([]string, error) {
	if rest == "" {
		return nil, nil
	}
	path := strings.Split(rest, "/")
	if len(path) > maxQuerySegments {
		return nil, badRequest("the path is too long")
	}
	for i, segment := range path {
		unescaped, err := url.PathUnescape(segment)
		if err != nil || unescaped == "" || !utf8.ValidString(unescaped) {
			return nil, badRequest("the path has an empty or wrongly escaped segment")
		}
		path[i] = unescaped
	}
	return path, nil
}

// permit asks the policy mandate.manage whether the caller may do this, and refuses what it does not allow.
func (a *asking) permit(action, resourceType, id string) error {
	_, err := a.manage(action, map[string]any{"type": resourceType, "id": id})
	return err
}

// manage asks as permit does, about a resource with properties, and returns what was decided. There may be no caller.
func (a *asking) manage(action string, resource map[string]any) (*engine.Decision, error) {
	decision, err := a.tenant.Manage.Permit(a.server.base, a.reading, &manage.Request{Caller: a.caller, Policies: a.policies}, action, resource)
	if err != nil {
		return nil, a.policyFailure(err)
	}
	return decision, nil
}

// policyFailure is the answer when a policy could not be evaluated: the caller's question was not answered, which is
// the policy's fault or its limit, and no decision to rely on.
func (a *asking) policyFailure(err error) error {
	var failed *engine.EvaluationError
	if !errors.As(err, &failed) {
		return err
	}
	a.server.log.Error("a policy failed", "tenant", a.tenant.ID, "policy_revision", a.policies.Revision(),
		"data_revision", a.reading.Revision(), "error", err)
	return &requestError{http.StatusUnprocessableEntity, string(failed.Kind), "the policy could not be evaluated: its owner finds the reason in the log"}
}
