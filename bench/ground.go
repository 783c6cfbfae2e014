package main

import (
	"context"
	"path/filepath"

	"github.com/dustin/go-humanize"
)

// shared is what suites have in common. Each part is made for the first suite that asks for it.
type shared struct {
	temp   string
	binary string
	ground *ground
}

// ground is the facts and the questions of the options -orgs, -members and -requests, in a data folder that suites copy
// and as the file that OPA reads.
type ground struct {
	workload
	*filled
	facts string
}

func (b *bench) ground(ctx context.Context) (*ground, error) {
	if b.shared.ground == nil {
		g, err := b.prepare(ctx, filepath.Join(b.shared.temp, "ground"), b.Orgs)
		if err != nil {
			return nil, err
		}
		b.shared.ground = g
	}
	g := b.shared.ground
	b.note("%s requests, facts of %s organizations with %s members each, seed %d", humanize.Comma(int64(len(g.questions))),
		humanize.Comma(int64(g.orgs)), humanize.Comma(int64(g.members)), b.Seed)
	return g, nil
}

// prepare makes the folder, and the file of the facts beside it.
func (b *bench) prepare(ctx context.Context, folder string, orgs int) (*ground, error) {
	b.say("importing %s members", humanize.Comma(int64(orgs*b.Members)))
	g := &ground{workload: generate(b.Seed, orgs, b.Members, b.Requests), facts: folder + ".json"}
	var err error
	if g.filled, err = fill(ctx, folder, g.workload, b.progress); err != nil {
		return nil, err
	}
	return g, g.writeFactsTo(ctx, g.facts)
}

// mandate is the real binary.
func (b *bench) mandate(ctx context.Context) (string, error) {
	if b.shared.binary == "" {
		b.say("building Mandate")
		binary, err := buildMandate(ctx, b.shared.temp)
		if err != nil {
			return "", err
		}
		b.shared.binary = binary
	}
	return b.shared.binary, nil
}
