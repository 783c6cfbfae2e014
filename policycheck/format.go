package policycheck

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/format"

	"mandate/engine"
)

// Unformatted is a file that is not written as OPA's formatter writes it.
type Unformatted struct {
	Name       string
	Text, Want []byte
}

// Format finds the files that are not formatted. Those that cannot be parsed are an *engine.CompileError.
func Format(files []engine.File) ([]Unformatted, error) {
	var found []Unformatted
	var problems []engine.Problem
	for _, f := range files {
		if !isRego(f.Name) {
			continue
		}
		want, err := format.SourceWithOpts(f.Name, []byte(f.Text), format.Opts{RegoVersion: ast.RegoV1})
		if err != nil {
			refused := (*engine.CompileError)(nil)
			if !errors.As(engine.Refused(err), &refused) {
				return nil, fmt.Errorf("format %s: %w", f.Name, err)
			}
			problems = append(problems, refused.Problems...)
			continue
		}
		if !bytes.Equal(want, []byte(f.Text)) {
			found = append(found, Unformatted{f.Name, []byte(f.Text), want})
		}
	}
	if problems != nil {
		return nil, &engine.CompileError{Problems: problems}
	}
	return found, nil
}
