package engine

import (
	"slices"
	"testing"

	"mandate/datastore"
)

// What is supposed is found by point reads and by scans alike, in the order of the paths.
func TestSupposedFacts(t *testing.T) {
	path := func(role string) datastore.Path { return tenant.Path("roles", role) }
	s := &supposed{Reader: viewOf(t, map[string]string{"roles/b": "1", "roles/d": "1", "roles/f": "1", "users/x": "1"}),
		changed: map[datastore.Path][]byte{path("a"): []byte("2"), path("b"): []byte("2"), path("d"): nil, path("e"): []byte("2"), path("g"): []byte("2"), path("h"): nil}}
	for _, row := range []struct {
		after datastore.Path
		want  []string
	}{
		{datastore.Path{}, []string{"roles/a=2", "roles/b=2", "roles/e=2", "roles/f=1", "roles/g=2"}},
		{path("b"), []string{"roles/e=2", "roles/f=1", "roles/g=2"}},
		{path("g"), nil},
	} {
		for range 2 { // a scan can be made again
			var got []string
			for f, err := range s.Scan(t.Context(), tenant.Path("roles"), row.after) {
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, f.Path.String()+"="+string(f.Value))
				if text, err := s.Get(t.Context(), f.Path); err != nil || string(text) != string(f.Value) {
					t.Errorf("%s is %s, %v", f.Path, text, err)
				}
			}
			if !slices.Equal(got, row.want) {
				t.Errorf("want %q, got %q", row.want, got)
			}
		}
	}
	if _, err := s.Get(t.Context(), path("d")); err == nil {
		t.Error("what is away is found")
	}
}
