package server

import (
	"fmt"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"mandate/decisionlog"
	"mandate/engine"
)

// outsideFact stands for all that would have to be different, or that an allow rests on, outside the organization.
const outsideFact = "a fact outside the organization"

// ownFacts says which paths of facts the managers of an organization may see: what is below it, and the tenant's roles.
func ownFacts(org string) func(path string) bool {
	below := "orgs/" + strings.NewReplacer("~", "~0", "/", "~1").Replace(org) + "/"
	return func(path string) bool { return strings.HasPrefix(path, below) || strings.HasPrefix(path, "roles/") }
}

// within leaves what the organization's managers may see: what rests on its own facts alone. Values and the rules that were tried can
// tell of any fact, and are not shown.
func (e *explanation) within(org string) {
	own := ownFacts(org)
	outside := func(f engine.FactRead) bool { return !own(f.Path) }
	hidden := func(g engine.Ground) bool {
		return slices.ContainsFunc(g.Facts, outside) || (g.Because != nil && slices.ContainsFunc(g.Because.Facts, outside))
	}
	e.Withheld, e.Rules = true, []engine.RuleTrace{}
	e.Facts = slices.DeleteFunc(e.Facts, outside)
	e.Grounds = slices.DeleteFunc(e.Grounds, hidden)
	for i := range e.Grounds {
		e.Grounds[i].Values = nil
	}
	if e.Denies != nil && hidden(*e.Denies) {
		e.Denies = nil
	}
	e.Otherwise = engine.Otherwise{Needed: withinAlternatives(e.Otherwise.Needed, own), Rests: withinAlternatives(e.Otherwise.Rests, own), None: e.Otherwise.None}
	if e.Otherwise.None != "" {
		e.Otherwise.None = "why there are none is not told within one organization"
	}
}

// withinAlternatives are those of the organization's own facts, with one sentence for all others.
func withinAlternatives(all []engine.Alternative, own func(path string) bool) []engine.Alternative {
	outside := func(a engine.Alternative) bool {
		return slices.ContainsFunc(a.Sets, func(set []engine.Change) bool {
			return slices.ContainsFunc(set, func(c engine.Change) bool { return c.Fact != "" && !own(c.Fact) })
		})
	}
	if !slices.ContainsFunc(all, outside) {
		return all
	}
	return append(slices.DeleteFunc(slices.Clone(all), outside), engine.Alternative{Text: outsideFact, Sets: [][]engine.Change{}})
}

// withinRecord leaves of a record what the organization's managers may see: of parties whose credential is not for the organization
// their type and id only, and of the facts that it rests on the organization's own.
func withinRecord(d *decisionlog.Description, org string) error {
	own := ownFacts(org)
	var footprint []string
	for _, path := range d.Footprint {
		if own(strings.TrimPrefix(path, "!")) {
			footprint = append(footprint, path)
		}
	}
	if len(footprint) < len(d.Footprint) {
		footprint = append(footprint, "…")
	}
	d.Footprint = footprint
	input := map[string]jsontext.Value{}
	if d.Input == nil {
		return nil
	}
	if json.Unmarshal(d.Input, &input) != nil {
		d.Input = nil // of what is no object, nobody can say what it tells
		return nil    //nolint:nilerr // it is hidden
	}
	for _, name := range []string{"principal", "caller"} {
		var party struct {
			Type string `json:"type"`
			Sub  string `json:"sub"`
			Org  string `json:"org"`
		}
		switch {
		case input[name] == nil:
			continue
		case json.Unmarshal(input[name], &party) != nil:
			delete(input, name)
			continue
		case party.Org == org:
			continue
		}
		text, err := json.Marshal(map[string]string{"type": party.Type, "sub": party.Sub}, json.Deterministic(true))
		if err != nil {
			return fmt.Errorf("show a record: %w", err)
		}
		input[name] = text
	}
	text, err := json.Marshal(input, json.Deterministic(true))
	if err != nil {
		return fmt.Errorf("show a record: %w", err)
	}
	d.Input = text
	return nil
}
