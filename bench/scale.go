package main

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/dustin/go-humanize"
)

// scale measures what many members cost: the time until the server is ready, its memory, and its decisions. Mandate has
// the facts on disk; OPA's server has all of them in memory. The questions are spread over the whole population, and
// Mandate with the usual number of members is asked as many about those.
func scale(ctx context.Context, b *bench) error {
	few, err := b.ground(ctx)
	if err != nil {
		return err
	}
	many, err := b.prepare(ctx, filepath.Join(b.temp, "many"), b.scaleOrgs())
	if err != nil {
		return err
	}
	b.note("files that were just written are in the system's cache: a start after that of the machine takes longer")
	b.note("many: %s organizations with %s members each",
		humanize.Comma(int64(many.orgs)), humanize.Comma(int64(many.members)))
	folder := filepath.Join(b.temp, "few")
	if err := few.copyTo(folder); err != nil {
		return err
	}
	contestants := []struct {
		*ground
		folder string
	}{{many, many.folder}, {few, folder}}

	starts := race{title: "Start", metrics: append([]metric{{"time until ready", "s"}}, memoryMetrics()...)}
	for _, c := range contestants {
		start := func(ctx context.Context) ([]float64, error) {
			s, err := b.serveFolder(ctx, c.folder, c.ground, nil)
			if err != nil {
				return nil, err
			}
			defer s.stop()
			return withMemory(s.child, []float64{s.ready.Seconds()}, nil)
		}
		starts.contestants = append(starts.contestants, contestant{c.name("Mandate"), start})
	}
	if err := b.race(ctx, starts); err != nil {
		return err
	}

	// OPA goes first: what it is asked is read from the store, which is Mandate's own afterwards.
	var all servers
	defer func() { all.stop() }()
	if err := all.start(b.serveOPA(ctx, many, many.questions)); err != nil {
		return err
	}
	opa := all[0]
	atStart, err := opa.residentMemory()
	if err != nil {
		return err
	}
	b.note("OPA's server was started once: ready after %s s, then with %s MiB of resident memory",
		figure(opa.ready.Seconds()), figure(atStart.all))
	for _, c := range contestants {
		if err := all.start(b.serveFolder(ctx, c.folder, c.ground, c.questions)); err != nil {
			return err
		}
		all[len(all)-1].name = c.name("Mandate")
	}
	opa.name = many.name("OPA server")
	ordered := servers{all[1], all[2], opa}
	if err := b.compare(ctx, few.questions, all[2]); err != nil {
		return err
	}
	if err := b.compare(ctx, many.questions, all[1], opa); err != nil {
		return err
	}
	r := b.overHTTP(ordered...)
	r.metrics = append(r.metrics, memoryMetrics()...)
	r.ratios = append(r.ratios, ratio{"resident memory: " + ordered[0].name + " / " + opa.name, 3, 0, 2})
	for i, s := range ordered {
		r.contestants[i].measure = func(ctx context.Context) ([]float64, error) {
			values, err := b.load(ctx, s)
			return withMemory(s.child, values, err)
		}
	}
	return b.race(ctx, r)
}

// name tells contestants of one kind apart.
func (p population) name(kind string) string {
	return fmt.Sprintf("%s, %s", kind, humanize.Comma(int64(p.orgs*p.members)))
}
