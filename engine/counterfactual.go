package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"

	"mandate/datastore"
	"mandate/datastore/memo"
)

// Bounds of the search for what would have to be different.
const (
	maxSuppositions   = 500
	maxSupposingTime  = 2 * time.Second
	maxSupposedFacts  = 64  // of a decision that are looked at
	maxSupposedValues = 200 // roles that a member could have, and elements of a list
)

// Otherwise is what would have to be different for another outcome.
type Otherwise struct {
	// Needed are the smallest sets of changes that would each make an allow of a denial.
	Needed []Alternative `json:"needed,omitempty"`
	// None says why there are none.
	None string `json:"none,omitempty"`
	// Rests are facts without which an allow would be a denial.
	Rests []Alternative `json:"rests,omitempty"`
	// Evaluations is how many were tried. Complete says that none was left out.
	Evaluations int  `json:"tried,omitzero"`
	Complete    bool `json:"complete"`
}

// Alternative is one sentence about what is not as it would have to be. It stands for sets of changes that differ in one value.
type Alternative struct {
	Text string     `json:"sentence"`
	Sets [][]Change `json:"sets"`
}

// Change is a document of the directory, or a member of the request, that would be another.
type Change struct {
	Fact    string          `json:"fact,omitempty"`
	Request string          `json:"request,omitempty"` // context.mfa
	From    json.RawMessage `json:"is,omitempty"`      // absent where there is none
	To      json.RawMessage `json:"would_be,omitempty"`
}

// otherwise searches by deciding again over facts that are supposed to be different.
func (e *Engine) otherwise(ctx context.Context, r *memo.Reading, set *PolicySet, q Question, x Explanation, failures []*tried) (Otherwise, error) {
	within, cancel := context.WithTimeout(ctx, maxSupposingTime)
	defer cancel()
	s := &search{engine: e, set: set, question: q, facts: r, kept: map[datastore.Path][]byte{}, tried: map[string]bool{}, left: maxSuppositions}
	for _, t := range failures {
		s.wanted = append(s.wanted, requestWanted(t.failed)...)
	}
	base, err := s.decide(within, situation{})
	if err == nil {
		for _, f := range x.Facts { // the trace has tried more than the decision
			if !slices.Contains(base.reads, f.path) {
				base.reads = append(base.reads, f.path)
			}
		}
		if x.Allow {
			err = s.rests(within, base)
		} else {
			err = s.needed(within, base)
		}
	}
	if ctx.Err() != nil {
		return Otherwise{}, ctx.Err()
	}
	if err != nil && !errors.Is(err, errBound) && within.Err() == nil {
		return Otherwise{}, fmt.Errorf("search what would have to be different: %w", err)
	}
	o := Otherwise{Evaluations: maxSuppositions - s.left, Complete: err == nil && !s.cut}
	found := grouped(s.found)
	switch {
	case x.Allow:
		o.Rests = found
	case len(found) > 0:
		o.Needed = found
	default:
		o.None = s.none(x, failures, o.Complete)
	}
	return o, nil
}

// none says why nothing was found.
func (s *search) none(x Explanation, failures []*tried, complete bool) string {
	for _, t := range failures {
		if usesTime(about(t), s.set.compiler) {
			return "it rests on the present time, which is no fact: " + t.Failed.Text
		}
	}
	switch {
	case s.refused != nil:
		return "the credential was refused, and no change of one or two facts makes it good: " + s.refused.Message
	case x.Denies != nil:
		return fmt.Sprintf("a rule denies it: %s, %s:%d", x.Denies.Rule, x.Denies.File, x.Denies.Line)
	case !complete:
		return fmt.Sprintf("none was found within %d evaluations and %v", maxSuppositions, maxSupposingTime)
	}
	return "no one or two changes of the facts that it has read would make it an allow"
}

// usesTime says whether a condition calls for the present time, itself or by the rules that it refers to.
func usesTime(x any, compiler *ast.Compiler) bool {
	w := why{compiler: compiler}
	seen := map[*ast.Rule]bool{}
	var uses func(any) bool
	uses = func(x any) bool {
		for _, ref := range refsIn(x) {
			if ref.String() == "time.now_ns" {
				return true
			}
			for _, r := range w.rules(ref) {
				if !seen[r] {
					seen[r] = true
					if uses(r.Body) {
						return true
					}
				}
			}
		}
		return false
	}
	return uses(x)
}

// errBound ends a search.
var errBound = errors.New("no more evaluations")

// search decides a question over situations. It is used by one goroutine.
type search struct {
	engine   *Engine
	set      *PolicySet
	question Question
	facts    datastore.Reader
	kept     map[datastore.Path][]byte
	wanted   []supposal // of the request, by the conditions that failed
	tried    map[string]bool
	left     int
	refused  *Reason
	cut      bool // something was not looked at, for there is too much
	found    []situation
}

// situation is what is supposed to be different.
type situation struct {
	supposals []supposal
	facts     map[datastore.Path][]byte
	request   map[string]json.RawMessage // by the dotted path of a member
}

// supposal is one thing that is supposed to be different, and how to say that it is not.
type supposal struct {
	path         datastore.Path
	request      string
	before       string // "bob lacks the role "
	value, after string // "editor", " in acme"
	from, to     json.RawMessage
}

func (s situation) with(p supposal) situation {
	n := situation{supposals: append(slices.Clone(s.supposals), p), facts: maps.Clone(s.facts), request: maps.Clone(s.request)}
	if p.request != "" {
		if n.request == nil {
			n.request = map[string]json.RawMessage{}
		}
		n.request[p.request] = p.to
		return n
	}
	if n.facts == nil {
		n.facts = map[datastore.Path][]byte{}
	}
	n.facts[p.path] = p.to
	return n
}

// key is the same for the same situation, however it came about.
func (s situation) key() string {
	var parts []string
	for p, text := range s.facts {
		parts = append(parts, p.Key()+"="+string(text))
	}
	for name, value := range s.request {
		parts = append(parts, "?"+name+"="+string(value))
	}
	slices.Sort(parts)
	return strings.Join(parts, "\n")
}

// outcome is what is decided in a situation.
type outcome struct {
	situation
	allow bool
	says  string // the reasons
	reads []datastore.Path
}

func (s *search) decide(ctx context.Context, in situation) (outcome, error) {
	if s.left == 0 {
		return outcome{}, errBound
	}
	s.left--
	facts := &supposed{Reader: s.facts, changed: in.facts, kept: s.kept}
	r := memo.Over(facts)
	input, err := s.question.Input(r)
	if err != nil {
		return outcome{}, err
	}
	for name, value := range in.request {
		if input.Text, err = withMember(input.Text, name, value); err != nil {
			return outcome{}, err
		}
	}
	d, err := s.engine.Again(ctx, r, s.set, s.question.Point, input, s.question.Asked)
	if failed := (*EvaluationError)(nil); err != nil && !errors.As(err, &failed) {
		return outcome{}, err
	}
	if len(in.supposals) == 0 {
		s.refused = input.Refused
	}
	return outcome{situation: in, allow: d.Allow, says: string(d.members), reads: facts.reads}, nil
}

// reading reads the facts as they are.
func (s *search) reading() *memo.Reading { return memo.Over(s.facts) }

// needed finds the smallest situations in which the decision is an allow: of one supposal, else of two.
func (s *search) needed(ctx context.Context, base outcome) error {
	first, err := s.expand(ctx, base)
	if err != nil || len(s.found) > 0 {
		return err
	}
	// What has made a difference is most of the way; the others follow, for it may be that two are in each other's way.
	ahead, behind := []outcome{}, []outcome{}
	for _, o := range first {
		if o.says != base.says || len(o.reads) != len(base.reads) {
			ahead = append(ahead, o)
		} else {
			behind = append(behind, o)
		}
	}
	for _, o := range ahead {
		if _, err := s.expand(ctx, o); err != nil {
			return err
		}
	}
	if len(s.found) > 0 {
		return nil
	}
	for _, o := range behind {
		if _, err := s.expand(ctx, o); err != nil {
			return err
		}
	}
	return nil
}

// expand supposes one thing more, and returns those outcomes that are no allow.
func (s *search) expand(ctx context.Context, from outcome) ([]outcome, error) {
	supposals, err := s.supposals(ctx, from)
	if err != nil {
		return nil, err
	}
	var others []outcome
	for _, p := range supposals {
		next := from.with(p)
		key := next.key()
		if s.tried[key] {
			continue
		}
		s.tried[key] = true
		o, err := s.decide(ctx, next)
		if err != nil {
			return others, err
		}
		if o.allow {
			s.found = append(s.found, o.situation)
		} else {
			others = append(others, o)
		}
	}
	return others, nil
}

// rests finds the facts without which the decision is none.
func (s *search) rests(ctx context.Context, base outcome) error {
	for _, p := range base.reads[:min(len(base.reads), maxSupposedFacts)] {
		text := s.kept[p]
		if !isFact(p) || text == nil {
			continue
		}
		parts, err := s.parts(p, text)
		if err != nil {
			return err
		}
		narrower := false
		for _, part := range parts {
			o, err := s.decide(ctx, base.with(part))
			if err != nil {
				return err
			}
			if !o.allow {
				s.found, narrower = append(s.found, o.situation), true
			}
		}
		if narrower {
			continue
		}
		o, err := s.decide(ctx, base.with(supposal{path: p, value: p.String(), from: text}))
		if err != nil {
			return err
		}
		if !o.allow {
			s.found = append(s.found, o.situation)
		}
	}
	return nil
}

// grouped says in one sentence what differs in the last value only.
func grouped(found []situation) []Alternative {
	type sentence struct {
		before, after string
		values        []string
		sets          [][]Change
	}
	var sentences []*sentence
	for _, f := range found {
		var before strings.Builder
		var changes []Change
		for i, p := range f.supposals {
			if i < len(f.supposals)-1 {
				before.WriteString(p.before + p.value + p.after + ", and ")
			}
			c := Change{Request: p.request, From: p.from, To: p.to}
			if p.request == "" {
				c.Fact = p.path.String()
			}
			changes = append(changes, c)
		}
		last := f.supposals[len(f.supposals)-1]
		before.WriteString(last.before)
		i := slices.IndexFunc(sentences, func(s *sentence) bool {
			return s.before == before.String() && s.after == last.after && last.before != ""
		})
		if i < 0 {
			i = len(sentences)
			sentences = append(sentences, &sentence{before: before.String(), after: last.after})
		}
		if !slices.Contains(sentences[i].values, last.value) {
			sentences[i].values = append(sentences[i].values, last.value)
		}
		sentences[i].sets = append(sentences[i].sets, changes)
	}
	alternatives := make([]Alternative, len(sentences))
	for i, s := range sentences {
		slices.Sort(s.values)
		values := s.values[len(s.values)-1]
		if rest := s.values[:len(s.values)-1]; len(rest) > 0 {
			values = strings.Join(rest, ", ") + " or " + values
		}
		alternatives[i] = Alternative{Text: s.before + values + s.after, Sets: s.sets}
	}
	return alternatives
}
