package engine

import (
	"context"
	"time"
)

// deadline ends an evaluation that takes too long, or whose caller waits no more. It is polled by the evaluation itself, in
// its loops and by the builtins that can take long, and looks at the time only now and then: so it costs neither a timer
// nor a goroutine. It is used by one goroutine.
type deadline struct {
	ctx   context.Context
	at    time.Time
	polls uint
	over  bool
}

// pollsBetween is how many polls share a look at the time. The slowest thing between two polls is a read of a fact.
const pollsBetween = 64

func newDeadline(ctx context.Context, limit time.Duration) *deadline {
	return &deadline{ctx: ctx, at: time.Now().Add(limit)}
}

// Cancel implements topdown.Cancel.
func (d *deadline) Cancel() { d.over = true }

// Cancelled implements topdown.Cancel.
func (d *deadline) Cancelled() bool {
	if d.polls++; d.polls%pollsBetween == 0 {
		d.look()
	}
	return d.over
}

// look says whether the evaluation has to end now.
func (d *deadline) look() bool {
	d.over = d.over || d.ctx.Err() != nil || !time.Now().Before(d.at)
	return d.over
}
