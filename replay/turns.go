package replay

import (
	"cmp"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"mandate/decisionlog"
	"mandate/engine"
)

const (
	maxGroups       = 1000 // told apart by subject, and as many again that are not
	defaultExamples = 3    // of a group
	maxRules        = 5    // of an example
	maxReasons      = 10   // before and after
	maxText         = 256  // bytes of what others have chosen
)

// turns collects what has turned, in bounded memory. It is used by one goroutine.
type turns struct {
	candidate                           string
	examples                            int // of each group
	decided, toAllow, toDeny, different uint64
	skipped                             map[string]uint64
	groups                              map[groupKey]*Group
}

type groupKey struct {
	turn                       engine.Turn
	point                      string
	rule, org, subject, action string
}

func newTurns(candidate string, examples int) *turns {
	return &turns{candidate: candidate, examples: examples, skipped: map[string]uint64{}, groups: map[groupKey]*Group{}}
}

// turned is a request that has.
type turned struct {
	turn         engine.Turn
	point        string
	input        jsontext.Value
	before       []decisionlog.Reason
	beforeAllows bool
	after        *engine.Decision
}

// add counts a request that has turned. It returns the example that it has become, for its caller to complete; nil when the
// group has enough.
func (t *turns) add(q turned) *Example {
	switch q.turn {
	case engine.ToAllow:
		t.toAllow++
	case engine.ToDeny:
		t.toDeny++
	case engine.Different:
		t.different++
	}
	about := aboutOf(q.input)
	after := reasonsOf(q.after)
	reasons := after
	if q.beforeAllows && !q.after.Allow {
		reasons = q.before
	}
	rule := ""
	if len(reasons) > 0 {
		rule = clip(reasons[0].Code)
	}
	g := t.group(groupKey{q.turn, q.point, rule, clip(about.org()), clip(about.subject()), clip(about.action())})
	g.Count++
	if len(g.Examples) == t.examples {
		return nil
	}
	g.Examples = append(g.Examples, Example{Resource: clip(about.Resource.String()), Before: few(q.before), After: few(after)})
	return &g.Examples[len(g.Examples)-1]
}

const whatever = "*"

// group is the group of the key, or one that tells less apart when there are too many.
func (t *turns) group(k groupKey) *Group {
	if g := t.groups[k]; g != nil {
		return g
	}
	if len(t.groups) >= maxGroups {
		k.subject = whatever
	}
	if g := t.groups[k]; g == nil && len(t.groups) >= 2*maxGroups {
		k.rule, k.org, k.action = whatever, whatever, whatever
	}
	g := t.groups[k]
	if g == nil {
		g = &Group{Turns: k.turn, Point: k.point, Rule: k.rule, Org: k.org, Subject: k.subject, Action: k.action}
		t.groups[k] = g
	}
	return g
}

func (t *turns) report() *Report {
	r := &Report{Candidate: t.candidate, Decided: t.decided, ToAllow: t.toAllow, ToDeny: t.toDeny, Different: t.different,
		Skipped: t.skipped, Groups: make([]Group, 0, len(t.groups))}
	for _, g := range t.groups {
		r.Groups = append(r.Groups, *g)
	}
	slices.SortFunc(r.Groups, func(a, b Group) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Turns, b.Turns), cmp.Compare(a.Point, b.Point), cmp.Compare(a.Rule, b.Rule),
			cmp.Compare(a.Org, b.Org), cmp.Compare(a.Subject, b.Subject), cmp.Compare(a.Action, b.Action))
	})
	return r
}

// explain keeps the rules that say why.
func (e *Example) explain(rules []engine.RuleTrace, allowed bool) {
	for _, r := range rules {
		if r.Default || r.Held != allowed || (!allowed && r.Failed == nil) || len(e.Rules) == maxRules {
			continue
		}
		e.Rules = append(e.Rules, r)
	}
}

func reasonsOf(d *engine.Decision) []decisionlog.Reason {
	reasons := make([]decisionlog.Reason, len(d.Reasons))
	for i, r := range d.Reasons {
		reasons[i] = decisionlog.Reason(r)
	}
	return reasons
}

func few(reasons []decisionlog.Reason) []decisionlog.Reason {
	kept := make([]decisionlog.Reason, min(len(reasons), maxReasons))
	for i := range kept {
		kept[i] = decisionlog.Reason{Code: clip(reasons[i].Code), Message: clip(reasons[i].Message)}
	}
	return kept
}

// clip bounds what is kept of a text, which must not keep a larger one it is a part of.
func clip(s string) string {
	if len(s) <= maxText {
		return strings.Clone(s)
	}
	return strings.ToValidUTF8(s[:maxText], "") + "…"
}

// about is what a report tells of the input of a policy, whichever point it is for.
type about struct {
	Subject   party `json:"subject"`
	Action    named `json:"action"`
	Resource  party `json:"resource"`
	Principal struct {
		Type string `json:"type"`
		ID   string `json:"sub"`
		Org  string `json:"org"`
	} `json:"principal"`
	Request struct {
		Stage     string `json:"stage"`
		GrantType string `json:"grant_type"`
		Org       string `json:"org"`
	} `json:"request"`
}

type named struct {
	Name string `json:"name"`
}

type party struct {
	Type       string `json:"type"`
	ID         string `json:"id"`
	Properties struct {
		Org any `json:"org"` // others may have put anything there
	} `json:"properties"`
}

func (p party) String() string {
	if p.Type == "" && p.ID == "" {
		return ""
	}
	return p.Type + ":" + p.ID
}

func aboutOf(input jsontext.Value) about {
	var a about
	// What has another form is told as far as it goes.
	_ = json.Unmarshal(input, &a, jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	return a
}

// subject is who was asked about. Of a credential it is whom it stands for.
func (a about) subject() string {
	if (a.Subject.Type == "" || a.Subject.Type == "credential") && a.Principal.Type != "" {
		return a.Principal.Type + ":" + a.Principal.ID
	}
	return a.Subject.String()
}

func (a about) org() string {
	if org, ok := a.Resource.Properties.Org.(string); ok {
		return org
	}
	return cmp.Or(a.Request.Org, a.Principal.Org)
}

// action is what was asked for; of a token, the stage and the grant.
func (a about) action() string {
	return cmp.Or(a.Action.Name, strings.TrimSpace(a.Request.Stage+" "+a.Request.GrantType))
}
