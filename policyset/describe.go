package policyset

import (
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/rogpeppe/go-internal/diff"

	"mandate/engine"
)

// FileDiff is a file that differs between two sets, and how, as a unified diff.
type FileDiff struct {
	Name   string `json:"name"`
	Change string `json:"change"` // added, removed, changed
	Diff   string `json:"diff"`
}

// Diff says which files differ from one set to another, both in the order of their names.
func Diff(from, to []engine.File) []FileDiff {
	differences := []FileDiff{}
	differ := func(name, change, before, after string) {
		text := diff.Diff("a/"+name, []byte(before), "b/"+name, []byte(after))
		_, unified, _ := strings.Cut(string(text), "\n") // the first line says the names once more
		differences = append(differences, FileDiff{name, change, unified})
	}
	for len(from) > 0 || len(to) > 0 {
		switch {
		case len(to) == 0 || len(from) > 0 && from[0].Name < to[0].Name:
			differ(from[0].Name, "removed", from[0].Text, "")
			from = from[1:]
		case len(from) == 0 || to[0].Name < from[0].Name:
			differ(to[0].Name, "added", "", to[0].Text)
			to = to[1:]
		default:
			if from[0].Text != to[0].Text {
				differ(to[0].Name, "changed", from[0].Text, to[0].Text)
			}
			from, to = from[1:], to[1:]
		}
	}
	return differences
}

// Tests is how many tests a set has.
func Tests(files []engine.File) int {
	names := map[string]bool{}
	for _, f := range files {
		if !strings.HasSuffix(f.Name, "_test.rego") {
			continue
		}
		module, err := ast.ParseModuleWithOpts(f.Name, f.Text, ast.ParserOptions{RegoVersion: ast.RegoV1})
		if err != nil {
			continue
		}
		for _, rule := range module.Rules {
			if name := string(rule.Head.Name); strings.HasPrefix(name, "test_") {
				names[module.Package.Path.String()+"."+name] = true
			}
		}
	}
	return len(names)
}
