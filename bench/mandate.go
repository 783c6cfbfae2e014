package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"mandate/authn"
	"mandate/datastore"
	"mandate/datastore/badgerstore"
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

// filled is a data folder with the facts of a workload, and what its callers know of it.
type filled struct {
	folder string
	master *directory.MasterKey
	store  datastore.Store
	key    directory.Secret // the caller's API key
}

func masterKeyFile(folder string) string { return filepath.Join(folder, "master.key") }

// fill makes a data folder and imports the file into it.
func fill(ctx context.Context, folder string, file *directory.File, p *progress) (*filled, error) {
	if err := os.Mkdir(folder, 0o700); err != nil {
		return nil, fmt.Errorf("make the data folder: %w", err)
	}
	f := &filled{folder: folder}
	var err error
	if f.master, err = directory.LoadMasterKey(masterKeyFile(folder)); err != nil {
		return nil, err
	}
	if err := f.open(); err != nil {
		return nil, err
	}
	importer := directory.Importer{Store: f.store, Master: f.master, Progress: func(done, total int, secrets []directory.Made) {
		p.tick("imported %s of %s records", humanize.Comma(int64(done)), humanize.Comma(int64(total)))
		for _, made := range secrets {
			if made.Kind == directory.KindAPIKey && made.ID == keyID {
				f.key = made.Secret
			}
		}
	}}
	_, err = importer.Import(ctx, server.DefaultTenant, file)
	if err != nil {
		return nil, errors.Join(err, f.close())
	}
	if f.key.IsZero() {
		return nil, errors.Join(errors.New("the import made no API key"), f.close())
	}
	return f, nil
}

func (f *filled) open() error {
	store, err := badgerstore.Open(f.folder, badgerstore.Options{})
	if err != nil {
		return fmt.Errorf("open the data folder: %w", err)
	}
	f.store = store
	return nil
}

func (f *filled) close() error {
	if err := f.store.Close(); err != nil {
		return fmt.Errorf("close the store: %w", err)
	}
	return nil
}

// copyTo copies the data folder while the store is closed, since no two processes can have one open.
func (f *filled) copyTo(folder string) error {
	if err := f.close(); err != nil {
		return err
	}
	if err := os.CopyFS(folder, os.DirFS(f.folder)); err != nil {
		return errors.Join(fmt.Errorf("copy the data folder: %w", err), f.open())
	}
	return f.open()
}

// startMandate serves a data folder with the embedded policies.
func startMandate(ctx context.Context, binary, folder string) (*child, error) {
	return startChild(ctx, "Mandate", "/readyz", programRole, binary, "serve", "--listen", "127.0.0.1:0", "--data", folder, "--limits-evaluation", patience.String())
}

// facts are all that policies can read, as one JSON document in which each lies at its path.
func facts(ctx context.Context, view datastore.View) ([]byte, error) {
	root := map[string]any{}
	for _, collection := range directory.Collections() {
		for fact, err := range view.Scan(ctx, datastore.TenantID(server.DefaultTenant).Path(collection), datastore.Path{}) {
			if err != nil {
				return nil, fmt.Errorf("read the facts: %w", err)
			}
			at := fact.Path.Segments()
			parent := root
			for _, segment := range at[:len(at)-1] {
				child, ok := parent[segment].(map[string]any)
				if !ok {
					child = map[string]any{}
					parent[segment] = child
				}
				parent = child
			}
			parent[at[len(at)-1]] = jsontext.Value(fact.Value)
		}
	}
	text, err := json.Marshal(root, json.Deterministic(true))
	if err != nil {
		return nil, fmt.Errorf("encode the facts: %w", err)
	}
	return text, nil
}

// policyInput is what Mandate's server makes of a question before it asks the policy: see its package server.
type policyInput struct {
	question  `json:",inline"`
	Principal *authn.Principal `json:"principal,omitempty"`
	Caller    *authn.Principal `json:"caller"`
}

// policyInputs resolves the principals of all questions as the server does, for those who are asked in its place.
func (f *filled) policyInputs(ctx context.Context, view datastore.View, questions []question) ([][]byte, error) {
	authenticator := authn.New(authn.Options{Tenant: server.DefaultTenant, Master: f.master, Now: time.Now})
	caller, err := authenticator.Authenticate(ctx, view, authn.Presented{Authorization: []string{f.authorization()}})
	if err != nil {
		return nil, fmt.Errorf("authenticate the caller: %w", err)
	}
	inputs := make([][]byte, len(questions))
	for i, q := range questions {
		principal, err := authenticator.Resolve(ctx, view, q.Subject.Type, q.Subject.ID)
		if err != nil {
			return nil, fmt.Errorf("resolve %s: %w", q.Subject.ID, err)
		}
		if inputs[i], err = json.Marshal(policyInput{q, principal, caller}); err != nil {
			return nil, fmt.Errorf("encode an input: %w", err)
		}
	}
	return inputs, nil
}

func (f *filled) authorization() string { return "Bearer " + f.key.Expose() }

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

// mandateEngine is Mandate's engine as its server uses it: each decision has a snapshot of the store of its own.
type mandateEngine struct {
	engine *engine.Engine
	store  datastore.Store
	inputs [][]byte
}

func newMandateEngine(ctx context.Context, store datastore.Store, inputs [][]byte) (*mandateEngine, error) {
	set, err := engine.Compile(ctx, policies.FS)
	if err != nil {
		return nil, fmt.Errorf("compile the policies: %w", err)
	}
	decides := engine.New(datastore.TenantID(server.DefaultTenant), set, engine.Options{EvaluationLimit: patience})
	return &mandateEngine{engine: decides, store: store, inputs: inputs}, nil
}

// decide decides on input i.
func (e *mandateEngine) decide(ctx context.Context, i int) (engine.Decision, error) {
	view, err := e.store.View(ctx)
	if err != nil {
		return engine.Decision{}, fmt.Errorf("open a view: %w", err)
	}
	defer view.Close()
	decision, err := e.engine.Decide(ctx, view, engine.Access, e.inputs[i])
	if err != nil {
		return decision, fmt.Errorf("decide: %w", err)
	}
	return decision, nil
}

func (e *mandateEngine) answer(ctx context.Context, i int) (answer, error) {
	decision, err := e.decide(ctx, i)
	if err != nil {
		return answer{}, err
	}
	return answerOf(decision.Allow, decision.Reasons), nil
}
