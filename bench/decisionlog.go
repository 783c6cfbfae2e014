package main

import (
	"context"
	"path/filepath"

	"mandate/decisionlog"
)

// durableConnections is how many ask where a group of decisions waits for the disk together.
const durableConnections = 256

// decisionLog measures what the decision log costs decisions that are remembered, which is where it costs most: in the mode crash-safe
// at the usual number of connections and in the mode durable at many, each beside the same server without a log.
func decisionLog(ctx context.Context, b *bench) error {
	g, err := b.ground(ctx)
	if err != nil {
		return err
	}
	var all servers
	defer func() { all.stop() }()
	for _, mode := range []decisionlog.Mode{decisionlog.CrashSafe, decisionlog.Durable, decisionlog.Off} {
		folder := filepath.Join(b.temp, string(mode))
		if err := g.copyTo(folder); err != nil {
			return err
		}
		if err := all.start(b.serveFolder(ctx, folder, g, g.questions, "--decision-log-mode", string(mode))); err != nil {
			return err
		}
		all[len(all)-1].name = "log " + string(mode)
	}
	if err := b.compare(ctx, g.questions, all...); err != nil {
		return err
	}
	crashSafe, durable, off := all[0], all[1], all[2]
	if err := b.race(ctx, b.overHTTP(crashSafe, off)); err != nil {
		return err
	}
	many := *b
	many.Connections = durableConnections
	return many.race(ctx, many.overHTTP(durable, off))
}
