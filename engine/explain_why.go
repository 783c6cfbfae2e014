package engine

import (
	"cmp"
	"encoding/json"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"

	"mandate/directory"
)

// Ground is a rule with what it held by or failed by.
type Ground struct {
	Rule string `json:"rule"` // data.mandate.access.allow
	File string `json:"file"`
	Line int    `json:"line"`
	// About is what the rule's annotation or its message says of it.
	About string `json:"about,omitempty"`
	// Through are the rules that failed because this one did, the decision first.
	Through []string `json:"through,omitempty"`
	// Condition is the first that failed; absent for a rule that held.
	Condition *FailedCondition `json:"condition,omitempty"`
	// Because is the rule that held where the condition wants that it does not.
	Because *Ground `json:"because,omitempty"`
	// Values are those of the variables and members of the input in the condition.
	Values map[string]json.RawMessage `json:"values,omitempty"`
	// Facts are those that the condition rests on.
	Facts []FactRead `json:"facts,omitempty"`
}

// why finds the grounds of a decision in what the tracer has seen.
type why struct {
	compiler *ast.Compiler
	tried    map[*ast.Rule]*tried
	facts    []FactRead
	input    ast.Value
	seen     map[*ast.Rule]bool
	// failures are the rules that the grounds are of, as far as they failed.
	failures []*tried
}

// grounds are those of the decision that the query asks for. When a rule denies without a rule that could have allowed having
// failed, or beside it, that is denies.
func (w *why) grounds(query ast.Body, allow bool) (grounds []Ground, denies *Ground) {
	var decision []*ast.Rule
	for _, ref := range refsIn(query) {
		decision = append(decision, w.rules(ref)...)
	}
	var open []*tried
	for _, r := range decision {
		t := w.tried[r]
		switch verdict := w.allowOf(r); {
		case t == nil:
		case allow && t.Held && !verdict.denies:
			grounds = append(grounds, w.held(r)...)
		case allow:
		case !t.Held && !verdict.denies:
			open = append(open, t)
		case t.Held && verdict.by != nil: // the rule held, and what its value is taken from did not
			for _, group := range w.groups(verdict.by) {
				grounds = append(grounds, w.follow(group, trail{rules: []string{t.Rule}})...)
			}
		case t.Held && verdict.denies && !r.Default && len(r.Body) > 0 && !w.unconditional(r):
			denies = w.place(r)
			denies.Facts = w.read(w.patterns(nil, r.Body, 0))
		}
	}
	return append(w.byNearness(open, trail{}), grounds...), denies
}

// verdict is what the value of a decision says in its member allow.
type verdict struct {
	denies bool // always
	by     any  // the reference that it is taken from
}

func (w *why) allowOf(r *ast.Rule) verdict {
	object, ok := resolve(r, r.Head.Value).Value.(ast.Object)
	if !ok {
		return verdict{}
	}
	allow := object.Get(ast.InternedTerm("allow"))
	if allow == nil {
		return verdict{denies: true}
	}
	switch v := resolve(r, allow).Value.(type) {
	case ast.Boolean:
		return verdict{denies: !bool(v)}
	case ast.Ref:
		return verdict{by: v}
	}
	return verdict{}
}

// resolve is the term that a variable of the rule stands for, as the compiler has moved it into the body.
func resolve(r *ast.Rule, t *ast.Term) *ast.Term {
	if t == nil {
		return ast.NullTerm() // the rule makes elements of a set
	}
	for range len(r.Body) {
		name, ok := t.Value.(ast.Var)
		if !ok {
			return t
		}
		i := slices.IndexFunc(r.Body, func(e *ast.Expr) bool {
			return e.IsEquality() && e.Operand(0).Equal(ast.NewTerm(name)) || e.IsAssignment() && e.Operand(0).Equal(ast.NewTerm(name))
		})
		if i < 0 {
			return t
		}
		t = r.Body[i].Operand(1)
	}
	return t
}

// unconditional says whether nothing but what the compiler has moved there is in the body of the rule: it is what is left to say when
// no other rule held.
func (w *why) unconditional(r *ast.Rule) bool {
	return !slices.ContainsFunc(r.Body, func(e *ast.Expr) bool {
		if e.IsEquality() && !e.Negated {
			if _, generated := e.Operand(0).Value.(ast.Var); generated {
				return false
			}
		}
		b, constant := e.Terms.(*ast.Term)
		return !constant || b.Value.Compare(ast.Boolean(true)) != 0
	})
}

// trail is the way to a rule: those that failed because it did, and the facts that it was called with.
type trail struct {
	rules    []string
	patterns [][]string
}

// follow finds what the rules of one name failed by.
func (w *why) follow(rules []*ast.Rule, through trail) []Ground {
	var failed []*tried
	for _, r := range rules {
		if t := w.tried[r]; t != nil && !t.Held && !r.Default && !w.seen[r] {
			failed = append(failed, t)
		}
	}
	return w.byNearness(failed, through)
}

// byNearness has the rules that have come furthest first.
func (w *why) byNearness(failed []*tried, through trail) []Ground {
	slices.SortStableFunc(failed, func(a, b *tried) int { return cmp.Compare(b.furthest, a.furthest) })
	var grounds []Ground
	for _, t := range failed {
		grounds = append(grounds, w.failed(t, through)...)
	}
	return grounds
}

func (w *why) failed(t *tried, through trail) []Ground {
	w.seen[t.rule] = true
	if t.failed == nil {
		return nil // it is a function of other arguments
	}
	var grounds []Ground
	rests := w.patterns(t, about(t), 0)
	for _, group := range w.groups(t.failed) {
		further := trail{rules: append(slices.Clone(through.rules), t.Rule)}
		if len(group[0].Head.Args) > 0 {
			further.patterns = slices.Concat(through.patterns, rests)
		}
		if t.failed.Negated || w.anyHeld(group) || (len(group[0].Head.Args) > 0 && len(w.patterns(nil, group, 0)) == 0) {
			continue // what is computed from its arguments alone is best read where it is called
		}
		grounds = append(grounds, w.follow(group, further)...)
	}
	if grounds != nil {
		return grounds
	}
	g := w.place(t.rule)
	g.Through, g.Condition, g.Values = through.rules, t.Failed, w.values(t)
	g.Facts = w.read(slices.Concat(through.patterns, rests))
	if t.failed.Negated {
		g.Because = w.because(t.failed)
	}
	w.failures = append(w.failures, t)
	return []Ground{*g}
}

// about are the failed condition and what its variables are bound by.
func about(t *tried) ast.Body {
	conditions := ast.Body{t.failed}
	for wanted := varsIn(t.failed); ; {
		n := len(conditions)
		for _, e := range t.rule.Body {
			if e.Index >= t.failed.Index || slices.Contains(conditions, e) || e.Negated {
				continue
			}
			if own := varsIn(e); own.DiffCount(wanted) < len(own) {
				conditions = append(conditions, e)
				wanted.Update(own)
			}
		}
		if len(conditions) == n {
			return conditions
		}
	}
}

func varsIn(e *ast.Expr) ast.VarSet {
	vars := e.Vars(ast.VarVisitorParams{SkipRefCallHead: true})
	delete(vars, ast.DefaultRootDocument.Value.(ast.Var))
	delete(vars, ast.InputRootDocument.Value.(ast.Var))
	return vars
}

// because is the rule that held in a condition that wants it not to.
func (w *why) because(e *ast.Expr) *Ground {
	for _, group := range w.groups(e) {
		for _, r := range group {
			if t := w.tried[r]; t != nil && t.Held && !r.Default {
				g := w.place(r)
				g.Facts = w.read(w.patterns(nil, r.Body, 0))
				return g
			}
		}
	}
	return nil
}

// held are the rules that an allow rests on: the one of the decision, and those behind it that read facts or say what they are about.
func (w *why) held(r *ast.Rule) []Ground {
	if w.seen[r] {
		return nil
	}
	w.seen[r] = true
	var grounds []Ground
	g := w.place(r)
	g.Facts = w.read(ownPatterns(r))
	if len(g.Facts) > 0 || g.About != "" || len(w.seen) == 1 {
		grounds = append(grounds, *g)
	}
	for _, e := range r.Body {
		if e.Negated {
			continue
		}
		for _, group := range w.groups(e) {
			for _, r := range group {
				if t := w.tried[r]; t != nil && t.Held {
					grounds = append(grounds, w.held(r)...)
				}
			}
		}
	}
	return grounds
}

func (w *why) anyHeld(rules []*ast.Rule) bool {
	return slices.ContainsFunc(rules, func(r *ast.Rule) bool { t := w.tried[r]; return t != nil && t.Held && !r.Default })
}

// place is the ground of a rule, which has yet to say what it rests on.
func (w *why) place(r *ast.Rule) *Ground {
	return &Ground{Rule: r.Ref().String(), File: r.Location.File, Line: r.Location.Row, About: aboutRule(r)}
}

func aboutRule(r *ast.Rule) string {
	if object, ok := resolve(r, r.Head.Value).Value.(ast.Object); ok {
		if message := object.Get(ast.InternedTerm("message")); message != nil {
			if text, ok := message.Value.(ast.String); ok {
				return string(text)
			}
		}
	}
	for _, a := range r.Annotations {
		if text := cmp.Or(a.Description, a.Title); text != "" {
			return strings.Join(strings.Fields(text), " ")
		}
	}
	return ""
}

// rules are those that a reference leads to, each with its else branches.
func (w *why) rules(ref ast.Ref) []*ast.Rule {
	if len(ref) == 0 || !ref[0].Equal(ast.DefaultRootDocument) {
		return nil
	}
	var all []*ast.Rule
	for _, r := range w.compiler.GetRulesForVirtualDocument(ref) {
		for ; r != nil; r = r.Else {
			all = append(all, r)
		}
	}
	return all
}

// groups are the rules that a condition refers to, by name.
func (w *why) groups(condition any) [][]*ast.Rule {
	var groups [][]*ast.Rule
	for _, ref := range refsIn(condition) {
		if rules := w.rules(ref); rules != nil {
			groups = append(groups, rules)
		}
	}
	return groups
}

func refsIn(x any) []ast.Ref {
	var refs []ast.Ref
	ast.WalkRefs(x, func(ref ast.Ref) bool {
		refs = append(refs, ref)
		return false
	})
	return refs
}

// maxRuleDepth bounds how far facts are looked for behind a condition.
const maxRuleDepth = 16

// patterns are the paths of facts that the node refers to, itself and by the rules that it refers to. A segment that is not known is
// empty.
func (w *why) patterns(t *tried, x any, depth int) [][]string {
	if rules, ok := x.([]*ast.Rule); ok {
		var all [][]string
		for _, r := range rules {
			all = append(all, w.patterns(nil, r.Body, depth)...)
		}
		return all
	}
	if depth > maxRuleDepth {
		return nil
	}
	var all [][]string
	for _, ref := range refsIn(x) {
		if rules := w.rules(ref); rules != nil {
			all = append(all, w.patterns(nil, rules, depth+1)...)
		} else if p := pattern(ref, t); p != nil {
			all = append(all, p)
		}
	}
	return all
}

// ownPatterns are those of a rule itself.
func ownPatterns(r *ast.Rule) [][]string {
	var all [][]string
	for _, ref := range refsIn(r.Body) {
		if p := pattern(ref, nil); p != nil {
			all = append(all, p)
		}
	}
	return all
}

func pattern(ref ast.Ref, t *tried) []string {
	if len(ref) < 2 || !ref[0].Equal(ast.DefaultRootDocument) {
		return nil
	}
	segments := make([]string, 0, len(ref)-1)
	for _, term := range ref[1:] {
		value := term.Value
		if t != nil && t.locals != nil {
			if bound := t.locals.Get(value); bound != nil {
				value = bound
			}
		}
		text, _ := value.(ast.String)
		segments = append(segments, string(text))
	}
	if segments[0] != "" && !slices.Contains(directory.Collections(), segments[0]) {
		return nil
	}
	return segments
}

// read are the facts that were read at the patterns.
func (w *why) read(patterns [][]string) []FactRead {
	var read []FactRead
	for _, f := range w.facts {
		at := f.path.Segments()
		if slices.ContainsFunc(patterns, func(p []string) bool {
			for i := range min(len(p), len(at)) {
				if p[i] != "" && p[i] != at[i] {
					return false
				}
			}
			return true
		}) {
			read = append(read, f)
		}
	}
	return read
}

// values are those of the variables that the failed condition names, and of the members of the input.
func (w *why) values(t *tried) map[string]json.RawMessage {
	found := map[string]json.RawMessage{}
	keep := func(name string, v ast.Value) {
		if text, err := encodeJSON(v); err == nil {
			found[name] = text
		}
	}
	if t.locals != nil {
		for v := range varsIn(t.failed) {
			if value := t.locals.Get(v); value != nil && value.IsGround() && !strings.HasPrefix(string(t.names[v].Name), "__") && t.names[v].Name != "" {
				keep(string(t.names[v].Name), value)
			}
		}
	}
	for _, ref := range refsIn(t.failed) {
		if ref[0].Equal(ast.InputRootDocument) && ref.IsGround() && len(ref) > 1 {
			if value, err := w.inputAt(ref); err == nil && value != nil {
				keep(ref.String(), value)
			}
		}
	}
	if len(found) == 0 {
		return nil
	}
	return found
}

func (w *why) inputAt(ref ast.Ref) (ast.Value, error) {
	if w.input == nil {
		return nil, nil
	}
	in, err := forced(w.input)
	if err != nil {
		return nil, err
	}
	return in.Find(ref[1:])
}

// byUse has those grounds first of which the facts would have to be different, then those that rest on facts, and last those that rest on
// the question alone, which is mostly what it is.
func byUse(grounds []Ground, o Otherwise) {
	wanted := map[string]bool{}
	for _, a := range o.Needed {
		for _, set := range a.Sets {
			for _, c := range set {
				wanted[c.Fact], wanted[c.Request] = true, true
			}
		}
	}
	delete(wanted, "")
	use := func(g Ground) int {
		for _, f := range g.Facts {
			if wanted[f.Path] {
				return 0
			}
		}
		for name := range wanted {
			if g.Condition != nil && strings.Contains(g.Condition.Text, "input."+name) {
				return 0
			}
		}
		if len(g.Facts) > 0 || g.Because != nil {
			return 1
		}
		return 2
	}
	slices.SortStableFunc(grounds, func(a, b Ground) int { return cmp.Compare(use(a), use(b)) })
}
