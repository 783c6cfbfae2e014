package engine

import (
	"testing"
	"time"
)

func TestMeasures(t *testing.T) {
	e := New(tenant, nil, patient())
	for _, took := range []time.Duration{-1, 0, time.Microsecond, time.Microsecond + 1, 4 * time.Microsecond, time.Second, time.Hour} {
		e.measures.add(Access, true, true, false, took)
	}
	e.measures.add(Tokens, false, false, false, time.Microsecond)
	e.measures.add(Manage, false, false, true, time.Microsecond)
	for _, m := range e.Measures() {
		switch {
		case m.Point == Access && m.Remembered:
			var sum uint64
			for i, n := range m.Durations {
				sum += n
				want := map[int]uint64{0: 3, 1: 1, 2: 1, 20: 1, durationBuckets - 1: 1}[i]
				if n != want {
					t.Errorf("bucket %d, up to %v, has %d, want %d", i, BucketBound(i), n, want)
				}
			}
			if sum != 7 || m.Outcomes[Allowed] != 7 || m.Total < time.Hour {
				t.Errorf("%+v", m)
			}
		case m.Point == Tokens && !m.Remembered:
			if m.Outcomes[Denied] != 1 || m.Outcomes[Failed] != 0 {
				t.Errorf("%+v", m)
			}
		case m.Point == Manage && !m.Remembered:
			if m.Outcomes[Failed] != 1 {
				t.Errorf("%+v", m)
			}
		case m.Total != 0:
			t.Errorf("%+v", m)
		}
	}
}

func TestMeasuringIsCheap(t *testing.T) {
	e := New(tenant, nil, patient())
	if n := testing.AllocsPerRun(100, func() { e.measures.add(Access, true, true, false, time.Millisecond) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
