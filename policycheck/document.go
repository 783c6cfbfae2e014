package policycheck

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"
	"go.yaml.in/yaml/v3"
)

// Document is a JSON value that a scenario file says in YAML. Its numbers stay as they are written, and what YAML would take for a
// time is text, as it is in JSON. It is nil where the file says null.
type Document jsontext.Value

// UnmarshalYAML implements yaml.Unmarshaler.
func (d *Document) UnmarshalYAML(node *yaml.Node) error {
	text, err := appendNode(nil, node, 0)
	if err != nil {
		return err
	}
	value := jsontext.Value(text)
	if err := value.Canonicalize(jsontext.CanonicalizeRawInts(false), jsontext.CanonicalizeRawFloats(false)); err != nil {
		return fmt.Errorf("line %d: %w", node.Line, err) // members given twice
	}
	*d = Document(value)
	return nil
}

// maxDepth bounds how deep a document is nested, as JSON decoders do.
const maxDepth = 1000

func appendNode(b []byte, node *yaml.Node, depth int) (_ []byte, err error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("line %d: it is nested too deep", node.Line)
	}
	switch node.Kind {
	case yaml.MappingNode:
		b = append(b, '{')
		for i := 0; i+1 < len(node.Content); i += 2 {
			if i > 0 {
				b = append(b, ',')
			}
			key := node.Content[i]
			if key.Kind != yaml.ScalarNode || key.ShortTag() == "!!merge" {
				return nil, fmt.Errorf("line %d: a key must be text", key.Line)
			}
			if b, err = jsontext.AppendQuote(b, key.Value); err != nil {
				return nil, fmt.Errorf("line %d: a key is no UTF-8", key.Line)
			}
			if b, err = appendNode(append(b, ':'), node.Content[i+1], depth+1); err != nil {
				return nil, err
			}
		}
		return append(b, '}'), nil
	case yaml.SequenceNode:
		b = append(b, '[')
		for i, element := range node.Content {
			if i > 0 {
				b = append(b, ',')
			}
			if b, err = appendNode(b, element, depth+1); err != nil {
				return nil, err
			}
		}
		return append(b, ']'), nil
	case yaml.ScalarNode:
		return appendScalar(b, node)
	}
	return nil, fmt.Errorf("line %d: an alias cannot be used here: write the value itself", node.Line)
}

func appendScalar(b []byte, node *yaml.Node) ([]byte, error) {
	switch node.ShortTag() {
	case "!!null":
		return append(b, "null"...), nil
	case "!!bool", "!!int", "!!float":
		if value := jsontext.Value(node.Value); value.IsValid() {
			return append(b, value...), nil
		}
		var value any // True, 0x10, .5
		if err := node.Decode(&value); err != nil {
			return nil, fmt.Errorf("line %d: %w", node.Line, err)
		}
		switch v := value.(type) {
		case bool:
			return strconv.AppendBool(b, v), nil
		case float64:
			if text := jsontext.Value(strconv.AppendFloat(nil, v, 'g', -1, 64)); text.IsValid() {
				return append(b, text...), nil
			}
		case int, int64, uint64:
			return fmt.Append(b, v), nil
		}
		return nil, fmt.Errorf("line %d: is no number in JSON", node.Line)
	case "!!str", "!!timestamp":
		b, err := jsontext.AppendQuote(b, node.Value)
		if err != nil {
			return nil, fmt.Errorf("line %d: is no UTF-8", node.Line)
		}
		return b, nil
	}
	return nil, fmt.Errorf("line %d: %s is nothing that JSON has", node.Line, node.ShortTag())
}

// MarshalYAML implements yaml.Marshaler. JSON without escapes that YAML has not is YAML.
func (d Document) MarshalYAML() (any, error) {
	if d == nil {
		return nil, nil
	}
	value := jsontext.Value(d).Clone()
	if err := value.Format(jsontext.CanonicalizeRawInts(false), jsontext.CanonicalizeRawFloats(false), jsontext.ReorderRawObjects(true)); err != nil {
		return nil, fmt.Errorf("write a document: %w", err)
	}
	var node yaml.Node
	if err := yaml.Unmarshal(value, &node); err != nil {
		return nil, fmt.Errorf("write a document: %w", err)
	}
	if len(node.Content) != 1 {
		return nil, errors.New("write a document: there is none")
	}
	plain(node.Content[0])
	return node.Content[0], nil
}

// plain takes the quotes from texts that mean the same without them.
func plain(node *yaml.Node) {
	if node.Kind == yaml.ScalarNode && node.ShortTag() == "!!str" {
		node.Style, node.Tag = 0, "!!str"
	}
	for _, child := range node.Content {
		plain(child)
	}
}
