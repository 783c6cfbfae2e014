package vm

import (
	"fmt"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/ir"
	"github.com/open-policy-agent/opa/v1/topdown"
)

// UnsupportedError says why a policy cannot run here. OPA's evaluator has to evaluate it.
type UnsupportedError struct {
	Function string // or plan
	Reason   string
}

func (e *UnsupportedError) Error() string {
	if e.Function == "" {
		return "unsupported plan: " + e.Reason
	}
	return fmt.Sprintf("unsupported plan: %s: %s", e.Function, e.Reason)
}

// location is where a statement comes from, as OPA's errors name it.
func (c *compiler) location(s ir.Stmt) *ast.Location {
	at := s.GetLocation()
	file := ""
	if files := c.policy.Static.Files; at.File >= 0 && at.File < len(files) && files[at.File].Value != "<query>" {
		file = files[at.File].Value
	}
	return ast.NewLocation(nil, file, at.Row, at.Col)
}

// conflict is the error of a rule or function that has produced two values.
func (c *compiler) conflict(s ir.Stmt) error {
	_, name, _ := strings.Cut(c.name, ".") // after the planner's number
	message := "rule " + name + " produced conflicting values"
	if len(c.params) > 2 {
		message = "function " + name + " produced conflicting values for the same inputs"
	}
	return &topdown.Error{Code: topdown.ConflictErr, Message: message, Location: c.location(s)}
}

// keyConflict is the error of an object that was given two values for one key.
func (c *compiler) keyConflict(s ir.Stmt) error {
	return &topdown.Error{Code: topdown.ConflictErr, Message: "object keys must be unique", Location: c.location(s)}
}
