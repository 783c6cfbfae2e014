package engine

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
	"go.yaml.in/yaml/v3"
)

// maxYAMLBytes bounds a text of YAML: its tree takes a hundred times the memory, and more.
const maxYAMLBytes = 1 << 20

// PlainYAML refuses YAML that must not be decoded: with aliases, a few bytes become as many as one likes. JSON is not bounded here.
func PlainYAML(text []byte) error {
	if text = bytes.TrimPrefix(text, []byte("\ufeff")); json.Valid(text) {
		return nil
	}
	if len(text) > maxYAMLBytes {
		return fmt.Errorf("more than %d bytes of YAML: write it as JSON", maxYAMLBytes)
	}
	for documents := yaml.NewDecoder(bytes.NewReader(text)); ; {
		var document yaml.Node
		switch err := documents.Decode(&document); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("is not readable: %w", err)
		}
		if alias := aliasIn(&document); alias != nil {
			return fmt.Errorf("line %d: an alias cannot be used here: write the value itself", alias.Line)
		}
	}
}

// aliasIn is the first alias below node, or nil.
func aliasIn(node *yaml.Node) *yaml.Node {
	if node.Kind == yaml.AliasNode {
		return node
	}
	for _, child := range node.Content {
		if alias := aliasIn(child); alias != nil {
			return alias
		}
	}
	return nil
}

// plainMetadata is PlainYAML for the metadata in the comments of a module, which OPA's parser decodes.
func plainMetadata(f File) error {
	var block strings.Builder
	begin, row := 0, 0 // begin is the row of the word METADATA, 0 outside of a block
	check := func() error {
		text := block.String()
		block.Reset()
		if len(text) <= maxYAMLBytes && !strings.Contains(text, "*") {
			return nil
		}
		if err := PlainYAML([]byte(text)); err != nil {
			return ast.NewError(ast.ParseErr, ast.NewLocation(nil, f.Name, begin, 1), "the metadata: %v", err)
		}
		return nil
	}
	for line := range strings.Lines(strings.TrimPrefix(f.Text, "\ufeff")) {
		row++
		comment, is := strings.CutPrefix(line, "#")
		starts := is && strings.HasPrefix(strings.TrimSpace(comment), "METADATA")
		switch {
		case starts || !is:
			if err := check(); err != nil {
				return err
			}
			if begin = 0; starts {
				begin = row
			}
		case begin > 0:
			block.WriteString(strings.TrimPrefix(comment, " "))
		}
	}
	return check()
}
