package engine

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/metrics"
	"github.com/open-policy-agent/opa/v1/topdown"

	"mandate/decisionlog"
)

// maxMasks bounds what one record is masked by.
const maxMasks = 1000

// What the pointer of a mask may begin with.
const (
	maskInput     = "input"
	maskResult    = "result"
	maskFootprint = "footprint"
)

// maskRef is data.mandate.log.mask, which a policy set may define as OPA's decision log has it: a set of JSON pointers to what is
// removed from a record, and of objects with op (remove, upsert), path and value.
func maskRef() ast.Ref { return dataRef([]string{"mandate", "log", "mask"}) }

// mask applies the set's masks to a record before it is written. It changes nothing but what the record shows: what it may
// not show for certain is left out.
func (ev *evaluation) mask(ctx context.Context, d *decisionlog.Description) {
	if !defines(ev.set.compiler, maskRef()) {
		return
	}
	masks, err := ev.masks(ctx, d)
	if err == nil {
		err = masks.apply(d)
	}
	if err != nil {
		withhold(d)
	}
	if d.MaskFailed {
		ev.engine.measures.maskFailures.Add(1)
	}
}

// withhold removes all that masks can remove.
func withhold(d *decisionlog.Description) {
	d.MaskFailed = true
	d.Erased, d.Masked = nil, nil
	d.Input, d.Details, d.Obligations, d.Granted, d.Answer, d.Footprint = nil, nil, nil, nil, nil, nil
	for i := range d.Reasons {
		d.Reasons[i].Message = ""
	}
	if d.Refused != nil {
		d.Refused = &decisionlog.Reason{Code: d.Refused.Code}
	}
}

// masks evaluates the rule. The present time and chance may be used, for a record is described once; the facts that it reads are among
// those upon which what is remembered rests.
func (ev *evaluation) masks(ctx context.Context, d *decisionlog.Description) (masks, error) {
	text, err := maskedText(d)
	if err != nil {
		return nil, err
	}
	input, err := parseJSON(text)
	if err == nil {
		input, err = forced(input)
	}
	if err != nil {
		return nil, fmt.Errorf("input of the masks: %w", err)
	}
	apart := &evaluation{engine: ev.engine, set: ev.set, now: ev.now, facts: newFacts(ev.facts.reading, ev.engine.root, ev.engine.options.ScanLimit)}
	apart.facts.static = ev.set.static
	value, err := apart.within(ctx, ev.engine.options.EvaluationLimit, func(limit *deadline) (value ast.Value, err error) {
		limit.every = 1
		err = topdown.NewQuery(queryFor(maskRef())).WithCompiler(ev.set.compiler).WithStore(apart.facts).WithInput(ast.NewTerm(input)).
			WithTime(ev.now).WithCancel(limit).WithMetrics(metrics.NoOp()).
			Iter(ctx, func(r topdown.QueryResult) error {
				value = r[resultVar].Value
				return nil
			})
		return value, err
	})
	if err != nil || value == nil {
		return nil, err
	}
	return masksOf(value)
}

func maskedText(d *decisionlog.Description) ([]byte, error) {
	text, err := d.EventText()
	if err != nil {
		return nil, fmt.Errorf("encode a record for its masks: %w", err)
	}
	return text, nil
}

// masks are in the order in which they are applied.
type masks []mask

type mask struct {
	pointer  string
	segments []string
	upsert   bool
	value    any
	// wrong says that it can be told what the mask is for, but not what to do to it.
	wrong bool
}

// masksOf reads what the rule has given.
func masksOf(v ast.Value) (masks, error) {
	value, err := ast.JSON(v)
	if err != nil {
		return nil, fmt.Errorf("read the masks: %w", err)
	}
	all, ok := value.([]any)
	if !ok {
		return nil, fmt.Errorf("the masks are %s, not a set", ast.ValueName(v))
	}
	if len(all) > maxMasks {
		return nil, fmt.Errorf("more than %d masks", maxMasks)
	}
	read := make(masks, len(all))
	for i, one := range all {
		if read[i], err = maskOf(one); err != nil {
			return nil, err
		}
	}
	return read, nil
}

func maskOf(v any) (m mask, err error) {
	switch v := v.(type) {
	case string:
		m.pointer = v
	case map[string]any:
		m.pointer, _ = v["path"].(string)
		m.value = v["value"]
		op, _ := v["op"].(string)
		m.upsert = op == "upsert"
		m.wrong = op != "upsert" && op != "remove"
		for name := range v {
			m.wrong = m.wrong || !slices.Contains([]string{"op", "path", "value"}, name)
		}
	default:
		return m, errors.New("a mask is neither a string nor an object")
	}
	if m.segments, err = pointerOf(m.pointer); err != nil {
		return m, err
	}
	return m, nil
}

// pointerOf splits a JSON pointer (RFC 6901) into what a record has.
func pointerOf(pointer string) ([]string, error) {
	rest, ok := strings.CutPrefix(pointer, "/")
	if !ok {
		return nil, fmt.Errorf("%q is not a JSON pointer", pointer)
	}
	segments := strings.Split(rest, "/")
	if !slices.Contains([]string{maskInput, maskResult, maskFootprint}, segments[0]) {
		return nil, fmt.Errorf("%q is neither in /input nor in /result nor /footprint", pointer)
	}
	for i, s := range segments {
		if strings.Contains(strings.NewReplacer("~0", "", "~1", "").Replace(s), "~") {
			return nil, fmt.Errorf("%q is not a JSON pointer", pointer)
		}
		segments[i] = strings.NewReplacer("~1", "/", "~0", "~").Replace(s)
	}
	return segments, nil
}

// removed takes the place of an element until all masks are applied, so that the others keep theirs.
type removed struct{}

// apply changes the record. An error means that it has to be withheld.
func (all masks) apply(d *decisionlog.Description) error {
	if len(all) == 0 {
		return nil
	}
	text, err := maskedText(d)
	if err != nil {
		return err
	}
	tree, err := treeOf(text)
	if err != nil {
		return err
	}
	changed := false
	for _, m := range all {
		if !m.applyTo(tree) {
			continue
		}
		changed = true
		switch {
		case m.wrong:
			d.MaskFailed = true
		case m.upsert:
			d.Masked = append(d.Masked, m.pointer)
		default:
			d.Erased = append(d.Erased, m.pointer)
		}
	}
	if !changed {
		return nil
	}
	return take(d, compacted(tree).(map[string]any))
}

func treeOf(text []byte) (map[string]any, error) {
	var tree map[string]any
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	if err := decoder.Decode(&tree); err != nil {
		return nil, fmt.Errorf("read a record for its masks: %w", err)
	}
	return tree, nil
}

// applyTo says whether there was anything to change. As in OPA, what is not there is not an error, and upsert makes the objects
// on the way to a member.
func (m mask) applyTo(tree map[string]any) bool {
	upsert := m.upsert && !m.wrong
	var node any = tree
	last := m.segments[len(m.segments)-1]
	for _, name := range m.segments[:len(m.segments)-1] {
		switch in := node.(type) {
		case map[string]any:
			next, ok := in[name]
			if !ok && upsert {
				next = map[string]any{}
				in[name] = next
			}
			node = next
		case []any:
			i, ok := elementAt(in, name)
			if !ok {
				return false
			}
			node = in[i]
		default:
			return false
		}
	}
	switch in := node.(type) {
	case map[string]any:
		if upsert {
			in[last] = m.value
			return true
		}
		_, ok := in[last]
		delete(in, last)
		return ok
	case []any:
		i, ok := elementAt(in, last)
		if !ok {
			return false
		}
		if in[i] = any(removed{}); upsert {
			in[i] = m.value
		}
		return true
	}
	return false
}

func elementAt(list []any, name string) (int, bool) {
	i, err := strconv.Atoi(name)
	return i, err == nil && i >= 0 && i < len(list) && strconv.Itoa(i) == name
}

// compacted leaves out the elements that were removed.
func compacted(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for name, member := range v {
			v[name] = compacted(member)
		}
	case []any:
		kept := v[:0]
		for _, element := range v {
			if element != any(removed{}) {
				kept = append(kept, compacted(element))
			}
		}
		return kept
	}
	return v
}

// take gives the record what the masks have left of it. Whether it was allowed is none of their business.
func take(d *decisionlog.Description, tree map[string]any) error {
	if d.Kind == decisionlog.Decision || d.Kind == decisionlog.DataQuery {
		input, err := textOf(tree, maskInput)
		if err != nil {
			return err
		}
		d.Input = input
	} else if !into(tree, maskInput, &d.Details) {
		d.MaskFailed = true
	}
	if !into(tree, maskFootprint, &d.Footprint) {
		d.MaskFailed = true
	}
	if d.Kind == decisionlog.DataQuery {
		answer, err := textOf(tree, maskResult)
		d.Answer = answer
		return err
	}
	var result struct {
		Reasons     []decisionlog.Reason `json:"reasons"`
		Obligations []json.RawMessage    `json:"obligations"`
	}
	if !into(tree, maskResult, &result) {
		d.MaskFailed = true
	}
	d.Reasons, d.Obligations, d.Granted = result.Reasons, nil, nil
	members, _ := tree[maskResult].(map[string]any)
	var err error
	if result.Obligations != nil {
		if d.Obligations, err = textOf(members, "obligations"); err != nil {
			return err
		}
	}
	for _, name := range []string{"allow", "reasons", "obligations"} {
		delete(members, name)
	}
	if len(members) > 0 {
		d.Granted, err = textOf(tree, maskResult)
	}
	return err
}

// into decodes a member; what it cannot be is left out.
func into[T any](tree map[string]any, name string, v *T) bool {
	var none T
	*v = none
	text, err := textOf(tree, name)
	if err != nil || text == nil {
		return err == nil
	}
	if json.Unmarshal(text, v) != nil {
		*v = none
		return false
	}
	return true
}

func textOf(tree map[string]any, name string) (jsontext.Value, error) {
	value, ok := tree[name]
	if !ok {
		return nil, nil
	}
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		return nil, fmt.Errorf("encode what the masks have left: %w", err)
	}
	return bytes.TrimSpace(text.Bytes()), nil
}
