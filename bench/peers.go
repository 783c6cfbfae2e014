package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"

	"github.com/dustin/go-humanize"

	"mandate/directory"
)

// peer starts another decision service and asks it all questions.
type peer func(ctx context.Context, b *bench, program string, w *peerWorkload) (*served, error)

func peersKnown() map[string]peer {
	return map[string]peer{"cerbos": serveCerbos, "openfga": serveOpenFGA}
}

// peersNamed reads the flag -peers.
func peersNamed(list string) (map[string]string, error) {
	named := map[string]string{}
	for part := range strings.SplitSeq(list, ",") {
		name, program, _ := strings.Cut(part, "=")
		if peersKnown()[name] == nil || program == "" {
			known := strings.Join(slices.Sorted(maps.Keys(peersKnown())), "=FILE or ") + "=FILE"
			return nil, fmt.Errorf("%q is not %s", part, known)
		}
		named[name] = program
	}
	return named, nil
}

// peers measures decision services that are made for other models. Each gets the same questions, with roles,
// memberships and states told in its own terms; they give no reasons, so that only the decisions are compared.
func peers(ctx context.Context, b *bench) error {
	if len(b.peers) == 0 {
		return errors.New("name their programs with -peers: this repository has none of them")
	}
	g, err := b.ground(ctx)
	if err != nil {
		return err
	}
	var all servers
	defer func() { all.stop() }()
	if err := all.start(b.serveMandate(ctx, g, g.questions)); err != nil {
		return err
	}
	all[0].answers = one(decisionOnly)
	w := newPeerWorkload(g.workload)
	for _, name := range slices.Sorted(maps.Keys(b.peers)) {
		if err := all.start(peersKnown()[name](ctx, b, b.peers[name], w)); err != nil {
			return err
		}
	}
	var given []answered
	for _, s := range all {
		a, err := b.ask(ctx, s)
		if err != nil {
			return err
		}
		given = append(given, a)
	}
	if err := mustAgree(g.questions, given); err != nil {
		return err
	}
	for _, s := range all {
		s.expect(given[0].answers)
	}
	b.note("all agree on all %s decisions; the peers authenticate nobody, and give no reasons",
		humanize.Comma(int64(len(g.questions))))
	return b.race(ctx, b.overHTTP(all...))
}

func decisionOnly(body []byte) (answer, error) {
	a, err := mandateAnswer(body)
	return answer{allow: a.allow}, err
}

// peerWorkload is the workload as far as models differ: an organization's own role that hides one of the tenant becomes
// a role with a name of its own, which has the same permissions in all of them.
type peerWorkload struct {
	workload
	roles  map[string][]string // their permissions
	shared map[string]bool     // "type:id user"
}

func newPeerWorkload(w workload) *peerWorkload {
	p := &peerWorkload{workload: w, roles: map[string][]string{}, shared: map[string]bool{}}
	for name, role := range tenantRoles() {
		p.roles[name] = role.Permissions
	}
	for org := range w.orgs {
		for name, role := range w.org(org).Roles {
			p.roles[ownRole(name)] = role.Permissions
		}
	}
	for _, r := range w.relations {
		p.shared[r.Resource+" "+strings.TrimPrefix(r.Subject, "user:")] = true
	}
	return p
}

func ownRole(name string) string { return "own_" + name }

// rolesOf are the roles of a member, by those names.
func rolesOf(org directory.OrgEntry, m directory.MemberEntry) []string {
	roles := []string{}
	for _, role := range m.Roles {
		if _, own := org.Roles[role]; own {
			role = ownRole(role)
		}
		roles = append(roles, role)
	}
	return roles
}

// holders are the roles that include a permission.
func (w *peerWorkload) holders(permission string) []string {
	var holders []string
	for role, permissions := range w.roles {
		if slices.ContainsFunc(permissions, func(held string) bool {
			prefix, wild := strings.CutSuffix(held, "*")
			return held == permission || wild && strings.HasPrefix(permission, prefix)
		}) {
			holders = append(holders, role)
		}
	}
	slices.Sort(holders)
	return holders
}

// actions are what is asked of each type of resource.
func actions() map[string][]string {
	actions := map[string][]string{}
	for _, a := range asked() {
		actions[a.value[1]] = append(actions[a.value[1]], a.value[0])
	}
	return actions
}

// isRead says whether a resource that was shared may be used so.
func isRead(action string) bool { return strings.HasSuffix(action, ":read") }

// organization is the one that a question is about.
func (w *peerWorkload) organization(q question) (directory.OrgEntry, error) {
	var n int
	if _, err := fmt.Sscanf(q.Resource.Properties.Org, "org-%d", &n); err != nil {
		return directory.OrgEntry{}, fmt.Errorf("organization %s: %w", q.Resource.Properties.Org, err)
	}
	return w.org(n), nil
}

// freeAddress is one that nobody listens on, for a program that cannot choose one and say which.
func freeAddress(ctx context.Context) (string, error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("find a free address: %w", err)
	}
	return listener.Addr().String(), listener.Close()
}
