package engine

import (
	"math/bits"
	"sync/atomic"
	"time"
)

// Outcome is how a decision has ended.
type Outcome string

// The outcomes. An error is a denial because the policy could not decide.
const (
	Allowed Outcome = "allow"
	Denied  Outcome = "deny"
	Failed  Outcome = "error"
)

// durationBuckets are those of the time that decisions take: bucket n ends at 1 µs · 2^n, the last one never.
const durationBuckets = 22

// BucketBound is up to how long the decisions of a bucket have taken.
func BucketBound(n int) time.Duration { return time.Microsecond << n }

// measures counts decisions, so cheaply that each one can be: two additions.
type measures struct {
	points       [3]pointMeasures // in the order of measuredPoints
	maskFailures atomic.Uint64
}

type pointMeasures [2]struct { // made, remembered
	counts [3][durationBuckets]atomic.Uint64 // allowed, denied, failed
	nanos  atomic.Uint64
}

func measuredPoints() [3]Point { return [3]Point{Access, Tokens, Manage} }

func (m *measures) add(p Point, allow, remembered, failed bool, took time.Duration) {
	of := &m.points[pointIndex(p)][0]
	if remembered {
		of = &m.points[pointIndex(p)][1]
	}
	outcome := 1
	if failed {
		outcome = 2
	} else if allow {
		outcome = 0
	}
	took = max(took, 1)
	bucket := min(bits.Len64(uint64((took-1)/time.Microsecond)), durationBuckets-1)
	of.counts[outcome][bucket].Add(1)
	of.nanos.Add(uint64(took))
}

func pointIndex(p Point) int {
	switch p {
	case Tokens:
		return 1
	case Manage:
		return 2
	}
	return 0
}

// Measure is how many decisions of a point there were and how long they took: Durations has those of each bucket, the last of which has no bound.
type Measure struct {
	Point      Point
	Remembered bool
	Outcomes   map[Outcome]uint64
	Durations  [durationBuckets]uint64
	Total      time.Duration
}

// Measures counts since the Engine was made.
func (e *Engine) Measures() []Measure {
	var all []Measure
	for i, p := range measuredPoints() {
		for k := range e.measures.points[i] {
			of := &e.measures.points[i][k]
			m := Measure{Point: p, Remembered: k == 1, Outcomes: map[Outcome]uint64{}, Total: time.Duration(of.nanos.Load())}
			for o, outcome := range [...]Outcome{Allowed, Denied, Failed} {
				for b := range of.counts[o] {
					n := of.counts[o][b].Load()
					m.Durations[b] += n
					m.Outcomes[outcome] += n
				}
			}
			all = append(all, m)
		}
	}
	return all
}

// MaskFailures counts the records whose masks could not be applied.
func (e *Engine) MaskFailures() uint64 { return e.measures.maskFailures.Load() }
