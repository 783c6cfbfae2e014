package server

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/gofiber/fiber/v2"

	"mandate/authn"
	"mandate/datastore"
	"mandate/engine"
)

// Bounds of one batch: its items, and what its defaults come to when every item has them.
const (
	maxEvaluations  = 1000
	maxDefaultBytes = 4 << 20
	maxBatchTime    = 10 * time.Second
	// maxPasswords bounds the subjects of one request that are given by a Basic credential: each may cost the check of a
	// password, of which few run at once.
	maxPasswords = 10
)

// evaluationRequest is an Access Evaluation request (AuthZEN §6). Its parts stay JSON until they are needed,
// so that policies see them exactly as they were sent. Unknown members are ignored.
type evaluationRequest struct {
	Subject  jsontext.Value `json:"subject"`
	Action   jsontext.Value `json:"action"`
	Resource jsontext.Value `json:"resource"`
	Context  jsontext.Value `json:"context"`
}

// evaluationsRequest is an Access Evaluations request (AuthZEN §7).
type evaluationsRequest struct {
	evaluationRequest `json:",inline"`
	Evaluations       jsontext.Value `json:"evaluations"`
	Options           jsontext.Value `json:"options"`
}

// evaluationResponse is a Decision (AuthZEN §5.5).
type evaluationResponse struct {
	Decision bool            `json:"decision"`
	Context  responseContext `json:"context"`
}

type responseContext struct {
	DecisionID     string             `json:"decision_id"`
	Reasons        []engine.Reason    `json:"reasons"`
	Obligations    []any              `json:"obligations"`
	PolicyRevision string             `json:"policy_revision,omitempty"`
	DataRevision   datastore.Revision `json:"data_revision"`
	Error          *itemError         `json:"error,omitempty"`
}

// itemError says in a batch why one item could not be evaluated (AuthZEN §7.2.1).
type itemError struct {
	Status  int    `json:"status"`
	Message string `json:"message"`
}

// semantic is an evaluations semantic (AuthZEN §7.1.2.1).
type semantic string

const (
	executeAll          semantic = "execute_all"
	denyOnFirstDeny     semantic = "deny_on_first_deny"
	permitOnFirstPermit semantic = "permit_on_first_permit"
)

// asking is one authenticated request for decisions: all of them are made by one caller on one snapshot.
type asking struct {
	*handler
	view      datastore.View
	caller    *authn.Principal
	passwords int  // subjects given by a Basic credential so far
	reported  bool // a failed policy has been logged: once for a request is enough
}

// ask authenticates the caller before anything of the body is looked at, so that an anonymous one learns nothing. An
// access token must have one of the scopes.
func (h *handler) ask(c *fiber.Ctx, query secretsInQuery, scopes []string, do func(*asking) error) error {
	ctx := h.server.base
	view, err := h.server.store.View(ctx)
	if err != nil {
		return fmt.Errorf("open a view: %w", err)
	}
	defer view.Close()
	caller, err := h.tenant.Authn.Authenticate(ctx, view, presented(c, query))
	if err != nil {
		return err
	}
	if err := h.tenant.Authn.ForMandate(caller, scopes...); err != nil {
		return err
	}
	return do(&asking{handler: h, view: view, caller: caller})
}

func (h *handler) evaluation(c *fiber.Ctx) error {
	return h.ask(c, refuseQuery, []string{"decide"}, func(a *asking) error {
		body, err := jsonBody(c)
		if err != nil {
			return err
		}
		var request evaluationRequest
		if err := json.Unmarshal(body, &request); err != nil {
			return badRequest("the body is not an evaluation request")
		}
		response, err := a.evaluate(a.server.base, request)
		if err != nil {
			return err
		}
		return writeJSON(c, response)
	})
}

func (h *handler) evaluations(c *fiber.Ctx) error {
	return h.ask(c, refuseQuery, []string{"decide"}, func(a *asking) error {
		body, err := jsonBody(c)
		if err != nil {
			return err
		}
		var request evaluationsRequest
		if err := json.Unmarshal(body, &request); err != nil {
			return badRequest("the body is not an evaluations request")
		}
		items, how, err := request.plan()
		if err != nil {
			return err
		}
		if len(items) == 0 {
			response, err := a.evaluate(a.server.base, request.evaluationRequest)
			if err != nil {
				return err
			}
			return writeJSON(c, response)
		}
		responses, err := a.evaluateAll(a.server.base, request.evaluationRequest, items, how)
		if err != nil {
			return err
		}
		return writeJSON(c, map[string]any{"evaluations": responses})
	})
}

// plan reads the items and how to run them. No items means that the request is a single evaluation.
func (r *evaluationsRequest) plan() ([]jsontext.Value, semantic, error) {
	var items []jsontext.Value
	if r.Evaluations != nil {
		if r.Evaluations.Kind() != '[' || json.Unmarshal(r.Evaluations, &items) != nil {
			return nil, "", badRequest("evaluations must be an array")
		}
		if len(items) > maxEvaluations {
			return nil, "", badRequest(fmt.Sprintf("evaluations has more than %d items: split the batch", maxEvaluations))
		}
		if defaults := len(r.Subject) + len(r.Action) + len(r.Resource) + len(r.Context); len(items)*defaults > maxDefaultBytes {
			return nil, "", badRequest("the defaults are too large for so many evaluations: split the batch")
		}
	}
	options := struct {
		Semantic jsontext.Value `json:"evaluations_semantic"`
	}{}
	if r.Options != nil && (r.Options.Kind() != '{' || json.Unmarshal(r.Options, &options) != nil) {
		return nil, "", badRequest("options must be an object")
	}
	how := executeAll
	if options.Semantic != nil && json.Unmarshal(options.Semantic, &how) != nil {
		how = ""
	}
	switch how {
	case executeAll, denyOnFirstDeny, permitOnFirstPermit:
		return items, how, nil
	}
	return nil, "", badRequest("options.evaluations_semantic must be execute_all, deny_on_first_deny or permit_on_first_permit")
}

// evaluateAll answers each item in order. An item that cannot be evaluated is a denial with its error; the others
// are answered all the same.
func (a *asking) evaluateAll(ctx context.Context, defaults evaluationRequest, items []jsontext.Value, how semantic) ([]evaluationResponse, error) {
	responses := make([]evaluationResponse, 0, len(items))
	inTime, cancel := context.WithTimeout(ctx, maxBatchTime)
	defer cancel()
	for _, item := range items {
		response, err := a.evaluateItem(inTime, defaults, item)
		if err != nil && inTime.Err() != nil && ctx.Err() == nil {
			err = &requestError{http.StatusServiceUnavailable, "batch_timeout", "the batch took too long: split it"}
		}
		var wrong *requestError
		if errors.As(err, &wrong) {
			response = a.response(denial(wrong.Code, wrong.Detail))
			response.Context.Error = &itemError{Status: wrong.Status, Message: wrong.Detail}
		} else if err != nil {
			return nil, err
		}
		responses = append(responses, response)
		if (how == denyOnFirstDeny && !response.Decision) || (how == permitOnFirstPermit && response.Decision) {
			break
		}
	}
	return responses, nil
}

func (a *asking) evaluateItem(ctx context.Context, defaults evaluationRequest, item jsontext.Value) (evaluationResponse, error) {
	request := evaluationRequest{}
	if item.Kind() != '{' || json.Unmarshal(item, &request) != nil {
		return evaluationResponse{}, badRequest("each of the evaluations must be an object")
	}
	// A member of the item replaces the default as a whole; an unused default is never looked at (AuthZEN §7.1.1).
	for _, part := range []struct{ given, fallback *jsontext.Value }{
		{&request.Subject, &defaults.Subject}, {&request.Action, &defaults.Action},
		{&request.Resource, &defaults.Resource}, {&request.Context, &defaults.Context},
	} {
		if *part.given == nil {
			*part.given = *part.fallback
		}
	}
	return a.evaluate(ctx, request)
}

func (a *asking) response(d engine.Decision) evaluationResponse {
	if d.PolicyRevision == "" {
		d.PolicyRevision, d.DataRevision = a.tenant.Engine.Policies().Revision(), a.view.Revision()
	}
	return evaluationResponse{Decision: d.Allow, Context: responseContext{
		DecisionID: a.server.decisions.next(), Reasons: d.Reasons, Obligations: d.Obligations,
		PolicyRevision: d.PolicyRevision, DataRevision: d.DataRevision,
	}}
}
