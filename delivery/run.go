package delivery

import (
	"container/heap"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/go-json-experiment/json"

	"mandate/datastore"
	"mandate/directory"
)

// What is delivered at once: in all, to one endpoint (and mails), and to all endpoints of one organization or vendor.
const (
	maxRunning   = 16
	maxPerLane   = 2
	maxPerOwner  = 4
	failurePause = 5 * time.Second // after the store has failed
	longestWait  = time.Minute     // before the clock is looked at again: it may have been set
)

// Run delivers until ctx ends, and returns when nothing is on its way any more.
func (q *Queue) Run(ctx context.Context) {
	for {
		err := q.run(ctx)
		if ctx.Err() != nil || errors.Is(err, datastore.ErrClosed) {
			return
		}
		q.o.Log.Error("deliveries were interrupted, and go on in a moment", "tenant", q.o.Tenant, "error", err)
		select {
		case <-ctx.Done():
			return
		case <-time.After(failurePause):
		}
	}
}

// runner knows which endpoints have something in the outbox, and reads no more of it than what is due. All of it is used by
// one goroutine, which the others report to.
type runner struct {
	q       *Queue
	lanes   map[string]*lane // by endpoint
	waiting lanes
	parked  map[string][]*lane // by owner: those that wait until another delivery of the owner has ended
	owners  map[string]int     // deliveries on their way
	running int
	turn    uint64

	tasks sync.WaitGroup
	ended chan ended
	news  chan []news
	lost  chan error // why there will be no more news
}

// lane is an endpoint with its deliveries, or all mail.
type lane struct {
	endpoint string
	from     time.Time // nothing of it is in the outbox before
	due      time.Time // nothing of it is due before that is not on its way
	rest     time.Time // nothing of it is begun before, after a failure to record
	turn     uint64    // when it had its last turn
	index    int       // in runner.waiting, or one of those below
	running  int
	onTheWay map[datastore.Path]bool

	known    bool // what follows, as of the last change of the webhook
	owner    string
	inactive string // why nothing is sent to it; empty when it is
	deleted  bool
}

// Values of lane.index.
const (
	idle   = -1
	parked = -2
)

// ended is an attempt, or an ending of all that waits in a lane, that is over.
type ended struct {
	lane *lane
	path datastore.Path
	err  error
}

// news is what a commit means for an endpoint: something is due at that time, or the endpoint is another now.
type news struct {
	endpoint string
	due      time.Time
	changed  bool
}

func (q *Queue) run(ctx context.Context) error {
	r := &runner{q: q, lanes: map[string]*lane{}, parked: map[string][]*lane{}, owners: map[string]int{},
		ended: make(chan ended, maxRunning), news: make(chan []news), lost: make(chan error, 1)}
	ctx, cancel := context.WithCancel(ctx)
	defer r.tasks.Wait()
	defer cancel()
	seen, err := r.load(ctx)
	if err != nil {
		return err
	}
	r.tasks.Go(func() { r.lost <- r.watch(ctx, seen) })
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-r.lost:
			return err
		case all := <-r.news:
			for _, n := range all {
				r.note(n)
			}
		case e := <-r.ended:
			r.end(e)
		case <-timer.C:
		}
		wait, err := r.dispatch(ctx)
		if err != nil {
			return err
		}
		timer.Reset(wait)
		q.metrics.waiting.Set(float64(len(r.lanes)))
	}
}

// load finds the lanes that are not empty, with one look at each.
func (r *runner) load(ctx context.Context) (datastore.Revision, error) {
	view, err := r.q.o.Store.View(ctx)
	if err != nil {
		return 0, fmt.Errorf("open a view: %w", err)
	}
	defer view.Close()
	outbox := r.q.root().Join("outbox")
	for after := (datastore.Path{}); ; {
		fact, found, err := first(ctx, view, outbox, after)
		if err != nil || !found {
			return view.Revision(), err
		}
		endpoint, due, err := parse(fact.Path)
		if err != nil {
			return 0, err
		}
		r.note(news{endpoint: endpoint, due: due})
		after = r.q.lane(endpoint).Join("\U0010FFFF") // sorts after all times
	}
}

func first(ctx context.Context, reader datastore.Reader, prefix, after datastore.Path) (datastore.Fact, bool, error) {
	for fact, err := range reader.Scan(ctx, prefix, after) {
		if err != nil {
			return fact, false, fmt.Errorf("look into the outbox: %w", err)
		}
		return fact, true, nil
	}
	return datastore.Fact{}, false, nil
}

// watch reports the commits that put something into the outbox, or change a webhook.
func (r *runner) watch(ctx context.Context, seen datastore.Revision) error {
	outbox, webhooks := r.q.root().Join("outbox"), r.q.root().Join("webhooks")
	for change, err := range r.q.o.Store.Watch(ctx, seen) {
		if err != nil {
			return fmt.Errorf("watch the outbox: %w", err)
		}
		var all []news
		for _, w := range change.Writes {
			switch {
			case w.Path.Below(webhooks):
				all = append(all, news{endpoint: w.Path.Segments()[2], changed: true})
			case w.Path.Below(outbox) && !w.Deleted:
				endpoint, due, err := parse(w.Path)
				if err != nil {
					return err
				}
				all = append(all, news{endpoint: endpoint, due: due})
			}
		}
		if len(all) == 0 {
			continue
		}
		select {
		case r.news <- all:
		case <-ctx.Done():
		}
	}
	return ctx.Err()
}

// note makes sure that the lane is looked at in time.
func (r *runner) note(n news) {
	l := r.lanes[n.endpoint]
	if l == nil && n.changed {
		return
	}
	if l == nil {
		l = &lane{endpoint: n.endpoint, from: n.due, due: n.due, index: idle, onTheWay: map[datastore.Path]bool{}}
		r.lanes[n.endpoint] = l
	}
	switch {
	case n.changed:
		l.known = false
	case n.due.Before(l.from):
		l.from = n.due
	}
	if l.index == idle || n.due.Before(l.due) {
		r.wait(l, n.due)
	}
}

// wait has the lane looked at when that time has come.
func (r *runner) wait(l *lane, due time.Time) {
	if due.Before(l.rest) {
		due = l.rest
	}
	l.due = due
	switch l.index {
	case idle:
		heap.Push(&r.waiting, l)
	case parked:
	default:
		heap.Fix(&r.waiting, l.index)
	}
}

// dispatch begins what is due and may begin, and says how long to wait for the next.
func (r *runner) dispatch(ctx context.Context) (time.Duration, error) {
	now := r.q.o.Now()
	if wait, ready := r.untilNext(now); !ready {
		return wait, nil
	}
	view, err := r.q.o.Store.View(ctx)
	if err != nil {
		return 0, fmt.Errorf("open a view: %w", err)
	}
	defer view.Close()
	for {
		wait, ready := r.untilNext(now)
		if !ready {
			return wait, nil
		}
		if err := r.look(ctx, view, r.waiting[0], now); err != nil {
			return 0, err
		}
	}
}

func (r *runner) untilNext(now time.Time) (wait time.Duration, ready bool) {
	if r.running == maxRunning || len(r.waiting) == 0 {
		return longestWait, false
	}
	wait = r.waiting[0].due.Sub(now)
	return min(wait, longestWait), wait <= 0
}

// look begins one delivery of the lane that is the first in the queue, or has it wait for its time.
func (r *runner) look(ctx context.Context, view datastore.View, l *lane, now time.Time) error {
	if !l.known {
		if err := r.know(ctx, view, l); err != nil {
			return err
		}
	}
	if l.running == maxPerLane || r.owners[l.owner] == maxPerOwner || (l.inactive != "" && l.running > 0) {
		heap.Remove(&r.waiting, l.index)
		l.index = parked
		r.parked[l.owner] = append(r.parked[l.owner], l)
		return nil
	}
	fact, due, found, err := r.head(ctx, view, l)
	if err != nil {
		return err
	}
	if !found {
		heap.Remove(&r.waiting, l.index)
		if l.index = idle; l.running == 0 {
			delete(r.lanes, l.endpoint)
		}
		return nil
	}
	if l.inactive != "" {
		after, reason, deleted := r.q.at(l), l.inactive, l.deleted
		r.begin(l, datastore.Path{}, now, func() error { return r.q.end(ctx, l.endpoint, after, reason, deleted) })
		return nil
	}
	if due.After(now) {
		r.wait(l, due)
		return nil
	}
	var e entry
	if err := json.Unmarshal(fact.Value, &e); err != nil {
		return fmt.Errorf("read %s: %w", fact.Path, err)
	}
	r.begin(l, fact.Path, now, func() error { return r.q.attempt(ctx, fact.Path, e) })
	return nil
}

// know looks at whose the lane is, and whether anything is sent to it.
func (r *runner) know(ctx context.Context, view datastore.View, l *lane) error {
	l.known = true
	if l.endpoint == "" {
		l.owner = "mail"
		return nil
	}
	w, found, err := r.q.o.Tenant.Webhook(l.endpoint).Find(ctx, view)
	if err != nil {
		return err
	}
	l.inactive, l.deleted = "", !found
	switch {
	case !found:
		l.inactive = "the webhook was deleted"
	case w.Status != directory.Active:
		l.inactive = "the webhook is disabled"
	}
	if l.running == 0 { // else it is counted under its owner until then
		l.owner = ownerOf(w)
	}
	return nil
}

func ownerOf(w directory.Webhook) string {
	switch {
	case w.Vendor != "":
		return "vendor " + w.Vendor
	case w.Org != "":
		return "org " + w.Org
	default:
		return "tenant"
	}
}

// head is the first entry of the lane that is not on its way, and when it is due. It does not look where all has been
// delivered: a store may take its time to forget what was deleted.
func (r *runner) head(ctx context.Context, view datastore.View, l *lane) (fact datastore.Fact, due time.Time, found bool, err error) {
	after := r.q.at(l)
	for i := 0; ; i++ {
		fact, found, err = first(ctx, view, r.q.lane(l.endpoint), after)
		if err != nil || !found {
			return fact, due, found, err
		}
		if _, due, err = parse(fact.Path); err != nil {
			return fact, due, false, err
		}
		if i == 0 {
			l.from = due
		}
		if !l.onTheWay[fact.Path] {
			return fact, due, true, nil
		}
		after = fact.Path
	}
}

// at sorts right before all that the lane has in the outbox.
func (q *Queue) at(l *lane) datastore.Path {
	return q.lane(l.endpoint).Join(l.from.Format(dueFormat))
}

// begin runs the task of the lane, which then has to wait for its next turn until the others have had theirs.
func (r *runner) begin(l *lane, path datastore.Path, now time.Time, task func() error) {
	l.onTheWay[path] = true
	l.running++
	r.owners[l.owner]++
	r.running++
	r.turn++
	l.turn = r.turn
	r.wait(l, now)
	r.tasks.Go(func() { r.ended <- ended{lane: l, path: path, err: task()} })
}

// end lets those that have waited for it have their turn.
func (r *runner) end(e ended) {
	l := e.lane
	delete(l.onTheWay, e.path)
	l.running--
	r.running--
	if r.owners[l.owner]--; r.owners[l.owner] == 0 {
		delete(r.owners, l.owner)
	}
	if e.err != nil {
		r.q.o.Log.Error("a delivery could not be recorded, and is tried again in a moment", "tenant", r.q.o.Tenant, "error", e.err)
		l.rest = r.q.o.Now().Add(failurePause)
	}
	waiting := r.parked[l.owner]
	delete(r.parked, l.owner)
	for _, each := range waiting {
		each.index = idle
		r.wait(each, each.due)
	}
	r.wait(l, l.due)
}

// lanes is the queue of those that have something due: the longest due first, and of those the one that has waited for its
// turn the longest.
type lanes []*lane

func (q lanes) Len() int { return len(q) }

func (q lanes) Less(i, j int) bool {
	if q[i].due.Equal(q[j].due) {
		return q[i].turn < q[j].turn
	}
	return q[i].due.Before(q[j].due)
}

func (q lanes) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].index, q[j].index = i, j
}

// Push implements heap.Interface.
func (q *lanes) Push(x any) {
	l := x.(*lane)
	l.index = len(*q)
	*q = append(*q, l)
}

// Pop implements heap.Interface.
func (q *lanes) Pop() any {
	old := *q
	l := old[len(old)-1]
	old[len(old)-1] = nil
	*q = old[:len(old)-1]
	return l
}
