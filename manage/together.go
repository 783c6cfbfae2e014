package manage

import (
	"context"
	"errors"
	"slices"

	"github.com/go-json-experiment/json/jsontext"
)

// Batch is one write that is made of several operations: all of them happen, or none. What it reads is what they have left.
type Batch struct{ c *change }

// Together runs a batch, perhaps more than once, and returns what do says is its answer.
func (m *Manager) Together(ctx context.Context, q *Request, do func(context.Context, *Batch) (jsontext.Value, error)) (*Answer, error) {
	return m.change(ctx, q, func(c *change) (*Answer, error) {
		body, err := do(ctx, &Batch{c})
		return &Answer{Body: body}, err
	})
}

// one is the change for one operation of the batch, on the condition given and no other.
func (b *Batch) one(fresh bool) *change {
	c, q := *b.c, *b.c.q
	q.IfMatch, q.IfNone = 0, fresh
	c.q = &q
	return &c
}

// Get reads a record.
func (b *Batch) Get(ctx context.Context, k Kind, ids ...string) (*Answer, error) {
	return k.get(ctx, b.c.m, b.c.reading, b.c.q, ids)
}

// List reads a page of a collection.
func (b *Batch) List(ctx context.Context, k Kind, parents []string, p Page) (*Listing, error) {
	return k.list(ctx, b.c.m, b.c.reading, b.c.q, parents, p)
}

// Create makes a record in a collection, as Manager.Create does. No password can be set by it.
func (b *Batch) Create(ctx context.Context, k Kind, parents []string, w Write) (*Answer, error) {
	id, from, err := idIn(k, w.Body)
	if err != nil {
		return nil, err
	}
	w.id = from
	answer, err := k.put(ctx, b.one(true), append(slices.Clone(parents), id), w)
	if errors.Is(err, ErrChanged) {
		err = alreadyThere()
	}
	return answer, err
}

// Put replaces or patches the record, or creates the one that is not there.
func (b *Batch) Put(ctx context.Context, k Kind, ids []string, w Write) (*Answer, error) {
	w.id = idInPath
	return k.put(ctx, b.one(false), ids, w)
}

// Delete removes the record, and all that rests on it alone.
func (b *Batch) Delete(ctx context.Context, k Kind, ids ...string) error {
	_, err := k.delete(ctx, b.one(false), ids)
	return err
}
