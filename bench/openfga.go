package main

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/dustin/go-humanize"
	"github.com/go-json-experiment/json"

	"mandate/directory"
)

// serveOpenFGA starts OpenFGA on SQLite, the one of its stores on disk that needs no other server, and writes the facts
// as tuples: roles and states, and the organization of each resource that is asked about.
func serveOpenFGA(ctx context.Context, b *bench, program string, w *peerWorkload) (*served, error) {
	store := []string{"--datastore-engine", "sqlite", "--datastore-uri", "file:" + filepath.Join(b.temp, "openfga.db")}
	b.say("starting OpenFGA")
	migrate := exec.CommandContext(ctx, program, append([]string{"migrate"}, store...)...)
	if output, err := migrate.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("make OpenFGA's store: %w\n%s", err, output)
	}
	address, err := freeAddress(ctx)
	if err != nil {
		return nil, err
	}
	calls, err := freeAddress(ctx)
	if err != nil {
		return nil, err
	}
	run := []string{address, program, "run", "--log-level", "error", "--http-addr", address, "--grpc-addr", calls,
		"--playground-enabled=false", "--metrics-enabled=false"}
	c, err := startChild(ctx, "OpenFGA", "/healthz", programAtRole, append(run, store...)...)
	if err != nil {
		return nil, err
	}
	s := &served{child: c, name: c.name, items: 1, answers: one(openFGAAnswer),
		yes: `"allowed":true`, no: `"allowed":false`}
	if err := w.askOpenFGA(ctx, b, s); err != nil {
		c.stop()
		return nil, fmt.Errorf("fill OpenFGA: %w", err)
	}
	return s, nil
}

// tuple says that the user has the relation to the object.
type tuple struct {
	User     string `json:"user"`
	Relation string `json:"relation"`
	Object   string `json:"object"`
}

const maxTuples = 100 // of one write, by default

func (w *peerWorkload) askOpenFGA(ctx context.Context, b *bench, s *served) error {
	create := func(path, id string, document any) (string, error) {
		x, err := openFGAExchange(s, path, document)
		if err != nil {
			return "", err
		}
		var made map[string]any
		err = each(ctx, s.address, []exchange{x}, 1, func(_ int, body []byte) error { return json.Unmarshal(body, &made) })
		text, _ := made[id].(string)
		return text, err
	}
	store, err := create("/stores", "id", map[string]string{"name": "bench"})
	if err != nil {
		return err
	}
	path := "/stores/" + store
	model, err := create(path+"/authorization-models", "authorization_model_id", w.openFGAModel())
	if err != nil {
		return err
	}
	tuples := w.tuples()
	b.say("writing %s tuples to OpenFGA", humanize.Comma(int64(len(tuples))))
	var writes []exchange
	for chunk := range slices.Chunk(tuples, maxTuples) {
		x, err := openFGAExchange(s, path+"/write", map[string]any{"authorization_model_id": model,
			"writes": map[string]any{"tuple_keys": chunk}})
		if err != nil {
			return err
		}
		writes = append(writes, x)
	}
	const writers = 1 // as SQLite has
	if err := each(ctx, s.address, writes, writers, func(int, []byte) error { return nil }); err != nil {
		return err
	}
	b.note("OpenFGA has %s tuples in SQLite", humanize.Comma(int64(len(tuples))))
	for _, q := range w.questions {
		x, err := openFGAExchange(s, path+"/check", map[string]any{"authorization_model_id": model,
			"tuple_key": tuple{"user:" + q.Subject.ID, relationFor(q.Action.Name), q.Resource.Type + ":" + q.Resource.ID}})
		if err != nil {
			return err
		}
		s.exchanges = append(s.exchanges, x)
	}
	return nil
}

func openFGAExchange(s *served, path string, document any) (exchange, error) {
	body, err := json.Marshal(document)
	if err != nil {
		return exchange{}, fmt.Errorf("encode a request to OpenFGA: %w", err)
	}
	return exchange{request: post(s.address, path, "", body)}, nil
}

// relationFor is a permission as a relation, whose name may have no colon.
func relationFor(action string) string { return strings.ReplaceAll(action, ":", "_") }

// tuples are the facts, and where each resource belongs.
func (w *peerWorkload) tuples() []tuple {
	const tenant = "tenant:default"
	var tuples []tuple
	for n := range w.orgs {
		org := w.org(n)
		object := "organization:" + org.ID
		tuples = append(tuples, tuple{tenant, "tenant", object})
		if org.Status != directory.Suspended {
			tuples = append(tuples, tuple{"user:*", "active", object})
		}
		for _, m := range org.Members {
			if m.Status == directory.Suspended {
				tuples = append(tuples, tuple{"user:" + m.User, "suspended", object})
			}
			for _, role := range rolesOf(org, m) {
				tuples = append(tuples, tuple{"user:" + m.User, role, object})
			}
		}
		for k := range w.members {
			if u := w.user(n, k); u.Status == directory.Disabled {
				tuples = append(tuples, tuple{"user:" + u.ID, "disabled", tenant})
			}
		}
	}
	for _, q := range w.questions {
		org, resource := "organization:"+q.Resource.Properties.Org, q.Resource.Type+":"+q.Resource.ID
		tuples = append(tuples, tuple{org, "org", resource})
	}
	for _, r := range w.relations {
		tuples = append(tuples, tuple{r.Subject, r.Relation, r.Resource})
	}
	return tuples
}

// rewrite is how a relation follows from others.
type rewrite map[string]any

func direct() rewrite { return rewrite{"this": rewrite{}} }
func computed(relation string) rewrite {
	return rewrite{"computedUserset": rewrite{"relation": relation}}
}
func anyOf(all ...rewrite) rewrite { return rewrite{"union": rewrite{"child": all}} }
func allOf(all ...rewrite) rewrite { return rewrite{"intersection": rewrite{"child": all}} }
func without(base, less rewrite) rewrite {
	return rewrite{"difference": rewrite{"base": base, "subtract": less}}
}
func from(relation, object string) rewrite {
	return rewrite{"tupleToUserset": rewrite{"computedUserset": rewrite{"relation": relation},
		"tupleset": rewrite{"relation": object}}}
}

// openFGAModel says: who is in good standing with an active organization has there what a role of theirs includes, and
// may read what was shared with them.
func (w *peerWorkload) openFGAModel() any {
	user := rewrite{"type": "user"}
	organization := map[string]rewrite{"tenant": direct(), "active": direct(), "suspended": direct(),
		"standing": without(without(computed("active"), computed("suspended")), from("disabled", "tenant"))}
	given := map[string]rewrite{"tenant": {"type": "tenant"}, "suspended": user,
		"active": {"type": "user", "wildcard": rewrite{}}}
	for role := range w.roles {
		organization[role], given[role] = direct(), user
	}
	types := []any{
		rewrite{"type": "user"},
		typeDefinition("tenant", map[string]rewrite{"disabled": direct()}, map[string]rewrite{"disabled": user}),
	}
	for kind, actions := range actions() {
		resource := map[string]rewrite{"org": direct(), "viewer": direct()}
		for _, action := range actions {
			name := relationFor(action)
			var holders []rewrite
			for _, role := range w.holders(action) {
				holders = append(holders, computed(role))
			}
			organization[name] = allOf(anyOf(holders...), computed("standing"))
			resource[name] = from(name, "org")
			if isRead(action) {
				resource[name] = anyOf(resource[name], allOf(computed("viewer"), from("standing", "org")))
			}
		}
		to := map[string]rewrite{"org": {"type": "organization"}, "viewer": user}
		types = append(types, typeDefinition(kind, resource, to))
	}
	types = append(types, typeDefinition("organization", organization, given))
	return rewrite{"schema_version": "1.1", "type_definitions": types}
}

// typeDefinition also says to whom relations may be given.
func typeDefinition(name string, relations, given map[string]rewrite) rewrite {
	metadata := rewrite{}
	for relation, to := range given {
		metadata[relation] = rewrite{"directly_related_user_types": []rewrite{to}}
	}
	return rewrite{"type": name, "relations": relations, "metadata": rewrite{"relations": metadata}}
}

func openFGAAnswer(body []byte) (answer, error) {
	var document struct {
		Allowed *bool `json:"allowed"`
	}
	if err := json.Unmarshal(body, &document); err != nil {
		return answer{}, fmt.Errorf("read OpenFGA's answer: %w", err)
	}
	if document.Allowed == nil {
		return answer{}, fmt.Errorf("OpenFGA's answer says nothing: %.500s", body)
	}
	return answer{allow: *document.Allowed}, nil
}
