package main

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"sync/atomic"
)

// different measures decisions of which no two are alike: each request that is ever sent is about a resource with an
// id of its own, so that nobody can answer from what was asked before. What is left is the work of a decision.
func different(ctx context.Context, b *bench) error {
	g, err := b.ground(ctx)
	if err != nil {
		return err
	}
	questions := numbered(g.questions)
	b.note("each request sent has a resource id that no other has; so no resource is one that was shared with anybody")
	var all servers
	defer func() { all.stop() }()
	if err := all.start(b.serveMandate(ctx, g, questions)); err != nil {
		return err
	}
	if err := all.start(b.serveOPA(ctx, g, questions)); err != nil {
		return err
	}
	for _, s := range all {
		if err := s.number(); err != nil {
			return err
		}
	}
	if err := b.compare(ctx, questions, all...); err != nil {
		return err
	}
	return b.race(ctx, b.overHTTP(all...))
}

// noSerial are the digits that a serial replaces.
func noSerial() string { return "-" + strings.Repeat("0", serialDigits) }

// numbered are the questions with room for a serial in the resource's id. No relation of the facts leads to such an id,
// and no reason repeats it, so the answer is the same for every number.
func numbered(questions []question) []question {
	made := make([]question, len(questions))
	for i, q := range questions {
		q.Resource.ID += noSerial()
		made[i] = q
	}
	return made
}

// number makes every request that is sent from here on another one.
func (s *served) number() error {
	last := new(atomic.Uint64)
	for i, x := range s.exchanges {
		if n := bytes.Count(x.request, []byte(noSerial())); n != 1 {
			return fmt.Errorf("%s: %d places for a serial in %.500s", s.name, n, x.request)
		}
		s.exchanges[i].serial = &serial{at: bytes.Index(x.request, []byte(noSerial())) + 1, last: last}
	}
	return nil
}
