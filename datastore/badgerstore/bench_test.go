package badgerstore

import (
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"mandate/datastore"
)

const benchTenant = datastore.TenantID("acme")

var benchDocument = []byte(`{"roles":["admin","developer"],"status":"active","joined_at":"2026-01-02T03:04:05Z"}`)

func benchStore(b *testing.B) *Store {
	b.Helper()
	s, err := Open(b.TempDir(), Options{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := s.Close(); err != nil {
			b.Error(err)
		}
	})
	return s
}

// BenchmarkCommit shows the group commit: with more writers there are more commits per sync.
func BenchmarkCommit(b *testing.B) {
	for _, writers := range []int{1, 16, 64} {
		b.Run(fmt.Sprintf("writers=%d", writers), func(b *testing.B) {
			s := benchStore(b)
			var next atomic.Int64
			b.ResetTimer()
			var done sync.WaitGroup
			for range writers {
				done.Go(func() {
					for i := next.Add(1); i <= int64(b.N); i = next.Add(1) {
						_, err := s.Update(b.Context(), func(tx datastore.Tx) error {
							return tx.Put(benchTenant.Path("orgs", "globex", "members", strconv.FormatInt(i, 10)), benchDocument)
						})
						if err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			done.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "commits/s")
		})
	}
}

func BenchmarkGet(b *testing.B) {
	for _, from := range []string{"memory", "disk"} {
		b.Run(from, func(b *testing.B) {
			dir := b.TempDir()
			s := fill(b, dir, from == "disk")
			v, err := s.View(b.Context())
			if err != nil {
				b.Fatal(err)
			}
			defer v.Close()
			ctx := b.Context()
			paths := make([]datastore.Path, 1024)
			for i := range paths {
				paths[i] = member(i * 7919 % benchMembers)
			}
			i := 0
			for b.Loop() {
				if _, err := v.Get(ctx, paths[i%len(paths)]); err != nil {
					b.Fatal(err)
				}
				i++
			}
		})
	}
}

const benchMembers = 100_000

func member(i int) datastore.Path {
	return benchTenant.Path("orgs", fmt.Sprintf("org-%04d", i/100), "members", fmt.Sprintf("user-%02d", i%100))
}

// fill opens a store with 1,000 organizations of 100 members. Closing it moves them from the memtable into tables on disk.
func fill(b *testing.B, dir string, reopen bool) *Store {
	b.Helper()
	for round := 0; ; round++ {
		s, err := Open(dir, Options{})
		if err != nil {
			b.Fatal(err)
		}
		if round == 0 {
			for from := 0; from < benchMembers; from += 5000 {
				_, err := s.Update(b.Context(), func(tx datastore.Tx) error {
					for i := range 5000 {
						if err := tx.Put(member(from+i), benchDocument); err != nil {
							return err
						}
					}
					return nil
				})
				if err != nil {
					b.Fatal(err)
				}
			}
		}
		if !reopen || round == 1 {
			b.Cleanup(func() {
				if err := s.Close(); err != nil {
					b.Error(err)
				}
			})
			return s
		}
		if err := s.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkScan100(b *testing.B) {
	s := fill(b, b.TempDir(), true)
	v, err := s.View(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	defer v.Close()
	org := benchTenant.Path("orgs", "org-0500", "members")
	for b.Loop() {
		n := 0
		for _, err := range v.Scan(b.Context(), org, datastore.Path{}) {
			if err != nil {
				b.Fatal(err)
			}
			n++
		}
		if n != 100 {
			b.Fatalf("%d members, want 100", n)
		}
	}
}
