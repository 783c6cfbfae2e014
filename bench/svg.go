package main

import (
	"bytes"
	_ "embed"
	"fmt"
	"text/template"
)

//go:embed plot.svg.tmpl
var plotTemplate string

// Places in the plot, in pixels.
const (
	plotWidth = 860
	barLeft   = 200
	barRight  = 640
	barHeight = 20
)

// plot is what the template draws.
type plot struct {
	Width, Height int
	Title         string
	Texts         []plotText
	Bars          []plotBar
}

type plotText struct {
	Class, Text string
	X, Y        int
}

// plotBar is a bar that ends at the median, with a whisker from the minimum to the maximum.
type plotBar struct {
	X, Y, Width, Height int
	Min, Max, Middle    int
	First               bool // Mandate itself
}

// svg draws the first metric of every race.
func (r *results) svg() ([]byte, error) {
	p := plot{Width: plotWidth, Title: "Mandate side by side"}
	y := 30
	text := func(class string, x int, format string, args ...any) {
		p.Texts = append(p.Texts, plotText{Class: class, Text: fmt.Sprintf(format, args...), X: x, Y: y})
	}
	for _, s := range r.Suites {
		for _, race := range s.Races {
			if len(race.Contestants) == 0 || len(race.Contestants[0].Values) == 0 {
				continue
			}
			text("title", 16, "%s: %s", race.Title, heading(race.Contestants[0].Values[0]))
			y += 14
			most := 0.0
			for _, row := range race.Contestants {
				most = max(most, row.Values[0].Max)
			}
			place := func(v float64) int { return barLeft + int(v/max(most, 1e-9)*(barRight-barLeft)) }
			for i, row := range race.Contestants {
				v := row.Values[0]
				p.Bars = append(p.Bars, plotBar{X: barLeft, Y: y, Width: place(v.Median) - barLeft, Height: barHeight,
					Min: place(v.Min), Max: place(v.Max), Middle: y + barHeight/2, First: i == 0})
				y += barHeight - 5
				text("name", barLeft-8, "%s", row.Contestant)
				text("value", place(v.Max)+8, "%s  %s", figure(v.Median), between(v.spread))
				y += 13
			}
			for _, ratio := range race.Ratios {
				y += 16
				text("ratio", barLeft, "%s: %s × %s", ratio.Name, figure(ratio.Median), between(ratio.spread))
			}
			y += 44
		}
	}
	text("ratio", 16, "median and range of %d rounds of %s; %d CPUs, load generator included; %s",
		r.Options.Rounds, r.Duration, r.Machine.CPUs, r.Started.Format("2006-01-02"))
	p.Height = y + 16
	t, err := template.New("plot").Parse(plotTemplate)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	err = t.Execute(&b, p)
	return b.Bytes(), err
}
