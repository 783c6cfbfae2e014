package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/rego"
	"github.com/open-policy-agent/opa/v1/runtime"
	"github.com/open-policy-agent/opa/v1/storage/inmem"
	"github.com/open-policy-agent/opa/v1/util"

	"mandate/engine"
	"mandate/policies"
)

const (
	opaRole  = "serve-opa"
	opaPath  = "/v1/data/mandate/access/decision"
	opaQuery = "data.mandate.access.decision"
)

// serveOPA is opa run --server --addr=127.0.0.1:0 --log-level=error --skip-version-check with the paths given. Its
// default would be to log every request, which Mandate's is not.
func serveOPA(ctx context.Context, paths []string) error {
	params := runtime.NewParams()
	params.Addrs = &[]string{"127.0.0.1:0"}
	params.AddrSetByUser = true
	params.Paths = paths
	params.Logging = runtime.LoggingConfig{Level: "error", Format: "json"}
	server, err := runtime.NewRuntime(ctx, params)
	if err != nil {
		return fmt.Errorf("set up OPA: %w", err)
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(ctx) }()
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		select {
		case err := <-served:
			return err
		case <-tick.C:
		}
		if addresses := server.Addrs(); len(addresses) > 0 {
			announce(addresses[0])
			return <-served
		}
	}
}

// regoSources are the policies that Mandate serves when it is given none, without their tests.
func regoSources() (map[string]string, error) {
	sources := map[string]string{}
	err := fs.WalkDir(policies.FS, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || strings.HasSuffix(name, "_test.rego") {
			return err
		}
		text, err := fs.ReadFile(policies.FS, name)
		sources[name] = string(text)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read the policies: %w", err)
	}
	return sources, nil
}

// startOPA gives OPA the policies, which it writes to the folder, and the file of the facts.
func startOPA(ctx context.Context, folder, facts string) (*child, error) {
	sources, err := regoSources()
	if err != nil {
		return nil, err
	}
	for name, text := range sources {
		name = filepath.Join(folder, filepath.FromSlash(name))
		if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o700), os.WriteFile(name, []byte(text), 0o600)); err != nil {
			return nil, fmt.Errorf("write the policies for OPA: %w", err)
		}
	}
	return startChild(ctx, "OPA server", "/health", opaRole, folder, facts)
}

// opaExchange asks OPA's server what Mandate would ask its engine.
func opaExchange(address string, input []byte) exchange {
	body := append(append([]byte(`{"input":`), input...), '}')
	return exchange{request: post(address, opaPath, "", body)}
}

// opaAnswer reads an answer of OPA's server.
func opaAnswer(body []byte) (answer, error) {
	var document struct {
		Result *regoDecision `json:"result"`
	}
	if err := json.Unmarshal(body, &document); err != nil {
		return answer{}, fmt.Errorf("read OPA's answer: %w", err)
	}
	if document.Result == nil {
		return answer{}, fmt.Errorf("OPA's answer has no result: %.500s", body)
	}
	return answerOf(document.Result.Allow, document.Result.Reasons), nil
}

// regoDecision is the document that the policy makes.
type regoDecision struct {
	Allow   bool            `json:"allow"`
	Reasons []engine.Reason `json:"reasons"`
}

// regoLibrary is OPA as a Go program embeds it: a prepared query over the store in memory.
type regoLibrary struct {
	query  rego.PreparedEvalQuery
	inputs []ast.Value
}

func newRegoLibrary(ctx context.Context, facts string, inputs [][]byte) (*regoLibrary, error) {
	text, err := os.ReadFile(facts)
	if err != nil {
		return nil, fmt.Errorf("read the facts: %w", err)
	}
	var data map[string]any
	if err := util.UnmarshalJSON(text, &data); err != nil {
		return nil, fmt.Errorf("read the facts: %w", err)
	}
	sources, err := regoSources()
	if err != nil {
		return nil, err
	}
	settings := []func(*rego.Rego){rego.Query(opaQuery), rego.Store(inmem.NewFromObject(data))}
	for name, text := range sources {
		settings = append(settings, rego.Module(name, text))
	}
	var l regoLibrary
	if l.query, err = rego.New(settings...).PrepareForEval(ctx); err != nil {
		return nil, fmt.Errorf("prepare the query: %w", err)
	}
	for _, input := range inputs {
		value, err := ast.ValueFromReader(bytes.NewReader(input))
		if err != nil {
			return nil, fmt.Errorf("parse an input: %w", err)
		}
		l.inputs = append(l.inputs, value)
	}
	return &l, nil
}

// decide evaluates input i to the decision document.
func (l *regoLibrary) decide(ctx context.Context, i int) (map[string]any, error) {
	results, err := l.query.Eval(ctx, rego.EvalParsedInput(l.inputs[i]))
	if err != nil {
		return nil, fmt.Errorf("evaluate: %w", err)
	}
	if len(results) != 1 || len(results[0].Expressions) != 1 {
		return nil, errors.New("the decision is undefined")
	}
	document, ok := results[0].Expressions[0].Value.(map[string]any)
	if !ok {
		return nil, fmt.Errorf("the decision is %T", results[0].Expressions[0].Value)
	}
	return document, nil
}

// answer decides on input i for comparison.
func (l *regoLibrary) answer(ctx context.Context, i int) (answer, error) {
	document, err := l.decide(ctx, i)
	if err != nil {
		return answer{}, err
	}
	text, err := json.Marshal(document)
	if err != nil {
		return answer{}, fmt.Errorf("read the decision: %w", err)
	}
	return opaAnswer(append(append([]byte(`{"result":`), text...), '}'))
}
