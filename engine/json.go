package engine

import (
	"encoding/json"
	"errors"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/open-policy-agent/opa/v1/ast"

	"mandate/engine/vm"
)

var errInvalidJSON = errors.New("not one valid JSON value with unique names in UTF-8")

// parseJSON checks that text is exactly one JSON value, and returns it; what a policy does not touch is not parsed. Numbers
// keep their text, and those beyond all measure are an error where they are touched.
func parseJSON(text []byte) (ast.Value, error) {
	if !jsontext.Value(text).IsValid() {
		return nil, errInvalidJSON
	}
	return vm.JSON(string(text))
}

// forced is v with all that is lazy in it made.
func forced(v ast.Value) (ast.Value, error) {
	if lazy, ok := v.(vm.Lazy); ok {
		return lazy.Force()
	}
	return v, nil
}

func encodeJSON(v ast.Value) (json.RawMessage, error) {
	x, err := ast.JSON(v)
	if err != nil {
		return nil, err
	}
	return json.Marshal(x)
}
