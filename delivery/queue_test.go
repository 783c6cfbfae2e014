package delivery

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"mandate/datastore"
	"mandate/datastore/badgerstore"
	"mandate/directory"
)

const tenant = directory.Tenant("default")

// deadline bounds all waiting of a test.
const deadline = 20 * time.Second

// world is a queue over a store on disk, with a clock that only the test moves.
type world struct {
	t      *testing.T
	dir    string
	store  datastore.Store
	master *directory.MasterKey
	offset atomic.Int64
	begun  time.Time
	queue  *Queue
	mailer Mailer
	http   *http.Client

	stop func() // ends Run and waits for it
}

func newWorld(t *testing.T) *world {
	t.Helper()
	master, err := directory.NewMasterKey([32]byte{7})
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, dir: t.TempDir(), master: master, begun: time.Now().UTC().Truncate(time.Millisecond), http: NewClient(true, nil)}
	w.mailer, err = NewFolder(t.TempDir(), sender, builtIn(t), w.now)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.http.CloseIdleConnections)
	w.open()
	t.Cleanup(func() { w.close() })
	return w
}

func (w *world) now() time.Time { return w.begun.Add(time.Duration(w.offset.Load())) }

func (w *world) open() {
	w.t.Helper()
	store, err := badgerstore.Open(w.dir, badgerstore.Options{})
	if err != nil {
		w.t.Fatal(err)
	}
	w.store, w.stop = store, func() {}
	w.queue = New(Options{Tenant: tenant, Store: store, Master: w.master, HTTP: w.http, Mailer: w.mailer,
		Log: slog.New(slog.DiscardHandler), Now: w.now})
}

// run delivers until stop.
func (w *world) run() {
	ctx, cancel := context.WithCancel(context.Background())
	over := make(chan struct{})
	queue := w.queue
	go func() {
		defer close(over)
		queue.Run(ctx)
	}()
	w.stop = func() {
		cancel()
		select {
		case <-over:
		case <-time.After(deadline):
			w.t.Error("Run does not return")
		}
		w.stop = func() {}
	}
}

func (w *world) close() {
	w.t.Helper()
	w.stop()
	if err := w.store.Close(); err != nil {
		w.t.Error(err)
	}
}

func (w *world) update(do func(ctx context.Context, tx datastore.Tx) error) {
	w.t.Helper()
	if _, err := w.store.Update(w.t.Context(), func(tx datastore.Tx) error { return do(w.t.Context(), tx) }); err != nil {
		w.t.Fatal(err)
	}
}

// hook makes an endpoint with a secret of its own.
func (w *world) hook(id string, h directory.Webhook) directory.Secret {
	w.t.Helper()
	secret, err := directory.MakeWebhookSecret()
	if err != nil {
		w.t.Fatal(err)
	}
	if h.Events == nil {
		h.Events = []string{"*"}
	}
	if h.Status == "" {
		h.Status = directory.Active
	}
	h.CreatedAt = w.now()
	w.update(func(ctx context.Context, tx datastore.Tx) error {
		if err := tenant.PutWebhook(ctx, tx, id, h); err != nil {
			return err
		}
		return tenant.SetWebhookSecret(ctx, tx, w.master, id, secret, time.Time{})
	})
	return secret
}

func (w *world) change(id string, do func(h *directory.Webhook)) {
	w.t.Helper()
	w.update(func(ctx context.Context, tx datastore.Tx) error {
		h, err := tenant.Webhook(id).Get(ctx, tx)
		if err != nil {
			return err
		}
		do(&h)
		return tenant.PutWebhook(ctx, tx, id, h)
	})
}

func (w *world) event(e Event) {
	w.t.Helper()
	if e.Type == "" {
		e.Type = "orgs.update"
	}
	e.Time = w.now()
	w.update(func(ctx context.Context, tx datastore.Tx) error { return w.queue.Event(ctx, tx, e) })
}

// advance moves the clock and has the queue look at it.
func (w *world) advance(d time.Duration) {
	w.t.Helper()
	w.offset.Add(int64(d))
	w.update(func(ctx context.Context, tx datastore.Tx) error {
		return tenant.Webhook("nobody").Put(ctx, tx, directory.Webhook{CreatedAt: w.now()})
	})
}

func (w *world) list(what func(context.Context, datastore.Reader, Filter, string, int) ([]Delivery, string, error)) []Delivery {
	w.t.Helper()
	view, err := w.store.View(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	defer view.Close()
	all, _, err := what(w.t.Context(), view, Filter{}, "", 1000)
	if err != nil {
		w.t.Fatal(err)
	}
	return all
}

func (w *world) pending() []Delivery { w.t.Helper(); return w.list(w.queue.Pending) }
func (w *world) dead() []Delivery    { w.t.Helper(); return w.list(w.queue.DeadLetters) }

// await looks after each commit whether the condition has come true.
func (w *world) await(what string, condition func() bool) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), deadline)
	defer cancel()
	seen := w.store.Newest()
	if condition() {
		return
	}
	for _, err := range w.store.Watch(ctx, seen) {
		if err != nil {
			w.t.Fatalf("%s: %v; pending %+v, dead %+v", what, err, w.pending(), w.dead())
		}
		if condition() {
			return
		}
	}
}

// awaitAttempt waits until the only delivery was tried that often, and returns it.
func (w *world) awaitAttempt(n int) (d Delivery) {
	w.t.Helper()
	w.await(fmt.Sprint("attempt ", n), func() bool {
		all := append(w.pending(), w.dead()...)
		if len(all) != 1 || all[0].Attempts != n {
			return false
		}
		d = all[0]
		return true
	})
	return d
}

func (w *world) awaitNothing() {
	w.t.Helper()
	w.await("an empty outbox", func() bool { return len(w.pending()) == 0 })
}

// post is a request that an endpoint got.
type post struct {
	method, path string
	header       http.Header
	body         []byte
}

func (p post) id() string { return p.header.Get("webhook-id") }

// endpoint is a receiver on a socket. It tells of each request after it has answered by the handler.
func endpoint(t *testing.T, answer http.HandlerFunc) (url string, posts chan post) {
	t.Helper()
	posts = make(chan post, 1000)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		posts <- post{r.Method, r.URL.Path, r.Header.Clone(), body}
		answer(w, r)
	}))
	t.Cleanup(server.Close)
	return server.URL, posts
}

func status(code int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }
}

func next(t *testing.T, posts <-chan post) post {
	t.Helper()
	select {
	case p := <-posts:
		return p
	case <-time.After(deadline):
		t.Fatal("nothing was sent")
		return post{}
	}
}

func nothingMore(t *testing.T, posts <-chan post) {
	t.Helper()
	select {
	case p := <-posts:
		t.Errorf("%s was sent", p.id())
	default:
	}
}
