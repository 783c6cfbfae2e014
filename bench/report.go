package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"

	"github.com/dustin/go-humanize"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// print writes the results as tables.
func (r *results) print(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "\n%d CPUs, %s/%s, %s. %d rounds of %s per contestant; the load generator runs on the same machine.\n",
		r.Machine.CPUs, r.Machine.OS, r.Machine.Arch, r.Machine.Go, r.Options.Rounds, r.Duration)
	for _, s := range r.Suites {
		fmt.Fprintf(&b, "\n%s: %s\n", s.Name, s.About)
		for _, note := range s.Notes {
			fmt.Fprintf(&b, "  %s\n", note)
		}
		for _, race := range s.Races {
			fmt.Fprintf(&b, "\n%s\n", race.Title)
			if err := race.print(&b); err != nil {
				return err
			}
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// print writes a line for each contestant, then one for each ratio.
func (r *raceResult) print(w io.Writer) error {
	table := tabwriter.NewWriter(w, 0, 0, 1, ' ', 0)
	for i, row := range r.Contestants {
		if i == 0 {
			line := "  median (min – max)"
			for _, v := range row.Values {
				line += "\t  " + heading(v)
			}
			_, _ = fmt.Fprintln(table, line)
		}
		line := "  " + row.Contestant
		for _, v := range row.Values {
			line += "\t  " + figure(v.Median) + "\t" + between(v.spread)
		}
		_, _ = fmt.Fprintln(table, strings.ReplaceAll(line, "\t(", " ("))
	}
	if err := table.Flush(); err != nil {
		return err
	}
	table = tabwriter.NewWriter(w, 0, 0, 1, ' ', 0)
	for _, ratio := range r.Ratios {
		_, _ = fmt.Fprintf(table, "  %s\t  %s ×\t %s\n", ratio.Name, figure(ratio.Median), between(ratio.spread))
	}
	return table.Flush()
}

func heading(s series) string {
	if s.Unit == "" {
		return s.Name
	}
	return s.Name + ", " + s.Unit
}

func between(s spread) string { return "(" + figure(s.Min) + " – " + figure(s.Max) + ")" }

// figure has three or more significant digits.
func figure(v float64) string {
	switch {
	case v >= 1000:
		return humanize.Comma(int64(v + 0.5))
	case v >= 100:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.2f", v)
}

// save writes results.json and results.svg into the folder.
func (r *results) save(folder string, log io.Writer) error {
	text, err := json.Marshal(r, json.Deterministic(true), jsontext.WithIndent("  "))
	if err != nil {
		return fmt.Errorf("encode the results: %w", err)
	}
	plot, err := r.svg()
	if err != nil {
		return fmt.Errorf("draw the results: %w", err)
	}
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return fmt.Errorf("make the folder for the results: %w", err)
	}
	for name, content := range map[string][]byte{"results.json": append(text, '\n'), "results.svg": plot} {
		if err := os.WriteFile(filepath.Join(folder, name), content, 0o644); err != nil {
			return fmt.Errorf("write the results: %w", err)
		}
	}
	_, _ = fmt.Fprintf(log, "\nWritten: %s and %s\n", filepath.Join(folder, "results.json"), filepath.Join(folder, "results.svg"))
	return nil
}
