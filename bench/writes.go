package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
)

// writes measures decisions while the facts that they rest on change, beside the same without. Each contestant is a
// process with its own copy of the data; the one writes only while it is measured, so that the other has the machine
// for itself as well.
//
// Members are given a role that nobody has defined, and lose it again. So documents that decisions read do change all
// the time, but no decision does, and every answer can be checked.
func writes(ctx context.Context, b *bench) error {
	g, err := b.ground(ctx)
	if err != nil {
		return err
	}
	var all servers
	defer func() { all.stop() }()
	writing, err := b.startWriter(ctx, g, &all, "with writes")
	if err != nil {
		return err
	}
	defer writing.close()
	idle, err := b.startWriter(ctx, g, &all, "without writes")
	if err != nil {
		return err
	}
	defer idle.close()
	if err := b.compare(ctx, g.questions, all...); err != nil {
		return err
	}
	r := b.overHTTP(all...)
	r.metrics = append(r.metrics, metric{"writes per second", ""})
	members := g.written()
	var rates []float64
	r.contestants[0].measure = func(ctx context.Context) (values []float64, err error) {
		rate, err := writing.during(members, func() (err error) {
			values, err = b.load(ctx, all[0])
			return err
		})
		rates = append(rates, rate)
		return append(values, rate), err
	}
	r.contestants[1].measure = func(ctx context.Context) ([]float64, error) {
		values, err := b.load(ctx, all[1])
		return append(values, 0), err
	}
	if err := b.race(ctx, r); err != nil {
		return err
	}
	b.note("%s writes per second were done, of %d that were meant", figure(spreadOf(rates).Median), writesPerSecond)
	b.note("each changed the roles of one of %d members, about half of whom are asked about", len(members))
	return nil
}

// written are the members to write: of every second question the one that it is about, of the others another
// member of its organization.
func (w workload) written() []membership {
	const most = 500
	var members []membership
	for i, q := range w.questions[:min(len(w.questions), most)] {
		var org int
		if _, err := fmt.Sscanf(q.Resource.Properties.Org, "org-%d", &org); err != nil {
			continue
		}
		for n := range w.members {
			if user := w.member(org, n).User; i%2 == 1 || user == q.Subject.ID {
				members = append(members, membership{orgID(org), user})
				break
			}
		}
	}
	return members
}

// writer is the benchmark's end of a server that writes when told.
type writer struct {
	orders  net.Conn
	reports *bufio.Reader
}

// startWriter starts one on its own copy of the data, and adds it to the servers.
func (b *bench) startWriter(ctx context.Context, g *ground, all *servers, name string) (*writer, error) {
	b.say("starting Mandate %s", name)
	folder := filepath.Join(b.temp, strings.ReplaceAll(name, " ", "-"))
	if err := g.copyTo(folder); err != nil {
		return nil, err
	}
	control, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen for %s: %w", name, err)
	}
	defer func() { _ = control.Close() }()
	c, err := startChild(ctx, "Mandate "+name, "/readyz", writerRole, folder, control.Addr().String())
	if err != nil {
		return nil, err
	}
	if err := all.start(askMandate(c, c.name, g.questions, func(int) string { return g.authorization() })); err != nil {
		return nil, err
	}
	orders, err := control.Accept() // it has connected before it was ready
	if err != nil {
		return nil, fmt.Errorf("be connected by %s: %w", name, err)
	}
	return &writer{orders: orders, reports: bufio.NewReader(orders)}, nil
}

func (w *writer) close() { _ = w.orders.Close() }

// during lets it write while do runs, and returns the writes per second.
func (w *writer) during(members []membership, do func() error) (float64, error) {
	order, err := json.Marshal(members)
	if err != nil {
		return 0, fmt.Errorf("encode an order: %w", err)
	}
	if err := w.orders.SetDeadline(time.Now().Add(time.Minute + answerLimit + stopLimit)); err != nil {
		return 0, fmt.Errorf("order writes: %w", err)
	}
	start := time.Now()
	if _, err := w.orders.Write(append(order, '\n')); err != nil {
		return 0, fmt.Errorf("order writes: %w", err)
	}
	failed := do()
	seconds := time.Since(start).Seconds()
	if _, err := w.orders.Write([]byte{'\n'}); err != nil {
		return 0, errors.Join(failed, fmt.Errorf("end the writes: %w", err))
	}
	report, err := w.reports.ReadString('\n')
	if err != nil {
		return 0, errors.Join(failed, fmt.Errorf("end the writes: %w", err))
	}
	count, err := strconv.Atoi(strings.TrimSpace(report))
	if err != nil {
		return 0, errors.Join(failed, fmt.Errorf("write: %s", report))
	}
	return float64(count) / seconds, failed
}
