package engine

import (
	"runtime"
	"strings"
	"testing"
)

// A small text must not become a large value before anybody looks at its size.
func TestYAMLThatGrows(t *testing.T) {
	const policy = "package x\n\np := 1\n"
	scalars := "a: &a \"" + strings.Repeat("x", 20_000) + "\"\nb: [" + strings.Repeat("*a,", 20_000) + "]\n"
	lists := "l0: &l0 [" + strings.Repeat("0,", 10) + "]\n"
	for n := range 5 {
		lists += "l" + string(rune('1'+n)) + ": &l" + string(rune('1'+n)) + " [" + strings.Repeat("*l"+string(rune('0'+n))+",", 10) + "]\n"
	}
	metadata := "# METADATA\n# custom:\n#   " + strings.ReplaceAll(strings.TrimSpace(lists), "\n", "\n#   ") + "\n"
	const alias = "an alias cannot be used here"
	for _, test := range []struct {
		name string
		file File
		want string // "" when it is not refused
	}{
		{"aliases of a text", File{"data.yaml", scalars}, alias},
		{"aliases of aliases", File{"x/data.yml", lists}, alias},
		{"after a byte order mark", File{"data.yaml", "\ufeff" + lists}, alias},
		{"in another document", File{"data.yaml", "a: &a 1\n---\nb: [*a]\n"}, alias},
		{"merged aliases", File{"data.yaml", "a: &a {x: 1}\nb:\n  <<: *a\n"}, alias},
		{"in metadata", File{"x.rego", metadata + policy}, alias},
		{"in the metadata of a rule", File{"x.rego", "package x\n\n" + strings.Repeat(metadata, 20) + "p := 1\n"}, alias},
		{"with carriage returns", File{"x.rego", strings.ReplaceAll(metadata+policy, "\n", "\r\n")}, alias},
		{"much YAML", File{"data.yaml", "a: [" + strings.Repeat("a,", maxYAMLBytes/2) + "]"}, "write it as JSON"},
		{"much metadata", File{"x.rego", "# METADATA\n# custom:\n#   a: [" + strings.Repeat("a,", maxYAMLBytes/2) + "]\n" + policy}, "write it as JSON"},
		{"an anchor alone", File{"data.yaml", "a: &a 1\n"}, ""},
		{"JSON as YAML", File{"data.yaml", "{\t\"a\": \"*a\"}"}, ""},
		{"much JSON as YAML", File{"data.yaml", `{"a": "` + strings.Repeat("a", maxYAMLBytes) + `"}`}, ""},
		{"a star that is no alias", File{"x.rego", "# METADATA\n# title: a * b\n" + policy}, ""},
		{"no metadata", File{"x.rego", "# *a\n" + policy}, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			settled, err := settle([]File{test.file})
			if err == nil {
				_, err = Modules(settled)
			}
			runtime.ReadMemStats(&after)
			if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
				t.Errorf("it says %v", err)
			}
			if allocated := (after.TotalAlloc - before.TotalAlloc) >> 20; allocated > 64 {
				t.Errorf("%d bytes took %d MB", len(test.file.Text), allocated)
			}
		})
	}
}
