package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-json-experiment/json"

	"mandate/authn"
	"mandate/datastore"
	"mandate/datastore/badgerstore"
	"mandate/datastore/memo"
	"mandate/directory"
	"mandate/engine"
	"mandate/policies"
	"mandate/policyset"
	"mandate/server"
)

const (
	writerRole      = "serve-and-write"
	writesPerSecond = 200
	writersAtOnce   = 16 // one that waits for the disk does not hold up the next
	maxOrder        = 1 << 20
	remembering     = 256 << 20 // the command's default
)

// serveAndWrite serves a data folder as the command does, and writes in the same process, the only one that can: the
// store has no other door yet. It connects to the control address and does what it is told there, see obey.
func serveAndWrite(ctx context.Context, args []string) (err error) {
	folder, control := args[0], args[1]
	store, err := badgerstore.Open(folder, badgerstore.Options{})
	if err != nil {
		return fmt.Errorf("open the data folder: %w", err)
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	orders, err := new(net.Dialer).DialContext(ctx, "tcp", control)
	if err != nil {
		return fmt.Errorf("connect to the benchmark: %w", err)
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return errors.Join(fmt.Errorf("listen: %w", err), orders.Close())
	}
	s, err := newServer(ctx, store, masterKeyFile(folder), listener.Addr().String())
	if err != nil {
		return errors.Join(err, orders.Close(), listener.Close())
	}
	announce(listener.Addr().String())
	obeyed := make(chan error, 1)
	go func() { obeyed <- obey(ctx, store, orders) }()
	stop := context.AfterFunc(ctx, func() {
		_ = orders.Close()
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), programStopLimit)
		defer cancel()
		_ = s.Shutdown(grace)
	})
	defer stop()
	return errors.Join(s.Serve(listener, nil), orders.Close(), <-obeyed)
}

// newServer is the server of the command, with the embedded policies.
func newServer(ctx context.Context, store datastore.Store, masterKey, address string) (*server.Server, error) {
	master, err := directory.OpenMasterKey(ctx, store, masterKey)
	if err != nil {
		return nil, err
	}
	set, err := engine.CompileTested(ctx, policies.FS)
	if err != nil {
		return nil, fmt.Errorf("compile the policies: %w", err)
	}
	const tenant = server.DefaultTenant
	issuer := server.Issuer("http://"+address, tenant)
	decides := engine.New(datastore.TenantID(tenant), set, engine.Options{EvaluationLimit: patience})
	return server.New(server.Options{
		Store: store, Memo: memo.New(store, memo.Options{Bytes: remembering}),
		Tenants: []server.Tenant{{ID: tenant, Issuer: issuer,
			Engine: decides, Policies: policyset.New(policyset.Options{Tenant: tenant, Store: store, Engine: decides, Now: time.Now}),
			Authn: authn.New(authn.Options{Tenant: tenant, Master: master, Issuer: issuer, Now: time.Now}),
		}},
		BodyLimit: 1 << 20, Connections: 2048, Log: slog.New(slog.DiscardHandler),
	})
}

// membership names a member that is written.
type membership struct {
	Org  string `json:"org"`
	User string `json:"user"`
}

func (m membership) place() directory.Place[directory.Member] {
	return server.DefaultTenant.Member(m.Org, m.User)
}

// obey reads orders, a line each: a JSON list of members to write, then an empty line to stop, which is answered with a
// line that says how many were written.
func obey(ctx context.Context, store datastore.Store, orders io.ReadWriter) error {
	lines := bufio.NewScanner(orders)
	lines.Buffer(nil, maxOrder)
	for lines.Scan() {
		var members []membership
		if err := json.Unmarshal(lines.Bytes(), &members); err != nil {
			return fmt.Errorf("read an order: %w", err)
		}
		writing, stop := context.WithCancel(ctx)
		written := make(chan string, 1)
		go func() { written <- write(writing, store, members) }()
		more := lines.Scan()
		stop()
		report := <-written
		if !more {
			break
		}
		if _, err := fmt.Fprintln(orders, report); err != nil {
			return fmt.Errorf("report: %w", err)
		}
	}
	return nil // the benchmark is done
}

// write changes members at a steady pace until ctx ends: what comes too late is not left out. It returns how many were
// changed, or why they could not be.
func write(ctx context.Context, store datastore.Store, members []membership) string {
	start := time.Now()
	var taken, written atomic.Int64
	errs := make([]error, writersAtOnce)
	var done sync.WaitGroup
	for k := range errs {
		done.Go(func() {
			for errs[k] == nil {
				n := taken.Add(1) - 1
				due := time.NewTimer(time.Until(start.Add(time.Duration(n) * time.Second / writesPerSecond)))
				select {
				case <-ctx.Done():
					due.Stop()
					return
				case <-due.C:
				}
				// What has begun is finished: the count must be that of the commits.
				if errs[k] = change(context.WithoutCancel(ctx), store, members[int(n)%len(members)]); errs[k] == nil {
					written.Add(1)
				}
			}
		})
	}
	done.Wait()
	if err := errors.Join(errs...); err != nil {
		return strings.ReplaceAll(err.Error(), "\n", "; ")
	}
	return fmt.Sprint(written.Load())
}

// idleRole is one that grants nothing, as nobody has defined it.
const idleRole = "visitor"

// change gives a member the idle role, or takes it away again: a fact that decisions read changes, and none of them.
func change(ctx context.Context, store datastore.Store, m membership) error {
	at := m.place()
	_, err := store.Update(ctx, func(tx datastore.Tx) error {
		member, err := at.Get(ctx, tx)
		if err != nil {
			return err
		}
		if i := slices.Index(member.Roles, idleRole); i >= 0 {
			member.Roles = slices.Delete(member.Roles, i, i+1)
		} else {
			member.Roles = append(member.Roles, idleRole)
		}
		return at.Put(ctx, tx, member)
	})
	return err
}
