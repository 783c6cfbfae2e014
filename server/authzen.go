package server

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/gofiber/fiber/v2"

	"mandate/authn"
	"mandate/datastore"
	"mandate/datastore/memo"
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

// semantic is an evaluations semantic (AuthZEN §7.1.2.1).
type semantic string

const (
	executeAll          semantic = "execute_all"
	denyOnFirstDeny     semantic = "deny_on_first_deny"
	permitOnFirstPermit semantic = "permit_on_first_permit"
)

// asking is one authenticated request for decisions: all of them are made for one caller, by one policy set, on one
// snapshot.
type asking struct {
	*handler
	reading   *memo.Reading
	policies  *engine.PolicySet
	caller    *authn.Principal
	proved    map[string]proved // the subjects that are authenticated once for a request, by what was sent of them
	passwords int               // those of them that were given by a Basic credential
	asOf      string            // of the query
	then      *thenAt           // the instant that is asked about, when that is not the present
	view      datastore.View    // of that instant
	local     bool              // the caller holds the data folder: it may ask whatever it can read
	spans     spans
	reported  bool // a failed policy has been logged: once for a request is enough
}

// proved is how authenticating a subject has ended.
type proved struct {
	principal *authn.Principal
	err       error
}

// ask authenticates the caller before anything of the body is looked at, so that an anonymous one learns nothing. An
// access token must have one of the scopes.
func (h *handler) ask(c *fiber.Ctx, query secretsInQuery, scopes []string, do func(*asking) error) error {
	return h.askAsOf(c, query, scopes, func(a *asking) error {
		if a.asOf != "" {
			return badRequest("as_of does not go with this: it is for evaluations and their explanation")
		}
		return do(a)
	})
}

// askAsOf is ask, for what can be asked about an earlier instant.
func (h *handler) askAsOf(c *fiber.Ctx, query secretsInQuery, scopes []string, do func(*asking) error) error {
	presented, spans := h.presented(c, query), h.server.spansOf(c)
	span := spans.begin("authenticate")
	a, err := h.begin(presented, func(caller *authn.Principal) error { return h.admit(c, caller) }, scopes)
	end(span)
	if err != nil {
		return err
	}
	a.spans = spans
	defer func() { a.end() }()
	if query == acceptQuery && c.Get(fiber.HeaderOrigin) != "" && isSecret(a.caller) {
		return secretInBrowser(c)
	}
	least, err := leastRevision(c)
	if err != nil {
		return err
	}
	if a.reading.Revision() < least {
		if presentedOnce(presented, a.caller) {
			return notReached(least)
		}
		if err := h.server.await(least); err != nil {
			return err
		}
		later, err := h.begin(presented, func(*authn.Principal) error { return nil }, scopes)
		if err != nil {
			return err
		}
		a.reading.End()
		later.spans = a.spans
		a = later
	}
	if a.asOf, err = asOf(c); err != nil {
		return err
	}
	return do(a)
}

func (a *asking) end() {
	a.reading.End()
	if a.view != nil {
		a.view.Close()
	}
}

// begin authenticates the caller on the present snapshot, which whoever gets it must end.
func (h *handler) begin(presented authn.Presented, admit func(*authn.Principal) error, scopes []string) (*asking, error) {
	r, policies := h.tenant.Engine.Begin(h.server.memo)
	caller, err := h.authenticate(r, policies, presented)
	if err == nil {
		err = admit(caller)
	}
	if err == nil {
		err = h.tenant.Authn.ForMandate(caller, scopes...)
		if err != nil {
			err = refusedAs(err, caller.Credential)
		}
	}
	if err != nil {
		r.End()
		return nil, err
	}
	return &asking{handler: h, reading: r, policies: policies, caller: caller}, nil
}

// question begins what a decision is remembered by: who asks, in what way. What is asked must follow as it was sent.
func (a *asking) question(memory []byte, way string) []byte {
	caller := a.caller.Digest()
	return memo.Part(memo.Part(memory[:0], way), caller[:])
}

func (h *handler) evaluation(c *fiber.Ctx) error {
	return h.askAsOf(c, refuseQuery, []string{"decide"}, func(a *asking) error {
		body, err := typedBody(c)
		if err != nil {
			return err
		}
		return a.answerOne(c, body)
	})
}

// answerOne answers a body that is an evaluation request. It is parsed only when the decision is not remembered.
func (a *asking) answerOne(c *fiber.Ctx, body []byte) error {
	var memory, response [1024]byte
	read := func() (request evaluationRequest, err error) {
		if err := checkObject(body); err != nil {
			return request, err
		}
		if err := json.Unmarshal(body, &request); err != nil {
			return request, badRequest("the body is not an evaluation request")
		}
		return request, nil
	}
	if a.asOf != "" {
		request, err := read()
		if err != nil {
			return err
		}
		if a, err = a.past(a.server.base, request); err != nil {
			return err
		}
	}
	question := a.question(memory[:], "evaluation")
	answer, err := a.evaluate(a.server.base, memo.Part(question, body), read)
	if err != nil {
		return err
	}
	return writeText(c, a.appendDecision(response[:0], answer, nil))
}

func (h *handler) evaluations(c *fiber.Ctx) error {
	return h.askAsOf(c, refuseQuery, []string{"decide"}, func(a *asking) error {
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
			return a.answerOne(c, body)
		}
		response, err := a.evaluateAll(a.server.base, request.evaluationRequest, items, how)
		if err != nil {
			return err
		}
		return writeText(c, response)
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
func (a *asking) evaluateAll(ctx context.Context, defaults evaluationRequest, items []jsontext.Value, how semantic) ([]byte, error) {
	inTime, cancel := context.WithTimeout(ctx, maxBatchTime)
	defer cancel()
	if a.asOf != "" {
		requests := make([]evaluationRequest, 0, len(items))
		for _, item := range items {
			if request, err := defaults.with(item); err == nil { // else it is answered with its error
				requests = append(requests, request)
			}
		}
		var err error
		if a, err = a.past(ctx, requests...); err != nil {
			return nil, err
		}
	}
	question := a.question(nil, "item")
	for _, part := range []jsontext.Value{defaults.Subject, defaults.Action, defaults.Resource, defaults.Context} {
		question = memo.Part(question, part)
	}
	response := append(make([]byte, 0, 512*len(items)), `{"evaluations":[`...)
	for i, item := range items {
		answer, err := engine.Answer{}, inTime.Err()
		if err == nil {
			answer, err = a.evaluate(inTime, memo.Part(question, item), func() (evaluationRequest, error) { return defaults.with(item) })
		}
		switch late := err != nil && inTime.Err() != nil && ctx.Err() == nil; {
		case late && answer.Decision != nil:
			err = nil // it is decided and recorded
		case late:
			err = &requestError{http.StatusServiceUnavailable, "batch_timeout", "the batch took too long: split it"}
		}
		var wrong *requestError
		if errors.As(err, &wrong) {
			answer = a.unanswered(wrong)
		} else if err != nil {
			return nil, err
		}
		if i > 0 {
			response = append(response, ',')
		}
		response = a.appendDecision(response, answer, wrong)
		if (how == denyOnFirstDeny && !answer.Allow) || (how == permitOnFirstPermit && answer.Allow) {
			break
		}
	}
	return append(response, "]}"...), nil
}

// with is the request of an item. A member of the item replaces the default as a whole; an unused default is never looked
// at (AuthZEN §7.1.1).
func (r *evaluationRequest) with(item jsontext.Value) (evaluationRequest, error) {
	request := evaluationRequest{}
	if item.Kind() != '{' || json.Unmarshal(item, &request) != nil {
		return request, badRequest("each of the evaluations must be an object")
	}
	for _, part := range []struct{ given, fallback *jsontext.Value }{
		{&request.Subject, &r.Subject}, {&request.Action, &r.Action}, {&request.Resource, &r.Resource}, {&request.Context, &r.Context},
	} {
		if *part.given == nil {
			*part.given = *part.fallback
		}
	}
	return request, nil
}

// appendDecision appends a Decision (AuthZEN §5.5), with the error of an item that could not be evaluated. What policies
// decided is text already.
func (a *asking) appendDecision(b []byte, d engine.Answer, wrong *requestError) []byte {
	b = append(b, `{"decision":`...)
	b = strconv.AppendBool(b, d.Allow)
	b = append(b, `,"context":{"decision_id":"`...)
	b = d.ID.AppendText(b)
	b = append(b, `",`...)
	b = d.AppendMembers(b)
	b = append(b, `,"data_revision":`...)
	b = strconv.AppendUint(b, uint64(a.reading.Revision()), 10)
	if a.then != nil {
		b = append(b, `,"as_of":"`...)
		b = a.then.at.UTC().AppendFormat(b, time.RFC3339Nano)
		b = append(b, '"')
	}
	if wrong != nil {
		// AuthZEN §7.2.1
		b = append(b, `,"error":{"status":`...)
		b = strconv.AppendInt(b, int64(wrong.Status), 10)
		b = append(b, `,"message":`...)
		b, _ = jsontext.AppendQuote(b, wrong.Detail) // fails for invalid UTF-8 only
		b = append(b, '}')
	}
	return append(b, "}}"...)
}
