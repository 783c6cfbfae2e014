package storetest

import (
	"strings"
	"testing"

	"mandate/datastore"
)

var pathTests = []test{
	{"hostile segments keep apart", hostileSegments},
	{"invalid paths are refused", invalidPaths},
	{"prefixes are whole segments", siblingPrefixes},
	{"tenants do not see each other", tenants},
}

// hostile are segments that a careless encoding would confuse with each other or with structure.
var hostile = []string{
	"a", "a/b", "a~1b", "a~b", "~", "~0", "~1", "~01", "/", "//", "\x00", "a\x00", "a\x00b", "\x00\x00", "..", ".", "../..",
	"%2F", "%00", " ", "\n", "\\", "\"", "é", "e\u0301", "😀", "\U0010FFFF", "\uFEFF", "\u202e", "A", "!badger!", "\x01", "\x7f",
	strings.Repeat("x", 1024), strings.Repeat("x", 1023), strings.Repeat("😀", 256), strings.Repeat("/", 1024), strings.Repeat("~", 1024),
}

func hostileSegments(t *testing.T, s suite) {
	store := s.fresh(t)
	paths := make(map[datastore.Path]string)
	add := func(segments ...string) {
		p := tenant.Path(segments...)
		if !p.IsDocument() {
			t.Fatalf("%q is refused", segments)
		}
		if other, taken := paths[p]; taken {
			t.Fatalf("%q has the same path as %s", segments, other)
		}
		paths[p] = strings.Join(segments, "\xff") // no valid segment has this byte
	}
	for _, one := range hostile {
		add("one", one)
		add("two", one, "leaf")
	}
	for _, one := range []string{"a", "/", "~", "\x00", "..", "😀"} {
		for _, two := range []string{"a", "/", "~", "\x00", "..", "😀"} {
			add("pair", one, two)
		}
	}
	update(t, store, func(tx datastore.Tx) error {
		for p, value := range paths {
			if err := tx.Put(p, []byte(value)); err != nil {
				return err
			}
		}
		return nil
	})
	v := view(t, store)
	for p, value := range paths {
		wantDocument(t, v, p, value)
	}
	found := 0
	for f, err := range v.Scan(t.Context(), tenant.Path(), datastore.Path{}) {
		if err != nil {
			t.Fatalf("scan: %v", err)
		}
		if value, ok := paths[f.Path]; !ok || value != string(f.Value) {
			t.Errorf("scan yields %q with %q, want %q", f.Path, f.Value, value)
		}
		found++
	}
	if found != len(paths) {
		t.Errorf("scan yields %d documents, want %d", found, len(paths))
	}
	for _, one := range hostile {
		p := tenant.Path("two", one)
		wantScan(t, v, p, datastore.Path{}, p.Join("leaf").String()+"="+"two\xff"+one+"\xffleaf")
	}
}

func invalidPaths(t *testing.T, s suite) {
	store := s.fresh(t)
	deep := tenant.Path()
	for range datastore.MaxPathBytes/datastore.MaxSegmentBytes + 1 {
		deep = deep.Join(strings.Repeat("d", datastore.MaxSegmentBytes))
	}
	for name, p := range map[string]datastore.Path{
		"zero":             {},
		"empty segment":    tenant.Path("a", ""),
		"1025 bytes":       tenant.Path(strings.Repeat("x", 1025)),
		"invalid UTF-8":    tenant.Path("a\xffb"),
		"surrogate half":   tenant.Path("\xed\xa0\x80"),
		"overlong slash":   tenant.Path("\xc0\xaf"),
		"too deep":         deep,
		"empty tenant":     datastore.TenantID("").Path("a"),
		"tenant with NUL":  datastore.TenantID("\x00").Path("a"),
		"tenant with path": datastore.TenantID("a/b").Path("a"),
	} {
		t.Run(name, func(t *testing.T) {
			if p.Valid() {
				t.Errorf("%q is valid", p)
			}
			v := view(t, store)
			_, err := v.Get(t.Context(), p)
			wantError(t, err, datastore.ErrPath)
			for _, err := range v.Scan(t.Context(), p, datastore.Path{}) {
				wantError(t, err, datastore.ErrPath)
			}
			_, err = store.Update(t.Context(), func(tx datastore.Tx) error { return tx.Put(p, []byte("1")) })
			wantError(t, err, datastore.ErrPath)
			_, err = store.Update(t.Context(), func(tx datastore.Tx) error { return tx.Delete(p) })
			wantError(t, err, datastore.ErrPath)
		})
	}
	t.Run("the root of a tenant holds no document", func(t *testing.T) {
		_, err := store.Update(t.Context(), func(tx datastore.Tx) error { return tx.Put(tenant.Path(), []byte("1")) })
		wantError(t, err, datastore.ErrPath)
		wantDocument(t, view(t, store), tenant.Path(), absent)
	})
}

func siblingPrefixes(t *testing.T, s suite) {
	store := s.fresh(t)
	for _, segments := range [][]string{
		{"orgs", "acme", "x"}, {"orgs", "acme-2", "x"}, {"orgs", "acme/x", "y"}, {"orgs", "acm", "x"}, {"orgs", "acme\x00", "x"},
		{"orgs", "acme.", "x"}, {"orgs", "acme0", "x"}, {"orgs", "acme", "x", "deep"}, {"orgs-2", "acme", "x"},
	} {
		put(t, store, tenant.Path(segments...), "1")
	}
	v := view(t, store)
	wantScan(t, v, tenant.Path("orgs", "acme"), datastore.Path{}, "orgs/acme/x=1", "orgs/acme/x/deep=1")
	wantScan(t, v, tenant.Path("orgs", "acme", "x"), datastore.Path{}, "orgs/acme/x/deep=1")
	wantScan(t, v, tenant.Path("orgs", "acme/x"), datastore.Path{}, "orgs/acme~1x/y=1")
	wantScan(t, v, tenant.Path("orgs", "ac"), datastore.Path{})
	update(t, store, func(tx datastore.Tx) error {
		wantScan(t, tx, tenant.Path("orgs", "acme"), datastore.Path{}, "orgs/acme/x=1", "orgs/acme/x/deep=1")
		if err := tx.Put(tenant.Path("orgs", "acme-2", "own"), []byte("2")); err != nil {
			return err
		}
		wantScan(t, tx, tenant.Path("orgs", "acme"), datastore.Path{}, "orgs/acme/x=1", "orgs/acme/x/deep=1")
		return nil
	})
}

func tenants(t *testing.T, s suite) {
	store := s.fresh(t)
	for _, id := range []datastore.TenantID{"acme", "acme-2", "acme2", "a"} {
		put(t, store, id.Path("orgs", "x"), string(id))
	}
	v := view(t, store)
	for _, id := range []datastore.TenantID{"acme", "acme-2", "acme2", "a"} {
		wantDocument(t, v, id.Path("orgs", "x"), string(id))
		wantScan(t, v, id.Path(), datastore.Path{}, "orgs/x="+string(id))
	}
	wantScan(t, v, datastore.TenantID("acm").Path(), datastore.Path{})
	update(t, store, func(tx datastore.Tx) error { return tx.Delete(tenant.Path("orgs", "x")) })
	v = view(t, store)
	wantScan(t, v, tenant.Path(), datastore.Path{})
	wantScan(t, v, datastore.TenantID("acme-2").Path(), datastore.Path{}, "orgs/x=acme-2")
}
