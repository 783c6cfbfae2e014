package access

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/open-policy-agent/opa/v1/ast"

	"mandate/datastore"
	"mandate/datastore/memo"
	"mandate/decisionlog"
	"mandate/directory"
	"mandate/engine"
	"mandate/policyset"
)

// Bounds of a report of what was not used: the questions that are told apart, and the items that are listed of each kind.
const (
	maxQuestions = 1_000_000
	maxKept      = 64 << 20 // bytes of inputs that were read
	maxItems     = 50_000
)

// Unused says what of the directory and the policies no allow has rested on since a time.
type Unused struct {
	Since time.Time `json:"since"`
	Until time.Time `json:"until"`
	// Records is how many were read, Questions how many different ones among them were decided again.
	Records   int `json:"records"`
	Questions int `json:"questions"`
	// Exact are the questions of which it is known what their answers rested on: decided again as of their revisions, or as of now
	// when no fact that they read has changed since. Assumed are those of which only the record is left: all that it read counts as
	// used. Skipped are those for which there was no time.
	Exact   int `json:"exact"`
	Assumed int `json:"assumed"`
	Skipped int `json:"skipped"`
	// Traced are the questions in which the rules that held were looked at: of those that differ only in who and what they are about,
	// a few.
	Traced int `json:"traced"`
	// Truncated says that there are more unused items of a kind than are listed.
	Truncated bool  `json:"truncated"`
	Roles     Items `json:"roles"`
	Scopes    Items `json:"scopes"`
	Vendors   Items `json:"integrations"`
	Rules     Items `json:"rules"`
}

// Items are those of one kind: how many there are, those that were not used, and those that were.
type Items struct {
	Total  int    `json:"total"`
	Unused []Item `json:"unused"`
	Used   []Item `json:"used"`
}

// Item is something that can be used. A role without an organization is the tenant's; a scope is that of a holder.
type Item struct {
	Name     string     `json:"name"`
	Org      string     `json:"org,omitempty"`
	Holder   string     `json:"holder,omitempty"` // of a scope: type:id
	File     string     `json:"file,omitempty"`   // of a rule
	Line     int        `json:"line,omitzero"`
	LastUsed *time.Time `json:"last_used_at,omitempty"`
	// InDenials says of a rule that it held in denials only.
	InDenials bool `json:"in_denials,omitzero"`
}

// Progress says how far a report has come.
type Progress struct {
	Records   int       `json:"records"`
	Questions int       `json:"questions"`
	At        time.Time `json:"at"` // of the last record
}

// Reporter finds what was not used.
type Reporter struct {
	Tenant   directory.Tenant
	Store    datastore.Store
	Engine   *engine.Engine
	Policies *policyset.Library
	Folder   string // of the decision log
	Now      func() time.Time
}

// use names what can be used.
type use struct {
	kind                  byte // r, s, i, d for a rule in a denial, h for one that held in an allow
	name, org, holder, at string
	line                  int
}

// question is what was found out about one.
type question struct {
	uses []use
	last time.Time
}

// report is a report in the making.
type report struct {
	Reporter
	out       Unused
	active    *engine.PolicySet
	questions map[[sha256.Size]byte]*question
	kept      int                 // bytes of the texts that seen keeps in memory
	seen      map[*byte]*question // the same by where the reader of the log has it, to hash each text once
	shapes    map[string]*shape
	now       datastore.View
}

// Unused reads the decision log since a time and decides again what it has, each question once. It ends with ctx; what could not be
// decided again until then is skipped, and reported so.
func (o Reporter) Unused(ctx context.Context, since time.Time, tell func(Progress)) (*Unused, error) {
	now, err := o.Store.View(ctx)
	if err != nil {
		return nil, fmt.Errorf("open a view: %w", err)
	}
	defer now.Close()
	r := &report{Reporter: o, active: o.Engine.Policies(), now: now, questions: map[[sha256.Size]byte]*question{}, seen: map[*byte]*question{}, shapes: map[string]*shape{},
		out: Unused{Since: since.UTC(), Until: o.Now().UTC()}}
	for record, err := range decisionlog.Find(ctx, o.Folder, decisionlog.Query{Kind: decisionlog.Decision, From: decisionlog.IDAt(since), OldestFirst: true}) {
		if err == nil {
			err = r.read(ctx, &record)
		}
		if err != nil {
			return nil, err
		}
		tell(Progress{r.out.Records, r.out.Questions, record.ID.Time().UTC()})
	}
	return &r.out, r.list(ctx)
}

func (r *report) read(ctx context.Context, record *decisionlog.Record) error {
	r.out.Records++
	d := &record.Description
	at := record.ID.Time().UTC()
	if len(d.Input) == 0 {
		return nil
	}
	if q := r.seen[&d.Input[0]]; q != nil {
		q.last = at
		return nil
	}
	digest := digestOf(d)
	q := r.questions[digest]
	if q == nil {
		if len(r.questions) == maxQuestions {
			r.out.Skipped++
			return nil
		}
		q = &question{}
		r.questions[digest] = q
		r.out.Questions++
		var err error
		if q.uses, err = r.ask(ctx, record); err != nil {
			return err
		}
	}
	q.last = at
	if r.kept += len(d.Input); r.kept > maxKept {
		clear(r.seen)
		r.kept = len(d.Input)
	}
	r.seen[&d.Input[0]] = q
	return nil
}

// digestOf tells questions apart: what was asked, by which policies, and what was read for it.
func digestOf(d *decisionlog.Description) [sha256.Size]byte {
	text := memo.Part(memo.Part(memo.Part(nil, d.Point), d.PolicyRevision), d.Input)
	for _, p := range d.Footprint {
		text = memo.Part(text, p)
	}
	return sha256.Sum256(fmt.Append(text, d.Allow))
}

// again is a question at the revision at which it can be decided again.
type again struct {
	r      *report
	reader datastore.Reader
	set    *engine.PolicySet
	point  engine.Point
	in     engine.Input
	at     time.Time
}

// ask finds what the answer to a question rested on.
func (r *report) ask(ctx context.Context, record *decisionlog.Record) ([]use, error) {
	d := &record.Description
	q := again{r: r, set: r.active, point: engine.Point(d.Point), in: engine.Input{Text: d.Input}, at: record.Asked()}
	if d.Refused != nil {
		return nil, nil
	}
	if d.PolicyRevision != r.active.Revision() {
		set, err := r.Policies.Compiled(ctx, r.now, d.PolicyRevision)
		if err != nil && !errors.Is(err, policyset.ErrUnknown) {
			return nil, err
		}
		if err == nil {
			q.set = set
		}
	}
	view, err := r.Store.ViewAt(ctx, record.DataRevision)
	switch {
	case err == nil:
		defer view.Close()
		q.reader = view
	case errors.Is(err, datastore.ErrRevisionGone), errors.Is(err, datastore.ErrRevisionAhead):
		unchanged, err := r.unchanged(ctx, record)
		if err != nil {
			return nil, err
		}
		if !unchanged {
			return r.assume(ctx, d)
		}
		q.reader = r.now
	default:
		return nil, fmt.Errorf("open a view: %w", err)
	}
	decision, err := q.decide(ctx, q.reader)
	if err != nil {
		return nil, err
	}
	if decision.Allow != record.Allow || d.MaskFailed || len(d.Erased)+len(d.Masked) > 0 {
		return r.assume(ctx, d) // what was asked is not what is in the record
	}
	r.out.Exact++
	uses, err := r.rules(ctx, q, record)
	if err != nil || !record.Allow {
		return uses, err
	}
	rested, err := q.rested(ctx, d.Footprint)
	return append(uses, rested...), err
}

// decide decides again over the reader.
func (q again) decide(ctx context.Context, reader datastore.Reader) (*engine.Decision, error) {
	d, err := q.r.Engine.Again(ctx, memo.Over(reader), q.set, q.point, q.in, q.at)
	if failed := (*engine.EvaluationError)(nil); errors.As(err, &failed) {
		err = nil // a denial
	}
	return d, err
}

// rules are those of the active set that hold in the decision, or in those that were traced of its shape.
func (r *report) rules(ctx context.Context, q again, record *decisionlog.Record) ([]use, error) {
	of := shapeOf(&record.Description)
	known := r.shapes[of]
	if known == nil {
		known = &shape{}
		r.shapes[of] = known
	}
	if known.traced < tracesOfShape {
		uses, err := q.rules(ctx, record.Allow)
		if err != nil {
			return nil, err
		}
		known.traced++
		r.out.Traced++
		for _, u := range uses {
			if !slices.Contains(known.uses, u) {
				known.uses = append(known.uses, u)
			}
		}
	}
	return slices.Clone(known.uses), nil
}

// rules are those of the active set that hold in the decision.
func (q again) rules(ctx context.Context, allow bool) ([]use, error) {
	traces, err := q.r.Engine.Trace(ctx, memo.Over(q.reader), q.r.active, q.point, q.in, q.at)
	if err != nil {
		return nil, fmt.Errorf("trace a decision: %w", err)
	}
	kind := byte('h')
	if !allow {
		kind = 'd'
	}
	var uses []use
	for _, t := range traces {
		if t.Held {
			uses = append(uses, use{kind: kind, at: t.File, line: t.Line})
		}
	}
	return uses, nil
}

// unchanged says whether no fact that a decision has read was changed since. What was read as a whole may have lost something.
func (r *report) unchanged(ctx context.Context, record *decisionlog.Record) (bool, error) {
	for _, path := range record.Description.Footprint {
		bare, absent := strings.CutPrefix(path, "!")
		if path == "…" || strings.HasSuffix(path, "/") {
			return false, nil
		}
		revision, err := r.now.Stat(ctx, pathOf(r.Tenant, bare))
		switch {
		case errors.Is(err, datastore.ErrNotFound):
			if !absent {
				return false, nil
			}
		case err != nil:
			return false, fmt.Errorf("look for changes: %w", err)
		case absent || revision > record.DataRevision:
			return false, nil
		}
	}
	return true, nil
}

// pathOf is the path that is written so in a footprint.
func pathOf(t directory.Tenant, text string) datastore.Path {
	return datastore.ParseKey(datastore.TenantID(t).Path().Key() + "/" + text)
}

// assume takes all that an allow has read for used.
func (r *report) assume(ctx context.Context, d *decisionlog.Description) ([]use, error) {
	r.out.Assumed++
	if !d.Allow {
		return nil, nil
	}
	uses, err := r.carried(ctx, d.Input)
	if err != nil {
		return nil, err
	}
	for _, path := range d.Footprint {
		p := pathOf(r.Tenant, path)
		if !p.Valid() {
			continue
		}
		switch at := p.Segments(); {
		case len(at) == 2 && at[0] == "roles":
			uses = append(uses, use{kind: 'r', name: at[1]})
		case len(at) == 4 && at[2] == "roles":
			uses = append(uses, use{kind: 'r', name: at[3], org: at[1]})
		default:
			l, found, err := r.listIn(ctx, r.now, p)
			if err != nil {
				return nil, err
			}
			if !found || l.member != "scopes" {
				continue
			}
			for _, scope := range l.elements {
				uses = append(uses, use{kind: 's', name: scope, org: l.org, holder: l.holder})
			}
			if l.integration != "" {
				uses = append(uses, use{kind: 'i', name: l.integration, org: l.org})
			}
		}
	}
	return uses, nil
}

// carried is all that the credentials of those who are asked about, or ask, have brought.
func (r *report) carried(ctx context.Context, input []byte) ([]use, error) {
	var in struct {
		Principal party `json:"principal"`
		Caller    party `json:"caller"`
	}
	_ = json.Unmarshal(input, &in) // what is of another type than it should be has brought nothing
	var uses []use
	for _, of := range []party{in.Principal, in.Caller} {
		for _, role := range of.Roles {
			uses = append(uses, use{kind: 'r', name: role}, use{kind: 'r', name: role, org: of.Org})
		}
		holder, org := of.Type+":"+of.Subject, ""
		if of.Credential.Type == "integration" || of.Credential.Type == "partner_token" {
			integration, found, err := r.Tenant.IntegrationID(of.Credential.ID).Find(ctx, r.now)
			if err != nil {
				return nil, err
			}
			if found {
				uses = append(uses, use{kind: 'i', name: integration.Vendor, org: integration.Org})
				holder, org = "vendor:"+integration.Vendor, integration.Org
			}
		}
		for _, scope := range of.Scopes {
			uses = append(uses, use{kind: 's', name: scope, org: org, holder: holder})
		}
	}
	return uses, nil
}

// list says what there is, and what of it was used when.
func (r *report) list(ctx context.Context) error {
	last := map[use]time.Time{}
	for _, q := range r.questions {
		for _, u := range q.uses {
			if q.last.After(last[u]) {
				last[u] = q.last
			}
		}
	}
	add := func(to *Items, u use, i Item) {
		to.Total++
		if at, used := last[u]; used {
			i.LastUsed = &at
			if len(to.Used) < maxItems {
				to.Used = append(to.Used, i)
			}
			return
		}
		if len(to.Unused) == maxItems {
			r.out.Truncated = true
			return
		}
		to.Unused = append(to.Unused, i)
	}
	for _, items := range []*Items{&r.out.Roles, &r.out.Scopes, &r.out.Vendors, &r.out.Rules} {
		items.Unused, items.Used = []Item{}, []Item{}
	}
	if err := r.listFacts(ctx, add); err != nil {
		return err
	}
	return r.listRules(last, add)
}

func (r *report) listFacts(ctx context.Context, add func(*Items, use, Item)) error {
	t := r.Tenant
	err := t.Roles(ctx, r.now, func(role string) error {
		add(&r.out.Roles, use{kind: 'r', name: role}, Item{Name: role})
		return ctx.Err()
	})
	if err != nil {
		return err
	}
	facts := Facts{Tenant: t, Reader: r.now}
	for _, collection := range []string{"apikeys", "clients"} {
		err := facts.scan(ctx, facts.root(collection), "", func(at []string, _ []byte) error { return r.listScopes(ctx, facts.root(at...), add) })
		if err != nil {
			return err
		}
	}
	return t.Orgs(ctx, r.now, "", func(org string) error {
		err := t.OrgRoles(ctx, r.now, org, func(role string) error {
			add(&r.out.Roles, use{kind: 'r', name: role, org: org}, Item{Name: role, Org: org})
			return ctx.Err()
		})
		if err != nil {
			return err
		}
		return facts.scan(ctx, facts.root("orgs", org, "integrations"), "", func(at []string, _ []byte) error {
			add(&r.out.Vendors, use{kind: 'i', name: at[3], org: org}, Item{Name: at[3], Org: org})
			return r.listScopes(ctx, facts.root(at...), add)
		})
	})
}

func (r *report) listScopes(ctx context.Context, p datastore.Path, add func(*Items, use, Item)) error {
	l, found, err := r.listIn(ctx, r.now, p)
	if err != nil || !found {
		return err
	}
	for _, scope := range l.elements {
		add(&r.out.Scopes, use{kind: 's', name: scope, org: l.org, holder: l.holder}, Item{Name: scope, Org: l.org, Holder: l.holder})
	}
	return ctx.Err()
}

// listRules lists the rules of the active set, but for defaults: a default is what there is when nothing is used.
func (r *report) listRules(last map[use]time.Time, add func(*Items, use, Item)) error {
	for _, f := range r.active.Files() {
		if strings.HasSuffix(f.Name, "_test.rego") {
			continue
		}
		module, err := ast.ParseModuleWithOpts(f.Name, f.Text, ast.ParserOptions{RegoVersion: ast.RegoV1})
		if err != nil {
			return fmt.Errorf("read the active policies: %w", err)
		}
		for _, rule := range module.Rules {
			for ; rule != nil; rule = rule.Else {
				if rule.Default {
					continue
				}
				at := rule.Location
				_, denied := last[use{kind: 'd', at: at.File, line: at.Row}]
				held := use{kind: 'h', at: at.File, line: at.Row}
				_, allowed := last[held]
				add(&r.out.Rules, held, Item{Name: rule.Ref().String(), File: at.File, Line: at.Row, InDenials: denied && !allowed})
			}
		}
	}
	return nil
}
