package storetest

import (
	"errors"
	"fmt"
	"strconv"
	"sync"
	"testing"

	"mandate/datastore"
)

var contentionTests = []test{
	{"64 increments at once", increments},
	{"writers that never pause", steadyIncrements},
	{"transfers keep the sum", transfers},
}

func increment(t *testing.T, store datastore.Store, p datastore.Path) error {
	_, err := store.Update(t.Context(), func(tx datastore.Tx) error {
		value, err := tx.Get(t.Context(), p)
		if err != nil && !errors.Is(err, datastore.ErrNotFound) {
			return err
		}
		n := 0
		if err == nil {
			if n, err = strconv.Atoi(string(value)); err != nil {
				return err
			}
		}
		return tx.Put(p, []byte(strconv.Itoa(n+1)))
	})
	return err
}

func increments(t *testing.T, s suite) {
	store := s.fresh(t)
	p := tenant.Path("counter")
	var done sync.WaitGroup
	start := make(chan struct{})
	for range 64 {
		done.Go(func() {
			<-start
			if err := increment(t, store, p); err != nil {
				t.Errorf("increment: %v", err)
			}
		})
	}
	close(start)
	done.Wait()
	wantDocument(t, view(t, store), p, "64")
	if r := view(t, store).Revision(); r != 64 {
		t.Errorf("64 commits made revision %d", r)
	}
}

func steadyIncrements(t *testing.T, s suite) {
	store := s.fresh(t)
	p := tenant.Path("counter")
	const writers, each = 8, 40
	var done sync.WaitGroup
	for range writers {
		done.Go(func() {
			for range each {
				if err := increment(t, store, p); err != nil {
					t.Errorf("increment: %v", err)
				}
			}
		})
	}
	done.Wait()
	wantDocument(t, view(t, store), p, strconv.Itoa(writers*each))
}

func transfers(t *testing.T, s suite) {
	store := s.fresh(t)
	const accounts, each, writers = 5, 100, 6
	dir := tenant.Path("accounts")
	update(t, store, func(tx datastore.Tx) error {
		for i := range accounts {
			if err := tx.Put(dir.Join(fmt.Sprint(i)), []byte(fmt.Sprint(each))); err != nil {
				return err
			}
		}
		return nil
	})
	sum := func(r datastore.Reader) (int, error) {
		total := 0
		for f, err := range r.Scan(t.Context(), dir, datastore.Path{}) {
			if err != nil {
				return 0, err
			}
			n, err := strconv.Atoi(string(f.Value))
			if err != nil {
				return 0, err
			}
			total += n
		}
		return total, nil
	}
	var done sync.WaitGroup
	for w := range writers {
		done.Go(func() {
			for i := range 20 {
				from, to := dir.Join(fmt.Sprint((w+i)%accounts)), dir.Join(fmt.Sprint((w+2*i+1)%accounts))
				if from == to {
					continue
				}
				_, err := store.Update(t.Context(), func(tx datastore.Tx) error {
					if total, err := sum(tx); err != nil || total != accounts*each {
						return fmt.Errorf("a transaction at revision %d sees the sum %d, %w", tx.Revision(), total, err)
					}
					for p, by := range map[datastore.Path]int{from: -1, to: 1} {
						value, err := tx.Get(t.Context(), p)
						if err != nil {
							return err
						}
						n, err := strconv.Atoi(string(value))
						if err != nil {
							return err
						}
						if err := tx.Put(p, []byte(strconv.Itoa(n+by))); err != nil {
							return err
						}
					}
					return nil
				})
				if err != nil {
					t.Errorf("transfer: %v", err)
				}
			}
		})
	}
	done.Wait()
	newest := view(t, store).Revision()
	for r := datastore.Revision(1); r <= newest; r++ {
		if total, err := sum(viewAt(t, store, r)); err != nil || total != accounts*each {
			t.Errorf("the sum at revision %d is %d, %v", r, total, err)
		}
	}
}
