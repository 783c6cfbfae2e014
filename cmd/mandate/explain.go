package main

import (
	"fmt"
	"strings"

	"mandate/server"
)

// explanationText is a decision, with its explanation if there is one, for a person.
func explanationText(e server.Explained) string {
	var b strings.Builder
	verdict := "DENY"
	if e.Decision {
		verdict = "ALLOW"
	}
	b.WriteString(verdict)
	for _, reason := range e.Context.Reasons {
		fmt.Fprintf(&b, "  %s: %s", reason.Code, reason.Message)
	}
	fmt.Fprintf(&b, "\n  policy %.12s, data revision %d\n", e.Context.PolicyRevision, e.Context.DataRevision)
	if e.Explanation == nil {
		return b.String()
	}
	b.WriteString("\nRules that held\n")
	for _, rule := range e.Explanation.Rules {
		if rule.Held {
			fmt.Fprintf(&b, "  %-52s %s:%d\n", rule.Rule, rule.File, rule.Line)
		}
	}
	b.WriteString("\nRules that did not hold, and the condition that failed\n")
	for _, rule := range e.Explanation.Rules {
		if rule.Held || rule.Default {
			continue
		}
		fmt.Fprintf(&b, "  %-52s %s:%d\n", rule.Rule, rule.File, rule.Line)
		if rule.Failed != nil {
			fmt.Fprintf(&b, "      %s   (line %d)\n", rule.Failed.Text, rule.Failed.Line)
		}
	}
	b.WriteString("\nFacts that were read\n")
	for _, fact := range e.Explanation.Facts {
		if !fact.Found {
			fmt.Fprintf(&b, "  %-52s absent\n", fact.Path)
			continue
		}
		fmt.Fprintf(&b, "  %-52s %s\n", fact.Path, fact.Value)
	}
	return b.String()
}
