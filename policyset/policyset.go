// Package policyset gives the policy sets of a tenant a life: they are stored in the datastore by the hash of their content, one of
// them is active, and each activation is one commit that can be taken back.
//
// It must never make a set active that was not admitted, change what is stored under a hash, or leave a tenant without the last good
// set when a source goes bad.
package policyset

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
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
	fewChunks   = 4 // so many go into one commit with others
	maxUnpacked = 64 << 20
	maxCompiled = 8         // kept beside the active one
	maxStored   = 1000      // sets
	stagedFor   = time.Hour // what was not added by then never will be
	maxUnstaged = 10        // in one commit
)

// ErrUnknown is returned for a set that is not stored.
var ErrUnknown = errors.New("there is no such policy set")

// Options of a Library.
type Options struct {
	Tenant directory.Tenant
	Store  datastore.Store
	Engine *engine.Engine
	Source Source // nil when sets come by push only
	// TwoPerson says that it takes a person to activate a set: what the source gives is stored only.
	TwoPerson bool
	Log       *slog.Logger
	Now       func() time.Time
}

// Library has the policy sets of a tenant. It is safe for concurrent use.
type Library struct {
	o Options

	applying sync.Mutex
	mu       sync.Mutex
	compiled map[string]*engine.PolicySet
	order    []string // the least lately used first
	former   string   // to go back to
	health   health
}

// New makes a library.
func New(o Options) *Library {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Library{o: o, compiled: map[string]*engine.PolicySet{}}
}

// Origin says where a set comes from.
type Origin struct {
	By     string // subject, empty for a source of the configuration
	Source string
	Note   string
}

// Add stores a set, unless it is stored already. One that is too large for a single commit must be staged before.
func (l *Library) Add(ctx context.Context, tx datastore.Tx, set *engine.PolicySet, from Origin) error {
	l.keep(set)
	place := l.o.Tenant.PolicySet(set.Revision())
	if _, found, err := place.Find(ctx, tx); err != nil || found {
		return err
	}
	if err := l.makeRoom(ctx, tx); err != nil {
		return err
	}
	chunks, err := pack(set.Files())
	if err != nil {
		return err
	}
	record := directory.PolicySet{Pushed: l.o.Now().UTC(), By: from.By, Source: from.Source, Note: from.Note, Files: len(set.Files()), Chunks: len(chunks)}
	for _, f := range set.Files() {
		record.Bytes += len(f.Text)
	}
	if err := l.putChunks(ctx, tx, set.Revision(), 0, chunks); err != nil {
		return err
	}
	if len(chunks) > fewChunks {
		if err := l.forget(tx, set.Revision()); err != nil {
			return err
		}
	}
	return place.Put(ctx, tx, record)
}

// Stage stores the files of a large set in commits of their own, so that Add finds them. What is not added is removed later: the push
// may yet be refused, or the process end.
func (l *Library) Stage(ctx context.Context, set *engine.PolicySet) error {
	chunks, err := pack(set.Files())
	if err != nil || len(chunks) <= fewChunks {
		return err
	}
	for n := 0; n < len(chunks); n += fewChunks {
		stored := false
		_, err := l.o.Store.Update(ctx, func(tx datastore.Tx) (err error) {
			if _, stored, err = l.o.Tenant.PolicySet(set.Revision()).Find(ctx, tx); err != nil || stored {
				return err
			}
			if err := l.removeStaged(ctx, tx); err != nil {
				return err
			}
			staged := directory.PolicySet{Pushed: l.o.Now().UTC(), Chunks: len(chunks)}
			if err := l.o.Tenant.StagedPolicySet(set.Revision()).Put(ctx, tx, staged); err != nil {
				return err
			}
			return l.putChunks(ctx, tx, set.Revision(), n, chunks[n:min(n+fewChunks, len(chunks))])
		})
		if err != nil {
			return fmt.Errorf("store the files of policy set %s: %w", set.ShortRevision(), err)
		}
		if stored {
			return nil
		}
	}
	return nil
}

// removeStaged removes some of what was staged long ago and never added.
func (l *Library) removeStaged(ctx context.Context, tx datastore.Tx) error {
	old := map[string]directory.PolicySet{}
	err := l.o.Tenant.StagedPolicySets(ctx, tx, func(revision string, staged directory.PolicySet) error {
		if l.o.Now().Sub(staged.Pushed) > stagedFor {
			old[revision] = staged
		}
		if len(old) == maxUnstaged {
			return directory.ErrEnough
		}
		return nil
	})
	if err != nil {
		return err
	}
	for revision, staged := range old {
		if err := l.o.Tenant.DeletePolicySet(ctx, tx, revision, staged); err != nil {
			return err
		}
		if err := l.forget(tx, revision); err != nil {
			return err
		}
	}
	return nil
}

// forget says that a set is no longer staged.
func (l *Library) forget(tx datastore.Tx, revision string) error {
	if err := tx.Delete(l.o.Tenant.StagedPolicySet(revision).Path); err != nil {
		return fmt.Errorf("store policy set %s: %w", revision, err)
	}
	return nil
}

func (l *Library) putChunks(ctx context.Context, tx datastore.Tx, revision string, first int, chunks [][]byte) error {
	for n, chunk := range chunks {
		if err := l.o.Tenant.PolicyChunk(revision, first+n).Put(ctx, tx, directory.PolicyChunk{Data: chunk}); err != nil {
			return err
		}
	}
	return nil
}

// pack compresses files, always to the same.
func pack(files []engine.File) ([][]byte, error) {
	text, err := json.Marshal(files)
	if err != nil {
		return nil, fmt.Errorf("store a policy set: %w", err)
	}
	encoder, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1))
	if err != nil {
		return nil, fmt.Errorf("store a policy set: %w", err)
	}
	return slices.Collect(slices.Chunk(encoder.EncodeAll(text, nil), chunkBytes)), nil
}

// makeRoom removes sets when there are too many: those that never were active first, the oldest of them first, and then those whose
// activation is longest ago. What decides, what the source gave last, and what one would go back to, stays.
func (l *Library) makeRoom(ctx context.Context, tx datastore.Tx) error {
	if err := l.removeStaged(ctx, tx); err != nil {
		return err
	}
	sets, err := l.Sets(ctx, tx)
	if err != nil || len(sets) < maxStored {
		return err
	}
	state, _, err := l.State(ctx, tx)
	if err != nil {
		return err
	}
	former, err := l.Former(ctx, tx)
	if err != nil && !errors.Is(err, ErrNoFormer) {
		return err
	}
	slices.SortFunc(sets, func(a, b Stored) int { return cmp.Or(a.Activated.Compare(b.Activated), a.Pushed.Compare(b.Pushed)) })
	for _, s := range sets[:len(sets)-maxStored+1] {
		if !slices.Contains([]string{state.Active, state.Shadow, state.Source, former}, s.Revision) {
			if err := l.o.Tenant.DeletePolicySet(ctx, tx, s.Revision, s.PolicySet); err != nil {
				return err
			}
		}
	}
	return nil
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
	if len(l.order) <= maxCompiled {
		return
	}
	oldest := slices.IndexFunc(l.order, func(revision string) bool { return revision != l.former })
	delete(l.compiled, l.order[oldest])
	l.order = slices.Delete(l.order, oldest, oldest+1)
}

// State says which sets decide as of r; found is false before the first activation.
func (l *Library) State(ctx context.Context, r datastore.Reader) (state directory.PolicyState, found bool, err error) {
	return l.o.Tenant.PolicyState().Find(ctx, r)
}

// Activate makes a stored set the active one with the commit of tx. After the commit, Apply must be called. The revision of the source is
// kept when the set does not come from it.
func (l *Library) Activate(ctx context.Context, tx datastore.Tx, revision, how string, from Origin) error {
	place := l.o.Tenant.PolicySet(revision)
	set, found, err := place.Find(ctx, tx)
	if err != nil {
		return err
	}
	if !found {
		return ErrUnknown
	}
	state, _, err := l.State(ctx, tx)
	if err != nil {
		return err
	}
	set.Activated = l.o.Now().UTC()
	if err := place.Put(ctx, tx, set); err != nil {
		return err
	}
	activation := directory.Activation{Set: revision, Former: state.Active, At: set.Activated, By: from.By, How: how, Note: from.Note}
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
// when somebody may have activated another. What came with the binary does not displace a set that somebody has activated,
// and where activating takes a person, a source only stores.
func (l *Library) Offer(ctx context.Context, set *engine.PolicySet, source string) error {
	from := Origin{Source: source}
	if err := l.Stage(ctx, set); err != nil {
		return err
	}
	_, err := l.o.Store.Update(ctx, func(tx datastore.Tx) error {
		state, found, err := l.State(ctx, tx)
		if err != nil || state.Source == set.Revision() {
			return err
		}
		if err := l.Add(ctx, tx, set, from); err != nil {
			return err
		}
		if found && (l.o.TwoPerson || source == sourceBuiltIn && state.Active != state.Source) {
			state.Source = set.Revision()
			return l.o.Tenant.PolicyState().Put(ctx, tx, state)
		}
		return l.Activate(ctx, tx, set.Revision(), "source", from)
	})
	if err != nil {
		return fmt.Errorf("activate policy set %s: %w", set.ShortRevision(), err)
	}
	return l.Apply(ctx)
}

// Apply makes the engine decide by the set that is active now. It may be called at any time, and is done also when ctx ends: what is
// committed is what decides.
func (l *Library) Apply(ctx context.Context) error {
	_, err := l.apply(context.WithoutCancel(ctx))
	return err
}

// apply says in found whether there is an active set.
func (l *Library) apply(ctx context.Context) (found bool, err error) {
	l.applying.Lock()
	defer l.applying.Unlock()
	view, err := l.o.Store.View(ctx)
	if err != nil {
		return false, fmt.Errorf("apply the active policy set: %w", err)
	}
	defer view.Close()
	state, found, err := l.State(ctx, view)
	if err != nil || !found {
		return false, err
	}
	if current := l.o.Engine.Policies(); current == nil || current.Revision() != state.Active {
		set, err := l.Compiled(ctx, view, state.Active)
		if err != nil {
			return false, err
		}
		l.o.Engine.Swap(set)
	}
	former, err := l.Former(ctx, view)
	if err != nil && !errors.Is(err, ErrNoFormer) {
		return true, err
	}
	l.mu.Lock()
	l.former = former // to go back to it takes no compiling
	l.mu.Unlock()
	return true, l.shadow(ctx, view, state.Shadow)
}

// shadow lets a set decide beside the active one, or none.
func (l *Library) shadow(ctx context.Context, r datastore.Reader, revision string) error {
	var set *engine.PolicySet
	if revision != "" {
		var err error
		if set, err = l.Compiled(ctx, r, revision); err != nil {
			return err
		}
	}
	l.o.Engine.SetShadow(set)
	return nil
}
