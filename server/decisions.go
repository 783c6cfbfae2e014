package server

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"mandate/decisionlog"
	"mandate/manage"
)

const (
	usualRecords = 100
	maxRecords   = manage.MaxPage
	// maxPageBytes is about how much of inputs a page has: the next one goes on with the others.
	maxPageBytes = 8 << 20
	// maxFindTime bounds a search, which goes on at its cursor.
	maxFindTime = 10 * time.Second
	// maxTail is for how long a listing waits for the next record: less than a response may take to be written.
	maxTail = 10 * time.Second
)

// recordRoutes show what was decided. The policy mandate.manage decides who may see it, as the actions decisions.list and
// decisions.get; what belongs to an organization has that as its property.
func (h *handler) recordRoutes(base string) {
	h.server.app.Get(base+"/v1/decisions", h.manages((*managing).listRecords))
	h.server.app.Get(base+"/v1/decisions/:id", h.manages(heavy((*managing).getRecord)))
}

// recordListing is a page of the decision log. Next goes on where it ends, with older records.
type recordListing struct {
	Items []decisionlog.DecisionRecord `json:"items"`
	Next  string                       `json:"next_cursor,omitempty"`
	// After is where a listing of what comes next goes on.
	After string `json:"after,omitempty"`
}

// recordQuery is what a listing is asked for.
type recordQuery struct {
	decisionlog.Query
	limit int
	wait  time.Duration
}

func recordParameters() []string {
	return []string{"limit", "cursor", "after", "wait", "since", "until", "kind", "point", "outcome", "subject", "resource", "action", "org", "caller", "reason",
		"policy_revision"}
}

func (m *managing) recordQuery() (recordQuery, error) {
	q := recordQuery{limit: usualRecords}
	for name, value := range m.c.Request().URI().QueryArgs().All() {
		parameter, text := string(name), string(value)
		if parameter == "at_least" || isCredential(parameter) {
			continue
		}
		if text == "" || !utf8.ValidString(text) {
			return q, badRequest(parameter + " is empty or not UTF-8: leave it out")
		}
		if err := q.set(parameter, text, m.tenant.Now()); err != nil {
			return q, err
		}
	}
	if q.wait > 0 && !q.OldestFirst {
		return q, badRequest("wait goes with after: the listing of what comes next")
	}
	return q, nil
}

func (q *recordQuery) set(parameter, text string, now time.Time) error {
	var err error
	switch parameter {
	case "limit":
		q.limit, err = strconv.Atoi(text)
		if err != nil || q.limit < 1 || q.limit > maxRecords {
			return badRequest(fmt.Sprintf("limit must be 1 to %d", maxRecords))
		}
	case "wait":
		seconds, err := strconv.Atoi(text)
		if q.wait = time.Duration(seconds) * time.Second; err != nil || seconds < 0 || q.wait > maxTail {
			return badRequest(fmt.Sprintf("wait must be 0 to %d seconds", maxTail/time.Second))
		}
	case "cursor":
		if q.Until, err = decisionlog.ParseID(text); err != nil {
			return badRequest("cursor must be the next_cursor of an answer")
		}
	case "after":
		after := decisionlog.IDAt(now)
		if text != "now" {
			if after, err = decisionlog.ParseID(text); err != nil {
				return badRequest("after must be now, or the id of a record")
			}
		}
		q.From, q.OldestFirst = after+1, true
	case "since", "until":
		at, err := instant(text, now)
		if err != nil {
			return badRequest(parameter + " must be a time (RFC 3339), or for how long back, such as 90m")
		}
		if id := decisionlog.IDAt(at); parameter == "since" {
			q.From = max(q.From, id)
		} else if q.Until == 0 || id < q.Until {
			q.Until = id
		}
	case "outcome":
		allow := text == "allow"
		if !allow && text != "deny" {
			return badRequest("outcome must be allow or deny")
		}
		q.Allow = &allow
	default:
		member := map[string]*string{"point": &q.Point, "subject": &q.Subject, "resource": &q.Resource, "action": &q.Action, "org": &q.Org, "caller": &q.Caller,
			"reason": &q.Reason, "policy_revision": &q.PolicyRevision, "kind": (*string)(&q.Kind)}[parameter]
		if member == nil {
			return badRequest("the query can have " + strings.Join(recordParameters(), ", "))
		}
		*member = text
	}
	return nil
}

// instant is a time, or one as long ago as the text says.
func instant(text string, now time.Time) (time.Time, error) {
	if ago, err := time.ParseDuration(text); err == nil && ago >= 0 {
		return now.Add(-ago), nil
	}
	return time.Parse(time.RFC3339, text)
}

// permitRecords asks whether the caller may see the records of an organization, or of all when it is empty.
func (m *managing) permitRecords(action, id, org string) error {
	resource := map[string]any{"type": "decision", "id": id}
	if org != "" {
		resource["properties"] = map[string]string{"org": org}
	}
	_, err := m.manage(action, resource)
	return err
}

// seesOnly says whether the caller, who may see the records of the organization, may not see those of all.
func (m *managing) seesOnly(action, id, org string) bool {
	return org != "" && m.permitRecords(action, id, "") != nil
}

func (m *managing) listRecords() error {
	q, err := m.recordQuery()
	if err != nil {
		return err
	}
	if err := m.permitRecords("decisions.list", "*", q.Org); err != nil {
		return err
	}
	listing, err := m.findRecords(q)
	if err != nil {
		return err
	}
	if m.seesOnly("decisions.list", "*", q.Org) {
		for i := range listing.Items {
			if err := withinRecord(&listing.Items[i].Description, q.Org); err != nil {
				return err
			}
		}
	}
	return writeJSON(m.c, listing)
}

// page is what is found until ctx ends. Unless it is whole, there may be more to find already.
func (q recordQuery) page(ctx context.Context, folder, tenant string) (listing *recordListing, whole bool, err error) {
	listing = &recordListing{Items: []decisionlog.DecisionRecord{}}
	if q.OldestFirst {
		listing.After = (q.From - 1).String()
	}
	end := func(at decisionlog.ID) {
		if q.OldestFirst {
			listing.After = at.String()
		} else {
			listing.Next = at.String()
		}
	}
	size := 0
	for r, err := range decisionlog.Find(ctx, folder, q.Query) {
		var late *decisionlog.Interrupted
		if errors.As(err, &late) && errors.Is(err, context.DeadlineExceeded) {
			if late.At == 0 {
				return nil, false, &manage.Unavailable{Code: "busy", RetryAfter: time.Second, Message: "the decision log could not be read in time: try again"}
			}
			end(late.At)
			return listing, false, nil
		}
		if err != nil {
			return nil, false, fmt.Errorf("find decisions: %w", err)
		}
		listing.add(q, r, tenant)
		size += len(r.Description.Input) + len(r.Description.Obligations) + len(r.Description.Granted)
		if len(listing.Items) == q.limit || size >= maxPageBytes {
			end(r.ID)
			return listing, false, nil
		}
	}
	return listing, true, nil
}

func (l *recordListing) add(q recordQuery, r decisionlog.Record, tenant string) {
	l.Items = append(l.Items, r.Document(tenant))
	if q.OldestFirst {
		l.After = r.ID.String()
	}
}

// pageNow is a page of what is there already.
func (m *managing) pageNow(q recordQuery) (listing *recordListing, whole bool, err error) {
	release, err := m.slot()
	if err != nil {
		return nil, false, err
	}
	defer release()
	ctx, cancel := context.WithTimeout(m.server.base, maxFindTime)
	defer cancel()
	return q.page(ctx, m.tenant.Engine.Log().Folder(), string(m.tenant.ID))
}

func (m *managing) findRecords(q recordQuery) (*recordListing, error) {
	listing, whole, err := m.pageNow(q)
	if err != nil || !whole || len(listing.Items) > 0 || q.wait == 0 {
		return listing, err
	}
	release, ok := m.server.tails.take(m.asking)
	if !ok {
		return nil, &manage.Unavailable{Code: "too_many_waiting", RetryAfter: maxTail,
			Message: "too many requests wait for records at once: wait with fewer, or ask without wait"}
	}
	defer release()
	waiting, stop := context.WithTimeout(m.server.base, q.wait)
	defer stop()
	for r, err := range m.tenant.Engine.Log().Follow(waiting, q.From-1, q.Query) {
		if err != nil && waiting.Err() == nil {
			return nil, fmt.Errorf("follow decisions: %w", err)
		}
		if err == nil {
			listing.add(q, r, string(m.tenant.ID))
		}
		break // if more has come, the next request has it at once
	}
	return listing, nil
}

func (m *managing) getRecord() error {
	record, err := m.record("decisions.get")
	if err != nil {
		return err
	}
	if org := record.Description.About().Org; m.seesOnly("decisions.get", record.ID.String(), org) {
		if err := withinRecord(&record.Description, org); err != nil {
			return err
		}
	}
	return writeJSON(m.c, record.Document(string(m.tenant.ID)))
}

// record is the record that the path names, for whom the policy lets do this with it. Of one that is not there, the same is
// said as of one of nobody's organization. The log may be read for it, so the caller must have a slot.
func (m *managing) record(action string) (decisionlog.Record, error) {
	ids, err := m.ids()
	if err != nil {
		return decisionlog.Record{}, err
	}
	id, err := decisionlog.ParseID(ids[0])
	var record decisionlog.Record
	log := m.tenant.Engine.Log()
	if err == nil && id > log.Newest() {
		err = decisionlog.ErrNotFound
	}
	if err == nil {
		ctx, cancel := context.WithTimeout(m.server.base, maxFindTime)
		defer cancel()
		record, err = decisionlog.Get(ctx, log.Folder(), id)
		if err != nil && !errors.Is(err, decisionlog.ErrNotFound) {
			return record, fmt.Errorf("read a decision: %w", err)
		}
	}
	if permitErr := m.permitRecords(action, ids[0], record.Description.About().Org); permitErr != nil {
		return record, permitErr
	}
	if err != nil {
		return record, manage.ErrNotFound
	}
	return record, nil
}
