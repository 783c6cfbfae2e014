package manage

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"mandate/authn"
	"mandate/datastore"
	"mandate/datastore/memo"
	"mandate/decisionlog"
	"mandate/directory"
	"mandate/engine"
	"mandate/replay"
)

// Bounds of the replay before an activation, and of what people can be asked to acknowledge.
const (
	replayLimit   = 20 * time.Second
	replayRecords = 2_000_000
	maxTurns      = 500
	mostGroups    = maxTurns + 10 // with those of which it is not known what turns
	maxAudits     = 500_000       // the newest, by which it is told whose a credential is
	whatever      = "*"           // in a group, for what a replay does not tell apart
)

// Why it is not known what turns, beside why a replay skips a record.
const (
	skipped  = "skipped: "
	others   = "others: more groups than are told apart"
	volatile = "uses the present time or randomness"
)

// PolicyRule is who may activate a policy set.
type PolicyRule struct {
	// TwoPerson says that who pushed a set cannot activate it, and that what it would turn from deny to allow, or may, must be
	// acknowledged by another person first. A set that nobody has pushed is activated by another person than who acknowledged.
	TwoPerson bool
	// Since is from how long ago on logged decisions are replayed before a set is activated.
	Since time.Duration
	// Decisions yields the records of the decision log that the query chooses.
	Decisions func(ctx context.Context, q decisionlog.Query) iter.Seq2[decisionlog.Record, error]
}

// PolicyReview is what a set would turn from deny to allow, and who agrees.
type PolicyReview struct {
	Set       string            `json:"set"`
	At        time.Time         `json:"at"`
	Since     time.Time         `json:"since"`
	Decided   uint64            `json:"decided"`
	ToAllow   uint64            `json:"to_allow"`
	ToDeny    uint64            `json:"to_deny"`
	Different uint64            `json:"different"`
	Skipped   map[string]uint64 `json:"skipped,omitempty"`
	Groups    []PolicyTurn      `json:"groups"`
}

// PolicyTurn is a group of requests that turn from deny to allow, or of which it is not known whether they would, and why.
type PolicyTurn struct {
	ID      string                      `json:"id"`
	Unknown string                      `json:"unknown,omitempty"`
	Point   string                      `json:"point"`
	Rule    string                      `json:"rule"`
	Org     string                      `json:"org,omitempty"`
	Subject string                      `json:"subject"`
	Action  string                      `json:"action"`
	Count   uint64                      `json:"count"`
	Example directory.PolicyTurnExample `json:"example"`

	AcknowledgedBy string    `json:"acknowledged_by,omitempty"`
	AcknowledgedAt time.Time `json:"acknowledged_at,omitzero"`
}

// Unacknowledged means that nobody else has acknowledged yet what a set turns from deny to allow.
type Unacknowledged struct{ Groups []directory.PolicyTurn }

func (e *Unacknowledged) Error() string {
	return fmt.Sprintf("requests would turn from deny to allow, or may: another person must acknowledge the %d groups of them first", len(e.Groups))
}

// review is what an activation rests on that was found before its transaction.
type review struct {
	activation uint64 // the last one before
	pusher     string
	groups     []directory.PolicyTurn
	// others are those who have acknowledged a group and are other persons than the caller.
	others map[string]bool
}

// review finds out whether the caller is another person than who pushed the set, and replays the decision log.
func (m *Manager) review(ctx context.Context, view datastore.View, q *Request, id string, record directory.PolicySet) (*review, error) {
	if err := m.anotherPerson(ctx, view, q.Caller, record.By, pushedByCaller()); err != nil {
		return nil, err
	}
	state, _, err := m.o.Policies.State(ctx, view)
	if err != nil || state.Active == id {
		return &review{activation: state.Activation, pusher: record.By}, err
	}
	var found *directory.PolicyReview
	err = m.try(ctx, func(ctx context.Context) (err error) {
		found, err = m.replay(ctx, view, id)
		return err
	})
	if err != nil {
		return nil, err
	}
	// It is kept also when the activation is refused, for that is what another person acknowledges.
	_, err = m.o.Store.Update(ctx, func(tx datastore.Tx) error { return m.o.Tenant.PolicyReview(id).Put(ctx, tx, *found) })
	if err != nil {
		return nil, fmt.Errorf("keep the replay of policy set %s: %w", id, err)
	}
	reviewed := &review{activation: state.Activation, pusher: record.By, groups: found.Groups, others: map[string]bool{}}
	if record.By != "" {
		return reviewed, nil
	}
	// Nobody has pushed it, so the second person is who acknowledged.
	for _, g := range found.Groups {
		given, acknowledged, err := m.o.Tenant.Acknowledgement(id, g.ID).Find(ctx, view)
		if err != nil {
			return nil, err
		}
		if !acknowledged || reviewed.others[given.By] {
			continue
		}
		if err := m.anotherPerson(ctx, view, q.Caller, given.By, &Refusal{"acknowledged_by_caller",
			"Who acknowledged what a policy set allows that nobody has pushed cannot activate it: another person must."}); err != nil {
			return nil, err
		}
		reviewed.others[given.By] = true
	}
	return reviewed, nil
}

func pushedByCaller() *Refusal {
	return &Refusal{"pushed_by_caller", "Who pushed a policy set can neither activate it nor acknowledge what it allows: another person must."}
}

// acknowledged refuses an activation that two persons have not agreed to, or that rests on what is no longer so.
func (c *change) acknowledged(ctx context.Context, id string, reviewed *review) error {
	if reviewed == nil {
		return nil
	}
	state, _, err := c.m.o.Policies.State(ctx, c)
	if err != nil {
		return err
	}
	// The set may have been removed to make room, and pushed again by another.
	if record, _, err := c.tenant().PolicySet(id).Find(ctx, c); err != nil || record.By != reviewed.pusher {
		return cmp.Or(err, ErrChanged)
	}
	if state.Activation != reviewed.activation {
		return &Conflict{"policies_changed", "Another policy set was activated meanwhile: look at it, and activate this one again."}
	}
	missing := &Unacknowledged{}
	for _, g := range reviewed.groups {
		given, found, err := c.tenant().Acknowledgement(id, g.ID).Find(ctx, c)
		if err != nil {
			return err
		}
		if found && reviewed.pusher == "" && !reviewed.others[given.By] {
			return ErrChanged // it was acknowledged meanwhile
		}
		if !found {
			missing.Groups = append(missing.Groups, g)
		}
	}
	if len(missing.Groups) > 0 {
		return missing
	}
	return nil
}

// replay decides what was asked lately by the set, the newest first, as far as its bounds allow. What it does not tell is a group that has
// to be acknowledged as well: what was skipped, what is not told apart, and that a set uses the present time, for the replay decides at
// past instants. The id of such a group does not depend on how many requests it has, so an acknowledgement holds whatever is asked
// meanwhile.
func (m *Manager) replay(ctx context.Context, view datastore.View, id string) (*directory.PolicyReview, error) {
	set, err := m.o.Policies.Compiled(ctx, view, id)
	if err != nil {
		return nil, err
	}
	now := m.o.Now()
	since := now.Add(-m.o.PolicyRule.Since)
	from, err := m.keptSince(ctx, since, now)
	if err != nil {
		return nil, err
	}
	report, err := replay.Run(ctx, replay.Options{Store: m.o.Store, Engine: m.o.Policy, Candidate: set, From: from, Workers: 1, Examples: 1,
		Records: m.o.PolicyRule.Decisions(ctx, decisionlog.Query{From: decisionlog.IDAt(since), Until: decisionlog.IDAt(now) + 1}),
		Limit:   replayLimit, Most: replayRecords})
	if err != nil {
		return nil, fmt.Errorf("replay the decision log: %w", err)
	}
	found := &directory.PolicyReview{At: now.UTC(), Since: since.UTC(), Decided: report.Decided, ToAllow: report.ToAllow, ToDeny: report.ToDeny,
		Different: report.Different, Skipped: report.Skipped, Groups: []directory.PolicyTurn{}}
	if err := m.tellApart(ctx, view, id, found, report.Groups); err != nil {
		return nil, err
	}
	for _, why := range slices.Sorted(maps.Keys(report.Skipped)) {
		found.Groups = append(found.Groups, unknown(id, skipped+why, report.Skipped[why]))
	}
	if set.Volatile() {
		found.Groups = append(found.Groups, unknown(id, volatile, 0))
	}
	return found, nil
}

// keptSince is the newest revision of an instant, or the oldest known one of some time after it.
func (m *Manager) keptSince(ctx context.Context, since, now time.Time) (datastore.Revision, error) {
	for since.Before(now) {
		r, err := m.o.Store.RevisionAt(ctx, since)
		if !errors.Is(err, datastore.ErrRevisionGone) {
			if errors.Is(err, datastore.ErrRevisionAhead) {
				break
			}
			return r, err
		}
		since = since.Add(now.Sub(since)/16 + time.Second)
	}
	return m.o.Store.Newest(), nil
}

// tellApart keeps the groups that turn from deny to allow. Where there are too many, the rest are one; and once somebody has agreed to
// that, so are all others that nobody has acknowledged, or whoever asks often enough by another name could put off an activation forever.
func (m *Manager) tellApart(ctx context.Context, r datastore.Reader, id string, found *directory.PolicyReview, groups []replay.Group) error {
	groups = slices.DeleteFunc(groups, func(g replay.Group) bool { return g.Turns != engine.ToAllow })
	vague := func(g replay.Group) bool {
		return slices.Contains([]string{g.Rule, g.Org, g.Subject, g.Action}, whatever)
	}
	rest := unknown(id, others, 0)
	agreed := false
	if len(groups) > maxTurns || slices.ContainsFunc(groups, vague) {
		var err error
		if _, agreed, err = m.o.Tenant.Acknowledgement(id, rest.ID).Find(ctx, r); err != nil {
			return err
		}
	}
	for _, g := range groups {
		turn := turnOf(id, g)
		apart := !vague(g) && len(found.Groups) < maxTurns
		if apart && agreed {
			var err error
			if _, apart, err = m.o.Tenant.Acknowledgement(id, turn.ID).Find(ctx, r); err != nil {
				return err
			}
		}
		if !apart {
			rest.Count += turn.Count
			continue
		}
		found.Groups = append(found.Groups, turn)
	}
	if rest.Count > 0 {
		found.Groups = append(found.Groups, rest)
	}
	return nil
}

// unknown is a group of which it is not known what turns. No group that turns has its id, for that has a point.
func unknown(set, why string, count uint64) directory.PolicyTurn {
	turn := turnOf(set, replay.Group{Rule: why, Count: count})
	turn.Unknown, turn.Rule = why, ""
	return turn
}

func turnOf(set string, g replay.Group) directory.PolicyTurn {
	h := sha256.New()
	for _, part := range []string{set, g.Point, g.Rule, g.Org, g.Subject, g.Action} {
		fmt.Fprintf(h, "%d %s", len(part), part)
	}
	turn := directory.PolicyTurn{ID: hex.EncodeToString(h.Sum(nil)[:16]), Point: g.Point, Rule: g.Rule, Org: g.Org, Subject: g.Subject, Action: g.Action, Count: g.Count}
	codes := func(reasons []decisionlog.Reason) []string {
		all := []string{}
		for _, r := range reasons {
			all = append(all, r.Code)
		}
		return all
	}
	if len(g.Examples) > 0 {
		e := g.Examples[0]
		turn.Example = directory.PolicyTurnExample{ID: e.ID, Resource: e.Resource, Before: codes(e.Before), After: codes(e.After)}
	}
	return turn
}

// anotherPerson refuses the caller who is that person, and those of whom one has made or changed, or has had made, the other's credential:
// that would be one person with two names. Nobody, with no name, has pushed what a source of the configuration gave. It cannot know
// who holds secrets that were given out otherwise: the policy mandate.manage is what keeps those who push from credentials that activate.
func (m *Manager) anotherPerson(ctx context.Context, r datastore.Reader, caller *authn.Principal, person string, same *Refusal) error {
	if person == "" {
		return nil
	}
	self, err := m.whois(ctx, r, caller)
	if err != nil {
		return err
	}
	if self == person || caller == nil {
		return same
	}
	credential := string(caller.Type) + ":" + caller.Subject
	// The audit is read from now back, so what somebody did before their own credential was in another's hands does not count.
	mine, theirs := map[string]bool{self: true, credential: true}, map[string]bool{person: true}
	if caller.AuthorizedParty != "" {
		mine[string(authn.Client)+":"+caller.AuthorizedParty] = true
	}
	looked, made := 0, false
	err = m.o.Tenant.Audits(ctx, r, func(_ string, a directory.Audit) error {
		if looked++; looked > maxAudits || mine[person] || theirs[self] || theirs[credential] {
			return directory.ErrEnough
		}
		resource := a.Resource.Type + ":" + a.Resource.ID
		made = made || (resource == credential && strings.HasSuffix(a.Action, ".create"))
		if a.By.Subject == "" || (!mine[resource] && !theirs[resource]) {
			return nil
		}
		by, err := m.whoisBy(ctx, r, a.By.Type, a.By.Subject)
		for _, hands := range []map[string]bool{mine, theirs} {
			if hands[resource] {
				hands[by], hands[a.By.Type+":"+a.By.Subject] = true, true
			}
		}
		return err
	})
	switch {
	case err != nil:
		return err
	case mine[person] || theirs[self] || theirs[credential]:
		return &Refusal{"made_by_pusher", "One of the credentials, of the caller and of the other person, was made or changed by the other, and so both are one person's."}
	case looked > maxAudits && !made:
		return &Conflict{"credential_too_old", fmt.Sprintf("The newest %d audit records do not say who has made this credential, so it is not known to be "+
			"another person's: have a third person make a new one, and send this with it.", maxAudits)}
	}
	return nil
}

// whois is the person who stands behind a credential: the owner of an API key that has one, else its subject.
func (m *Manager) whois(ctx context.Context, r datastore.Reader, p *authn.Principal) (string, error) {
	if p == nil {
		return "anonymous:", nil
	}
	return m.whoisBy(ctx, r, string(p.Type), p.Subject)
}

func (m *Manager) whoisBy(ctx context.Context, r datastore.Reader, kind, subject string) (string, error) {
	if kind == string(authn.APIKey) {
		key, _, err := m.o.Tenant.APIKey(subject).Find(ctx, r)
		if err != nil {
			return "", err
		}
		if key.Owner != "" {
			return string(authn.User) + ":" + key.Owner, nil
		}
	}
	return kind + ":" + subject, nil
}

// PolicyReviewed is what the last replay says of a set, and what was acknowledged of it.
func (m *Manager) PolicyReviewed(ctx context.Context, r *memo.Reading, q *Request, name string) (*Answer, error) {
	id, _, err := m.readPolicy(ctx, r, q, name)
	if err != nil {
		return nil, err
	}
	return m.reviewAnswer(ctx, r, id)
}

func (m *Manager) reviewAnswer(ctx context.Context, r datastore.Reader, id string) (*Answer, error) {
	place := m.o.Tenant.PolicyReview(id)
	found, there, err := place.Find(ctx, r)
	if err != nil {
		return nil, err
	}
	if !there {
		return nil, notReviewed()
	}
	shown := PolicyReview{Set: id, At: found.At, Since: found.Since, Decided: found.Decided, ToAllow: found.ToAllow, ToDeny: found.ToDeny,
		Different: found.Different, Skipped: found.Skipped, Groups: []PolicyTurn{}}
	for _, g := range found.Groups {
		a, _, err := m.o.Tenant.Acknowledgement(id, g.ID).Find(ctx, r)
		if err != nil {
			return nil, err
		}
		shown.Groups = append(shown.Groups, PolicyTurn{g.ID, g.Unknown, g.Point, g.Rule, g.Org, g.Subject, g.Action, g.Count, g.Example, a.By, a.At})
	}
	body, err := json.Marshal(shown)
	if err != nil {
		return nil, fmt.Errorf("encode the review of a policy set: %w", err)
	}
	revision, err := r.Stat(ctx, place.Path)
	return &Answer{Body: body, Revision: revision}, err
}

func notReviewed() error {
	return &Conflict{"not_reviewed", "Nothing is known yet of what the policy set would change: activate it, which says so."}
}

// AcknowledgePolicies says that the caller agrees to what a set turns from deny to allow, as the last replay has it. It holds for these
// groups only: one that a later replay finds has to be acknowledged as well.
func (m *Manager) AcknowledgePolicies(ctx context.Context, q *Request, name string, groups []string, note string) (*Answer, error) {
	problem := noteProblem(note)
	if len(groups) == 0 || len(groups) > mostGroups {
		problem = errors.Join(problem, invalid("groups", fmt.Sprintf("must have the ids of 1 to %d groups of the review", mostGroups)))
	}
	if problem != nil {
		return nil, problem
	}
	view, err := m.o.Store.View(ctx)
	if err != nil {
		return nil, fmt.Errorf("acknowledge: %w", err)
	}
	defer view.Close()
	id, record, err := m.asked(ctx, view, q, "policies.acknowledge", name)
	if err != nil {
		return nil, err
	}
	if err := m.anotherPerson(ctx, view, q.Caller, record.By, pushedByCaller()); err != nil {
		return nil, err
	}
	return m.change(ctx, q, func(c *change) (*Answer, error) {
		if err := c.permit(ctx, "policies.acknowledge", aboutPolicy(id)); err != nil {
			return nil, err
		}
		// The set may have been removed and pushed again by another meanwhile.
		if again, _, err := c.tenant().PolicySet(id).Find(ctx, c); err != nil || again.By != record.By {
			return nil, cmp.Or(err, ErrChanged)
		}
		return c.acknowledge(ctx, id, groups, note)
	})
}

func (c *change) acknowledge(ctx context.Context, id string, groups []string, note string) (*Answer, error) {
	found, there, err := c.tenant().PolicyReview(id).Find(ctx, c)
	if err != nil {
		return nil, err
	}
	if !there {
		return nil, notReviewed()
	}
	by, err := c.m.whois(ctx, c, c.q.Caller)
	if err != nil {
		return nil, err
	}
	given := directory.Acknowledgement{At: c.at.UTC(), By: by, Note: note}
	var made []directory.PolicyTurn
	for i, group := range groups {
		at := slices.IndexFunc(found.Groups, func(g directory.PolicyTurn) bool { return g.ID == group })
		if at < 0 {
			return nil, invalid(fmt.Sprintf("groups.%d", i), "is not the id of a group of the last review")
		}
		place := c.tenant().Acknowledgement(id, group)
		_, already, err := place.Find(ctx, c)
		if err != nil {
			return nil, err
		}
		if already {
			continue
		}
		if err := place.Put(ctx, c, given); err != nil {
			return nil, err
		}
		made = append(made, found.Groups[at])
	}
	if len(made) > 0 {
		if err := c.done(ctx, "policies.acknowledge", aboutPolicy(id), nil, map[string]any{"groups": made, "note": note}); err != nil {
			return nil, err
		}
	}
	answer, err := c.m.reviewAnswer(ctx, c, id)
	if err == nil {
		answer.Revision = 0 // that of the commit
	}
	return answer, err
}
