package datastore

import (
	"slices"
	"strings"
	"testing"
)

func TestTenantID(t *testing.T) {
	for id, want := range map[TenantID]bool{
		"default": true, "a": true, "0": true, "a-b": true, "a--b": true, TenantID(strings.Repeat("a", 63)): true,
		"": false, "-a": false, "a-": false, "-": false, "A": false, "a/b": false, "a.b": false, "a_b": false, "ä": false, "a\x00": false,
		"\x00": false, "..": false, TenantID(strings.Repeat("a", 64)): false,
	} {
		if got := id.Valid(); got != want {
			t.Errorf("%q: valid is %v, want %v", id, got, want)
		}
		if got := id.Path("x").Valid(); got != want {
			t.Errorf("%q: a path below it is valid is %v, want %v", id, got, want)
		}
	}
}

func TestPathKey(t *testing.T) {
	for _, c := range []struct {
		segments []string
		key      string
	}{
		{nil, "acme"},
		{[]string{"orgs", "x"}, "acme/orgs/x"},
		{[]string{"a/b"}, "acme/a~1b"},
		{[]string{"a~b"}, "acme/a~0b"},
		{[]string{"~1"}, "acme/~01"},
		{[]string{"~0~1/"}, "acme/~00~01~1"},
		{[]string{"/"}, "acme/~1"},
		{[]string{"..", "\x00", "😀"}, "acme/../\x00/😀"},
	} {
		p := TenantID("acme").Path(c.segments...)
		if p.Key() != c.key {
			t.Errorf("%q: key %q, want %q", c.segments, p.Key(), c.key)
		}
		if !slices.Equal(p.Segments(), c.segments) {
			t.Errorf("%q: segments %q", c.segments, p.Segments())
		}
		if p.Tenant() != "acme" || p.IsDocument() != (len(c.segments) > 0) {
			t.Errorf("%q: tenant %q, document %v", c.segments, p.Tenant(), p.IsDocument())
		}
		if ParseKey(c.key) != p {
			t.Errorf("%q: the key does not lead back", c.segments)
		}
	}
}

func TestPathRefused(t *testing.T) {
	acme := TenantID("acme")
	long := strings.Repeat("x", MaxSegmentBytes)
	deep := acme.Path()
	for len(deep.Key())+1+len(long) <= MaxPathBytes {
		deep = deep.Join(long)
	}
	if !deep.IsDocument() || !acme.Path(long).IsDocument() {
		t.Error("the longest ones are refused")
	}
	for name, p := range map[string]Path{
		"empty segment":           acme.Path(""),
		"empty segment inside":    acme.Path("a", "", "b"),
		"long segment":            acme.Path(long + "x"),
		"invalid UTF-8":           acme.Path("\xff"),
		"long path":               deep.Join(long),
		"long only when escaped":  deep.Join(strings.Repeat("/", MaxSegmentBytes-200)),
		"below an invalid one":    acme.Path("").Join("a"),
		"below an invalid tenant": TenantID("A").Path().Join("a"),
	} {
		if p.Valid() || p.IsDocument() || p != (Path{}) {
			t.Errorf("%s: not refused", name)
		}
	}
}

func TestParseKeyRefused(t *testing.T) {
	for _, key := range []string{
		"", "/", "acme/", "acme//", "/a", "acme/a/", "acme/a//b", "Acme/a", "acme/~", "acme/~2", "acme/a~", "acme/\xff", "\x00log/x",
		"acme/" + strings.Repeat("x", MaxSegmentBytes+1), "acme" + strings.Repeat("/x", MaxPathBytes),
	} {
		if p := ParseKey(key); p.Valid() {
			t.Errorf("%q is accepted", key)
		}
	}
}

func TestPathBelow(t *testing.T) {
	p := TenantID("acme").Path("orgs", "a", "b")
	for _, c := range []struct {
		prefix Path
		want   bool
	}{
		{TenantID("acme").Path(), true},
		{TenantID("acme").Path("orgs"), true},
		{TenantID("acme").Path("orgs", "a"), true},
		{p, false},
		{p.Join("c"), false},
		{TenantID("acme").Path("org"), false},
		{TenantID("acme").Path("orgs", "a/b"), false},
		{TenantID("acm").Path(), false},
		{Path{}, false},
	} {
		if got := p.Below(c.prefix); got != c.want {
			t.Errorf("below %q is %v, want %v", c.prefix.Key(), got, c.want)
		}
	}
	if (Path{}).Below(Path{}) {
		t.Error("the zero path is below itself")
	}
}

// FuzzPath: different segments have different keys, and a key leads back to its segments.
func FuzzPath(f *testing.F) {
	f.Add("a", "b", "a/b", "")
	f.Add("a/b", "c", "a", "b/c")
	f.Add("~1", "x", "/", "x")
	f.Add("~01", "~", "~0", "1~")
	f.Add("\x00", "..", "\x00..", "😀")
	f.Fuzz(func(t *testing.T, a, b, c, d string) {
		acme := TenantID("acme")
		one, two := []string{a, b}, []string{c, d}
		p, q := acme.Path(one...), acme.Path(two...)
		if p.Valid() && p == q && !slices.Equal(one, two) {
			t.Fatalf("%q and %q have the key %q", one, two, p.Key())
		}
		if !p.Valid() {
			return
		}
		if got := p.Segments(); !slices.Equal(got, one) {
			t.Fatalf("%q came back as %q", one, got)
		}
		if got := ParseKey(p.Key()); got != p {
			t.Fatalf("the key %q leads to %q", p.Key(), got.Key())
		}
		if parent := acme.Path(a); !p.Below(parent) || parent.Join(b) != p || parent.Below(p) {
			t.Fatalf("%q is not below %q", p.Key(), parent.Key())
		}
		if whole := acme.Path(a + "/" + b); whole.Valid() && (whole == p || whole.Below(acme.Path(a))) {
			t.Fatalf("%q is taken for %q", whole.Key(), p.Key())
		}
	})
}

// FuzzParseKey: what is accepted is the key of the path that it leads to, and nothing else is.
func FuzzParseKey(f *testing.F) {
	for _, key := range []string{"acme", "acme/a", "acme/~1", "acme/~01", "acme/~2", "acme//", "", "\x00log/12345678", "acme/\xff"} {
		f.Add(key)
	}
	f.Fuzz(func(t *testing.T, key string) {
		p := ParseKey(key)
		if !p.Valid() {
			return
		}
		if p.Key() != key || p.Tenant().Path(p.Segments()...) != p {
			t.Fatalf("%q leads to %q", key, p.Key())
		}
	})
}
