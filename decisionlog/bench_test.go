package decisionlog_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"mandate/decisionlog"
)

// BenchmarkAppend is a remembered decision, whose description is in the segment, with its share of the commit of a request in 16.
func BenchmarkAppend(b *testing.B) {
	l, err := decisionlog.Open(b.TempDir(), decisionlog.Options{Tenant: "default", Key: key32(0)})
	if err != nil {
		b.Fatal(err)
	}
	ref, asked := decisionlog.Ref{}, time.Now()
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if _, err := l.Append(ref, asked, decisionlog.Entry{DataRevision: 7, Allow: true, Remembered: true}); err != nil {
			ref = l.Describe(describe(1))
		}
		if i%16 == 15 {
			if err := l.Commit(l.Mark()); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.StopTimer()
	if err := l.Close(); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkTidy seals a segment of decisions of which no two are alike.
func BenchmarkTidy(b *testing.B) {
	random := rand.New(rand.NewPCG(1, 2))
	for b.Loop() {
		b.StopTimer()
		l, err := decisionlog.Open(b.TempDir(), decisionlog.Options{Tenant: "default", Key: key32(0), SegmentBytes: 32 << 20})
		if err != nil {
			b.Fatal(err)
		}
		for segment := uint64(0); segment < 2; segment, _ = l.Written() {
			mark := l.Mark()
			for range 100 {
				d := question(fmt.Sprintf("u%d", random.Uint64()), "documents:read", fmt.Sprintf("org%d", random.IntN(1000)), true)
				l.Record(d, time.Now(), decisionlog.Entry{Allow: true})
			}
			if err := l.Commit(mark); err != nil {
				b.Fatal(err)
			}
		}
		b.StartTimer()
		if err := l.Tidy(b.Context()); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		if err := l.Close(); err != nil {
			b.Fatal(err)
		}
		b.SetBytes(32 << 20)
		b.StartTimer()
	}
}
