package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"time"
)

// bench is what a suite works with: the options, a folder that is removed afterwards, and where results go.
type bench struct {
	options
	*progress
	shared *shared
	temp   string // of the suite
	result *suiteResult
}

// race is contestants measured side by side.
type race struct {
	title       string
	metrics     []metric // what each measurement yields, in this order; the first is drawn
	contestants []contestant
	ratios      []ratio
}

type metric struct{ name, unit string }

// contestant is measured by a function that yields one value for each metric of its race.
type contestant struct {
	name    string
	measure func(ctx context.Context) ([]float64, error)
}

// ratio compares two contestants by one metric, given by their places in the race.
type ratio struct {
	name        string
	metric      int
	over, under int
}

// runSuites runs what the options name and writes the results, of all or of none.
func runSuites(ctx context.Context, o options, out, log io.Writer) (err error) {
	temp, err := os.MkdirTemp("", "mandate-bench-")
	if err != nil {
		return fmt.Errorf("make a folder for the benchmark: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(temp)) }()
	r := results{Started: time.Now().UTC().Truncate(time.Second), Machine: thisMachine(), Options: o, Duration: o.Duration.String()}
	common := &shared{temp: temp}
	for _, s := range o.suites {
		b := &bench{options: o, progress: newProgress(log), shared: common, temp: filepath.Join(temp, "suite-"+s.name), result: &suiteResult{Name: s.name, About: s.about}}
		if err := os.Mkdir(b.temp, 0o700); err != nil {
			return fmt.Errorf("make a folder for %s: %w", s.name, err)
		}
		if err := s.run(ctx, b); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		if err := os.RemoveAll(b.temp); err != nil {
			return fmt.Errorf("remove the folder of %s: %w", s.name, err)
		}
		r.Suites = append(r.Suites, *b.result)
	}
	if err := r.print(out); err != nil {
		return fmt.Errorf("print the results: %w", err)
	}
	return r.save(o.out, log)
}

// note adds a line to the results.
func (b *bench) note(format string, args ...any) {
	b.result.Notes = append(b.result.Notes, fmt.Sprintf(format, args...))
}

// race measures each contestant once in every round and adds all of it to the results. Each round begins with another
// contestant, so that none always has the place after the same one.
func (b *bench) race(ctx context.Context, r race) error {
	values := make([][][]float64, len(r.contestants)) // by contestant, metric and round
	for c := range values {
		values[c] = make([][]float64, len(r.metrics))
	}
	for round := range b.Rounds {
		b.say("%s: round %d of %d", r.title, round+1, b.Rounds)
		for turn := range r.contestants {
			c := (round + turn) % len(r.contestants)
			measured, err := r.contestants[c].measure(ctx)
			if err != nil {
				return fmt.Errorf("%s: %s, round %d: %w", r.title, r.contestants[c].name, round+1, err)
			}
			for m := range r.metrics {
				values[c][m] = append(values[c][m], measured[m])
			}
		}
	}
	b.result.Races = append(b.result.Races, r.resultOf(values))
	return nil
}

func (r race) resultOf(values [][][]float64) raceResult {
	result := raceResult{Title: r.title}
	for c, contestant := range r.contestants {
		row := row{Contestant: contestant.name}
		for m, metric := range r.metrics {
			row.Values = append(row.Values, series{metric.name, metric.unit, values[c][m], spreadOf(values[c][m])})
		}
		result.Contestants = append(result.Contestants, row)
	}
	for _, ratio := range r.ratios {
		rounds := quotients(values[ratio.over][ratio.metric], values[ratio.under][ratio.metric])
		result.Ratios = append(result.Ratios, series{ratio.name, "times", rounds, spreadOf(rounds)})
	}
	return result
}

// results is results.json.
type results struct {
	Started  time.Time     `json:"started"`
	Machine  machine       `json:"machine"`
	Options  options       `json:"options"`
	Duration string        `json:"duration"` // of one measurement
	Suites   []suiteResult `json:"suites"`
}

type suiteResult struct {
	Name  string       `json:"name"`
	About string       `json:"about"`
	Notes []string     `json:"notes"`
	Races []raceResult `json:"races"`
}

type raceResult struct {
	Title       string   `json:"title"`
	Contestants []row    `json:"contestants"`
	Ratios      []series `json:"ratios"`
}

type row struct {
	Contestant string   `json:"contestant"`
	Values     []series `json:"values"`
}

// series is one figure in all rounds, in their order.
type series struct {
	Name   string    `json:"name"`
	Unit   string    `json:"unit"`
	Rounds []float64 `json:"rounds"`
	spread `json:",inline"`
}

type machine struct {
	CPUs    int               `json:"cpus"`
	OS      string            `json:"os"`
	Arch    string            `json:"arch"`
	Go      string            `json:"go"`
	Modules map[string]string `json:"modules"`
}

func thisMachine() machine {
	m := machine{CPUs: runtime.NumCPU(), OS: runtime.GOOS, Arch: runtime.GOARCH, Go: runtime.Version(), Modules: map[string]string{}}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return m
	}
	for _, dependency := range info.Deps {
		for _, told := range []string{"open-policy-agent/opa", "gofiber/fiber/", "dgraph-io/badger/", "valyala/fasthttp"} {
			if strings.HasPrefix(dependency.Path, "github.com/"+told) {
				m.Modules[dependency.Path] = dependency.Version
			}
		}
	}
	return m
}

// progress tells on the terminal what takes time.
type progress struct {
	w     io.Writer
	start time.Time
	last  time.Time
}

func newProgress(w io.Writer) *progress {
	now := time.Now()
	return &progress{w: w, start: now, last: now}
}

func (p *progress) say(format string, args ...any) {
	p.last = time.Now()
	_, _ = fmt.Fprintf(p.w, "%6.1fs  %s\n", p.last.Sub(p.start).Seconds(), fmt.Sprintf(format, args...))
}

// tick says something that changes often, at most every two seconds.
func (p *progress) tick(format string, args ...any) {
	if time.Since(p.last) >= 2*time.Second {
		p.say(format, args...)
	}
}
