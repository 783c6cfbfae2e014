package policycheck

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"

	"mandate/engine"
	"mandate/engine/vm"
)

// Severity says whether a finding must be repaired or should be.
type Severity string

// The severities.
const (
	SeverityError   Severity = "error"
	SeverityWarning Severity = "warning"
)

// The codes of findings.
const (
	CodeCompile      = "compile"
	CodeScan         = "scan"
	CodeUnreachable  = "unreachable"
	CodeVolatile     = "volatile"
	CodeVolatileMask = "volatile-mask"
	CodeMetadata     = "missing-metadata"
	CodeReplacesData = "replaces-data"
	CodeUnplanned    = "unplanned"
	CodeIgnore       = "ignore"
)

// ignorable are the codes that a comment can silence.
func ignorable() []string {
	return []string{CodeScan, CodeUnreachable, CodeVolatile, CodeVolatileMask, CodeMetadata, CodeReplacesData}
}

// Finding is one thing that is wrong with a policy, or that its author should look at.
type Finding struct {
	File     string   `json:"file,omitempty"`
	Line     int      `json:"line,omitzero"`
	Code     string   `json:"code"`
	Severity Severity `json:"severity"`
	Message  string   `json:"message"`
}

func (f Finding) String() string {
	at := ""
	if f.File != "" {
		at = f.File + ": "
	}
	if f.Line > 0 {
		at = fmt.Sprintf("%s:%d: ", f.File, f.Line)
	}
	return fmt.Sprintf("%s%s %s: %s", at, f.Severity, f.Code, f.Message)
}

// Lint finds what is wrong with the files of a policy set. While they do not compile, that is all that is found.
func Lint(ctx context.Context, files []engine.File) ([]Finding, error) {
	set, err := engine.CompileFiles(ctx, files)
	if err == nil {
		err = engine.CheckTests(files)
	}
	if refused := (*engine.CompileError)(nil); errors.As(err, &refused) {
		var findings []Finding
		for _, p := range refused.Problems {
			findings = append(findings, Finding{p.File, p.Line, CodeCompile, SeverityError, strings.Join(strings.Fields(p.Message), " ")})
		}
		return findings, nil
	}
	if err != nil {
		return nil, fmt.Errorf("lint policies: %w", err)
	}
	modules, err := engine.Modules(set.Files())
	if err != nil {
		return nil, err
	}
	for name := range modules {
		if isTest(name) {
			delete(modules, name)
		}
	}
	l := &linter{set: set, modules: modules}
	l.scans(ctx)
	l.reachability()
	l.metadata()
	l.replacements()
	l.obey()
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("lint policies: %w", err)
	}
	slices.SortStableFunc(l.findings, func(a, b Finding) int {
		return cmp.Or(strings.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), strings.Compare(a.Code, b.Code))
	})
	return slices.Compact(l.findings), nil
}

// linter collects findings.
type linter struct {
	set      *engine.PolicySet
	modules  map[string]*ast.Module // as they are written, without tests
	findings []Finding
}

func (l *linter) find(at *ast.Location, code string, severity Severity, format string, args ...any) {
	f := Finding{Code: code, Severity: severity, Message: fmt.Sprintf(format, args...)}
	if at != nil {
		f.File, f.Line = at.File, at.Row
	}
	l.findings = append(l.findings, f)
}

// entryPoints are what Mandate itself asks of a policy set.
func entryPoints() []string {
	return []string{"data.mandate.access.decision", "data.mandate.tokens.decision", "data.mandate.manage.decision", maskRule}
}

const maskRule = "data.mandate.log.mask"

// reachability finds rules that nobody asks, and calls that are another thing each time.
func (l *linter) reachability() {
	compiler := l.set.Compiler()
	asked := map[string][]*ast.Rule{}
	for _, name := range entryPoints() {
		asked[name] = compiler.GetRulesExact(ast.MustParseRef(name))
	}
	var annotated, others []*ast.Rule
	for _, module := range compiler.Modules {
		for _, rule := range module.Rules {
			if slices.ContainsFunc(rule.Annotations, func(a *ast.Annotations) bool { return a.Entrypoint }) {
				annotated = append(annotated, rule)
			}
			if !ofMandate(module) {
				others = append(others, rule) // whoever may query asks them by their path
			}
		}
	}
	deciding := map[*ast.Rule]bool{}
	for name, rules := range asked {
		if name != maskRule {
			l.reach(rules, deciding)
		}
	}
	masking, reached := map[*ast.Rule]bool{}, map[*ast.Rule]bool{}
	l.reach(asked[maskRule], masking)
	for _, rules := range [][]*ast.Rule{annotated, others} {
		l.reach(rules, reached)
	}
	for _, module := range compiler.Modules {
		for _, rule := range module.Rules {
			if !deciding[rule] && !masking[rule] && !reached[rule] {
				l.find(rule.Location, CodeUnreachable, SeverityWarning,
					"no decision asks %s: remove it, or ask it from a rule that decides; a rule that is queried by its path belongs into a package outside mandate, or gets entrypoint: true in its metadata", rule.Ref())
			}
		}
	}
	for rule := range deciding {
		l.volatile(rule, CodeVolatile, "%s makes each decision that gets here another one, so that none is remembered: ask it in a rule that few decisions reach, or have the caller send it in the context")
	}
	for rule := range masking {
		if !deciding[rule] {
			l.volatile(rule, CodeVolatileMask, "%s in a mask is called once for all records that share a description, not for each: mask by what the record says")
		}
	}
}

// ofMandate says whether a module is in a package of Mandate's own name, which nobody queries but the service.
func ofMandate(m *ast.Module) bool {
	return m.Package.Path.HasPrefix(ast.MustParseRef("data.mandate"))
}

// reach marks rules and all that they depend on.
func (l *linter) reach(rules []*ast.Rule, reached map[*ast.Rule]bool) {
	for _, rule := range rules {
		for r := rule; r != nil; r = r.Else {
			if reached[r] {
				continue
			}
			reached[r] = true
			for dependency := range l.set.Compiler().Graph.Dependencies(r) {
				if next, ok := dependency.(*ast.Rule); ok {
					l.reach([]*ast.Rule{next}, reached)
				}
			}
		}
	}
}

// volatile finds calls of builtins whose result is another one each time.
func (l *linter) volatile(rule *ast.Rule, code, message string) {
	visit := ast.NewGenericVisitor(func(x any) bool {
		switch x := x.(type) {
		case *ast.Rule:
			return x != rule
		case *ast.Expr:
			if !x.IsCall() {
				return false
			}
			name := x.Operator().String()
			if b := ast.BuiltinMap[name]; b != nil && vm.IsVolatile(b) {
				at := x.Location
				if at == nil {
					at = rule.Location
				}
				l.find(at, code, SeverityWarning, message, name)
			}
		}
		return false
	})
	visit.Walk(rule)
}

// metadata finds packages and entry points of which nobody says what they are for.
func (l *linter) metadata() {
	annotations, errs := ast.BuildAnnotationSet(sortedModules(l.modules))
	if len(errs) > 0 {
		return // the compiler has refused them
	}
	said := map[string]bool{}
	for _, name := range sortedKeys(l.modules) {
		module := l.modules[name]
		path := module.Package.Path
		if said[path.String()] || l.packageDescribed(annotations, path) {
			continue
		}
		said[path.String()] = true
		l.find(module.Package.Location, CodeMetadata, SeverityWarning,
			"nothing says what package %s is for: write # METADATA with a title and a description above the package line of one of its files", strings.TrimPrefix(path.String(), "data."))
	}
	for _, point := range entryPoints() {
		var first *ast.Rule
		described := false
		for _, name := range sortedKeys(l.modules) {
			for _, rule := range l.modules[name].Rules {
				if rule.Ref().String() != point || rule.Default {
					continue
				}
				if first == nil {
					first = rule
				}
				described = described || len(annotations.GetRuleScope(rule)) > 0
			}
		}
		if first != nil && !described && annotations.GetDocumentScope(ast.MustParseRef(point)) == nil {
			l.find(first.Location, CodeMetadata, SeverityWarning,
				"nothing says what %s decides: write # METADATA with a title, a description and entrypoint: true above it", point)
		}
	}
}

func (l *linter) packageDescribed(annotations *ast.AnnotationSet, path ast.Ref) bool {
	if len(annotations.GetSubpackagesScope(path)) > 0 {
		return true
	}
	for _, module := range l.modules {
		if module.Package.Path.Equal(path) && annotations.GetPackageScope(module.Package) != nil {
			return true
		}
	}
	return false
}

func sortedModules(modules map[string]*ast.Module) []*ast.Module {
	var sorted []*ast.Module
	for _, name := range sortedKeys(modules) {
		sorted = append(sorted, modules[name])
	}
	return sorted
}

// replacements finds what keeps the set from Mandate's own machine.
func (l *linter) replacements() {
	why := l.set.Unplanned()
	if why == nil {
		return
	}
	found := false
	for _, module := range l.set.Compiler().Modules {
		ast.WalkExprs(module, func(e *ast.Expr) bool {
			for _, w := range e.With {
				if ref, ok := w.Target.Value.(ast.Ref); ok && ref.HasPrefix(ast.DefaultRootRef) && len(l.set.Compiler().GetRules(ref)) == 0 {
					found = true
					l.find(e.Location, CodeReplacesData, SeverityWarning,
						"\"with %v\" has OPA's evaluator decide for the whole set, which is many times slower: give what is replaced to a function as an argument", ref)
				}
			}
			return false
		})
	}
	if !found {
		l.find(nil, CodeUnplanned, SeverityWarning, "OPA's evaluator decides for the whole set, which is many times slower: %v", why)
	}
}

// silence is a comment "# mandate:ignore code: why", which holds for its own line and the next, or all of the rule that begins there.
type silence struct {
	at   *ast.Location
	code string
	last int // line
	used bool
}

// obey takes out what comments silence.
func (l *linter) obey() {
	var silences []*silence
	for _, module := range l.modules {
		for _, comment := range module.Comments {
			text, ok := strings.CutPrefix(strings.TrimSpace(string(comment.Text)), "mandate:ignore")
			if !ok {
				continue
			}
			code, why, _ := strings.Cut(strings.TrimSpace(text), ":")
			if !slices.Contains(ignorable(), code) || strings.TrimSpace(why) == "" {
				l.find(comment.Location, CodeIgnore, SeverityWarning, "write \"# mandate:ignore code: why\", with one of the codes %s", strings.Join(ignorable(), ", "))
				continue
			}
			s := &silence{at: comment.Location, code: code, last: comment.Location.Row + 1}
			for _, rule := range module.Rules {
				if rule.Location.Row == s.last {
					s.last += strings.Count(string(rule.Location.Text), "\n")
				}
			}
			silences = append(silences, s)
		}
	}
	l.findings = slices.DeleteFunc(l.findings, func(f Finding) bool {
		silent := false
		for _, s := range silences {
			if s.code == f.Code && s.at.File == f.File && s.at.Row <= f.Line && f.Line <= s.last {
				s.used, silent = true, true
			}
		}
		return silent
	})
	for _, s := range silences {
		if !s.used {
			l.find(s.at, CodeIgnore, SeverityWarning, "there is no finding %s here any more: remove the comment", s.code)
		}
	}
}
