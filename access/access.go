// Package access looks at what the policies allow as a whole: who could be asked about and what for (candidates.go), and what of the
// directory and the policies no decision has rested on (unused.go). What is allowed it never says itself: the policy is asked about
// each candidate.
//
// It must never decide, write, leave out a candidate without saying so, or take longer than the context it is given.
package access

import (
	"context"
	"errors"

	"mandate/datastore"
	"mandate/directory"
)

// Organization is the type of a resource that is an organization.
const Organization = "organization"

// Entity is a candidate: a subject, a resource, or an action, which has no type.
type Entity struct{ Type, ID string }

// Facts are those of one snapshot of a tenant, in which candidates are found.
type Facts struct {
	Tenant directory.Tenant
	Reader datastore.Reader
	// Within, if not empty, is an organization of which alone anything may be told: candidates are its own members, keys and clients, and
	// the vendors that it has integrated. Relations are of no organization. About other subjects nothing is asked.
	Within string
}

// Candidates are those about whom the policy is to be asked, each once and in a stable order.
type Candidates struct {
	// Asked says in words who they are.
	Asked   []string
	sources []source
}

// source yields candidates in the order of their keys. A key without a candidate only says how far it has come.
type source struct {
	each func(ctx context.Context, after string, do func(key string, e *Entity) error) error
	// has says whether the source has the candidate, so that a later one does not yield it again.
	has func(ctx context.Context, e Entity) (bool, error)
}

// Cursor is where to go on.
type Cursor struct {
	Source int    `json:"s,omitzero"`
	After  string `json:"a,omitempty"`
	Done   bool   `json:"d,omitzero"`
}

// ErrTooMany means that more candidates would have to be held than are.
var ErrTooMany = errors.New("there are too many candidates: ask about one organization, one type or one resource")

// ErrEnough is returned by who looks at candidates to stop before the present one.
var ErrEnough = errors.New("enough")

// From shows the candidates from the cursor on, until there are no more or do returns ErrEnough. It returns where to go on. Before
// each step in says whether there is time left.
func (c Candidates) From(ctx context.Context, at Cursor, in func() bool, do func(Entity) error) (Cursor, error) {
	for ; at.Source < len(c.sources); at = (Cursor{Source: at.Source + 1}) {
		err := c.sources[at.Source].each(ctx, at.After, func(key string, e *Entity) error {
			if !in() {
				return ErrEnough
			}
			if e != nil {
				known, err := c.known(ctx, at.Source, *e)
				if err == nil && !known {
					err = do(*e)
				}
				if err != nil {
					return err
				}
			}
			at.After = key
			return ctx.Err()
		})
		if errors.Is(err, ErrEnough) {
			return at, nil
		}
		if err != nil {
			return at, err
		}
	}
	return Cursor{Done: true}, nil
}

func (c Candidates) known(ctx context.Context, before int, e Entity) (bool, error) {
	for _, s := range c.sources[:before] {
		if has, err := s.has(ctx, e); err != nil || has {
			return has, err
		}
	}
	return false, nil
}

func (c *Candidates) add(asked string, s ...source) {
	c.Asked = append(c.Asked, asked)
	c.sources = append(c.sources, s...)
}
