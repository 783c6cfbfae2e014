package engine

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"mandate/authn"
	"mandate/datastore"
	"mandate/datastore/badgerstore"
	"mandate/datastore/memo"
	"mandate/directory"
)

// differentialPolicies read facts in every way there is, so that each of them is met by facts that change.
func differentialPolicies() map[string]string {
	return map[string]string{
		"point reads": `
decision := {"allow": true, "reasons": [{"code": "role", "message": input.action}], "obligations": [data.orgs[input.org].profile]} if {
	data.users[input.principal.sub].status == "active"
	some role in data.orgs[input.org].members[input.principal.sub].roles
	input.action in data.roles[role].permissions
} else := {"allow": false, "reasons": [{"code": reason, "message": ""}]}

reason := "user_unknown" if not data.users[input.principal.sub]
else := "member_unknown" if not data.orgs[input.org].members[input.principal.sub]
else := "org_unknown" if not data.orgs[input.org].profile
else := "role_missing"`,
		"absent reads": `
default decision := {"allow": false}
decision := {"allow": true} if {
	not data.custom.blocked[input.principal.sub]
	not data.relations.document[input.document].blocked[concat(":", ["user", input.principal.sub])]
	not data.users[input.principal.sub].status == "disabled"
}`,
		"scans": `
decision := {"allow": count(active) > 2, "reasons": [{"code": "count", "message": sprintf("%d of %d", [count(active), count(data.orgs[input.org].members)])}], "obligations": [active]}
active contains user if {
	some user, member in data.orgs[input.org].members
	member.status == "active"
}`,
		"builtins on data": `
decision := {"allow": owner != "", "reasons": [{"code": "leaves", "message": sprintf("%d %s %d", [leaves, owner, count(data.custom)])}]}
leaves := count([path | some path, value; walk(data.custom, [path, value]); not is_object(value)])
owner := object.get(data.users, [input.principal.sub, "status"], "")`,
		"any depth": `
default decision := {"allow": false, "reasons": [{"code": "not_on", "message": ""}]}
decision := {"allow": true, "obligations": [data.custom.deep.a]} if data.custom.deep.a.b == "1"
decision := {"allow": true} if {
	not data.custom.deep.a.b
	data.relations.document[input.document][_][concat(":", ["user", input.principal.sub])]
}`,
		"rule index": `
default decision := {"allow": false, "reasons": [{"code": "no_rule", "message": ""}]}
decision := {"allow": true, "reasons": [{"code": "read", "message": ""}]} if {
	input.action == "read"
	input.principal.type == "apikey"
}
decision := {"allow": data.custom.flags.write, "reasons": [{"code": "write", "message": ""}]} if {
	input.action == "write"
	data.orgs[input.org].profile.status == "active"
}
decision := {"allow": true, "reasons": [{"code": "delete", "message": ""}]} if {
	input.action == "delete"
	data.users[input.principal.sub].status == "active"
}`,
		"failures": `
decision := {"allow": true} if data.custom.flags.write == true
decision := {"allow": false} if data.custom.blocked[input.principal.sub]`, // in conflict, or undefined
		"the present": `
decision := {"allow": time.now_ns() % 2 == 0, "reasons": [{"code": "now", "message": sprintf("%d %v", [time.now_ns(), data.users[input.principal.sub]])}]}`,
	}
}

// world is a store that changes at random, and an engine whose answers are compared.
type world struct {
	t      *testing.T
	random *rand.Rand
	store  datastore.Store
	memo   *memo.Memo
	engine *Engine
	authn  *authn.Authenticator
	clock  atomic.Int64 // nanoseconds since 1970
	sets   []*PolicySet
	old    []*memo.Reading // kept open while commits go on

	allowed, denied, failed, changes, past int
}

func (w *world) now() time.Time { return time.Unix(0, w.clock.Load()) }

func newWorld(t *testing.T, seed uint64) *world {
	store, err := badgerstore.Open(t.TempDir(), badgerstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	w := &world{t: t, random: rand.New(rand.NewPCG(seed, 0)), store: store}
	w.clock.Store(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC).UnixNano())
	// There is room for about as much as is asked, so that entries displace each other as well.
	w.memo = memo.New(store, memo.Options{Bytes: 256 << 10, Now: w.now})
	for _, rules := range differentialPolicies() {
		w.sets = append(w.sets, compiled(t, accessPolicy("import rego.v1\n"+rules)))
	}
	slices.SortFunc(w.sets, func(a, b *PolicySet) int { return slices.Compare([]byte(a.revision), []byte(b.revision)) })
	options := patient()
	options.Now = w.now
	w.engine = New(tenant, w.sets[0], options)
	w.authn = authn.New(authn.Options{Tenant: directory.Tenant(tenant), Now: w.now})
	return w
}

func (w *world) pick(from ...string) string { return from[w.random.IntN(len(from))] }

func (w *world) user() string { return "user-" + strconv.Itoa(w.random.IntN(5)) }
func (w *world) key() string  { return "key-" + strconv.Itoa(w.random.IntN(3)) }
func (w *world) org() string  { return w.pick("acme", "globex") }

// write commits one or two facts.
func (w *world) write() {
	n := 1 + w.random.IntN(2)
	_, err := w.store.Update(w.t.Context(), func(tx datastore.Tx) error {
		for range n {
			p, value := w.fact()
			change := func() error { return tx.Put(p, []byte(value)) }
			if value == "" {
				change = func() error { return tx.Delete(p) }
			}
			if err := change(); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		w.t.Fatal(err)
	}
	w.changes++
}

// fact draws a path and one of a few values for it; an empty one means that the fact is to be deleted.
func (w *world) fact() (p datastore.Path, value string) {
	const in = tenant
	switch w.random.IntN(9) {
	case 0:
		p, value = in.Path("users", w.user()), w.pick(`{"status":"active"}`, `{"status":"disabled"}`, "")
	case 1:
		p = in.Path("orgs", w.org(), "members", w.user())
		value = w.pick(`{"status":"active","roles":["viewer"]}`, `{"status":"active","roles":["editor","viewer"]}`, `{"status":"suspended","roles":[]}`, "")
	case 2:
		p, value = in.Path("orgs", w.org(), "profile"), w.pick(`{"status":"active"}`, `{"status":"suspended"}`, "")
	case 3:
		p, value = in.Path("roles", w.pick("viewer", "editor")), w.pick(`{"permissions":["read"]}`, `{"permissions":["read","write"]}`, "")
	case 4:
		soon := w.now().Add(time.Duration(w.random.IntN(100)) * time.Second)
		text, err := json.Marshal(directory.APIKey{Kind: directory.BearerKey, Status: directory.Active, Scopes: []string{w.pick("read", "write")}, ExpiresAt: &soon})
		if err != nil {
			w.t.Fatal(err)
		}
		p, value = in.Path("apikeys", w.key()), w.pick(string(text), string(text), "")
	case 5:
		p, value = in.Path("relations", "document", w.pick("plan", "report"), w.pick("viewer", "blocked"), "user:"+w.user()), w.pick("{}", "")
	case 6:
		p, value = in.Path("custom", "blocked", w.user()), w.pick("true", "{}", "")
	case 7:
		p, value = in.Path("custom", "flags"), w.pick(`{"write":true}`, `{"write":false}`, "")
	case 8:
		// The document at deep hides what is below it.
		deep := in.Path("custom", "deep")
		p = []datastore.Path{deep, deep.Join("a"), deep.Join("a", "b")}[w.random.IntN(3)]
		value = w.pick(`{"a":{"b":"1"}}`, `"1"`, `{"b":"2"}`, "")
	}
	return p, value
}

// ask asks one of some hundreds of questions twice: of the Reading, which remembers, and of a fresh view at its revision.
func (w *world) ask(r *memo.Reading) {
	kind, id := "user", w.user()
	if w.random.IntN(3) == 0 {
		kind, id = "apikey", w.key()
	}
	question := fmt.Sprintf(`{"kind":%q,"id":%q,"org":%q,"action":%q,"document":%q}`, kind, id, w.org(), w.pick("read", "write", "delete"), w.pick("plan", "report"))
	asked := func(r *memo.Reading) (*Decision, error) {
		answer, err := w.engine.Ask(w.t.Context(), r, w.engine.Policies(), Access, []byte(question), func(r *memo.Reading) (Input, error) {
			input := map[string]any{}
			if err := json.Unmarshal([]byte(question), &input); err != nil {
				return Input{}, err
			}
			principal, err := w.authn.Resolve(w.t.Context(), r, kind, id)
			if err != nil {
				return Input{}, err
			}
			if principal != nil {
				input["principal"] = principal
			}
			text, err := json.Marshal(input)
			return Input{Text: text}, err
		})
		return answer.Decision, err
	}
	view, err := w.store.ViewAt(w.t.Context(), r.Revision())
	if err != nil {
		w.t.Fatal(err)
	}
	defer view.Close()
	got, gotErr := asked(r)
	want, wantErr := asked(memo.Over(view))
	if (gotErr == nil) != (wantErr == nil) || got.Allow != want.Allow || !reflect.DeepEqual(got.Reasons, want.Reasons) ||
		!reflect.DeepEqual(got.Obligations, want.Obligations) || string(got.AppendMembers(nil)) != string(want.AppendMembers(nil)) {
		w.t.Fatalf("revision %d, %s\n   got %t %s, %v\n  want %t %s, %v", r.Revision(), question,
			got.Allow, got.AppendMembers(nil), gotErr, want.Allow, want.AppendMembers(nil), wantErr)
	}
	switch {
	case gotErr != nil:
		w.failed++
	case got.Allow:
		w.allowed++
	default:
		w.denied++
	}
}

func (w *world) step() {
	switch n := w.random.IntN(1000); {
	case n < 25:
		w.write()
	case n < 45:
		w.engine.Swap(w.sets[w.random.IntN(len(w.sets))])
	case n < 60:
		w.clock.Add(int64(time.Duration(w.random.IntN(5000)) * time.Millisecond))
	case n < 70:
		// A request that takes long: it began before what is committed next.
		w.old = append(w.old, w.memo.Begin())
		if len(w.old) > 3 {
			w.old[0].End()
			w.old = w.old[1:]
		}
	case n < 200 && len(w.old) > 0:
		r := w.old[w.random.IntN(len(w.old))]
		if r.Revision() < w.store.Newest() {
			w.past++
		}
		w.ask(r)
	default:
		r := w.memo.Begin()
		w.ask(r)
		r.End()
	}
}

// What is remembered never differs from what is computed afresh, whatever happens in whatever order.
func TestRememberedIsComputed(t *testing.T) {
	steps := 100_000
	if testing.Short() || raceEnabled {
		steps = 10_000
	}
	w := newWorld(t, 1)
	for range 100 {
		w.write()
	}
	for range steps {
		w.step()
	}
	for _, r := range w.old {
		r.End()
	}
	s := w.memo.Stats()
	t.Logf("%d allowed, %d denied, %d failed, %d changes, %d asked of the past; %+v", w.allowed, w.denied, w.failed, w.changes, w.past, s)
	few := steps / 100
	if int(s.Hits) < 30*few || int(s.Changed) < 5*few || int(s.Displaced) < 1 || w.past < 5*few || w.allowed < 5*few || w.denied < 5*few || w.failed < 1 {
		t.Error("not enough of everything has happened")
	}
}

// notingClock knows all stripes that somebody has asked for.
type notingClock struct {
	*datastore.Clock
	used map[datastore.Stripe]bool
}

func (c notingClock) Point(p datastore.Path) datastore.Stripe {
	s := c.Clock.Point(p)
	c.used[s] = true
	return s
}

func (c notingClock) Below(p datastore.Path) datastore.Stripe {
	s := c.Clock.Below(p)
	c.used[s] = true
	return s
}

// writes says whether a write of p touches a stripe that is in use.
func (c notingClock) writes(p datastore.Path) bool {
	touched := c.used[c.Clock.Point(p)]
	segments := p.Segments()
	for depth := range segments {
		touched = touched || c.used[c.Clock.Below(p.Tenant().Path(segments[:depth]...))]
	}
	return touched
}

// A write to a fact that nobody has read forgets nothing. Should one of the written paths share a stripe by chance with
// something that was read, another store has other stripes.
func TestUnrelatedWritesForgetNothing(t *testing.T) {
	for range 4 {
		if unrelatedWrites(t) {
			return
		}
	}
	t.Error("what nobody should read has been read in every store")
}

// unrelatedWrites says whether the paths that it writes share no stripe with what was read.
func unrelatedWrites(t *testing.T) bool {
	store, err := badgerstore.Open(t.TempDir(), badgerstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	put := func(p datastore.Path, value string) {
		if _, err := store.Update(t.Context(), func(tx datastore.Tx) error { return tx.Put(p, []byte(value)) }); err != nil {
			t.Fatal(err)
		}
	}
	for key, value := range exampleFacts() {
		put(datastore.ParseKey(string(tenant)+"/"+key), value)
	}
	clock := notingClock{store.Clock(), map[datastore.Stripe]bool{}}
	m := memo.New(store, memo.Options{Bytes: 16 << 20, Clock: clock})
	e := New(tenant, exampleSet(t), patient())
	const decisions, writes = 300, 200
	askAll := func() {
		for i := range decisions {
			r := m.Begin()
			if _, err := e.Decide(context.Background(), r, e.Policies(), Access, request([]string{"alice", "bob", "carol"}[i%3], "action-"+strconv.Itoa(i), "acme")); err != nil {
				t.Fatal(err)
			}
			r.End()
		}
	}
	askAll()
	before := m.Stats()
	// Half of the writes are to another tenant.
	for n := range writes {
		in := []datastore.TenantID{tenant, "other"}[n%2]
		p := in.Path("orgs", "initech", "members", "user-"+strconv.FormatUint(rand.Uint64(), 36))
		if clock.writes(p) {
			return false
		}
		put(p, `{"status":"active"}`)
	}
	askAll()
	after := m.Stats()
	if after.Changed != 0 || after.Misses != before.Misses || after.Hits != before.Hits+decisions {
		t.Errorf("before the writes %+v, after them %+v", before, after)
	}
	return true
}
