package storetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"mandate/datastore"
)

var scanTests = []test{
	{"in the byte order of the keys", scanOrder},
	{"page by page", scanPages},
	{"a consumer may read, scan and commit in the loop", scanNested},
	{"of a transaction with writes of its own", scanOwnWrites},
	{"ends when its context ends", scanCancelled},
	{"values are the caller's", valuesAreCopies},
}

func scanOrder(t *testing.T, s suite) {
	store := s.fresh(t)
	var keys []string
	update(t, store, func(tx datastore.Tx) error {
		for _, segment := range hostile {
			p := tenant.Path("ids", segment)
			keys = append(keys, p.Key())
			if err := tx.Put(p, []byte("1")); err != nil {
				return err
			}
		}
		return nil
	})
	slices.Sort(keys)
	check := func(r datastore.Reader) {
		var got []string
		for f, err := range r.Scan(t.Context(), tenant.Path("ids"), datastore.Path{}) {
			if err != nil {
				t.Fatalf("scan: %v", err)
			}
			got = append(got, f.Path.Key())
		}
		if !slices.Equal(got, keys) {
			t.Errorf("got %q\nwant %q", got, keys)
		}
	}
	check(view(t, store))
	update(t, store, func(tx datastore.Tx) error {
		check(tx)
		return nil
	})
}

func scanPages(t *testing.T, s suite) {
	store := s.fresh(t)
	const documents = 1500
	dir := tenant.Path("dir")
	var want []string
	update(t, store, func(tx datastore.Tx) error {
		for i := range documents {
			name := fmt.Sprintf("%04d", i)
			want = append(want, "dir/"+name+"="+name)
			if err := tx.Put(dir.Join(name), []byte(name)); err != nil {
				return err
			}
		}
		return tx.Put(tenant.Path("dis"), []byte("a neighbour"))
	})
	v := view(t, store)
	for _, size := range []int{1, 7, 100, 1000, documents, documents + 1} {
		var got []string
		for after, more := (datastore.Path{}), true; more; {
			n := 0
			for f, err := range v.Scan(t.Context(), dir, after) {
				if err != nil {
					t.Fatalf("scan: %v", err)
				}
				got = append(got, f.Path.String()+"="+string(f.Value))
				after = f.Path
				if n++; n == size {
					break
				}
			}
			more = n == size
		}
		if !slices.Equal(got, want) {
			t.Errorf("in pages of %d: got %d documents, want %d", size, len(got), len(want))
		}
	}
	t.Run("after a path that holds nothing", func(t *testing.T) {
		wantScan(t, v, dir, dir.Join("1497x"), want[1498:]...)
	})
	t.Run("after a path before the prefix", func(t *testing.T) {
		if got := collect(t, v, dir, tenant.Path("aaa")); !slices.Equal(got, want) {
			t.Errorf("got %d documents, want %d", len(got), len(want))
		}
	})
	t.Run("after the last one and beyond", func(t *testing.T) {
		wantScan(t, v, dir, dir.Join("1499"))
		wantScan(t, v, dir, tenant.Path("zzz"))
	})
	t.Run("after a document come those below it", func(t *testing.T) {
		put(t, store, dir.Join("1499", "below"), "x")
		wantScan(t, view(t, store), dir, dir.Join("1499"), "dir/1499/below=x")
	})
}

func scanNested(t *testing.T, s suite) {
	store := s.fresh(t)
	dir := tenant.Path("dir")
	for i := range 3 {
		put(t, store, dir.Join(fmt.Sprint(i)), fmt.Sprint(i))
	}
	visit := func(r datastore.Reader, each func(datastore.Fact)) {
		n := 0
		for f, err := range r.Scan(t.Context(), dir, datastore.Path{}) {
			if err != nil {
				t.Fatalf("scan: %v", err)
			}
			wantDocument(t, r, f.Path, string(f.Value))
			if inner := collect(t, r, dir, f.Path); len(inner) != 2-n {
				t.Errorf("%d documents after %q, want %d", len(inner), f.Path, 2-n)
			}
			each(f)
			n++
		}
		if n != 3 {
			t.Errorf("%d documents, want 3", n)
		}
	}
	v := view(t, store)
	visit(v, func(f datastore.Fact) { put(t, store, f.Path.Join("more"), "x") })
	wantScan(t, v, dir, datastore.Path{}, "dir/0=0", "dir/1=1", "dir/2=2")
	update(t, store, func(tx datastore.Tx) error { // back to the three
		for i := range 3 {
			if err := tx.Delete(dir.Join(fmt.Sprint(i), "more")); err != nil {
				return err
			}
		}
		return nil
	})
	update(t, store, func(tx datastore.Tx) error {
		visit(tx, func(f datastore.Fact) {
			if err := tx.Put(tenant.Path("copies", string(f.Value)), f.Value); err != nil {
				t.Errorf("put: %v", err)
			}
		})
		return nil
	})
	wantScan(t, view(t, store), tenant.Path("copies"), datastore.Path{}, "copies/0=0", "copies/1=1", "copies/2=2")
}

func scanOwnWrites(t *testing.T, s suite) {
	store := s.fresh(t)
	dir := tenant.Path("dir")
	for _, name := range []string{"b", "d", "f"} {
		put(t, store, dir.Join(name), "old")
	}
	update(t, store, func(tx datastore.Tx) error {
		for _, name := range []string{"a", "d", "e", "g"} {
			if err := tx.Put(dir.Join(name), []byte("new")); err != nil {
				return err
			}
		}
		for _, name := range []string{"b", "e", "x"} {
			if err := tx.Delete(dir.Join(name)); err != nil {
				return err
			}
		}
		wantScan(t, tx, dir, datastore.Path{}, "dir/a=new", "dir/d=new", "dir/f=old", "dir/g=new")
		wantScan(t, tx, dir, dir.Join("a"), "dir/d=new", "dir/f=old", "dir/g=new")
		wantScan(t, tx, dir, dir.Join("f"), "dir/g=new")
		for f, err := range tx.Scan(t.Context(), dir, datastore.Path{}) {
			if err != nil || f.Path != dir.Join("a") {
				t.Errorf("first is %q, %v", f.Path, err)
			}
			break
		}
		return nil
	})
	wantScan(t, view(t, store), dir, datastore.Path{}, "dir/a=new", "dir/d=new", "dir/f=old", "dir/g=new")
}

func scanCancelled(t *testing.T, s suite) {
	store := s.fresh(t)
	const documents = 3000
	update(t, store, func(tx datastore.Tx) error {
		for i := range documents {
			if err := tx.Put(tenant.Path("dir", fmt.Sprint(i)), []byte("1")); err != nil {
				return err
			}
		}
		return nil
	})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	n, failed := 0, false
	for _, err := range view(t, store).Scan(ctx, tenant.Path("dir"), datastore.Path{}) {
		if failed {
			t.Fatal("the scan goes on after an error")
		}
		if err != nil {
			wantError(t, err, context.Canceled)
			failed = true
			continue
		}
		n++
		cancel()
	}
	if !failed || n == documents {
		t.Errorf("the scan yielded %d documents and no error", n)
	}
	if _, err := view(t, store).Get(ctx, tenant.Path("dir", "1")); !errors.Is(err, context.Canceled) {
		t.Errorf("get: %v", err)
	}
}

func valuesAreCopies(t *testing.T, s suite) {
	store := s.fresh(t)
	p := tenant.Path("dir", "x")
	put(t, store, p, "value")
	v := view(t, store)
	spoil := func(r datastore.Reader) {
		value, err := r.Get(t.Context(), p)
		if err != nil {
			t.Fatalf("get: %v", err)
		}
		clear(value)
		for f, err := range r.Scan(t.Context(), tenant.Path("dir"), datastore.Path{}) {
			if err != nil {
				t.Fatalf("scan: %v", err)
			}
			clear(f.Value)
		}
		wantDocument(t, r, p, "value")
	}
	spoil(v)
	update(t, store, func(tx datastore.Tx) error {
		if err := tx.Put(p, []byte("value")); err != nil {
			return err
		}
		spoil(tx)
		return nil
	})
	wantDocument(t, view(t, store), p, "value")
}
