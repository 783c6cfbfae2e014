package engine

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/storage"

	"mandate/datastore"
	"mandate/datastore/memo"
	"mandate/directory"
	"mandate/engine/vm"
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

	reading  *memo.Reading
	tenant   datastore.Path // its root
	static   ast.Value      // the data of the policy set, beside the facts; nil when it has none
	deadline *deadline

	first  []readDocument
	more   map[datastore.Path]ast.Value
	scans  []scan
	budget int // documents that may still be scanned
	limit  int

	recording bool
	reads     []FactRead
}

// readDocument is a document that was read: nil when it is absent.
type readDocument struct {
	path  datastore.Path
	value ast.Value
}

// fewRead is up to how many documents a search from the first on is quicker than a map.
const fewRead = 16

func (f *facts) known(p datastore.Path) (ast.Value, bool) {
	for i := range f.first {
		if f.first[i].path == p {
			return f.first[i].value, true
		}
	}
	v, ok := f.more[p]
	return v, ok
}

func (f *facts) remember(p datastore.Path, v ast.Value) {
	if len(f.first) < fewRead {
		f.first = append(f.first, readDocument{p, v})
		return
	}
	if f.more == nil {
		f.more = make(map[datastore.Path]ast.Value)
	}
	f.more[p] = v
}

// scan is a part of the data document that was read as a whole.
type scan struct {
	prefix datastore.Path
	depth  int       // number of segments of prefix
	value  ast.Value // nil when there is nothing below prefix
}

func newFacts(r *memo.Reading, root datastore.Path, limit int) *facts {
	return &facts{reading: r, tenant: root, budget: limit, limit: limit, first: make([]readDocument, 0, fewRead)}
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
	if v, err = forced(v); err != nil {
		return nil, &factsError{fmt.Errorf("parse a fact: %w", err)}
	}
	return v, nil
}

// lookup returns nil for what is absent, and may return a vm.Lazy.
func (f *facts) lookup(ctx context.Context, segments []string) (ast.Value, error) {
	if len(segments) == 0 {
		return f.all(ctx)
	}
	depth := directory.DocumentDepth(segments)
	switch {
	case depth == 0:
		return find(f.static, segments)
	case depth == directory.AnyDepth:
		return f.anyDepth(ctx, segments)
	case len(segments) < depth:
		return f.interior(ctx, segments)
	}
	document, err := f.document(ctx, segments[:depth])
	if err != nil {
		return nil, err
	}
	return find(document, segments[depth:])
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
	if static, ok := f.static.(ast.Object); ok {
		static.Foreach(all.Insert)
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
			return find(document, segments[depth:])
		}
	}
	return f.interior(ctx, segments)
}

// document is one point read, or none when it was made before.
func (f *facts) document(ctx context.Context, segments []string) (ast.Value, error) {
	p := f.tenant.Join(segments...)
	if !p.Valid() {
		return nil, nil
	}
	if v, ok := f.known(p); ok {
		return v, nil
	}
	if v, known, err := f.scanned(p, segments); known {
		return v, err
	}
	read, err := documentAt(ctx, f.reading, p)
	if err != nil {
		return nil, &factsError{err}
	}
	f.remember(p, read.value)
	if f.recording {
		f.reads = append(f.reads, FactRead{Path: p.String(), Found: read.value != nil, Value: read.text, path: p})
	}
	return read.value, nil
}

// document is a parsed fact. Its value is nil where there is none.
type document struct {
	text  []byte
	value ast.Value
}

// Bytes is about what the document takes in memory when all of it has been parsed.
func (d *document) Bytes() int { return 200 + memo.JSONBytes(d.text) }

// documentAt reads the document at p, or remembers it, for most decisions share some.
func documentAt(ctx context.Context, r *memo.Reading, p datastore.Path) (*document, error) {
	documents := memo.Table[*document]{Kind: "document"}
	var memory [256]byte
	return documents.Get(r, memo.KeyOf(memo.Part(documents.Ask(memory[:]), p.Key())), func(r *memo.Reading) (*document, error) {
		text, err := r.Get(ctx, p)
		if errors.Is(err, datastore.ErrNotFound) {
			return &document{}, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read a fact: %w", err)
		}
		value, err := parseJSON(text)
		if err != nil {
			return nil, fmt.Errorf("parse fact %s: %w", p, err)
		}
		return &document{text: text, value: value}, nil
	})
}

// interior is the object of all documents below the segments.
func (f *facts) interior(ctx context.Context, segments []string) (ast.Value, error) {
	p := f.tenant.Join(segments...)
	if !p.Valid() {
		return nil, nil
	}
	if v, known, err := f.scanned(p, segments); known {
		return v, err
	}
	var root node
	for fact, err := range f.reading.Scan(ctx, p, datastore.Path{}) {
		if err != nil {
			return nil, &factsError{fmt.Errorf("scan facts below %s: %w", p, err)}
		}
		if f.budget == 0 {
			return nil, &ScanLimitError{Prefix: p.String(), Limit: f.limit}
		}
		f.budget--
		if f.deadline.Look() {
			return nil, fmt.Errorf("scan facts below %s: cancelled", p)
		}
		at := fact.Path.Segments()
		if depth := directory.DocumentDepth(at); depth != directory.AnyDepth && depth != len(at) {
			continue // no point read would find it either
		}
		document, err := parseJSON(fact.Value)
		if err == nil {
			document, err = forced(document)
		}
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
		read := FactRead{Path: p.String(), Found: v != nil, path: p}
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
func (f *facts) scanned(p datastore.Path, segments []string) (v ast.Value, known bool, err error) {
	for _, s := range f.scans {
		if p == s.prefix || p.Below(s.prefix) {
			v, err := find(s.value, segments[s.depth:])
			return v, true, err
		}
	}
	return nil, false, nil
}

// find descends into a value; nil when there is nothing at the segments.
func find(v ast.Value, segments []string) (ast.Value, error) {
	for _, s := range segments {
		var key ast.Value
		switch at := v.(type) {
		case vm.Lazy:
			if key = ast.String(s); at.IsArray() {
				key = index(s)
			}
			part, err := at.Get(key)
			if err != nil {
				return nil, &factsError{fmt.Errorf("parse a fact: %w", err)}
			}
			v = part
			continue
		case ast.Object:
			v = valueOf(at.Get(ast.InternedTerm(s)))
			continue
		case *ast.Array:
			if n, ok := index(s).(ast.Number); ok {
				v = valueOf(at.Get(ast.NewTerm(n)))
				continue
			}
		}
		return nil, nil
	}
	return v, nil
}

func valueOf(t *ast.Term) ast.Value {
	if t == nil {
		return nil
	}
	return t.Value
}

// index is the number that a segment is of an array: only "7" is the index 7, for "+7" and "07" are no numbers in JSON.
func index(segment string) ast.Value {
	if i, err := strconv.Atoi(segment); err == nil && i >= 0 && strconv.Itoa(i) == segment {
		return ast.Number(segment)
	}
	return ast.NullValue
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
