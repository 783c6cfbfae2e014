package server

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"
	"maps"
	"strings"

	"mandate/manage"
)

// example is a request that works against the example of serve --dev, after those before it in the tables.
type example struct {
	path      map[string]string
	query     map[string]string
	body      any
	as        string // whose credential; empty for the operator's
	anonymous bool
	ready     bool // as it stands: nothing goes into it
	confirm   bool // with the header Confirm
}

func (e example) works() bool { return e.ready || e.path != nil || e.query != nil || e.body != nil }

// kindExample are records of a collection: one that is there, and one that is made.
type kindExample struct {
	path        map[string]string // of the one that is there; of the collection when it has no last part
	made        string            // the id of the one that is made
	body, patch map[string]any
	confirm     bool // when it is deleted
}

func (e kindExample) collection() example {
	if e.path == nil {
		return example{}
	}
	return example{path: e.path, query: map[string]string{"limit": "2"}}
}

// one is the request for the record that is there.
func (e kindExample) one(k manage.Kind) example {
	if _, ok := e.path[lastParameter(k)]; !ok {
		return example{}
	}
	return example{path: e.path}
}

func (e kindExample) created() example {
	if e.body == nil {
		return example{}
	}
	return example{path: e.path, body: e.body}
}

func (e kindExample) replaced(k manage.Kind) example {
	if e.body == nil {
		return example{}
	}
	return example{path: e.at(k), body: e.body}
}

func (e kindExample) patched(k manage.Kind) example {
	if e.patch == nil {
		return example{}
	}
	return example{path: e.at(k), body: e.patch}
}

func (e kindExample) deleted(k manage.Kind) example {
	if e.body == nil {
		return example{}
	}
	return example{path: e.at(k), confirm: e.confirm}
}

// at is the path of the one that is made.
func (e kindExample) at(k manage.Kind) map[string]string {
	path := maps.Clone(e.path)
	if path == nil {
		path = map[string]string{}
	}
	path[lastParameter(k)] = e.made
	return path
}

func lastParameter(k manage.Kind) string {
	path := k.Path()
	return strings.Trim(path[strings.LastIndexByte(path, '/')+1:], "{}")
}

//go:embed openapi_examples.json
var recordedExamples []byte

// recordedExample is what an example was answered when it was last recorded, by the test that runs all of them.
type recordedExample struct {
	Status int `json:"status"`
	Body   any `json:"body,omitempty"`
}

// readExamples are those that were recorded, by the ids of their operations, as if the issuer had been asked.
func readExamples(issuer string) (map[string]recordedExample, error) {
	var recorded map[string]recordedExample
	if err := json.Unmarshal(bytes.ReplaceAll(recordedExamples, []byte("https://mandate.example"), []byte(issuer)), &recorded); err != nil {
		return nil, fmt.Errorf("read the recorded examples: %w", err)
	}
	return recorded, nil
}
