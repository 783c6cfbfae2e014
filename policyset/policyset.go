// Package policyset gives the policy sets of a tenant a life: they are stored in the datastore by the hash of their content, one of
// them is active, and each activation is one commit that can be taken back.
//
// It must never make a set active that was not admitted, change what is stored under a hash, or leave a tenant without the last good
// set when a source goes bad.
package policyset

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/klauspost/compress/zstd"

	"mandate/datastore"
	"mandate/directory"
	"mandate/engine"
)

const (
	chunkBytes  = 512 << 10
	maxUnpacked = 64 << 20
	maxCompiled = 8 // kept beside the active one
)

// ErrUnknown is returned for a set that is not stored.
var ErrUnknown = errors.New("there is no such policy set")

// Options of a Library.
type Options struct {
	Tenant directory.Tenant
	Store  datastore.Store
	Engine *engine.Engine
	Now    func() time.Time
}

// Library has the policy sets of a tenant. It is safe for concurrent use.
type Library struct {
	o Options

	applying sync.Mutex
	mu       sync.Mutex
	compiled map[string]*engine.PolicySet
	order    []string // the least lately used first
}

// New makes a library.
func New(o Options) *Library {
	return &Library{o: o, compiled: map[string]*engine.PolicySet{}}
}

// Origin says where a set comes from.
type Origin struct {
	By     string // subject, empty for a source of the configuration
	Source string
	Note   string
}

// Add stores a set, unless it is stored already.
func (l *Library) Add(ctx context.Context, tx datastore.Tx, set *engine.PolicySet, from Origin) error {
	l.keep(set)
	place := l.o.Tenant.PolicySet(set.Revision())
	if _, found, err := place.Find(ctx, tx); err != nil || found {
		return err
	}
	files := set.Files()
	text, err := json.Marshal(files)
	if err != nil {
		return fmt.Errorf("store a policy set: %w", err)
	}
	encoder, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1))
	if err != nil {
		return fmt.Errorf("store a policy set: %w", err)
	}
	packed := encoder.EncodeAll(text, nil)
	record := directory.PolicySet{Pushed: l.o.Now().UTC(), By: from.By, Source: from.Source, Note: from.Note, Files: len(files)}
	for _, f := range files {
		record.Bytes += len(f.Text)
	}
	for len(packed) > 0 {
		n := min(len(packed), chunkBytes)
		if err := l.o.Tenant.PolicyChunk(set.Revision(), record.Chunks).Put(ctx, tx, directory.PolicyChunk{Data: packed[:n]}); err != nil {
			return err
		}
		packed = packed[n:]
		record.Chunks++
	}
	return place.Put(ctx, tx, record)
}

// Files are those of a stored set.
func (l *Library) Files(ctx context.Context, r datastore.Reader, revision string) ([]engine.File, error) {
	record, found, err := l.o.Tenant.PolicySet(revision).Find(ctx, r)
	if err != nil {
		return nil, err
	}
	if !found {
		return nil, ErrUnknown
	}
	var packed []byte
	for n := range record.Chunks {
		chunk, err := l.o.Tenant.PolicyChunk(revision, n).Get(ctx, r)
		if err != nil {
			return nil, fmt.Errorf("read policy set %s: %w", revision, err)
		}
		packed = append(packed, chunk.Data...)
	}
	decoder, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxUnpacked))
	if err != nil {
		return nil, fmt.Errorf("read policy set %s: %w", revision, err)
	}
	defer decoder.Close()
	text, err := decoder.DecodeAll(packed, nil)
	if err != nil {
		return nil, fmt.Errorf("read policy set %s: %w", revision, err)
	}
	var files []engine.File
	if err := json.Unmarshal(text, &files); err != nil {
		return nil, fmt.Errorf("read policy set %s: %w", revision, err)
	}
	return files, nil
}

// Compiled is a stored set, ready to decide. It was admitted when it was stored, so its tests are not run again.
func (l *Library) Compiled(ctx context.Context, r datastore.Reader, revision string) (*engine.PolicySet, error) {
	l.mu.Lock()
	set := l.compiled[revision]
	l.mu.Unlock()
	if set != nil {
		l.keep(set)
		return set, nil
	}
	files, err := l.Files(ctx, r, revision)
	if err != nil {
		return nil, err
	}
	if set, err = engine.CompileFiles(ctx, files); err != nil {
		return nil, fmt.Errorf("compile the stored policy set %s: %w", revision, err)
	}
	l.keep(set)
	return set, nil
}

// keep keeps a set compiled, in place of the one that was not used for longest.
func (l *Library) keep(set *engine.PolicySet) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, revision := range l.order {
		if revision == set.Revision() {
			l.order = append(l.order[:i], l.order[i+1:]...)
			break
		}
	}
	l.order = append(l.order, set.Revision())
	l.compiled[set.Revision()] = set
	if len(l.order) > maxCompiled {
		delete(l.compiled, l.order[0])
		l.order = l.order[1:]
	}
}

// State says which sets decide as of r; found is false before the first activation.
func (l *Library) State(ctx context.Context, r datastore.Reader) (state directory.PolicyState, found bool, err error) {
	return l.o.Tenant.PolicyState().Find(ctx, r)
}

// Activate makes a stored set the active one with the commit of tx. After the commit, Apply must be called. The revision of the source is
// kept when the set does not come from it.
func (l *Library) Activate(ctx context.Context, tx datastore.Tx, revision, how string, from Origin) error {
	if _, found, err := l.o.Tenant.PolicySet(revision).Find(ctx, tx); err != nil || !found {
		if err == nil {
			err = ErrUnknown
		}
		return err
	}
	state, _, err := l.State(ctx, tx)
	if err != nil {
		return err
	}
	activation := directory.Activation{Set: revision, Former: state.Active, At: l.o.Now().UTC(), By: from.By, How: how, Note: from.Note}
	state.Active, state.Activation = revision, state.Activation+1
	if how == "source" {
		state.Source = revision
	}
	if err := l.o.Tenant.Activation(state.Activation).Put(ctx, tx, activation); err != nil {
		return err
	}
	return l.o.Tenant.PolicyState().Put(ctx, tx, state)
}

// Offer takes what the source of the configuration gives: it is stored, and active at once unless it is what the source gave last, since
// when somebody may have activated another.
func (l *Library) Offer(ctx context.Context, set *engine.PolicySet, source string) error {
	from := Origin{Source: source}
	_, err := l.o.Store.Update(ctx, func(tx datastore.Tx) error {
		state, _, err := l.State(ctx, tx)
		if err != nil || state.Source == set.Revision() {
			return err
		}
		if err := l.Add(ctx, tx, set, from); err != nil {
			return err
		}
		return l.Activate(ctx, tx, set.Revision(), "source", from)
	})
	if err != nil {
		return fmt.Errorf("activate policy set %s: %w", set.ShortRevision(), err)
	}
	return l.Apply(ctx)
}

// Apply makes the engine decide by the set that is active now. It may be called at any time.
func (l *Library) Apply(ctx context.Context) error {
	l.applying.Lock()
	defer l.applying.Unlock()
	view, err := l.o.Store.View(ctx)
	if err != nil {
		return fmt.Errorf("apply the active policy set: %w", err)
	}
	defer view.Close()
	state, found, err := l.State(ctx, view)
	if err != nil || !found || l.o.Engine.Policies().Revision() == state.Active {
		return err
	}
	set, err := l.Compiled(ctx, view, state.Active)
	if err != nil {
		return err
	}
	l.o.Engine.Swap(set)
	return nil
}
