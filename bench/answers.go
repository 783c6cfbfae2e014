package main

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/dustin/go-humanize"

	"mandate/engine"
)

// answer is a decision with its reasons, comparable by ==.
type answer struct {
	allow   bool
	reasons string // "code: message", a line each
}

func answerOf(allow bool, reasons []engine.Reason) answer {
	lines := make([]string, len(reasons))
	for i, r := range reasons {
		lines[i] = r.Code + ": " + r.Message
	}
	return answer{allow, strings.Join(lines, "\n")}
}

// code is the code of the first reason.
func (a answer) code() string {
	code, _, _ := strings.Cut(a.reasons, ":")
	return code
}

func (a answer) String() string {
	if a.allow {
		return "allow, " + a.reasons
	}
	return "deny, " + a.reasons
}

// answered is what one contestant answered to all questions.
type answered struct {
	name    string
	answers []answer
}

// mustAgree reports the first questions on which the contestants differ.
func mustAgree(questions []question, all []answered) error {
	const shown = 5
	var differences []string
	for i, q := range questions {
		agreed := !slices.ContainsFunc(all, func(a answered) bool { return a.answers[i] != all[0].answers[i] })
		if agreed {
			continue
		}
		if len(differences) == shown {
			differences = append(differences, "…")
			break
		}
		lines := []string{fmt.Sprintf("request %d: may %s %s %s %s of %s?", i, q.Subject.Type, q.Subject.ID, q.Action.Name, q.Resource.ID, q.Resource.Properties.Org)}
		for _, a := range all {
			lines = append(lines, fmt.Sprintf("  %-18s %v", a.name, a.answers[i]))
		}
		differences = append(differences, strings.Join(lines, "\n"))
	}
	if differences == nil {
		return nil
	}
	return fmt.Errorf("the contestants give different answers, so there is nothing to compare:\n%s", strings.Join(differences, "\n"))
}

// tallyOf counts the answers by their reasons, the most frequent first.
func tallyOf(answers []answer) string {
	counts := map[string]int{}
	allowed := 0
	for _, a := range answers {
		if a.allow {
			allowed++
		}
		counts[fmt.Sprintf("%t %s", a.allow, a.code())]++
	}
	by := slices.SortedFunc(maps.Keys(counts), func(a, b string) int {
		return cmp.Or(cmp.Compare(counts[b], counts[a]), cmp.Compare(a, b))
	})
	list := func(allow string) string {
		var parts []string
		for _, key := range by {
			if code, ok := strings.CutPrefix(key, allow+" "); ok {
				parts = append(parts, fmt.Sprintf("%s %s", code, humanize.Comma(int64(counts[key]))))
			}
		}
		return strings.Join(parts, ", ")
	}
	return fmt.Sprintf("%s allowed (%s), %s denied (%s)", humanize.Comma(int64(allowed)), list("true"),
		humanize.Comma(int64(len(answers)-allowed)), list("false"))
}
