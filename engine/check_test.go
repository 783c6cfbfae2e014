package engine

import (
	"context"
	"runtime"
	"strings"
	"testing"
	"time"

	"mandate/datastore"
	"mandate/datastore/badgerstore"
	"mandate/datastore/memo"
)

// checking is an engine of which all evaluations are checked.
type checking struct {
	*Engine
	memo    *memo.Memo
	reports chan Difference
}

func checkAll(t *testing.T, set *PolicySet) checking {
	t.Helper()
	store, err := badgerstore.Open(t.TempDir(), badgerstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = store.Update(t.Context(), func(tx datastore.Tx) error {
		return tx.Put(tenant.Path("custom", "open"), []byte(`{"to":["alice"]}`))
	})
	if err != nil {
		t.Fatal(err)
	}
	options := patient()
	options.CheckOneIn = 1
	c := checking{New(tenant, set, options), memo.New(store, memo.Options{Bytes: 1 << 20}), make(chan Difference, maxWaiting)}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- c.Check(ctx, store, func(d Difference) { c.reports <- d }) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

func (c checking) ask(t *testing.T, input string) *Decision {
	t.Helper()
	r, set := c.Begin(c.memo)
	defer r.End()
	d, err := c.Decide(t.Context(), r, set, Access, []byte(input))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// until waits for what another goroutine does.
func until(t *testing.T, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !done(); runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatal("waited too long for ", what)
		}
	}
}

const openTo = `decision := {"allow": input.user in data.custom.open.to}`

func TestDecisionsAreChecked(t *testing.T) {
	c := checkAll(t, compiled(t, accessPolicy(openTo)))
	for _, user := range []string{"alice", "bob", "alice", "carol", "bob"} {
		c.ask(t, `{"user":"`+user+`"}`)
	}
	until(t, "three decisions to be checked", func() bool { return c.Checks().Checked == 3 })
	if got := c.Checks(); got != (Checks{Evaluated: 3, Checked: 3}) || len(c.reports) > 0 {
		t.Errorf("%+v, %d reports", got, len(c.reports))
	}
}

// A machine that decides wrongly is found out, and OPA's evaluator decides from then on, also what was remembered.
func TestWrongDecisionsAreFoundOut(t *testing.T) {
	set := compiled(t, accessPolicy(openTo))
	set.program = compiled(t, accessPolicy(`decision := {"allow": input.user == "mallory"}`)).program
	c := checkAll(t, set)
	if !c.ask(t, `{"user":"mallory"}`).Allow {
		t.Fatal("the machine is not wrong")
	}
	d := <-c.reports
	if d.Point != Access || d.Input != `{"user":"mallory"}` || d.PolicyRevision != set.Revision() || d.DataRevision != 1 || d.Now.IsZero() ||
		!strings.Contains(d.Decided, `"Allow":true`) || !strings.Contains(d.Wanted, `"Allow":false`) {
		t.Errorf("%+v", d)
	}
	if c.ask(t, `{"user":"mallory"}`).Allow || !c.ask(t, `{"user":"alice"}`).Allow {
		t.Error("it goes on deciding")
	}
	if got := c.Checks(); got.Differing != 1 || got.Checked != 1 {
		t.Errorf("%+v", got)
	}
	// Nor is it trusted when the same policies come again.
	again := compiled(t, accessPolicy(openTo))
	again.program = compiled(t, accessPolicy(`decision := {"allow": input.user == "mallory"}`)).program
	c.Swap(exampleSet(t))
	c.Swap(again)
	if c.ask(t, `{"user":"mallory"}`).Allow {
		t.Error("it decides again")
	}
}

// onceView panics at its first read.
type onceView struct {
	datastore.View
	panicked bool
}

func (v *onceView) Get(ctx context.Context, p datastore.Path) ([]byte, error) {
	if !v.panicked {
		v.panicked = true
		panic("at first")
	}
	return v.View.Get(ctx, p)
}

// A panic of the machine costs no decision, only its trust.
func TestPanicsAreLeftToOPA(t *testing.T) {
	set := compiled(t, accessPolicy(openTo))
	c := checkAll(t, set)
	view := &onceView{View: viewOf(t, map[string]string{"custom/open": `{"to":["alice"]}`})}
	d, err := c.Decide(t.Context(), memo.Over(view), set, Access, []byte(`{"user":"alice"}`))
	if err != nil || !d.Allow {
		t.Errorf("%v, %v", d.Reasons, err)
	}
	if r := <-c.reports; !strings.Contains(r.Decided, "at first") || r.Input != `{"user":"alice"}` || c.Checks().Differing != 1 || !set.distrusted.Load() {
		t.Errorf("%+v", r)
	}
}

// What would be another thing the next time is neither remembered nor checked.
func TestVolatileDecisionsAreNotChecked(t *testing.T) {
	c := checkAll(t, compiled(t, accessPolicy(`decision := {"allow": time.now_ns() > 0, "reasons": [{"code": uuid.rfc4122("x")}]}`)))
	if a, b := c.ask(t, `{}`), c.ask(t, `{}`); a.Reasons[0] == b.Reasons[0] {
		t.Error("remembered")
	}
	if got := c.Checks(); got != (Checks{Evaluated: 2}) {
		t.Errorf("%+v", got)
	}
}

func TestWhatTheMachineRefusesIsDecidedByOPA(t *testing.T) {
	for rules, why := range map[string]string{
		`decision := {"allow": opened} if opened := data.custom.open.to == ["bob"] with data.custom.open as {"to": ["bob"]}`: "puts something into data",
		"decision := {\"allow\": r[1].a}\nr[1].a := true if input.user":                                                      "unsupported plan",
	} {
		set := compiled(t, accessPolicy(rules))
		if err := set.Unplanned(); err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("%s: refused because of %v", rules, err)
		}
		c := checkAll(t, set)
		if !c.ask(t, `{"user":"bob"}`).Allow {
			t.Errorf("%s: denied", rules)
		}
	}
	if err := exampleSet(t).Unplanned(); err != nil {
		t.Errorf("the example is refused: %v", err)
	}
}
