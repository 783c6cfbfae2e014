package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/go-json-experiment/json"

	"mandate/directory"
)

// serveCerbos starts Cerbos with roles as derived roles. It keeps no facts: who asks sends what is known of the user
// and the resource, here the one membership that matters, so that nothing is looked up.
func serveCerbos(ctx context.Context, b *bench, program string, w *peerWorkload) (*served, error) {
	b.note("Cerbos is sent the facts about user, membership and organization with each question")
	folder := filepath.Join(b.temp, "cerbos")
	if err := w.writeCerbosPolicies(folder); err != nil {
		return nil, err
	}
	address, err := freeAddress(ctx)
	if err != nil {
		return nil, err
	}
	calls, err := freeAddress(ctx)
	if err != nil {
		return nil, err
	}
	b.say("starting Cerbos")
	c, err := startChild(ctx, "Cerbos", "/_cerbos/health", programAtRole, address, program, "server", "--log-level=error",
		"--set=server.httpListenAddr="+address, "--set=server.grpcListenAddr="+calls, "--set=telemetry.disabled=true",
		"--set=storage.driver=disk", "--set=storage.disk.directory="+folder)
	if err != nil {
		return nil, err
	}
	s := &served{child: c, name: c.name, items: 1, answers: one(cerbosAnswer), yes: `"EFFECT_ALLOW"`, no: `"EFFECT_DENY"`}
	for _, q := range w.questions {
		body, err := w.cerbosQuestion(q)
		if err != nil {
			c.stop()
			return nil, err
		}
		s.exchanges = append(s.exchanges, exchange{request: post(c.address, "/api/check/resources", "", body)})
	}
	return s, nil
}

// sharedRole is the derived role of those with whom a resource was shared.
const sharedRole = "shared"

func (w *peerWorkload) writeCerbosPolicies(folder string) error {
	const active, member = `P.attr.status == "active" && R.attr.org_status == "active"`, `P.attr.memberships[R.attr.org]`
	derive := func(name, condition string) any {
		return map[string]any{"name": name, "parentRoles": []string{"user"},
			"condition": map[string]any{"match": map[string]any{"expr": active + " && " + condition}}}
	}
	definitions := []any{derive(sharedRole, `P.id in R.attr.viewers && `+
		`(!(R.attr.org in P.attr.memberships) || `+member+`.status == "active")`)}
	for role := range w.roles {
		held := fmt.Sprintf(`%s.status == "active" && %q in %[1]s.roles`, member, role)
		definitions = append(definitions, derive(role, held))
	}
	policies := map[string]map[string]any{
		"members": {"derivedRoles": map[string]any{"name": "members", "definitions": definitions}},
	}
	for kind, actions := range actions() {
		var rules []any
		for _, action := range actions {
			holders := w.holders(action)
			if isRead(action) {
				holders = append(holders, sharedRole)
			}
			rules = append(rules, map[string]any{"actions": []string{action}, "effect": "EFFECT_ALLOW", "derivedRoles": holders})
		}
		policies[kind] = map[string]any{"resourcePolicy": map[string]any{"resource": kind, "version": "default",
			"importDerivedRoles": []string{"members"}, "rules": rules}}
	}
	if err := os.Mkdir(folder, 0o700); err != nil {
		return fmt.Errorf("make the folder of Cerbos' policies: %w", err)
	}
	for name, policy := range policies {
		policy["apiVersion"] = "api.cerbos.dev/v1"
		text, err := json.Marshal(policy)
		if err := errors.Join(err, os.WriteFile(filepath.Join(folder, name+".json"), text, 0o600)); err != nil {
			return fmt.Errorf("write Cerbos' policies: %w", err)
		}
	}
	return nil
}

func (w *peerWorkload) cerbosQuestion(q question) ([]byte, error) {
	org, err := w.organization(q)
	if err != nil {
		return nil, err
	}
	status := directory.Status("unknown")
	var home, number int
	if n, _ := fmt.Sscanf(q.Subject.ID, "user-%d-%d", &home, &number); n == 2 {
		status = cmp.Or(w.user(home, number).Status, directory.Active)
	}
	memberships := map[string]any{}
	for _, m := range org.Members {
		if m.User == q.Subject.ID {
			memberships[org.ID] = map[string]any{"status": cmp.Or(m.Status, directory.Active), "roles": rolesOf(org, m)}
		}
	}
	viewers := []string{}
	if w.shared[q.Resource.Type+":"+q.Resource.ID+" "+q.Subject.ID] {
		viewers = append(viewers, q.Subject.ID)
	}
	body, err := json.Marshal(map[string]any{
		"principal": map[string]any{"id": q.Subject.ID, "roles": []string{"user"},
			"attr": map[string]any{"status": status, "memberships": memberships}},
		"resources": []any{map[string]any{"actions": []string{q.Action.Name}, "resource": map[string]any{
			"kind": q.Resource.Type, "id": q.Resource.ID,
			"attr": map[string]any{"org": org.ID, "org_status": cmp.Or(org.Status, directory.Active), "viewers": viewers}}}},
	})
	if err != nil {
		return nil, fmt.Errorf("encode a question for Cerbos: %w", err)
	}
	return body, nil
}

func cerbosAnswer(body []byte) (answer, error) {
	var document struct {
		Results []struct {
			Actions map[string]string `json:"actions"`
		} `json:"results"`
	}
	if err := json.Unmarshal(body, &document); err != nil {
		return answer{}, fmt.Errorf("read Cerbos' answer: %w", err)
	}
	if len(document.Results) == 1 && len(document.Results[0].Actions) == 1 {
		for _, effect := range document.Results[0].Actions {
			return answer{allow: effect == "EFFECT_ALLOW"}, nil
		}
	}
	return answer{}, fmt.Errorf("not an answer to one question: %.500s", body)
}
