package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/storage"
	"github.com/open-policy-agent/opa/v1/topdown"

	"mandate/datastore"
	"mandate/directory"
)

// ScanLimitError says that the scans of one evaluation would read more documents than Options.ScanLimit allows.
type ScanLimitError struct {
	Prefix string // the scan that went too far
	Limit  int
}

func (e *ScanLimitError) Error() string {
	return fmt.Sprintf("scan %s: more than %d documents in one evaluation", e.Prefix, e.Limit)
}

// factsError marks what the datastore reported, or a document in it that is no JSON.
type factsError struct{ err error }

func (e *factsError) Error() string { return e.err.Error() }
func (e *factsError) Unwrap() error { return e.err }

// facts is the data document of one evaluation, as OPA's evaluator reads it: a snapshot of one tenant, of which only
// the documents that a policy refers to are read, each of them once. It is used by one goroutine.
//
// There are no transactions: the snapshot is one.
type facts struct {
	storage.TriggersNotSupported
	storage.PolicyNotSupported
	storage.WritesNotSupported

	view   datastore.View
	tenant datastore.TenantID
	cancel topdown.Cancel

	documents map[datastore.Path]ast.Value // nil for those that are absent
	scans     []scan
	budget    int // documents that may still be scanned
	limit     int

	recording bool
	reads     []FactRead
}

// scan is a part of the data document that was read as a whole.
type scan struct {
	prefix datastore.Path
	depth  int       // number of segments of prefix
	value  ast.Value // nil when there is nothing below prefix
}

func newFacts(view datastore.View, tenant datastore.TenantID, limit int) *facts {
	return &facts{view: view, tenant: tenant, budget: limit, limit: limit}
}

// Read returns what policies see at path.
func (f *facts) Read(ctx context.Context, _ storage.Transaction, path storage.Path) (any, error) {
	v, err := f.lookup(ctx, path)
	if err != nil {
		return nil, err
	}
	if v == nil {
		return nil, &storage.Error{Code: storage.NotFoundErr}
	}
	return v, nil
}

// lookup returns nil for what is absent.
func (f *facts) lookup(ctx context.Context, segments []string) (ast.Value, error) {
	if len(segments) == 0 {
		return f.all(ctx)
	}
	depth := directory.DocumentDepth(segments)
	switch {
	case depth == 0:
		return nil, nil
	case depth == directory.AnyDepth:
		return f.anyDepth(ctx, segments)
	case len(segments) < depth:
		return f.interior(ctx, segments)
	}
	document, err := f.document(ctx, segments[:depth])
	if err != nil {
		return nil, err
	}
	return find(document, segments[depth:]), nil
}

// all is the whole data document.
func (f *facts) all(ctx context.Context) (ast.Value, error) {
	all := ast.NewObject()
	for _, name := range directory.Collections() {
		v, err := f.interior(ctx, []string{name})
		if err != nil {
			return nil, err
		}
		if v != nil {
			all.Insert(ast.InternedTerm(name), ast.NewTerm(v))
		}
	}
	return all, nil
}

// anyDepth finds the one document on the way to the last segment, else what lies below it.
func (f *facts) anyDepth(ctx context.Context, segments []string) (ast.Value, error) {
	for depth := 2; depth <= len(segments); depth++ {
		document, err := f.document(ctx, segments[:depth])
		if err != nil {
			return nil, err
		}
		if document != nil {
			return find(document, segments[depth:]), nil
		}
	}
	return f.interior(ctx, segments)
}

// document is one point read, or none when it was made before.
func (f *facts) document(ctx context.Context, segments []string) (ast.Value, error) {
	p := f.tenant.Path(segments...)
	if !p.Valid() {
		return nil, nil
	}
	if v, ok := f.documents[p]; ok {
		return v, nil
	}
	if v, ok := f.scanned(p, segments); ok {
		return v, nil
	}
	var v ast.Value
	text, err := f.view.Get(ctx, p)
	if err != nil && !errors.Is(err, datastore.ErrNotFound) {
		return nil, &factsError{fmt.Errorf("read fact %s: %w", p, err)}
	}
	if err == nil {
		if v, err = parseJSON(text); err != nil {
			return nil, &factsError{fmt.Errorf("parse fact %s: %w", p, err)}
		}
	}
	if f.documents == nil {
		f.documents = make(map[datastore.Path]ast.Value)
	}
	f.documents[p] = v
	if f.recording {
		f.reads = append(f.reads, FactRead{Path: p.String(), Found: v != nil, Value: text})
	}
	return v, nil
}

// interior is the object of all documents below the segments.
func (f *facts) interior(ctx context.Context, segments []string) (ast.Value, error) {
	p := f.tenant.Path(segments...)
	if !p.Valid() {
		return nil, nil
	}
	if v, ok := f.scanned(p, segments); ok {
		return v, nil
	}
	var root node
	for fact, err := range f.view.Scan(ctx, p, datastore.Path{}) {
		if err != nil {
			return nil, &factsError{fmt.Errorf("scan facts below %s: %w", p, err)}
		}
		if f.budget == 0 {
			return nil, &ScanLimitError{Prefix: p.String(), Limit: f.limit}
		}
		f.budget--
		if f.cancel.Cancelled() {
			return nil, fmt.Errorf("scan facts below %s: cancelled", p)
		}
		at := fact.Path.Segments()
		if depth := directory.DocumentDepth(at); depth != directory.AnyDepth && depth != len(at) {
			continue // no point read would find it either
		}
		document, err := parseJSON(fact.Value)
		if err != nil {
			return nil, &factsError{fmt.Errorf("parse fact %s: %w", fact.Path, err)}
		}
		root.insert(at[len(segments):], document)
	}
	var v ast.Value
	if root.children != nil {
		v = root.value()
	}
	f.scans = append(f.scans, scan{prefix: p, depth: len(segments), value: v})
	if f.recording {
		read := FactRead{Path: p.String(), Found: v != nil}
		if v != nil {
			var err error
			if read.Value, err = encodeJSON(v); err != nil {
				return nil, &factsError{fmt.Errorf("record facts below %s: %w", p, err)}
			}
		}
		f.reads = append(f.reads, read)
	}
	return v, nil
}

// scanned answers from the scans made before, which also know what is absent.
func (f *facts) scanned(p datastore.Path, segments []string) (ast.Value, bool) {
	for _, s := range f.scans {
		if p == s.prefix || p.Below(s.prefix) {
			return find(s.value, segments[s.depth:]), true
		}
	}
	return nil, false
}

// find descends into a value; nil when there is nothing at the segments.
func find(v ast.Value, segments []string) ast.Value {
	for _, s := range segments {
		var t *ast.Term
		switch at := v.(type) {
		case ast.Object:
			t = at.Get(ast.InternedTerm(s))
		case *ast.Array:
			// Only "7" is the index 7: "+7" and "07" are no numbers in JSON.
			if i, err := strconv.Atoi(s); err == nil && i >= 0 && i < at.Len() && strconv.Itoa(i) == s {
				t = at.Elem(i)
			}
		}
		if t == nil {
			return nil
		}
		v = t.Value
	}
	return v
}

// node is an interior node of the data document while a scan builds it, or a document.
type node struct {
	children map[string]*node
	document ast.Value
}

func (n *node) insert(segments []string, document ast.Value) {
	for _, s := range segments {
		if n.document != nil {
			return // the document above hides what is below, as it does for point reads
		}
		child := n.children[s]
		if child == nil {
			child = &node{}
			if n.children == nil {
				n.children = make(map[string]*node)
			}
			n.children[s] = child
		}
		n = child
	}
	n.document = document
}

func (n *node) value() ast.Value {
	if n.document != nil {
		return n.document
	}
	pairs := make([][2]*ast.Term, 0, len(n.children))
	for s, child := range n.children {
		pairs = append(pairs, [2]*ast.Term{ast.InternedTerm(s), ast.NewTerm(child.value())})
	}
	return ast.NewObject(pairs...)
}

func encodeJSON(v ast.Value) (json.RawMessage, error) {
	x, err := ast.JSON(v)
	if err != nil {
		return nil, err
	}
	return json.Marshal(x)
}

func (f *facts) NewTransaction(context.Context, ...storage.TransactionParams) (storage.Transaction, error) {
	return nil, errors.New("facts have no transactions")
}

func (f *facts) Truncate(context.Context, storage.Transaction, storage.TransactionParams, storage.Iterator) error {
	return errors.New("facts cannot be written by policies")
}

func (f *facts) Commit(context.Context, storage.Transaction) error {
	return errors.New("facts cannot be written by policies")
}

func (f *facts) Abort(context.Context, storage.Transaction) {}
