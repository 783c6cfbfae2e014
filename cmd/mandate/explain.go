package main

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"mandate/engine"
	"mandate/server"
)

// Bounds of what fits a screen.
const (
	shownGrounds   = 3
	shownSentences = 6
	shownValue     = 110 // characters of a document
)

// explanationText is a decision, with its explanation if there is one, for a person: the verdict, what would have to be different, and the
// rules that came closest. Only all has every rule that was tried and every fact that was read.
func explanationText(e server.Explained, all bool) string {
	var b strings.Builder
	b.WriteString(verdict(e.Decision))
	for _, reason := range e.Context.Reasons {
		fmt.Fprintf(&b, "  %s: %s", reason.Code, reason.Message)
	}
	fmt.Fprintf(&b, "\n  policy %.12s, data revision %d\n", e.Context.PolicyRevision, e.Context.DataRevision)
	x := e.Explanation
	if x == nil {
		return b.String()
	}
	if r := x.Repeated; r != nil {
		if r.Inexact != "" {
			fmt.Fprintf(&b, "  It cannot be made again exactly: %s.\n", r.Inexact)
		}
		if r.Logged != nil {
			fmt.Fprintf(&b, "\nTHIS IS NOT WHAT WAS DECIDED. The log says\n  %s", verdict(r.Logged.Allow))
			for _, reason := range r.Logged.Reasons {
				fmt.Fprintf(&b, "  %s: %s", reason.Code, reason.Message)
			}
			b.WriteString("\n")
		}
	}
	if e.Decision {
		writeSentences(&b, "It would be denied without", x.Otherwise.Rests, "and")
	} else {
		writeSentences(&b, "What would have to be different", x.Otherwise.Needed, "or")
		if x.Otherwise.None != "" {
			fmt.Fprintf(&b, "\nWhat would have to be different\n  Nothing was found: %s.\n", x.Otherwise.None)
		}
	}
	if x.Denies != nil {
		b.WriteString("\nThe rule that denies it\n")
		writeGround(&b, *x.Denies, all)
	}
	writeGrounds(&b, e.Decision, x.Grounds, all)
	if all {
		writeRules(&b, x.Rules)
		writeFacts(&b, x.Facts)
	}
	return b.String()
}

func verdict(allow bool) string {
	if allow {
		return "ALLOW"
	}
	return "DENY"
}

func writeSentences(b *strings.Builder, title string, alternatives []engine.Alternative, between string) {
	if len(alternatives) == 0 {
		return
	}
	fmt.Fprintf(b, "\n%s\n", title)
	for i, a := range alternatives {
		switch i {
		case shownSentences:
			fmt.Fprintf(b, "  … and %d more, which --json has\n", len(alternatives)-i)
			return
		case 0:
			fmt.Fprintf(b, "  %s\n", a.Text)
		default:
			fmt.Fprintf(b, "  %s %s\n", between, a.Text)
		}
	}
}

func writeGrounds(b *strings.Builder, allowed bool, grounds []engine.Ground, all bool) {
	if len(grounds) == 0 {
		return
	}
	title, shown := "The rules that came closest, and the first condition that each failed", shownGrounds
	if allowed {
		title, shown = "The rules that allowed it", 2*shownGrounds
	}
	if all {
		shown = len(grounds)
	}
	fmt.Fprintf(b, "\n%s\n", title)
	for _, g := range grounds[:min(shown, len(grounds))] {
		writeGround(b, g, all)
	}
	if more := len(grounds) - shown; more > 0 {
		fmt.Fprintf(b, "  %d more: see them with --all, and every rule and fact\n", more)
	}
}

func writeGround(b *strings.Builder, g engine.Ground, all bool) {
	fmt.Fprintf(b, "  %s  %s:%d", g.Rule, g.File, g.Line)
	if g.About != "" && (all || len(g.About) <= shownValue) {
		fmt.Fprintf(b, "  %s", g.About)
	}
	b.WriteString("\n")
	if g.Condition != nil {
		fmt.Fprintf(b, "      %s", strings.Join(strings.Fields(g.Condition.Text), " "))
		var values []string
		for _, name := range slices.Sorted(maps.Keys(g.Values)) {
			values = append(values, name+" = "+short(string(g.Values[name]), all))
		}
		if values != nil {
			fmt.Fprintf(b, "   with %s", strings.Join(values, ", "))
		}
		b.WriteString("\n")
	}
	if g.Because != nil {
		fmt.Fprintf(b, "      but %s holds  %s:%d\n", g.Because.Rule, g.Because.File, g.Because.Line)
	}
	for _, f := range g.Facts {
		fmt.Fprintf(b, "      %s: %s\n", f.Path, factValue(f, all))
	}
	if all && len(g.Through) > 0 {
		fmt.Fprintf(b, "      so failed %s\n", strings.Join(g.Through, ", "))
	}
}

func factValue(f engine.FactRead, all bool) string {
	if !f.Found {
		return "absent"
	}
	return short(cmp.Or(string(f.Value), "is there"), all)
}

func short(text string, all bool) string {
	if all {
		return text
	}
	if letters := []rune(text); len(letters) > shownValue {
		return string(letters[:shownValue]) + "…"
	}
	return text
}

func writeRules(b *strings.Builder, rules []engine.RuleTrace) {
	b.WriteString("\nRules that held\n")
	for _, rule := range rules {
		if rule.Held {
			fmt.Fprintf(b, "  %-52s %s:%d\n", rule.Rule, rule.File, rule.Line)
		}
	}
	b.WriteString("\nRules that did not hold, and the condition that failed\n")
	for _, rule := range rules {
		if rule.Held || rule.Default {
			continue
		}
		fmt.Fprintf(b, "  %-52s %s:%d\n", rule.Rule, rule.File, rule.Line)
		if rule.Failed != nil {
			fmt.Fprintf(b, "      %s   (line %d)\n", rule.Failed.Text, rule.Failed.Line)
		}
	}
}

func writeFacts(b *strings.Builder, facts []engine.FactRead) {
	b.WriteString("\nFacts that were read\n")
	for _, f := range facts {
		fmt.Fprintf(b, "  %-52s %s\n", f.Path, factValue(f, true))
	}
}
