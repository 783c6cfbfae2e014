package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"mandate/authn"
	"mandate/datastore"
	"mandate/datastore/badgerstore"
	"mandate/datastore/memo"
	"mandate/directory"
	"mandate/engine"
	"mandate/policies"
	"mandate/server"
)

const (
	mandateProgram = "mandate/cmd/mandate"
	mandatePath    = "/access/v1/evaluation"
	// A busy machine may hold up an evaluation for longer than the default limit; a denial for that reason would
	// end the run.
	patience = time.Minute
)

// buildMandate builds the real binary.
func buildMandate(ctx context.Context, folder string) (string, error) {
	binary := filepath.Join(folder, "mandate-under-test.exe") // the suffix matters on one system and hurts on none
	cmd := exec.CommandContext(ctx, "go", "build", "-o", binary, mandateProgram)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) } // it has temporary folders of its own
	cmd.WaitDelay = stopLimit
	if output, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build %s: %w\n%s", mandateProgram, err, output)
	}
	return binary, nil
}

// filled is a data folder with the facts of a workload, and what its callers know of it. Its store is closed.
type filled struct {
	folder  string
	secrets map[string]directory.Secret // of callers, by id
}

func masterKeyFile(folder string) string { return filepath.Join(folder, "master.key") }

// fill makes a data folder and imports the workload into it, piece by piece.
func fill(ctx context.Context, folder string, w workload, p *progress) (f *filled, err error) {
	if err := os.Mkdir(folder, 0o700); err != nil {
		return nil, fmt.Errorf("make the data folder: %w", err)
	}
	f = &filled{folder: folder, secrets: map[string]directory.Secret{}}
	master, err := f.master()
	if err != nil {
		return nil, err
	}
	store, err := f.open()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	importer := directory.Importer{Store: store, Master: master, Progress: func(_, _ int, made []directory.Made) {
		for _, m := range made {
			f.secrets[m.ID] = m.Secret
		}
	}}
	records := 0
	for file := range w.files() {
		imported, err := importer.Import(ctx, server.DefaultTenant, file)
		if err != nil {
			return nil, err
		}
		records += imported.Records
		p.tick("imported %s records", humanize.Comma(int64(records)))
	}
	if len(f.secrets) != 2+keyClients {
		return nil, fmt.Errorf("the import made %d secrets", len(f.secrets))
	}
	return f, nil
}

func (f *filled) master() (*directory.MasterKey, error) {
	return directory.LoadMasterKey(masterKeyFile(f.folder))
}

// open opens the store, which no two processes can have open, nor anybody twice.
func (f *filled) open() (datastore.Store, error) {
	store, err := badgerstore.Open(f.folder, badgerstore.Options{})
	if err != nil {
		return nil, fmt.Errorf("open the data folder: %w", err)
	}
	return store, nil
}

// read calls do with the facts.
func (f *filled) read(ctx context.Context, do func(datastore.View) error) (err error) {
	store, err := f.open()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	view, err := store.View(ctx)
	if err != nil {
		return fmt.Errorf("open a view: %w", err)
	}
	defer view.Close()
	return do(view)
}

// copyTo copies the data folder for somebody who may change it.
func (f *filled) copyTo(folder string) error {
	if err := os.CopyFS(folder, os.DirFS(f.folder)); err != nil {
		return fmt.Errorf("copy the data folder: %w", err)
	}
	return nil
}

// startMandate serves a data folder with the embedded policies, without rate limits, and with more settings.
func startMandate(ctx context.Context, binary, folder string, settings ...string) (*child, error) {
	args := []string{binary, "serve", "--listen", "127.0.0.1:0", "--data", folder, "--limits-evaluation", patience.String(),
		"--rate-limits-tokens-address", "off", "--rate-limits-tokens-client", "off", "--rate-limits-tokens-credential", "off"}
	return startChild(ctx, "Mandate", "/readyz", programRole, append(args, settings...)...)
}

// writeFacts writes all that policies can read as one JSON document in which each lies at its path. It keeps no more
// than one of them, since there may be millions.
func writeFacts(ctx context.Context, view datastore.View, out io.Writer) error {
	w := bufio.NewWriter(out)
	encoder := jsontext.NewEncoder(w, jsontext.AllowDuplicateNames(true)) // paths are unique; remembering them takes memory
	var in []string                                                       // the objects that are open
	closeTo := func(depth int) (err error) {
		for ; len(in) > depth && err == nil; in = in[:len(in)-1] {
			err = encoder.WriteToken(jsontext.EndObject)
		}
		return err
	}
	err := encoder.WriteToken(jsontext.BeginObject)
	for _, collection := range directory.Collections() {
		for fact, failed := range view.Scan(ctx, datastore.TenantID(server.DefaultTenant).Path(collection), datastore.Path{}) {
			if failed != nil {
				return fmt.Errorf("read the facts: %w", failed)
			}
			at := fact.Path.Segments()
			parents, name := at[:len(at)-1], at[len(at)-1]
			common := 0
			for common < min(len(in), len(parents)) && in[common] == parents[common] {
				common++
			}
			err = errors.Join(err, closeTo(common))
			for _, parent := range parents[common:] {
				in = append(in, parent)
				err = errors.Join(err, encoder.WriteToken(jsontext.String(parent)), encoder.WriteToken(jsontext.BeginObject))
			}
			err = errors.Join(err, encoder.WriteToken(jsontext.String(name)), encoder.WriteValue(fact.Value))
			if err != nil {
				return fmt.Errorf("write the facts: %w", err)
			}
		}
	}
	if err := errors.Join(err, closeTo(0), encoder.WriteToken(jsontext.EndObject), w.Flush()); err != nil {
		return fmt.Errorf("write the facts: %w", err)
	}
	return nil
}

// writeFactsTo writes the facts into a file.
func (f *filled) writeFactsTo(ctx context.Context, name string) (err error) {
	file, err := os.Create(name)
	if err != nil {
		return fmt.Errorf("make a file for the facts: %w", err)
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	return f.read(ctx, func(view datastore.View) error { return writeFacts(ctx, view, file) })
}

// policyInput is what Mandate's server makes of a question before it asks the policy: see its package server.
type policyInput struct {
	question  `json:",inline"`
	Principal *authn.Principal `json:"principal,omitempty"`
	Caller    *authn.Principal `json:"caller"`
}

// policyInputs resolves the principals of all questions as the server does, for those who are asked in its place.
func (f *filled) policyInputs(ctx context.Context, questions []question) ([][]byte, error) {
	master, err := f.master()
	if err != nil {
		return nil, err
	}
	authenticator := authn.New(authn.Options{Tenant: server.DefaultTenant, Master: master, Now: time.Now})
	inputs := make([][]byte, len(questions))
	err = f.read(ctx, func(view datastore.View) error {
		caller, err := authenticator.Authenticate(ctx, memo.Over(view), authn.Presented{Authorization: []string{f.authorization()}})
		if err != nil {
			return fmt.Errorf("authenticate the caller: %w", err)
		}
		for i, q := range questions {
			principal, err := authenticator.Resolve(ctx, memo.Over(view), q.Subject.Type, q.Subject.ID)
			if err != nil {
				return fmt.Errorf("resolve %s: %w", q.Subject.ID, err)
			}
			if inputs[i], err = json.Marshal(policyInput{q, principal, caller}); err != nil {
				return fmt.Errorf("encode an input: %w", err)
			}
		}
		return nil
	})
	return inputs, err
}

func (f *filled) authorization() string { return f.bearer(keyID) }

func (f *filled) bearer(key string) string { return "Bearer " + f.secrets[key].Expose() }

// mandateAnswer reads an answer of Mandate's server.
func mandateAnswer(body []byte) (answer, error) {
	var document struct {
		Decision bool `json:"decision"`
		Context  struct {
			Reasons []engine.Reason `json:"reasons"`
		} `json:"context"`
	}
	if err := json.Unmarshal(body, &document); err != nil {
		return answer{}, fmt.Errorf("read Mandate's answer: %w", err)
	}
	return answerOf(document.Decision, document.Context.Reasons), nil
}

// mandateEngine is Mandate's engine as its server uses it.
type mandateEngine struct {
	engine *engine.Engine
	authn  *authn.Authenticator
	caller authn.Presented
	store  datastore.Store
	memo   *memo.Memo
	inputs [][]byte
	asked  uint64 // counts new questions
}

func newMandateEngine(ctx context.Context, f *filled, store datastore.Store, inputs [][]byte) (*mandateEngine, error) {
	set, err := engine.CompileTested(ctx, policies.FS)
	if err != nil {
		return nil, fmt.Errorf("compile the policies: %w", err)
	}
	if err := set.Unplanned(); err != nil {
		return nil, fmt.Errorf("the policies are refused by the machine to be measured: %w", err)
	}
	master, err := f.master()
	if err != nil {
		return nil, err
	}
	return &mandateEngine{
		engine: engine.New(datastore.TenantID(server.DefaultTenant), set, engine.Options{EvaluationLimit: patience}),
		authn:  authn.New(authn.Options{Tenant: server.DefaultTenant, Master: master, Now: time.Now}),
		caller: authn.Presented{Authorization: []string{f.authorization()}},
		store:  store, memo: memo.New(store, memo.Options{Bytes: 256 << 20}), inputs: inputs,
	}, nil
}

// decide decides on input i over a new snapshot of the store. Nothing is remembered, no fact either.
func (e *mandateEngine) decide(ctx context.Context, i int) (*engine.Decision, error) {
	view, err := e.store.View(ctx)
	if err != nil {
		return nil, fmt.Errorf("open a view: %w", err)
	}
	defer view.Close()
	return e.engine.Decide(ctx, memo.Over(view), e.engine.Policies(), engine.Access, e.inputs[i])
}

// decideNew decides on input i as on a question that was never asked before. Facts that other decisions have read
// are remembered.
func (e *mandateEngine) decideNew(ctx context.Context, i int) (*engine.Decision, error) {
	r, set := e.engine.Begin(e.memo)
	defer r.End()
	e.asked++
	question := strconv.AppendUint(nil, e.asked, 10)
	answer, err := e.engine.Ask(ctx, r, set, engine.Access, question, func(*memo.Reading) (engine.Input, error) { return engine.Input{Text: e.inputs[i]}, nil })
	return answer.Decision, err
}

// decideAgain authenticates the caller and decides on input i, both as a server that has done so before.
func (e *mandateEngine) decideAgain(ctx context.Context, i int) (*engine.Decision, error) {
	r, set := e.engine.Begin(e.memo)
	defer r.End()
	if _, err := e.authn.Authenticate(ctx, r, e.caller); err != nil {
		return nil, fmt.Errorf("authenticate the caller: %w", err)
	}
	return e.engine.Decide(ctx, r, set, engine.Access, e.inputs[i])
}
