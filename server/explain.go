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

// Explained is an evaluation response with why the decision is so.
type Explained struct {
	Decision bool `json:"decision"`
	Context  struct {
		DecisionID     string             `json:"decision_id"`
		Reasons        []engine.Reason    `json:"reasons"`
		Obligations    []any              `json:"obligations"`
		PolicyRevision string             `json:"policy_revision,omitempty"`
		DataRevision   datastore.Revision `json:"data_revision"`
		AsOf           string             `json:"as_of,omitempty"`
	} `json:"context"`
	Explanation *explanation `json:"explanation,omitempty"`
}

type explanation struct {
	// Grounds are the rules that an allow rests on, or for each rule that could have allowed what it failed by, the closest first.
	Grounds []engine.Ground `json:"grounds"`
	// Denies is the rule that denies in so many words.
	Denies    *engine.Ground   `json:"denies,omitempty"`
	Otherwise engine.Otherwise `json:"otherwise"`
	Repeated  *repetition      `json:"repeated,omitempty"`

	Rules []engine.RuleTrace `json:"rules"`
	Facts []engine.FactRead  `json:"facts"`
	// Withheld says that only what rests on the facts of the caller's organization is shown.
	Withheld bool `json:"withheld,omitzero"`
}

func explanationOf(x engine.Explanation) *explanation {
	return &explanation{Grounds: x.Grounds, Denies: x.Denies, Otherwise: x.Otherwise, Rules: x.Rules, Facts: x.Facts}
}

// explain answers an evaluation request with its explanation. The policy mandate.manage decides who may see the
// facts, as the action decisions.explain.
func (h *handler) explain(c *fiber.Ctx) error {
	return h.askAsOf(c, acceptQuery, []string{"manage"}, func(a *asking) error {
		body, err := jsonBody(c)
		if err != nil {
			return err
		}
		if err := a.permit("decisions.explain", "decision", "new"); err != nil {
			return err
		}
		release, err := a.slot()
		if err != nil {
			return err
		}
		defer release()
		explained, err := a.explain(a.server.base, body)
		if err != nil {
			return err
		}
		return writeJSON(c, explained)
	})
}

// Explain decides an evaluation request as the caller, without HTTP: for the operator who holds the data folder. It is decided as of a
// revision or a time when one is given. The error says what is wrong with the request.
func (s *Server) Explain(ctx context.Context, tenant directory.Tenant, caller *authn.Principal, body []byte, asOf string) (Explained, error) {
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
	a := &asking{handler: h, reading: memo.Over(view), policies: h.tenant.Engine.Policies(), caller: caller, asOf: asOf, local: true}
	defer a.end()
	return a.explain(ctx, body)
}

func (a *asking) explain(ctx context.Context, body []byte) (Explained, error) {
	var explained Explained
	var request evaluationRequest
	if err := json.Unmarshal(body, &request); err != nil {
		return explained, badRequest("the body is not an evaluation request")
	}
	a, err := a.past(ctx, request)
	if err != nil {
		return explained, err
	}
	q := engine.Question{Point: engine.Access, Input: a.supposing(ctx, request), Asked: a.tenant.Now()}
	if a.then != nil {
		q.Asked, q.AsOf = a.then.at, true
	}
	why, err := a.tenant.Engine.Explain(ctx, a.reading, a.policies, q)
	if why.Decision == nil {
		return explained, err
	}
	if err := a.reportPolicy(ctx, why.Decision, err); err != nil {
		return explained, err
	}
	if err := json.Unmarshal(a.appendDecision(nil, why.Answer, nil), &explained); err != nil {
		return explained, fmt.Errorf("explain a decision: %w", err)
	}
	explained.Explanation = explanationOf(why)
	return explained, nil
}

// supposing makes the input of a request again and again, from the facts as they are and as they are not. A credential is authenticated
// once: with other facts it is the same party still.
func (a *asking) supposing(ctx context.Context, request evaluationRequest) func(*memo.Reading) (engine.Input, error) {
	var first *engine.Input
	return func(r *memo.Reading) (engine.Input, error) {
		if first != nil && isCredentialSubject(first.Text) {
			return a.withStanding(ctx, r, *first)
		}
		in, err := a.input(ctx, r, request)
		if first == nil && err == nil {
			first = &in
		}
		return in, err
	}
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
