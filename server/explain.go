package server

import (
	"context"
	"errors"
	"fmt"

	"github.com/go-json-experiment/json"
	"github.com/gofiber/fiber/v2"

	"mandate/authn"
	"mandate/datastore"
	"mandate/datastore/memo"
	"mandate/directory"
	"mandate/engine"
)

// Explained is an evaluation response with the rules and facts that the decision rests on.
type Explained struct {
	Decision bool `json:"decision"`
	Context  struct {
		DecisionID     string             `json:"decision_id"`
		Reasons        []engine.Reason    `json:"reasons"`
		Obligations    []any              `json:"obligations"`
		PolicyRevision string             `json:"policy_revision,omitempty"`
		DataRevision   datastore.Revision `json:"data_revision"`
	} `json:"context"`
	Explanation *explanation `json:"explanation,omitempty"`
}

type explanation struct {
	Rules []engine.RuleTrace `json:"rules"`
	Facts []engine.FactRead  `json:"facts"`
}

// explain answers an evaluation request with its explanation. The policy mandate.manage decides who may see the
// facts, as the action decisions.explain.
func (h *handler) explain(c *fiber.Ctx) error {
	return h.ask(c, acceptQuery, []string{"manage"}, func(a *asking) error {
		body, err := jsonBody(c)
		if err != nil {
			return err
		}
		if err := a.permit("decisions.explain", "decision", "new"); err != nil {
			return err
		}
		explained, err := a.explain(a.server.base, body)
		if err != nil {
			return err
		}
		return writeJSON(c, explained)
	})
}

// Explain decides an evaluation request as the caller, without HTTP: for the operator who holds the data folder.
// The error says what is wrong with the request.
func (s *Server) Explain(ctx context.Context, tenant directory.Tenant, caller *authn.Principal, body []byte) (Explained, error) {
	h, ok := s.tenants[tenant]
	if !ok {
		return Explained{}, fmt.Errorf("there is no tenant %q", tenant)
	}
	if err := checkJSON(body); err != nil {
		return Explained{}, err
	}
	view, err := s.store.View(ctx)
	if err != nil {
		return Explained{}, fmt.Errorf("open a view: %w", err)
	}
	defer view.Close()
	return (&asking{handler: h, reading: memo.Over(view), policies: h.tenant.Engine.Policies(), caller: caller}).explain(ctx, body)
}

func (a *asking) explain(ctx context.Context, body []byte) (Explained, error) {
	var explained Explained
	var request evaluationRequest
	if err := json.Unmarshal(body, &request); err != nil {
		return explained, badRequest("the body is not an evaluation request")
	}
	in, err := a.input(ctx, a.reading, request)
	if err != nil {
		return explained, err
	}
	why, err := a.tenant.Engine.Explain(ctx, a.reading, a.policies, engine.Access, in)
	if err := a.reportPolicy(ctx, why.Decision, err); err != nil {
		return explained, err
	}
	if err := json.Unmarshal(a.appendDecision(nil, why.Answer, nil), &explained); err != nil {
		return explained, fmt.Errorf("explain a decision: %w", err)
	}
	explained.Explanation = &explanation{Rules: why.Rules, Facts: why.Facts}
	return explained, nil
}

// reportPolicy tells the operator of a policy that could not decide. The decision stands as a denial; the error
// returned is that of a context that has ended.
func (a *asking) reportPolicy(ctx context.Context, d *engine.Decision, err error) error {
	var failed *engine.EvaluationError
	if errors.As(err, &failed) {
		if a.reported {
			return nil
		}
		a.reported = true
		a.server.log.Error("the access policy failed", "tenant", a.tenant.ID, "policy_revision", d.PolicyRevision,
			"data_revision", a.reading.Revision(), "error", err)
		return nil
	}
	if err != nil {
		return fmt.Errorf("decide: %w", err)
	}
	return ctx.Err()
}
