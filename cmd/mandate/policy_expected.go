package main

import (
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/dustin/go-humanize"

	"mandate/decisionlog"
	"mandate/directory"
	"mandate/engine"
	"mandate/replay"
	"mandate/server"
)

// expectedChange is requests that may turn. What is empty is any; in the others * stands for any characters.
type expectedChange struct {
	Turns   string `json:"turns,omitempty" yaml:"turns,omitempty"`
	Point   string `json:"point,omitempty" yaml:"point,omitempty"`
	Rule    string `json:"rule,omitempty" yaml:"rule,omitempty"`
	Org     string `json:"org,omitempty" yaml:"org,omitempty"`
	Subject string `json:"subject,omitempty" yaml:"subject,omitempty"`
	Action  string `json:"action,omitempty" yaml:"action,omitempty"`
	Note    string `json:"note,omitempty" yaml:"note,omitempty"`
}

// readExpected reads the file of the expected changes, of which there are none without one.
func readExpected(name string) ([]expectedChange, error) {
	if name == "" {
		return nil, nil
	}
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("read the expected changes: %w", err)
	}
	var file struct {
		Changes []expectedChange `yaml:"changes"`
	}
	if err := directory.DecodeYAML(text, &file); err != nil {
		return nil, fmt.Errorf("%s:\n%w", name, err)
	}
	for i, e := range file.Changes {
		if !slices.Contains([]string{"", "*", string(engine.ToAllow), string(engine.ToDeny), string(engine.Different)}, e.Turns) {
			return nil, fmt.Errorf("%s: change %d: turns is %q, and not allow, deny or different", name, i+1, e.Turns)
		}
	}
	return file.Changes, nil
}

func (e expectedChange) matches(g replay.Group) bool {
	return matches(e.Turns, string(g.Turns)) && matches(e.Point, g.Point) && matches(e.Rule, g.Rule) && matches(e.Org, g.Org) &&
		matches(e.Subject, g.Subject) && matches(e.Action, g.Action)
}

// matches says whether a text is as the pattern says.
func matches(pattern, text string) bool {
	if pattern == "" {
		return true
	}
	parts := strings.Split(pattern, "*")
	rest, ok := strings.CutPrefix(text, parts[0])
	if len(parts) == 1 {
		return ok && rest == ""
	}
	for _, part := range parts[1 : len(parts)-1] {
		if ok {
			_, rest, ok = strings.Cut(rest, part)
		}
	}
	return ok && strings.HasSuffix(rest, parts[len(parts)-1])
}

func (e expectedChange) String() string {
	var parts []string
	for _, p := range [][2]string{{"turns", e.Turns}, {"point", e.Point}, {"rule", e.Rule}, {"org", e.Org}, {"subject", e.Subject},
		{"action", e.Action}} {
		if p[1] != "" {
			parts = append(parts, p[0]+" "+p[1])
		}
	}
	return strings.Join(parts, ", ")
}

// replayOutcome is what a replay has found, and what of it was expected.
type replayOutcome struct {
	Set        string           `json:"set"`
	Since      time.Time        `json:"since"`
	Until      time.Time        `json:"until"`
	Report     *replay.Report   `json:"report"`
	Unexpected []replay.Group   `json:"unexpected"`
	Absent     []expectedChange `json:"absent"` // expected, and not found
}

func outcomeOf(r *server.Replay, expected []expectedChange) *replayOutcome {
	o := &replayOutcome{Set: r.Set, Since: r.Since, Until: r.Until, Report: r.Report, Unexpected: []replay.Group{}, Absent: []expectedChange{}}
	found := make([]bool, len(expected))
	for _, g := range r.Report.Groups {
		known := false
		for i, e := range expected {
			if e.matches(g) {
				known, found[i] = true, true
			}
		}
		if !known {
			o.Unexpected = append(o.Unexpected, g)
		}
	}
	for i, e := range expected {
		if !found[i] {
			o.Absent = append(o.Absent, e)
		}
	}
	return o
}

// maxShownGroups is how many groups a person is shown.
const maxShownGroups = 50

func (o *replayOutcome) print(out io.Writer) error {
	r := o.Report
	say(out, "%s decisions made again by %.12s, from %s to %s\n", humanize.Comma(int64(r.Decided)), o.Set, o.Since.Format(time.RFC3339),
		o.Until.Format(time.RFC3339))
	if err := printTurned(out, r, o.Unexpected); err != nil {
		return err
	}
	if known := len(r.Groups) - len(o.Unexpected); known > 0 {
		say(out, "\nGroups that turn as expected: %d\n", known)
	}
	for _, e := range o.Absent {
		say(out, "Expected, and not found: %s\n", printable(e.String()))
	}
	return nil
}

// printTurned prints the counts, and groups with their first example.
func printTurned(out io.Writer, r *replay.Report, groups []replay.Group) error {
	if r.Changed() {
		say(out, "%s turn from deny to allow, %s from allow to deny, %s differ otherwise\n", humanize.Comma(int64(r.ToAllow)),
			humanize.Comma(int64(r.ToDeny)), humanize.Comma(int64(r.Different)))
	} else {
		say(out, "None turns\n")
	}
	for _, why := range slices.Sorted(maps.Keys(r.Skipped)) {
		say(out, "%s could not be decided again: %s\n", humanize.Comma(int64(r.Skipped[why])), skipWords(why))
	}
	if len(groups) == 0 {
		return nil
	}
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	say(table, "\nTURNS\tREQUESTS\tRULE\tORG\tSUBJECT\tACTION\tDECISION\n")
	shown := groups[:min(len(groups), maxShownGroups)]
	for _, g := range shown {
		say(table, "%s\t%d\t%s\t%s\t%s\t%s\t%s\n", g.Turns, g.Count, dash(g.Rule), dash(g.Org), dash(g.Subject), dash(g.Action), g.Point)
	}
	if err := flush(table); err != nil {
		return err
	}
	if more := len(groups) - len(shown); more > 0 {
		say(out, "and %d groups more: --json has them\n", more)
	}
	for _, g := range shown {
		if len(g.Examples) > 0 {
			printExample(out, g)
		}
	}
	return nil
}

// printExample says of the first example of a group what it was, is, and why.
func printExample(out io.Writer, g replay.Group) {
	e := g.Examples[0]
	say(out, "\n%s  %s %s %s\n", e.ID, printable(g.Subject), printable(g.Action), printable(e.Resource))
	for _, side := range []struct {
		name    string
		reasons []decisionlog.Reason
	}{{"before", e.Before}, {"after", e.After}} {
		for _, r := range side.reasons {
			say(out, "  %-7s %s: %s\n", side.name, printable(r.Code), printable(r.Message))
		}
	}
	for _, rule := range e.Rules {
		if rule.Failed == nil {
			say(out, "  holds   %s  %s:%d\n", printable(rule.Rule), printable(rule.File), rule.Line)
			continue
		}
		say(out, "  fails   %s  %s:%d: %s\n", printable(rule.Rule), printable(rule.Failed.File), rule.Failed.Line, printable(rule.Failed.Text))
	}
}

func skipWords(why string) string {
	switch why {
	case replay.Masked:
		return "its input was masked"
	case replay.Uncommitted:
		return "made within a change of the facts"
	case replay.HistoryGone:
		return "its facts are older than the history that is kept"
	case replay.NoInput:
		return "the question reached no policy"
	case replay.Unavailable:
		return "the policy had not the time or the facts to decide"
	case replay.Dropped:
		return "too many waited"
	}
	return why
}
