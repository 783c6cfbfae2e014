package engine

import (
	"context"
	"time"
)

// deadline ends an evaluation that takes too long, or whose caller waits no more. It is polled by the evaluation itself, in
// its loops and by the builtins that can take long, so it costs neither a timer nor a goroutine. It is used by one
// goroutine.
type deadline struct {
	ctx   context.Context
	at    time.Time
	every uint // poll looks at the time
	polls uint
	over  bool
}

// pollsBetween is how many polls of Mandate's machine share a look at the time: each is a step of a loop or a call with
// small operands, of less than a microsecond. Before what may take longer, the machine looks for itself.
const pollsBetween = 64

func newDeadline(ctx context.Context, limit time.Duration) *deadline {
	return &deadline{ctx: ctx, at: time.Now().Add(limit), every: pollsBetween}
}

// Cancel implements topdown.Cancel.
func (d *deadline) Cancel() { d.over = true }

// Cancelled implements topdown.Cancel.
func (d *deadline) Cancelled() bool {
	if d.polls++; d.polls%d.every == 0 {
		d.Look()
	}
	return d.over
}

// Look implements vm.Cancel.
func (d *deadline) Look() bool {
	d.over = d.over || d.ctx.Err() != nil || !time.Now().Before(d.at)
	return d.over
}
