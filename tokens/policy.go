package tokens

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/go-json-experiment/json"

	"mandate/authn"
	"mandate/datastore/memo"
	"mandate/directory"
	"mandate/engine"
)

// stage says what the token policy is asked for.
type stage string

const (
	// stageAuthorize asks what a user could let a client have, before anybody has agreed.
	stageAuthorize stage = "authorize"
	// stageIssue asks what a token that is about to be signed may carry. What was asked for and may not be is a refusal.
	stageIssue stage = "issue"
	// stagePresent asks what a token that was issued is good for now: of its scopes those that it could still get.
	stagePresent stage = "present"
)

// policyInput is the input of mandate.tokens.
type policyInput struct {
	Principal *authn.Principal `json:"principal"`
	Caller    *authn.Principal `json:"caller,omitempty"` // the client; none at the exchange endpoints
	Actor     *authn.Principal `json:"actor,omitempty"`  // of a token exchange
	Request   policyRequest    `json:"request"`
}

type policyRequest struct {
	Stage           stage    `json:"stage"`
	GrantType       string   `json:"grant_type,omitempty"` // none when a token is presented
	Issuer          string   `json:"issuer"`
	Audience        string   `json:"audience"`
	API             string   `json:"api,omitempty"`
	Scopes          []string `json:"scopes,omitzero"`
	Org             string   `json:"org,omitempty"`
	DefaultLifetime int64    `json:"default_lifetime"`
}

// decide asks what the token may carry. The decision is remembered by the policy's input.
func (i *Issuer) decide(ctx context.Context, a *asked, b *basis, target audience) (*engine.Decision, error) {
	org := a.Org
	if b.org != "" {
		if org != "" && org != b.org {
			return nil, &Error{Code: "invalid_request", Description: "this grant is for another organization"}
		}
		org = b.org
	}
	return i.ask(ctx, a.reading, a.policies, policyInput{Principal: b.subject, Caller: a.client, Actor: b.actor, Request: policyRequest{
		Stage: stageIssue, GrantType: a.GrantType, Issuer: i.o.Issuer, Audience: target.value, API: target.api, Scopes: a.scopes,
		Org: org, DefaultLifetime: int64(i.o.Lifetime.Seconds()),
	}})
}

// ask evaluates mandate.tokens. A refusal is an *Error.
func (i *Issuer) ask(ctx context.Context, r *memo.Reading, policies *engine.PolicySet, input policyInput) (*engine.Decision, error) {
	decision, err := i.evaluate(ctx, r, policies, input)
	if err == nil && decision.Allow {
		return decision, nil
	}
	if decision == nil {
		return nil, err
	}
	if ctx.Err() != nil {
		return decision, ctx.Err()
	}
	refusal := &Error{Code: "access_denied", Description: "the token policy refuses the token", Cause: err}
	if len(decision.Reasons) > 0 {
		refusal.Description = decision.Reasons[0].Message
		if code := decision.Reasons[0].Code; slices.Contains(refusals(), code) {
			refusal.Code = code
		}
	}
	return decision, refusal
}

// evaluate asks the policy. What it decides is in the decision log before anything is done by it.
func (i *Issuer) evaluate(ctx context.Context, r *memo.Reading, policies *engine.PolicySet, input policyInput) (*engine.Decision, error) {
	log := i.o.Policy.Log()
	mark := log.Mark()
	decision, err := i.consult(ctx, r, policies, input)
	if err != nil {
		return decision, err
	}
	return decision, log.Commit(mark)
}

// consult asks by the client's digest where a client asks for itself, which is the most frequent by far, and by the whole input
// else: then the parties need not be as Authenticate has returned them.
func (i *Issuer) consult(ctx context.Context, r *memo.Reading, policies *engine.PolicySet, input policyInput) (*engine.Decision, error) {
	document := func(*memo.Reading) (engine.Input, error) {
		text, err := json.Marshal(input, json.Deterministic(true))
		if err != nil {
			return engine.Input{}, fmt.Errorf("input of the token policy: %w", err)
		}
		return engine.Input{Text: text}, nil
	}
	if input.Principal != input.Caller || input.Actor != nil || !input.Principal.HasDigest() {
		in, err := document(r)
		if err != nil {
			return nil, err
		}
		return i.o.Policy.Decide(ctx, r, policies, engine.Tokens, in.Text)
	}
	var memory [512]byte
	q := input.Request
	digest := input.Principal.Digest()
	question := memo.Part(memo.Part(memory[:0], "for itself"), digest[:])
	for _, text := range [...]string{string(q.Stage), q.GrantType, q.Issuer, q.Audience, q.API, q.Org} {
		question = memo.Part(question, text)
	}
	question = binary.AppendVarint(strconv.AppendBool(question, q.Scopes != nil), q.DefaultLifetime)
	for _, scope := range q.Scopes {
		question = memo.Part(question, scope)
	}
	answer, err := i.o.Policy.Ask(ctx, r, policies, engine.Tokens, question, document)
	return answer.Decision, err
}

// refusals are the error codes that the token policy may give as the code of its first reason; any other
// becomes access_denied.
func refusals() []string {
	return []string{"invalid_request", "invalid_grant", "unauthorized_client", "unsupported_grant_type", "invalid_scope", "invalid_target"}
}

// refused is the answer when the policy allowed something that must not be.
func refused(cause error) error {
	return &Error{Code: "access_denied", Description: "the token policy refuses the token", Cause: cause}
}

// Current is the principal of one of the issuer's own access tokens with what it is good for now, so that a token loses
// power with the facts that it rests on. Other principals are returned as they are. The error is an *authn.Error when it is
// good for nothing any more.
func (i *Issuer) Current(ctx context.Context, r *memo.Reading, policies *engine.PolicySet, p *authn.Principal) (*authn.Principal, error) {
	if p.ClientID == "" {
		return p, nil
	}
	current := memo.Table[*authn.Principal]{Kind: "current token"}
	digest := p.Digest()
	question := memo.Part(memo.Part(memo.Part(current.Ask(nil), i.o.Tenant), policies.Revision()), digest[:])
	return current.Get(r, memo.KeyOf(question), func(r *memo.Reading) (*authn.Principal, error) {
		return i.current(ctx, r, policies, p)
	})
}

func (i *Issuer) current(ctx context.Context, r *memo.Reading, policies *engine.PolicySet, p *authn.Principal) (*authn.Principal, error) {
	named := p.Audience[0]
	if slices.Contains(p.Audience, i.o.Issuer) {
		named = i.o.Issuer
	}
	target, err := i.target(ctx, r, named)
	if err != nil {
		return nil, err
	}
	input := policyInput{Principal: p, Request: policyRequest{Stage: stagePresent, Issuer: i.o.Issuer, Audience: target.value, API: target.api,
		Scopes: p.Scopes, Org: p.Org, DefaultLifetime: int64(i.o.Lifetime.Seconds())}}
	if p.ClientID != i.o.Issuer {
		input.Caller = &authn.Principal{Type: authn.Client, Subject: p.ClientID, Org: p.Org}
	}
	decision, err := i.ask(ctx, r, policies, input)
	var refusal *Error
	if errors.As(err, &refusal) {
		if refusal.Cause != nil {
			return nil, err
		}
		return nil, &authn.Error{Kind: authn.Inactive, Code: "token_powerless", Detail: "the access token is good for nothing any more: " + refusal.Description}
	}
	if err != nil {
		return nil, err
	}
	scopes := slices.DeleteFunc(slices.Clone(p.Scopes), func(s string) bool { return !slices.Contains(decision.Scopes, s) })
	if len(scopes) == len(p.Scopes) {
		return p, nil
	}
	return p.With(scopes)
}

// subject is the principal of a grant, if all that it rests on is in good standing now.
func (i *Issuer) subject(ctx context.Context, r *memo.Reading, g directory.Grant) (*authn.Principal, error) {
	p := &authn.Principal{Type: authn.PrincipalType(g.Kind), Subject: g.Subject, Org: g.Org, Scopes: g.Scopes, AuthTime: g.AuthTime,
		Methods: g.Methods, AuthorizedParty: g.Client, Connection: g.Connection, Credential: authn.CredentialRef{Type: "grant"}}
	err := errors.Join(i.o.Authn.GrantStanding(ctx, r, g), i.o.Authn.Standing(ctx, r, p))
	var failed *authn.Error
	if errors.As(err, &failed) {
		return nil, &Error{Code: "invalid_grant", Description: "the grant has ended: " + failed.Detail}
	}
	if err != nil || p.Type != authn.APIKey {
		return p, err
	}
	key, err := i.o.Tenant.APIKey(p.Subject).Get(ctx, r)
	if err == nil && key.ExpiresAt != nil {
		p.Expires = key.ExpiresAt.Unix()
	}
	return p, err
}
