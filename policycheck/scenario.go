package policycheck

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"mandate/directory"
)

// Scenario is a file that says, without Rego, which facts there are, who asks for what, and what must be decided.
type Scenario struct {
	File    string `yaml:"-"`
	Comment string `yaml:"-"` // at the top of what Write writes; it is not read

	Title string `yaml:"scenario"`
	Step  `yaml:",inline"`
	// Then are later steps. Each begins with the facts and the time of the one before.
	Then []Then `yaml:"then,omitempty"`

	node *yaml.Node // for the lines of problems; nil when it was not parsed
}

// Then is what happens after a step, and what is decided from then on.
type Then struct {
	When string `yaml:"when"`
	Step `yaml:",inline"`
}

// Step is a change of facts and the requests that follow it.
type Step struct {
	// At is what the policies see as the present: the time of the test when it is zero.
	At time.Time `yaml:"at,omitempty"`
	// Given is a directory file, imported as "mandate import" does.
	Given *directory.File `yaml:"given,omitempty"`
	// Facts are written as they are, each at its path. One that is null is taken away.
	Facts    map[string]Document `yaml:"facts,omitempty"`
	Requests []Request           `yaml:"requests,omitempty"`
}

// Request is a question and the decision that it must get. It has a subject, or else a point and an input.
type Request struct {
	Line int    `yaml:"-"` // in the file
	Name string `yaml:"name,omitempty"`

	Subject  string `yaml:"subject,omitempty"` // user:bob, or caller
	Action   string `yaml:"action,omitempty"`
	Resource string `yaml:"resource,omitempty"` // document:report
	Org      string `yaml:"org,omitempty"`      // resource.properties.org
	// Properties are those of the resource, beside org.
	Properties Document `yaml:"properties,omitempty"`
	Context    Document `yaml:"context,omitempty"`
	// Caller is who asks, as apikey:gateway; when it is left out, one that may ask about everybody.
	Caller string `yaml:"caller,omitempty"`

	// Point is that of a raw input: mandate/access, mandate/tokens or mandate/manage.
	Point string   `yaml:"point,omitempty"`
	Input Document `yaml:"input,omitempty"`

	Expect string `yaml:"expect"` // allow or deny
	// Reasons are the codes of all reasons, in any order.
	Reasons     []string `yaml:"reasons,omitempty,flow"`
	Obligations Document `yaml:"obligations,omitempty"` // all of them, in their order
	// Granted are members that the decision on a token must have: scopes, lifetime in seconds, claims, org.
	Granted Document `yaml:"granted,omitempty"`
}

// The outcomes that a request can expect.
const (
	Allow = "allow"
	Deny  = "deny"
)

// Write writes a scenario as Parse reads it. The same scenario is the same text.
func Write(w io.Writer, s Scenario) error {
	var b bytes.Buffer
	for line := range strings.Lines(s.Comment) {
		b.WriteString(strings.TrimRight("# "+strings.TrimRight(line, "\r\n"), " ") + "\n")
	}
	encoder := yaml.NewEncoder(&b)
	encoder.SetIndent(2)
	if err := encoder.Encode(s); err != nil {
		return fmt.Errorf("write a scenario: %w", err)
	}
	if err := encoder.Close(); err != nil {
		return fmt.Errorf("write a scenario: %w", err)
	}
	if _, err := w.Write(b.Bytes()); err != nil {
		return fmt.Errorf("write a scenario: %w", err)
	}
	return nil
}
