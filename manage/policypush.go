package manage

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"runtime/metrics"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/go-json-experiment/json"

	"mandate/datastore/memo"
	"mandate/engine"
	"mandate/policyset"
)

const (
	maxNote = 1000
	// admitLimit is how long a set may take to be compiled and tested.
	admitLimit = 20 * time.Second
	// admitMemory is by how much the heap may grow meanwhile.
	admitMemory  = 512 << 20
	lookAtMemory = 20 * time.Millisecond
)

// RefusedBundle is the error of a bundle that cannot be read.
func RefusedBundle(err error) error {
	if refused := (*engine.CompileError)(nil); errors.As(err, &refused) {
		return err
	}
	return invalid("", err.Error())
}

// PolicyFiles is a policy set as it is pushed and read.
type PolicyFiles struct {
	Files []engine.File `json:"files"`
	Note  string        `json:"note,omitempty"`
}

// PushPolicies stores a set that is admitted: it compiles in strict mode, its tests pass and it defines the three entry points. It is read
// only for who may push one, and one at a time.
func (m *Manager) PushPolicies(ctx context.Context, r *memo.Reading, q *Request, read func() (PolicyFiles, error)) (*Answer, error) {
	if _, err := m.Permit(ctx, r, q, "policies.push", aboutPolicy("new")); err != nil {
		return nil, err
	}
	var set *engine.PolicySet
	var pushed PolicyFiles
	err := m.try(ctx, func(ctx context.Context) (err error) {
		if pushed, err = read(); err != nil {
			return err
		}
		if err := errors.Join(noteProblem(pushed.Note), filesProblem(pushed.Files)); err != nil {
			return err
		}
		if set, err = m.admit(ctx, pushed.Files); err != nil {
			return err
		}
		return m.o.Policies.Stage(ctx, set)
	})
	if err != nil {
		return nil, err
	}
	return m.change(ctx, q, func(c *change) (*Answer, error) { return c.pushPolicies(ctx, set, pushed.Note) })
}

func (c *change) pushPolicies(ctx context.Context, set *engine.PolicySet, note string) (*Answer, error) {
	id, library := set.Revision(), c.m.o.Policies
	if err := c.permit(ctx, "policies.push", aboutPolicy("new")); err != nil {
		return nil, err
	}
	place := c.tenant().PolicySet(id)
	if err := c.expects(ctx, place.Path); err != nil {
		return nil, err
	}
	_, stored, err := place.Find(ctx, c)
	if err != nil {
		return nil, err
	}
	if !stored {
		by, err := c.m.whois(ctx, c, c.q.Caller)
		if err != nil {
			return nil, err
		}
		// Who pushes a set that is there already has not written it: the first who pushed it stays its author.
		if err := library.Add(ctx, c, set, policyset.Origin{By: by, Source: "push", Note: note}); err != nil {
			return nil, err
		}
	}
	record, err := place.Get(ctx, c)
	if err != nil {
		return nil, err
	}
	names, err := c.m.policyNames(ctx, c)
	if err != nil {
		return nil, err
	}
	body, err := json.Marshal(names.shown(id, record))
	if err != nil {
		return nil, fmt.Errorf("encode a policy set: %w", err)
	}
	answer := &Answer{Body: body, Created: !stored}
	if stored {
		answer.Revision, err = c.m.policyRevision(ctx, c, id)
		return answer, err
	}
	return answer, c.done(ctx, "policies.push", aboutPolicy(id), nil, record)
}

// admit compiles and tests a set, for a bounded time and in bounded memory.
func (m *Manager) admit(ctx context.Context, files []engine.File) (*engine.PolicySet, error) {
	bounded, end := withinMemory(ctx, admitLimit)
	defer end()
	set, err := engine.Admit(bounded, files)
	if err != nil && bounded.Err() != nil && ctx.Err() == nil {
		return nil, &engine.CompileError{Problems: []engine.Problem{{Message: context.Cause(bounded).Error()}}}
	}
	return set, err
}

func noteProblem(note string) error {
	if len(note) > maxNote || !utf8.ValidString(note) {
		return invalid("note", fmt.Sprintf("must have at most %d bytes of UTF-8", maxNote))
	}
	return nil
}

// filesProblem refuses files whose names would lead elsewhere when they are written to a folder.
func filesProblem(files []engine.File) error {
	for i, f := range files {
		if !fs.ValidPath(f.Name) || f.Name == "." || strings.ContainsFunc(f.Name, func(r rune) bool { return r < ' ' || r == '\\' || r == 0x7f }) {
			return invalid(fmt.Sprintf("files.%d.name", i), "must be a path with slashes, without . and .. in it")
		}
		switch base := path.Base(f.Name); {
		case path.Ext(base) == ".rego", base == "data.json", base == "data.yaml", base == "data.yml":
		default:
			return invalid(fmt.Sprintf("files.%d.name", i), "must end in .rego, or be data.json or data.yaml")
		}
	}
	return nil
}

// withinMemory ends the context after the time, and when the heap has grown too much: a policy can build a value of any size. The
// function that it returns must be called.
func withinMemory(ctx context.Context, limit time.Duration) (context.Context, func()) {
	timed, stop := context.WithTimeoutCause(ctx, limit, fmt.Errorf("compiling and testing the policy set took longer than %v", limit))
	bounded, cancel := context.WithCancelCause(timed)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		ticker := time.NewTicker(lookAtMemory)
		defer ticker.Stop()
		for before := heapBytes(); ; {
			select {
			case <-bounded.Done():
				return
			case <-ticker.C:
				if heapBytes() > before+admitMemory {
					cancel(errors.New("compiling and testing the policy set took more memory than there is for it"))
				}
			}
		}
	}()
	return bounded, func() {
		cancel(context.Canceled)
		stop()
		<-ended
	}
}

func heapBytes() uint64 {
	sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}
