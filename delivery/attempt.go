package delivery

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/go-json-experiment/json"

	"mandate/datastore"
	"mandate/directory"
)

const (
	mailTimeout    = 30 * time.Second
	commitTimeout  = 10 * time.Second
	deadLetterLife = 30 * 24 * time.Hour
	endedAtOnce    = 50 // deliveries to an endpoint that is not there any more
)

// outcome of an attempt.
type outcome struct {
	problem    string // empty for a success
	end        bool   // it is of no use to try again
	drop       bool   // and nobody would want to
	gone       bool   // the endpoint wants nothing any more
	retryAfter time.Duration
}

// delays are those of Standard Webhooks between one attempt and the next.
func delays() []time.Duration {
	return []time.Duration{5 * time.Second, 5 * time.Minute, 30 * time.Minute, 2 * time.Hour, 5 * time.Hour,
		10 * time.Hour, 14 * time.Hour, 20 * time.Hour, 24 * time.Hour}
}

// jittered is the time within a fifth around d, so that what failed together is not tried together.
func jittered(d time.Duration) time.Duration {
	var random [2]byte
	_, _ = rand.Read(random[:]) // never fails
	return d*4/5 + time.Duration(uint64(d*2/5)*uint64(binary.LittleEndian.Uint16(random[:]))/(1<<16))
}

// attempt sends what waits at the path, and writes down what came of it. Nothing is written when ctx ended it: then it is
// sent again, by who runs next.
func (q *Queue) attempt(ctx context.Context, path datastore.Path, e entry) error {
	result, err := q.send(ctx, e)
	if err != nil {
		return err
	}
	if ctx.Err() != nil && result.problem != "" {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), commitTimeout)
	defer cancel()
	return q.record(ctx, path, e, result)
}

// send makes the one attempt. Its error is that of the store.
func (q *Queue) send(ctx context.Context, e entry) (outcome, error) {
	payload, err := q.o.Master.Open(e.Sealed, q.sealedFor(e))
	if err != nil {
		return outcome{problem: "the payload cannot be opened", end: true}, nil
	}
	if e.Endpoint == "" {
		return q.mail(ctx, payload), nil
	}
	view, err := q.o.Store.View(ctx)
	if err != nil {
		return outcome{}, fmt.Errorf("open a view: %w", err)
	}
	defer view.Close()
	w, found, err := q.o.Tenant.Webhook(e.Endpoint).Find(ctx, view)
	if err != nil {
		return outcome{}, err
	}
	if !found || identify(w) != e.Of {
		return outcome{problem: "the webhook was deleted", end: true, drop: true}, nil
	}
	if w.Status != directory.Active {
		return outcome{problem: "the webhook is disabled", end: true}, nil
	}
	secrets, err := q.o.Tenant.WebhookSecrets(ctx, view, q.o.Master, e.Endpoint, q.o.Now())
	if err != nil {
		return outcome{problem: "the webhook's secret cannot be used"}, nil
	}
	view.Close()
	return q.post(ctx, e, w.URL, secrets, payload), nil
}

func (q *Queue) mail(ctx context.Context, payload []byte) outcome {
	var m Message
	if err := json.Unmarshal(payload, &m); err != nil {
		return outcome{problem: "the message cannot be read", end: true}
	}
	if q.o.Mailer == nil {
		return outcome{problem: ErrNoMail.Error()}
	}
	ctx, cancel := context.WithTimeout(ctx, mailTimeout)
	defer cancel()
	err := q.o.Mailer.Send(ctx, m)
	if err == nil {
		return outcome{}
	}
	permanent := (*PermanentError)(nil)
	return outcome{problem: clip(err.Error()), end: errors.As(err, &permanent)}
}

// record moves the entry to where the outcome leads it.
func (q *Queue) record(ctx context.Context, path datastore.Path, e entry, result outcome) error {
	now := q.o.Now()
	e.Attempts++
	e.LastError = result.problem
	dead := result.problem != "" && !result.drop && (result.end || e.Attempts > len(delays()))
	disabled := false
	_, err := q.o.Store.Update(ctx, func(tx datastore.Tx) error {
		disabled = false
		if _, found, err := (directory.Place[entry]{Path: path}).Find(ctx, tx); err != nil || !found {
			return err
		}
		if err := tx.Delete(path); err != nil {
			return fmt.Errorf("end an attempt: %w", err)
		}
		switch {
		case dead:
			if err := q.bury(ctx, tx, e, now); err != nil || !result.gone {
				return err
			}
			var err error
			disabled, err = q.disable(ctx, tx, e)
			return err
		case result.problem != "" && !result.drop:
			return q.put(ctx, tx, e, now.Add(max(jittered(delays()[e.Attempts-1]), result.retryAfter)))
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("record a delivery: %w", err)
	}
	if !result.drop {
		q.tell(e, dead, disabled)
	}
	return nil
}

// tell logs and counts how an attempt ended.
func (q *Queue) tell(e entry, dead, disabled bool) {
	log := q.o.Log.With("tenant", q.o.Tenant, "delivery", e.name(), "type", e.Type, "attempts", e.Attempts)
	switch {
	case dead:
		q.metrics.count(e, "dead")
		log.Warn("a delivery is given up", "why", e.LastError)
	case e.LastError != "":
		q.metrics.count(e, "failed")
		log.Debug("a delivery failed", "why", e.LastError)
	default:
		q.metrics.count(e, "delivered")
	}
	if disabled {
		log.Warn("a webhook is gone, and disabled now", "webhook", e.Endpoint)
	}
}

// bury makes the entry a dead letter, which is kept for a time.
func (q *Queue) bury(ctx context.Context, tx datastore.Tx, e entry, now time.Time) error {
	e.DiedAt, e.ExpiresAt = now.UTC(), now.Add(deadLetterLife).UTC()
	return directory.PutExpiring(ctx, tx, q.deadLetter(e.Endpoint, e.ID), e, e.ExpiresAt)
}

// disable disables the endpoint that the entry was sent to.
func (q *Queue) disable(ctx context.Context, tx datastore.Tx, e entry) (disabled bool, err error) {
	w, found, err := q.o.Tenant.Webhook(e.Endpoint).Find(ctx, tx)
	if err != nil || !found || identify(w) != e.Of || w.Status != directory.Active {
		return false, err
	}
	w.Status = directory.Disabled
	return true, q.o.Tenant.PutWebhook(ctx, tx, e.Endpoint, w)
}

// end takes some of an endpoint's deliveries from the outbox, all that sort after that path, due or not: to the dead
// letters for the reason given, or away when nobody can replay them any more.
func (q *Queue) end(ctx context.Context, endpoint string, after datastore.Path, reason string, drop bool) error {
	var buried []entry
	_, err := q.o.Store.Update(ctx, func(tx datastore.Tx) error {
		buried = nil
		ended := 0
		for fact, err := range tx.Scan(ctx, q.lane(endpoint), after) {
			if err != nil {
				return fmt.Errorf("end the deliveries to a webhook: %w", err)
			}
			if ended++; ended > endedAtOnce {
				return nil
			}
			if err := tx.Delete(fact.Path); err != nil {
				return fmt.Errorf("end the deliveries to a webhook: %w", err)
			}
			if drop {
				continue
			}
			var e entry
			if err := json.Unmarshal(fact.Value, &e); err != nil {
				return fmt.Errorf("read %s: %w", fact.Path, err)
			}
			e.LastError = reason
			if err := q.bury(ctx, tx, e, q.o.Now()); err != nil {
				return err
			}
			buried = append(buried, e)
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, e := range buried {
		q.tell(e, true, false)
	}
	return nil
}
