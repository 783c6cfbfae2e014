package memo

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"mandate/datastore"
	"mandate/datastore/badgerstore"
)

const tenant = datastore.TenantID("acme")

// text and number are results of two types.
type text string

func (t text) Bytes() int { return len(t) }

type number int

func (number) Bytes() int { return 8 }

func texts() Table[text] { return Table[text]{Kind: "text"} }

func keyOf(name string) Key { return KeyOf(Part(texts().Ask(nil), name)) }

// fixture is a Memo of a fresh store, with a time that the test moves.
type fixture struct {
	*Memo
	t     testing.TB
	clock atomic.Int64 // nanoseconds since 1970
}

func (f *fixture) setTime(now time.Time) { f.clock.Store(now.UnixNano()) }

func remembering(t testing.TB, bytes int64) *fixture {
	t.Helper()
	store, err := badgerstore.Open(t.TempDir(), badgerstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	f := &fixture{t: t}
	f.setTime(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC))
	f.Memo = New(store, Options{Bytes: bytes, Now: func() time.Time { return time.Unix(0, f.clock.Load()) }})
	return f
}

// put sets the document, or deletes it when the value is empty.
func (f *fixture) put(p datastore.Path, value string) {
	f.t.Helper()
	if _, err := f.store.Update(context.Background(), func(tx datastore.Tx) error {
		if value == "" {
			return tx.Delete(p)
		}
		return tx.Put(p, []byte(value))
	}); err != nil {
		f.t.Fatal(err)
	}
}

// during runs do with a Reading of its own.
func (f *fixture) during(do func(r *Reading)) {
	r := f.Begin()
	defer r.End()
	do(r)
}

// computation is one that counts how often it is made.
type computation struct {
	name    string
	compute func(r *Reading) (text, error)
	times   int
}

func (c *computation) get(r *Reading) (text, error) {
	return texts().Get(r, keyOf(c.name), func(r *Reading) (text, error) {
		c.times++
		return c.compute(r)
	})
}

// want says what the computation results in for a new request, and whether that has to be computed now.
func (f *fixture) want(c *computation, want text, computed bool) {
	f.t.Helper()
	f.during(func(r *Reading) { f.wantIn(r, c, want, computed) })
}

func (f *fixture) wantIn(r *Reading, c *computation, want text, computed bool) {
	f.t.Helper()
	before := c.times
	got, err := c.get(r)
	if err != nil || got != want || (c.times > before) != computed {
		f.t.Errorf("%s at revision %d: got %q, %v, computed: %t; want %q, computed: %t", c.name, r.Revision(), got, err, c.times > before, want, computed)
	}
}

// documentAt is the text of a document, "absent" when there is none.
func documentAt(r *Reading, p datastore.Path) (text, error) {
	value, err := r.Get(context.Background(), p)
	if errors.Is(err, datastore.ErrNotFound) {
		return "absent", nil
	}
	return text(value), err
}

func reading(name string, p datastore.Path) *computation {
	return &computation{name: name, compute: func(r *Reading) (text, error) { return documentAt(r, p) }}
}

func counting(name string, prefix datastore.Path) *computation {
	return &computation{name: name, compute: func(r *Reading) (text, error) {
		n := 0
		for _, err := range r.Scan(context.Background(), prefix, datastore.Path{}) {
			if err != nil {
				return "", err
			}
			n++
		}
		return text(strconv.Itoa(n)), nil
	}}
}

// A result is remembered until something that it has read is written, and computed again after it.
func TestRememberedUntilChanged(t *testing.T) {
	f := remembering(t, 1<<20)
	folder := tenant.Path("folder")
	a, below := folder.Join("a"), folder.Join("deep", "b")
	point, scan := reading("point", a), counting("scan", folder)
	for _, row := range []struct {
		what        string
		write       datastore.Path
		value       string
		point, scan text
		read        bool // the document at a was written
	}{
		{"the document comes up", a, "1", "1", "1", true},
		{"it changes", a, "2", "2", "1", true},
		{"it is deleted", a, "", "absent", "0", true},
		{"it was absent, and comes back", a, "2", "2", "1", true},
		{"another one comes up below the prefix", below, "1", "2", "2", false},
		{"and is deleted", below, "", "2", "1", false},
		{"it is written again as it was", a, "2", "2", "1", true},
	} {
		// Both are remembered now, whatever they were before.
		f.during(func(r *Reading) {
			for _, c := range []*computation{point, scan} {
				if _, err := c.get(r); err != nil {
					t.Fatal(err)
				}
			}
		})
		f.put(row.write, row.value)
		t.Run(row.what, func(t *testing.T) {
			f.t = t
			f.want(point, row.point, row.read)
			f.want(point, row.point, false)
			f.want(scan, row.scan, true)
			f.want(scan, row.scan, false)
		})
	}
	if s := f.Stats(); s.Entries != 2 || s.Changed == 0 || s.Displaced != 0 {
		t.Errorf("%+v", s)
	}
}

// A write to what nobody has read forgets nothing.
func TestUnrelatedWrites(t *testing.T) {
	f := remembering(t, 1<<20)
	a := tenant.Path("folder", "a")
	point, scan := reading("point", a), counting("scan", tenant.Path("folder"))
	f.want(point, "absent", true)
	f.want(scan, "0", true)
	c := f.store.Clock()
	used := map[datastore.Stripe]bool{c.Point(a): true, c.Below(tenant.Path("folder")): true}
	for n := 0; n < 50; {
		p := tenant.Path("unrelated", strconv.FormatUint(rand.Uint64(), 36))
		if used[c.Point(p)] || used[c.Below(tenant.Path("unrelated"))] || used[c.Below(tenant.Path())] {
			continue // they share a stripe by chance
		}
		f.put(p, "1")
		n++
		f.want(point, "absent", false)
		f.want(scan, "0", false)
	}
	if s := f.Stats(); s.Changed != 0 || s.Hits != 100 {
		t.Errorf("%+v", s)
	}
}

// What an inner computation rests on, the outer one rests on as well, whether the inner one was computed or remembered.
func TestNesting(t *testing.T) {
	t0 := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	soon := t0.Add(time.Minute)
	p := tenant.Path("inner")
	for _, row := range []struct {
		what  string
		inner func(r *Reading) (text, error)
		// then is what makes the results invalid, if anything must; else they were never valid for another request.
		then func(f *fixture)
	}{
		{"a document", func(r *Reading) (text, error) { return documentAt(r, p) }, func(f *fixture) { f.put(p, "1") }},
		{"a scan", func(r *Reading) (text, error) { return counting("x", tenant.Path()).compute(r) }, func(f *fixture) { f.put(p, "1") }},
		{"a time", func(r *Reading) (text, error) { r.NotAfter(soon); return "x", nil }, func(f *fixture) { f.setTime(soon) }},
		{"the present", func(r *Reading) (text, error) { r.Volatile(); return "x", nil }, nil},
		{"too much to note", tooMuch, nil},
	} {
		for _, remembered := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, remembered: %t", row.what, remembered), func(t *testing.T) {
				f := remembering(t, 1<<20)
				f.setTime(t0)
				inner := &computation{name: "inner", compute: row.inner}
				middle := &computation{name: "middle", compute: inner.get}
				outer := &computation{name: "outer", compute: middle.get}
				ask := func() { f.during(func(r *Reading) { _, _ = outer.get(r) }) }
				if remembered {
					f.during(func(r *Reading) { _, _ = inner.get(r) })
				}
				ask()
				ask()
				times := 1
				if row.then == nil {
					times = 2
				}
				if outer.times != times || middle.times != times {
					t.Errorf("asked twice, the outer ones were computed %d and %d times, want %d", outer.times, middle.times, times)
				}
				if row.then != nil {
					row.then(f)
				}
				ask()
				if times++; outer.times != times || middle.times != times {
					t.Errorf("at last, the outer ones were computed %d and %d times, want %d", outer.times, middle.times, times)
				}
			})
		}
	}
}

// What the outer computation reads beside the inner one is no matter to the inner one.
func TestInnerStaysWhenOuterChanges(t *testing.T) {
	f := remembering(t, 1<<20)
	mine := tenant.Path("outer")
	inner := reading("inner", tenant.Path("inner"))
	outer := &computation{name: "outer", compute: func(r *Reading) (text, error) {
		a, err := documentAt(r, mine)
		b, err2 := inner.get(r)
		return a + b, errors.Join(err, err2)
	}}
	f.want(outer, "absentabsent", true)
	f.put(mine, "1")
	f.want(outer, "1absent", true)
	if inner.times != 1 {
		t.Errorf("the inner one was computed %d times", inner.times)
	}
}

// An error is not remembered, neither by the computation that fails nor by one that goes on without it. That one still
// rests on what was read before the failure.
func TestErrors(t *testing.T) {
	f := remembering(t, 1<<20)
	p := tenant.Path("a")
	failure := errors.New("wanted")
	failing := &computation{name: "failing", compute: func(r *Reading) (text, error) {
		value, err := documentAt(r, p)
		if err == nil && value == "absent" {
			err = failure
		}
		return value, err
	}}
	outer := &computation{name: "outer", compute: func(r *Reading) (text, error) {
		value, err := failing.get(r)
		if errors.Is(err, failure) {
			return "none", nil
		}
		return value, err
	}}
	for range 3 {
		f.during(func(r *Reading) {
			if value, err := failing.get(r); !errors.Is(err, failure) || value != "absent" {
				t.Errorf("got %q, %v", value, err)
			}
		})
	}
	if failing.times != 3 {
		t.Errorf("computed %d times", failing.times)
	}
	f.want(outer, "none", true)
	f.want(outer, "none", false)
	f.put(p, "1")
	f.want(outer, "1", true)
	f.want(failing, "1", false)
}

// A result that says until when it holds is good right before that time, and no longer at it.
func TestNotAfter(t *testing.T) {
	limit := time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC)
	year := func(y int) time.Time { return time.Date(y, 12, 31, 23, 59, 59, 0, time.UTC) }
	for _, row := range []struct {
		what  string
		until []time.Time
		now   time.Time
		holds bool
	}{
		{"long before", []time.Time{limit}, limit.Add(-time.Hour), true},
		{"right before", []time.Time{limit}, limit.Add(-1), true},
		{"at the time", []time.Time{limit}, limit, false},
		{"after it", []time.Time{limit}, limit.Add(1), false},
		{"the earliest of several counts", []time.Time{limit.Add(1), limit, limit.Add(2)}, limit, false},
		{"a time in the far future never comes", []time.Time{year(9999)}, limit, true},
		{"the last one that nanoseconds can tell", []time.Time{year(2261)}, limit, true},
		{"a far one beside a near one", []time.Time{limit, year(9999)}, limit, false},
		{"a time in the far past is over", []time.Time{year(1500)}, limit, false},
		{"no time at all is over", []time.Time{{}}, limit, false},
	} {
		t.Run(row.what, func(t *testing.T) {
			f := remembering(t, 1<<20)
			c := &computation{name: "limited", compute: func(r *Reading) (text, error) {
				for _, until := range row.until {
					r.NotAfter(until)
				}
				return "x", nil
			}}
			f.setTime(limit.Add(-2 * time.Hour))
			f.during(func(r *Reading) { _, _ = c.get(r) })
			f.setTime(row.now)
			f.want(c, "x", !row.holds)
		})
	}
}

func TestVolatile(t *testing.T) {
	f := remembering(t, 1<<20)
	c := &computation{name: "volatile", compute: func(r *Reading) (text, error) { r.Volatile(); return "x", nil }}
	f.want(c, "x", true)
	f.want(c, "x", true)
	if s := f.Stats(); s.Entries != 0 || s.Hits != 0 {
		t.Errorf("%+v", s)
	}
}

// tooMuch reads one document more than a footprint has room for.
func tooMuch(r *Reading) (text, error) {
	for i := range maxFootprint + 1 {
		if _, err := documentAt(r, tenant.Path("many", strconv.Itoa(i))); err != nil {
			return "", err
		}
	}
	return "x", nil
}

func TestFootprintIsBounded(t *testing.T) {
	f := remembering(t, 16<<20) // enough for the largest footprint
	justEnough := &computation{name: "just enough", compute: func(r *Reading) (text, error) {
		for i := range maxFootprint {
			if _, err := documentAt(r, tenant.Path("many", strconv.Itoa(i))); err != nil {
				return "", err
			}
		}
		return "x", nil
	}}
	f.want(justEnough, "x", true)
	f.want(justEnough, "x", false)
	f.put(tenant.Path("many", strconv.Itoa(maxFootprint-1)), "1")
	f.want(justEnough, "x", true)
	more := &computation{name: "more", compute: tooMuch}
	f.want(more, "x", true)
	f.want(more, "x", true)
}

// A request that began before a commit sees nothing of it, and what it computes is nothing to those that began after it.
func TestOlderReadings(t *testing.T) {
	f := remembering(t, 1<<20)
	p, other := tenant.Path("a"), tenant.Path("b")
	c, steady := reading("changing", p), reading("steady", other)
	f.put(p, "1")
	old := f.Begin()
	defer old.End()
	f.put(p, "2")

	f.want(c, "2", true)
	f.wantIn(old, c, "1", true)
	f.want(c, "2", false) // the result of the old one did not take its place
	f.wantIn(old, c, "1", true)

	// What did not change is the same for all, whoever computed it.
	f.want(steady, "absent", true)
	f.wantIn(old, steady, "absent", false)

	// An old one that is the first to compute something keeps nothing that a newer one may use.
	first := &computation{name: "first", compute: c.compute}
	f.wantIn(old, first, "1", true)
	f.wantIn(old, first, "1", false)
	f.want(first, "2", true)
	f.want(first, "2", false)

	// Where nothing has changed, a newer one may.
	f.wantIn(old, reading("steady too", other), "absent", true)
	f.want(reading("steady too", other), "absent", false)
}

// A Reading goes on at its revision though results are found to hold later, and also when what it has begun to compute
// changes meanwhile.
func TestChangeDuringComputation(t *testing.T) {
	f := remembering(t, 1<<20)
	p := tenant.Path("a")
	f.put(p, "1")
	changing := true
	c := &computation{name: "slow", compute: func(r *Reading) (text, error) {
		value, err := documentAt(r, p)
		if changing {
			changing = false
			f.put(p, "2")
		}
		return value, err
	}}
	f.want(c, "1", true)
	f.want(c, "2", true)
	f.want(c, "2", false)
}

// Two tables never give each other's results, not even under one key.
func TestTables(t *testing.T) {
	f := remembering(t, 1<<20)
	numbers := Table[number]{Kind: texts().Kind}
	f.during(func(r *Reading) {
		for range 2 {
			word, err := texts().Get(r, keyOf("shared"), func(*Reading) (text, error) { return "x", nil })
			if err != nil || word != "x" {
				t.Errorf("got %q, %v", word, err)
			}
			n, err := numbers.Get(r, keyOf("shared"), func(*Reading) (number, error) { return 7, nil })
			if err != nil || n != 7 {
				t.Errorf("got %d, %v", n, err)
			}
		}
	})
	if a, b := (Table[text]{Kind: "a"}).Ask(nil), (Table[text]{Kind: "b"}).Ask(nil); KeyOf(Part(a, "x")) == KeyOf(Part(b, "x")) {
		t.Error("questions to two tables have one key")
	}
}

// No two lists of parts make the same question.
func TestPartsAreKeptApart(t *testing.T) {
	list := rapid.SliceOfN(rapid.StringN(0, 3, 300), 0, 4)
	question := func(parts []string) string {
		var q []byte
		for _, p := range parts {
			q = Part(q, p)
		}
		return string(q)
	}
	rapid.Check(t, func(t *rapid.T) {
		a, b := list.Draw(t, "a"), list.Draw(t, "b")
		if (fmt.Sprintf("%q", a) == fmt.Sprintf("%q", b)) != (question(a) == question(b)) {
			t.Fatalf("%q and %q make %q and %q", a, b, question(a), question(b))
		}
	})
}

// Without memory, and over a view, everything is computed every time.
func TestNothingIsRemembered(t *testing.T) {
	f := remembering(t, 0)
	p := tenant.Path("a")
	c := reading("point", p)
	f.want(c, "absent", true)
	f.want(c, "absent", true)
	f.put(p, "1")
	f.want(c, "1", true)
	if s := f.Stats(); s != (Stats{}) {
		t.Errorf("%+v", s)
	}

	f = remembering(t, 1<<20)
	view, err := f.store.View(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer view.Close()
	over := Over(view)
	f.wantIn(over, c, "absent", true)
	f.wantIn(over, c, "absent", true)
	over.End()
	if got, err := documentAt(over, p); err != nil || got != "absent" {
		t.Errorf("the view was closed with the Reading: %q, %v", got, err)
	}
	if s := f.Stats(); s != (Stats{}) {
		t.Errorf("%+v", s)
	}
}

// A store that fails makes computations fail, and is asked again.
func TestStoreFails(t *testing.T) {
	f := remembering(t, 1<<20)
	c := reading("point", tenant.Path("a"))
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	f.during(func(r *Reading) {
		_, err := texts().Get(r, keyOf(c.name), func(r *Reading) (text, error) {
			_, err := r.Get(ended, tenant.Path("a"))
			return "", err
		})
		if !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
	})
	f.want(c, "absent", true)
}

// Results that are remembered, by however many at once and while writers commit, are those that the revision of the
// request has.
func TestConcurrentReadings(t *testing.T) {
	f := remembering(t, shardCount*5*350) // each shard has room for five, of about eight that are wanted
	const documents, writers, each, readers = 20, 2, 80, 4
	paths := make([]datastore.Path, documents)
	for i := range paths {
		paths[i] = tenant.Path("folder", strconv.Itoa(i))
	}
	inner := func(r *Reading, i int) (text, error) {
		return texts().Get(r, keyOf("inner "+strconv.Itoa(i)), func(r *Reading) (text, error) { return documentAt(r, paths[i]) })
	}
	outer := func(r *Reading, i, j int) (text, error) {
		return texts().Get(r, keyOf(fmt.Sprint("outer ", i, " ", j)), func(r *Reading) (text, error) {
			a, err := inner(r, i)
			b, err2 := inner(r, j)
			return a + " " + b, errors.Join(err, err2)
		})
	}
	all := func(r *Reading) (text, error) {
		return texts().Get(r, keyOf("all"), func(r *Reading) (text, error) {
			return counting("", tenant.Path("folder")).compute(r)
		})
	}
	var writing, asking sync.WaitGroup
	var done atomic.Bool
	for w := range writers {
		writing.Go(func() {
			random := rand.New(rand.NewPCG(1, uint64(w)))
			for i := range each {
				value := fmt.Sprint(w, "-", i)
				if random.IntN(3) == 0 {
					value = ""
				}
				f.put(paths[random.IntN(documents)], value)
			}
		})
	}
	for n := range readers {
		asking.Go(func() {
			random := rand.New(rand.NewPCG(2, uint64(n)))
			for !done.Load() && !t.Failed() {
				f.during(func(r *Reading) {
					for range 6 {
						i, j := random.IntN(documents), random.IntN(documents)
						got, err := outer(r, i, j)
						// The root of a Reading remembers nothing, so it sees what is in the store.
						a, err1 := documentAt(r, paths[i])
						b, err2 := documentAt(r, paths[j])
						if err := errors.Join(err, err1, err2); err != nil || got != a+" "+b {
							t.Errorf("at %d: got %q, want %q: %v", r.Revision(), got, a+" "+b, err)
						}
						count, err := all(r)
						want, err2 := counting("", tenant.Path("folder")).compute(r)
						if err := errors.Join(err, err2); err != nil || count != want {
							t.Errorf("at %d: %s documents, want %s: %v", r.Revision(), count, want, err)
						}
					}
				})
			}
		})
	}
	writing.Wait()
	done.Store(true)
	asking.Wait()
	s := f.Stats()
	if s.Hits == 0 || s.Changed == 0 || s.Displaced == 0 || s.Bytes > f.bytes {
		t.Errorf("not everything has happened: %+v", s)
	}
}
