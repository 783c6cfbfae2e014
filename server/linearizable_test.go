package server_test

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"mandate/datastore"
	"mandate/datastore/memo"
	"mandate/directory"
	"mandate/engine"
	"mandate/server"
)

// Every decision is one that a server without any memory could have given at some instant between its request and its
// answer. So a change that was acknowledged shows in every decision that is asked for after it, whoever asks and
// however, and none goes back to a time before another one. To prove it, every operation is recorded with the times of
// its call and its return, and porcupine looks for an order in which the model below gives the same answers.
//
// The operations fall into groups that share nothing: the organizations group-0, group-1 and so on, each with records of
// its own, and the policies, which are those of another tenant.

// groups is how many organizations there are. The group after them is that of the policies.
const groups = 4

// state is the whole state of a group. Its zero value is the one that each group begins with.
type state struct {
	orgSuspended         bool
	userDisabled         bool
	memberSuspended      bool
	memberWithoutRole    bool
	unrelated            bool // the user is no viewer of the plan
	keyRevoked           bool
	keyWithoutScope      bool
	integrationSuspended bool
	clientElsewhere      bool // its home is another organization
	clientWithoutScope   bool
	opened               bool // the policies allow everything
}

// register is a part of the state that changes by itself.
type register struct {
	name string
	of   func(*state) *bool
	// set writes what the records of the i-th group say about it. It reads the rest of the record, which others change.
	set func(ctx context.Context, tx datastore.Tx, i int, value bool) error
	// path is that of the record.
	path func(i int) datastore.Path
}

func registers() []register {
	const tenant = server.DefaultTenant
	pick := func(value bool, yes, no directory.Status) directory.Status {
		if value {
			return yes
		}
		return no
	}
	list := func(value bool, otherwise string) []string {
		if value {
			return []string{}
		}
		return []string{otherwise}
	}
	member := func(i int) directory.Place[directory.Member] { return tenant.Member(id("group", i), id("user", i)) }
	relation := func(i int) directory.Place[directory.Relation] {
		return tenant.Relation("document", id("plan", i), "viewer", "user:"+id("user", i))
	}
	integration := func(i int) directory.Place[directory.Integration] {
		return tenant.Integration(id("group", i), id("vendor", i))
	}
	key := func(i int) directory.Place[directory.APIKey] { return tenant.APIKey(id("key", i)) }
	client := func(i int) directory.Place[directory.Client] { return tenant.Client(id("client", i)) }
	return []register{
		edited("organization", func(s *state) *bool { return &s.orgSuspended },
			func(i int) directory.Place[directory.Org] { return tenant.Org(id("group", i)) },
			func(r *directory.Org, _ int, v bool) { r.Status = pick(v, directory.Suspended, directory.Active) }),
		edited("user", func(s *state) *bool { return &s.userDisabled },
			func(i int) directory.Place[directory.User] { return tenant.User(id("user", i)) },
			func(r *directory.User, _ int, v bool) { r.Status = pick(v, directory.Disabled, directory.Active) }),
		edited("membership", func(s *state) *bool { return &s.memberSuspended }, member,
			func(r *directory.Member, _ int, v bool) { r.Status = pick(v, directory.Suspended, directory.Active) }),
		edited("roles", func(s *state) *bool { return &s.memberWithoutRole }, member,
			func(r *directory.Member, _ int, v bool) { r.Roles = list(v, "viewer") }),
		{"relation", func(s *state) *bool { return &s.unrelated }, func(ctx context.Context, tx datastore.Tx, i int, v bool) error {
			if v {
				return tx.Delete(relation(i).Path)
			}
			return relation(i).Put(ctx, tx, directory.Relation{})
		}, func(i int) datastore.Path { return relation(i).Path }},
		edited("key", func(s *state) *bool { return &s.keyRevoked }, key,
			func(r *directory.APIKey, _ int, v bool) { r.Status = pick(v, directory.Revoked, directory.Active) }),
		edited("key's scopes", func(s *state) *bool { return &s.keyWithoutScope }, key,
			func(r *directory.APIKey, _ int, v bool) { r.Scopes = list(v, "decide") }),
		edited("integration", func(s *state) *bool { return &s.integrationSuspended }, integration,
			func(r *directory.Integration, _ int, v bool) {
				r.Status = pick(v, directory.Suspended, directory.Active)
			}),
		edited("client's organization", func(s *state) *bool { return &s.clientElsewhere }, client,
			func(r *directory.Client, i int, v bool) {
				if r.Org = id("group", i); v {
					r.Org = "acme"
				}
			}),
		edited("client's scopes", func(s *state) *bool { return &s.clientWithoutScope }, client,
			func(r *directory.Client, _ int, v bool) { r.Scopes = list(v, "decide") }),
	}
}

// edited is a register that is one member of a record.
func edited[T any](name string, of func(*state) *bool, place func(i int) directory.Place[T], edit func(record *T, i int, value bool)) register {
	return register{name, of, func(ctx context.Context, tx datastore.Tx, i int, value bool) error {
		record, err := place(i).Get(ctx, tx)
		if err != nil {
			return err
		}
		edit(&record, i, value)
		return place(i).Put(ctx, tx, record)
	}, func(i int) datastore.Path { return place(i).Path }}
}

func id(kind string, i int) string { return kind + "-" + strconv.Itoa(i) }

// groupFile has the records of all groups.
func groupFile(t testing.TB) *directory.File {
	t.Helper()
	var orgs, users, clients, keys, vendors, integrations, relations strings.Builder
	for i := range groups {
		fmt.Fprintf(&orgs, "  - {id: group-%[1]d, members: [{user: user-%[1]d, roles: [viewer]}]}\n", i)
		fmt.Fprintf(&users, "  - {id: user-%d}\n", i)
		fmt.Fprintf(&clients, "  - {id: client-%[1]d, secret: client-%[1]d-secret-5d20, org: group-%[1]d, scopes: [decide], grant_types: [client_credentials]}\n", i)
		fmt.Fprintf(&keys, "  - {id: key-%[1]d, org: group-%[1]d, key: key-%[1]d-key-77c1, scopes: [decide]}\n", i)
		fmt.Fprintf(&vendors, "  - {id: vendor-%[1]d, token: vendor-%[1]d-token-90aa}\n", i)
		fmt.Fprintf(&integrations, "  - {id: integration-%[1]d, vendor: vendor-%[1]d, org: group-%[1]d, partner_token: integration-%[1]d-partner-31bd, scopes: [\"documents:read\"]}\n", i)
		fmt.Fprintf(&relations, "  - {resource: \"document:plan-%[1]d\", relation: viewer, subject: \"user:user-%[1]d\"}\n", i)
	}
	file, err := directory.ParseFile(strings.NewReader("tenant: default\norgs:\n" + orgs.String() + "users:\n" + users.String() +
		"clients:\n" + clients.String() + "api_keys:\n" + keys.String() + "vendors:\n" + vendors.String() +
		"integrations:\n" + integrations.String() + "relations:\n" + relations.String()))
	must(t, err)
	return file
}

// operation is what porcupine sees as an input: a change of one register, or a decision when there is no register.
type operation struct {
	group    int
	register *register
	value    bool
	way      way
}

func (o operation) String() string {
	if o.register != nil {
		return fmt.Sprintf("%s: %s := %t", id("group", o.group), o.register.name, o.value)
	}
	return fmt.Sprintf("%s: decide %s", id("group", o.group), o.way)
}

// way is a way to ask for a decision.
type way string

const (
	byKey     way = "by key"              // an API key asks about a user
	byToken   way = "by token"            // a client's access token asks about a user
	onVendor  way = "on vendor"           // an API key asks about a vendor
	byBatch   way = "by batch"            // an API key asks about a user and a vendor and the user
	ofSwapped way = "of swapped policies" // what the policies of the other tenant say
)

// Answers.
const (
	unauthenticated = "401"
	forbidden       = "403"
)

// answered is what a decision says in a state. This is the model, and it has no memory.
func answered(s state, w way) string {
	if w == ofSwapped {
		if s.opened {
			return "+yes"
		}
		return "-principal_unknown" // bob is a user of the other tenant
	}
	var onUser string
	onVendorOf := "-vendor_not_authorized"
	switch {
	case s.userDisabled:
		onUser = "-principal_inactive"
	case s.memberSuspended:
		onUser = "-member_suspended"
	case !s.memberWithoutRole:
		onUser = "+role"
	case !s.unrelated:
		onUser = "+relation"
	default:
		onUser = "-role_missing"
	}
	if !s.integrationSuspended {
		onVendorOf = "+integration"
	}
	if w == byToken {
		switch {
		case s.orgSuspended || s.clientElsewhere || s.clientWithoutScope: // without its scope, nothing is left of the token
			return unauthenticated
		}
		return onUser
	}
	switch {
	case s.orgSuspended || s.keyRevoked:
		return unauthenticated
	case s.keyWithoutScope:
		onUser, onVendorOf = "-caller_not_permitted", "-caller_not_permitted"
	}
	return map[way]string{byKey: onUser, onVendor: onVendorOf, byBatch: onUser + " " + onVendorOf + " " + onUser}[w]
}

// withoutMemory is the sequential model, for each group by itself.
func withoutMemory() porcupine.Model {
	return porcupine.Model{
		Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
			parts := make([][]porcupine.Operation, groups+1)
			for _, o := range history {
				group := o.Input.(operation).group
				parts[group] = append(parts[group], o)
			}
			return parts
		},
		Init: func() any { return state{} },
		Step: func(before, input, output any) (bool, any) {
			s, o := before.(state), input.(operation)
			if o.register != nil {
				*o.register.of(&s) = o.value
				return true, s
			}
			return output == answered(s, o.way), s
		},
		DescribeOperation: func(input, output any) string { return fmt.Sprint(input, " → ", output) },
	}
}

// history is what several goroutines record.
type history struct {
	*running
	t     testing.TB
	begun time.Time
	// callers of each group, and the policies between which the other tenant swaps.
	keys, tokens    []credential
	staging         credential
	original, other *engine.PolicySet

	mu         sync.Mutex
	operations []porcupine.Operation
}

func historyOf(t testing.TB, s *running) *history {
	t.Helper()
	_, err := directory.Importer{Store: s.store, Master: s.master}.Import(t.Context(), server.DefaultTenant, groupFile(t))
	must(t, err)
	h := &history{running: s, t: t, begun: time.Now(), staging: holdersOf(t, staging).key("gateway"),
		original: s.engines[staging].Policies(), other: policySet(t, nil)}
	for i := range groups {
		h.keys = append(h.keys, bearer(id("key", i)+"-key-77c1"))
		h.tokens = append(h.tokens, bearer(s.issue(t, basic(id("client", i), id("client", i)+"-secret-5d20"), "")))
	}
	return h
}

// record does an operation of a client, which does one at a time.
func (h *history) record(client int, o operation, do func() any) {
	call := time.Since(h.begun)
	output := do()
	returned := time.Since(h.begun)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.operations = append(h.operations, porcupine.Operation{ClientId: client, Input: o, Call: int64(call), Output: output, Return: int64(returned)})
}

func (h *history) change(client int, o operation) {
	h.record(client, o, func() any {
		_, err := h.store.Update(h.t.Context(), func(tx datastore.Tx) error {
			return o.register.set(h.t.Context(), tx, o.group, o.value)
		})
		if err != nil {
			h.t.Errorf("%v: %v", o, err)
		}
		return nil
	})
}

func (h *history) swap(client int, opened bool) {
	r := register{name: "policies", of: func(s *state) *bool { return &s.opened }}
	h.record(client, operation{group: groups, register: &r, value: opened}, func() any {
		if opened {
			h.engines[staging].Swap(h.other)
		} else {
			h.engines[staging].Swap(h.original)
		}
		return nil
	})
}

func (h *history) decide(client int, o operation) {
	var (
		i        = o.group
		resource = `{"type":"document","id":"` + id("plan", i) + `","properties":{"org":"` + id("group", i) + `"}}`
		common   = `"action":{"name":"documents:read"},"resource":` + resource
		user     = `"subject":` + named("user", id("user", i))
		vendor   = `"subject":` + named("vendor", id("vendor", i))
	)
	caller, path, body := credential{}, evaluationPath, "{"+user+","+common+"}"
	switch o.way {
	case byKey:
		caller = h.keys[i]
	case byToken:
		caller = h.tokens[i]
	case onVendor:
		caller, body = h.keys[i], "{"+vendor+","+common+"}"
	case byBatch:
		// The same question in two forms, so that they are remembered apart: they must still agree.
		caller, path = h.keys[i], evaluationsPath
		body = "{" + common + `,"evaluations":[{` + user + "},{" + vendor + "},{" + user + `,"context":{}}]}`
	case ofSwapped:
		caller, path, body = h.staging, "/t/staging"+evaluationPath, bad
	}
	h.record(client, o, func() any {
		a := h.ask(h.t, caller, path, body)
		if a.status != 200 {
			return strconv.Itoa(a.status)
		}
		d := a.decision(h.t)
		if d.Decision != nil {
			return d.coded()
		}
		var all []string
		for _, item := range d.Evaluations {
			all = append(all, item.coded())
			if item.Context.DataRevision != d.Evaluations[0].Context.DataRevision {
				h.t.Errorf("a batch of two revisions: %v", a)
			}
		}
		return strings.Join(all, " ")
	})
}

// coded is the decision in a word.
func (d decision) coded() string {
	if d.allowed() {
		return "+" + d.reason()
	}
	return "-" + d.reason()
}

// decideAny asks in a way of the given group.
func (h *history) decideAny(client, group int, random *rand.Rand) {
	ways := []way{byKey, byToken, onVendor, byBatch}
	if group == groups {
		ways = []way{ofSwapped}
	}
	h.decide(client, operation{group: group, way: ways[random.IntN(len(ways))]})
}

// TestDecisionsAreLinearizable has several goroutines change whatever decisions rest on, while others ask.
func TestDecisionsAreLinearizable(t *testing.T) {
	const rounds, deciding, decisions, changing, changes = 4, 4, 250, 3, 80
	s := start(t)
	h := historyOf(t, s)
	all := registers()
	for round := range rounds {
		seed := uint64(round)
		var working sync.WaitGroup
		for n := range deciding {
			working.Go(func() {
				random := rand.New(rand.NewPCG(seed, uint64(n)))
				for range decisions {
					h.decideAny(n, random.IntN(groups+1), random)
				}
			})
		}
		for n := deciding; n < deciding+changing; n++ {
			working.Go(func() {
				random := rand.New(rand.NewPCG(seed, uint64(n)))
				for range changes {
					// Most registers are as at first most of the time, so that not everything is denied for one reason.
					group, value := random.IntN(groups+1), random.IntN(3) == 0
					if group == groups {
						h.swap(n, random.IntN(2) == 0)
					} else {
						h.change(n, operation{group: group, register: &all[random.IntN(len(all))], value: value})
					}
					h.decideAny(n, group, random)
				}
			})
		}
		working.Wait()
		if t.Failed() {
			return
		}
	}
	h.check(porcupine.Ok)

	// The proof is worth something only if much was remembered, and much was changed.
	answers := map[any]int{}
	for _, o := range h.operations {
		answers[o.Output]++
	}
	stats := s.memo.Stats()
	if stats.Hits < 500 || stats.Changed < 100 || len(answers) < 10 {
		t.Errorf("not enough has happened: %+v, %v", stats, answers)
	}
	t.Logf("%d operations; %+v", len(h.operations), stats)
}

// check compares the history with the model.
func (h *history) check(want porcupine.CheckResult) {
	h.t.Helper()
	got, info := porcupine.CheckOperationsVerbose(withoutMemory(), h.operations, time.Minute)
	if got == want {
		return
	}
	h.t.Errorf("the history is %s, want %s", got, want)
	parts := withoutMemory().Partition(h.operations)
	for group, orders := range info.PartialLinearizationsOperations() {
		longest := slices.MaxFunc(append(orders, nil), func(a, b []porcupine.Operation) int { return len(a) - len(b) })
		if len(longest) == len(parts[group]) {
			continue
		}
		h.t.Logf("%s: %d of %d operations can be put in an order; it ends with", id("group", group), len(longest), len(parts[group]))
		for _, o := range longest[max(0, len(longest)-10):] {
			h.t.Logf("%s: %v → %v", id("group", group), o.Input, o.Output)
		}
	}
}

// forgetful is a clock without the marks of some paths, as if a store had not made them.
type forgetful struct {
	memo.Clock
	left map[datastore.Stripe]bool
}

// leaveOut drops everything by which a write of p could be seen, for a policy may find the document by a scan as well.
func (c forgetful) leaveOut(p datastore.Path) {
	c.left[c.Point(p)] = true
	segments := p.Segments()
	for depth := range segments {
		c.left[c.Below(p.Tenant().Path(segments[:depth]...))] = true
	}
}

func (c forgetful) Unchanged(f datastore.Footprint, e, v datastore.Revision) bool {
	return c.Clock.Unchanged(slices.DeleteFunc(slices.Clone(f), func(s datastore.Stripe) bool { return c.left[s] }), e, v)
}

// The check can fail: when the clock leaves out the record of one register, the very same comparison finds it out. The
// one that changes a register asks right after it, so each decision that is remembered too long is certain to be seen;
// there are several groups lest a stripe that happens to be shared hides it in one.
func TestBrokenClockIsFoundOut(t *testing.T) {
	const nothing = ""
	for _, row := range []struct {
		changes, leftOut string
		way              way
		want             porcupine.CheckResult
	}{
		{"roles", nothing, byKey, porcupine.Ok},
		{"roles", "user", byKey, porcupine.Ok}, // what is left out does not change
		{"roles", "roles", byKey, porcupine.Illegal},
		{"roles", "roles", byToken, porcupine.Illegal},
		{"membership", "membership", byBatch, porcupine.Illegal},
		{"key", nothing, byKey, porcupine.Ok},
		{"key", "key", byKey, porcupine.Illegal},
		{"key's scopes", "key's scopes", byBatch, porcupine.Illegal},
		{"user", "user", byBatch, porcupine.Illegal},
		{"integration", "integration", onVendor, porcupine.Illegal},
		{"client's scopes", "client's scopes", byToken, porcupine.Illegal},
		{"client's organization", nothing, byToken, porcupine.Ok},
		{"client's organization", "client's organization", byToken, porcupine.Illegal},
		{"organization", "organization", byToken, porcupine.Illegal},
	} {
		t.Run(fmt.Sprintf("%s changes, %s is left out, asked %s", row.changes, cmp.Or(row.leftOut, "nothing"), row.way), func(t *testing.T) {
			changing := registerOf(row.changes)
			s := startWith(t, fixture{clock: func(store datastore.Store) memo.Clock {
				clock := forgetful{store.Clock(), map[datastore.Stripe]bool{}}
				if row.leftOut != nothing {
					for i := range groups {
						clock.leaveOut(registerOf(row.leftOut).path(i))
					}
				}
				return clock
			}})
			h := historyOf(t, s)
			var working sync.WaitGroup
			for i := range groups {
				working.Go(func() {
					h.decide(2*i, operation{group: i, way: row.way})
					for n := range 10 {
						h.change(2*i, operation{group: i, register: changing, value: n%2 == 0})
						h.decide(2*i, operation{group: i, way: row.way})
					}
				})
				working.Go(func() {
					for range 10 {
						h.decide(2*i+1, operation{group: i, way: row.way})
					}
				})
			}
			working.Wait()
			h.check(row.want)
		})
	}
}

func registerOf(name string) *register {
	all := registers()
	return &all[slices.IndexFunc(all, func(r register) bool { return r.name == name })]
}
