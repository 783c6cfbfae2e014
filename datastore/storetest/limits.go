package storetest

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"mandate/datastore"
)

var limitTests = []test{
	{"the largest document", largestDocument},
	{"a document that is too large", oversizedDocument},
	{"a transaction that is too large", oversizedTransaction},
	{"a transaction with too many paths", oversizedPaths},
	{"an empty document is not an absent one", emptyDocument},
}

func largestDocument(t *testing.T, s suite) {
	dir, c := t.TempDir(), newClock()
	store := s.reopen(t, dir, c)
	value := bytes.Repeat([]byte("0123456789abcdef"), datastore.MaxValueBytes/16+1)[:datastore.MaxValueBytes]
	p := tenant.Path("large")
	check := func() {
		got, err := view(t, store).Get(t.Context(), p)
		if err != nil || !bytes.Equal(got, value) {
			t.Errorf("got %d bytes, %v", len(got), err)
		}
	}
	put(t, store, p, string(value))
	check()
	if err := store.Close(); err != nil {
		t.Fatalf("close: %v", err)
	}
	store = s.reopen(t, dir, c)
	check()
	if err := store.Close(); err != nil {
		t.Fatalf("close: %v", err)
	}
}

func oversizedDocument(t *testing.T, s suite) {
	store := s.fresh(t)
	_, err := store.Update(t.Context(), putting(tenant.Path("p"), strings.Repeat("x", datastore.MaxValueBytes+1)))
	wantError(t, err, datastore.ErrTooLarge)
	if r := view(t, store).Revision(); r != 0 {
		t.Errorf("revision %d", r)
	}
}

func oversizedTransaction(t *testing.T, s suite) {
	store := s.fresh(t)
	value := make([]byte, datastore.MaxValueBytes)
	wantTooLarge(t, store, 1<<10, func(tx datastore.Tx, i int) error {
		return tx.Put(tenant.Path("dir", fmt.Sprint(i)), value)
	})
}

func oversizedPaths(t *testing.T, s suite) {
	store := s.fresh(t)
	long := strings.Repeat("x", datastore.MaxSegmentBytes)
	wantTooLarge(t, store, 1<<20, func(tx datastore.Tx, i int) error {
		return tx.Put(tenant.Path("dir", long, long, long, fmt.Sprint(i)), nil)
	})
	wantTooLarge(t, store, 1<<20, func(tx datastore.Tx, i int) error {
		return tx.Delete(tenant.Path("d", fmt.Sprint(i)))
	})
}

// wantTooLarge writes until the transaction is refused, then commits as much as was accepted, then one more, which is to
// be refused and to leave nothing.
func wantTooLarge(t *testing.T, store datastore.Store, bound int, write func(datastore.Tx, int) error) {
	t.Helper()
	accepted := 0
	_, err := store.Update(t.Context(), func(tx datastore.Tx) error {
		for accepted = 0; accepted < bound; accepted++ {
			if err := write(tx, accepted); err != nil {
				return err
			}
		}
		return nil
	})
	wantError(t, err, datastore.ErrTooLarge)
	before := view(t, store).Revision()
	update(t, store, func(tx datastore.Tx) error {
		for i := range accepted {
			if err := write(tx, i); err != nil {
				return err
			}
		}
		if err := write(tx, accepted); !errors.Is(err, datastore.ErrTooLarge) {
			t.Errorf("write %d: %v", accepted, err)
		}
		return nil // the transaction is as it was before the refused write
	})
	if r := view(t, store).Revision(); r != before+1 {
		t.Errorf("revision %d, want %d", r, before+1)
	}
	for c, err := range store.Watch(t.Context(), before) {
		if err != nil || len(c.Writes) != accepted {
			t.Errorf("the commit has %d writes, want %d: %v", len(c.Writes), accepted, err)
		}
		break
	}
}

func emptyDocument(t *testing.T, s suite) {
	store := s.fresh(t)
	p := tenant.Path("dir", "p")
	put(t, store, p, "")
	v := view(t, store)
	wantDocument(t, v, p, "")
	wantScan(t, v, tenant.Path("dir"), datastore.Path{}, "dir/p=")
}
