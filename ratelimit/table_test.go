package ratelimit

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func limit(t testing.TB, text string) Limit {
	t.Helper()
	l, err := ParseLimit(text)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func key(n int) []byte { return binary.BigEndian.AppendUint64(nil, uint64(n)) }

func start() time.Time { return time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC) }

// model is a bucket of tokens, which is what the algorithm must be like: full at first, and filled again at the even rate.
type model struct {
	tokens float64
	at     time.Time
}

func (m *model) take(l Limit, now time.Time) (bool, float64) {
	m.tokens = min(float64(l.Burst), m.tokens+now.Sub(m.at).Seconds()/l.interval().Seconds())
	m.at = now
	if m.tokens < 1-1e-6 {
		return false, m.tokens
	}
	m.tokens--
	return true, m.tokens
}

func TestTakeIsLikeABucketOfTokens(t *testing.T) {
	for _, text := range []string{"1/s", "10/s", "100/s", "7/s+3", "600/m", "1/m", "20/s+100", "1000000/s", "1/h+24"} {
		t.Run(text, func(t *testing.T) {
			l := limit(t, text)
			table := NewTable(l)
			random := rand.New(rand.NewPCG(1, 2))
			now := start()
			models := make([]model, 5)
			for i := range models {
				models[i] = model{float64(l.Burst), now}
			}
			for step := range 20_000 {
				// Steps of whole intervals and of parts of them, with pauses.
				now = now.Add(time.Duration(random.Int64N(int64(l.interval())/2 + 1)))
				if random.IntN(500) == 0 {
					now = now.Add(time.Duration(random.Int64N(int64(l.Window()) + 1)))
				}
				i := random.IntN(len(models))
				before := models[i]
				allowed, left := models[i].take(l, now)
				got := table.Take(key(i), now)
				if got.Allowed != allowed {
					t.Fatalf("step %d: %+v, of a bucket with %f before", step, got, before.tokens)
				}
				if off := left - float64(got.Remaining); allowed && (off < -1e-3 || off >= 1+1e-3) {
					t.Fatalf("step %d: %d remain of %f", step, got.Remaining, left)
				}
				if allowed == (got.RetryAfter != 0) || got.RetryAfter > l.interval() || got.Reset > l.Window() {
					t.Fatalf("step %d: %+v", step, got)
				}
			}
		})
	}
}

func TestWhoWaitsAsToldGetsThrough(t *testing.T) {
	for _, text := range []string{"3/s", "10/m", "1/h", "20/s+100"} {
		l := limit(t, text)
		table, now := NewTable(l), start()
		for n := range l.Burst {
			if got := table.Take(key(1), now); !got.Allowed || got.Remaining != l.Burst-n-1 {
				t.Fatalf("%s: attempt %d: %+v", text, n+1, got)
			}
		}
		refused := table.Take(key(1), now)
		if refused.Allowed || refused.RetryAfter <= 0 || refused.Reset != l.Window() {
			t.Errorf("%s: %+v", text, refused)
		}
		if got := table.Take(key(1), now.Add(refused.RetryAfter-1)); got.Allowed {
			t.Errorf("%s: allowed too early", text)
		}
		if got := table.Take(key(1), now.Add(refused.RetryAfter)); !got.Allowed {
			t.Errorf("%s: who has waited is refused: %+v", text, got)
		}
		if got := table.Take(key(1), now.Add(2*refused.Reset)); !got.Allowed || got.Remaining != l.Burst-1 {
			t.Errorf("%s: the burst is not whole again: %+v", text, got)
		}
	}
}

func TestClockSetBackMakesNobodyWaitLongerThanAWindow(t *testing.T) {
	l := limit(t, "5/s")
	table, now := NewTable(l), start()
	for range l.Burst {
		table.Take(key(1), now)
	}
	now = now.Add(-time.Hour)
	if got := table.Take(key(1), now); got.Allowed || got.RetryAfter > l.interval() {
		t.Errorf("%+v", got)
	}
	if got := table.Take(key(1), now.Add(l.Window())); !got.Allowed {
		t.Errorf("%+v", got)
	}
}

// A flood of keys that come once each fills the table many times over. Those that must wait go on waiting, and memory is
// what it was.
func TestFloodDisplacesNobodyWhoMustWait(t *testing.T) {
	l := limit(t, "1/m+30")
	table, now := NewTable(l), start()
	const blocked = 1000
	for n := range blocked {
		for range l.Burst {
			table.Take(key(n), now)
		}
	}
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	buffer := key(0)
	const flood = 20 * sets * ways
	for n := range flood {
		binary.BigEndian.PutUint64(buffer, uint64(blocked+n))
		if got := table.Take(buffer, now); !got.Allowed {
			t.Fatalf("somebody new must wait: %+v", got)
		}
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 1<<18 {
		t.Errorf("%d keys took %d bytes more", flood, grown)
	}
	for n := range blocked {
		if got := table.Take(key(n), now); got.Allowed {
			t.Errorf("the flood has freed key %d", n)
		}
	}
}

// When all of a set must wait, who is new passes and nobody is forgotten.
func TestFullSetOfThoseWhoMustWait(t *testing.T) {
	l := limit(t, "1/m+3")
	table := NewTable(l)
	now := start().UnixNano()
	var set [ways]debt
	for k := range uint64(ways) {
		for range l.Burst {
			table.take(&set, k+1, now)
		}
	}
	for stranger := range uint64(10) {
		if got := table.take(&set, 100+stranger, now); !got.Allowed {
			t.Errorf("somebody new must wait: %+v", got)
		}
	}
	for k := range uint64(ways) {
		if got := table.take(&set, k+1, now); got.Allowed {
			t.Errorf("key %d was freed", k+1)
		}
	}
}

func TestFullSetForgetsTheLeastDebt(t *testing.T) {
	table := NewTable(limit(t, "1/m+10"))
	now := start().UnixNano()
	var set [ways]debt
	for k := range uint64(ways) {
		for range k + 3 { // 3, 4, 5 and 6 owed
			table.take(&set, k+1, now)
		}
	}
	table.take(&set, 99, now)
	if got := table.take(&set, 4, now); got.Remaining != 3 {
		t.Errorf("the one with the most debt was forgotten: %+v", got)
	}
	for _, d := range set {
		if d.key == 1 {
			t.Errorf("the one with the least debt was not forgotten: %+v", set)
		}
	}
}

func TestKeysOfManyGoroutinesAreCountedExactly(t *testing.T) {
	l := limit(t, "1/m+500")
	table, now := NewTable(l), start()
	const keys, each = 20, 1000
	var allowed [keys]atomic.Int64
	var done sync.WaitGroup
	for range 8 {
		done.Go(func() {
			for n := range keys * each {
				if table.Take(key(n%keys), now).Allowed {
					allowed[n%keys].Add(1)
				}
			}
		})
	}
	done.Wait()
	for n := range allowed {
		if got := allowed[n].Load(); got != int64(l.Burst) {
			t.Errorf("key %d was allowed %d times", n, got)
		}
	}
}

func TestTakeAllocatesNothing(t *testing.T) {
	table, now := NewTable(limit(t, "100/s")), start()
	if n := testing.AllocsPerRun(1000, func() {
		var buffer [64]byte
		table.Take(append(buffer[:0], "203.0.113.9"...), now)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestLimitsAsTheyAreWritten(t *testing.T) {
	for text, want := range map[string]Limit{
		"100/s":       {100, time.Second, 100},
		"600/m":       {600, time.Minute, 600},
		"1/h":         {1, time.Hour, 1},
		"20/s+100":    {20, time.Second, 100},
		"1000000/s+1": {1_000_000, time.Second, 1},
		"off":         {},
	} {
		got, err := ParseLimit(text)
		if err != nil || got != want || got.String() != text {
			t.Errorf("%s: %+v as %s, %v", text, got, got, err)
		}
	}
	if got := limit(t, "10/s+10").String(); got != "10/s" {
		t.Errorf("a burst that goes without saying: %s", got)
	}
	for _, text := range []string{"", "100", "/s", "100/", "100/d", "0/s", "-1/s", "1.5/s", "1000001/s", "10/s+0", "10/s+", "10/s+1000001", "1/h+25", "+5", "Off", "10/s ", "99999999999999999999/s"} {
		if got, err := ParseLimit(text); err == nil {
			t.Errorf("%q is taken for %v", text, got)
		}
	}
}

func BenchmarkTake(b *testing.B) {
	for _, keys := range []int{1, 1000, 1_000_000} {
		b.Run(fmt.Sprintf("%d keys", keys), func(b *testing.B) {
			table := NewTable(limit(b, "1000000/s"))
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				now, buffer := start(), key(0)
				for n := 0; pb.Next(); n++ {
					binary.BigEndian.PutUint64(buffer, uint64(n%keys))
					now = now.Add(time.Microsecond)
					table.Take(buffer, now)
				}
			})
		})
	}
}
