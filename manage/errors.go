package manage

import (
	"errors"
	"time"

	"mandate/directory"
)

// hidden is the reason code by which the policy says that the caller must not learn whether there is anything.
const hidden = "not_found"

var (
	// ErrNotFound is the error for what does not exist, and for what the policy hides.
	ErrNotFound = errors.New("there is nothing with this id here, or not for this caller")
	// ErrChanged means that the record has not the revision that the caller expects.
	ErrChanged = errors.New("the record is not as If-Match or If-None-Match expects it: read it again and decide anew")
	// ErrKeyReused means that the idempotency key has been used for another request.
	ErrKeyReused = errors.New("the idempotency key has been used for another request: use a new one for each")
)

// Refusal is a denial by the policy, with its first reason.
type Refusal struct{ Code, Message string }

func (e *Refusal) Error() string { return e.Message }

// Conflict means that the state of the directory does not allow the operation, whoever asks.
type Conflict struct{ Code, Message string }

func (e *Conflict) Error() string { return e.Message }

func alreadyThere() error {
	return &Conflict{"already_exists", "There is a record with this id already: choose another one, or replace it with PUT."}
}

// Unavailable means that something outside is needed that does not answer now.
type Unavailable struct {
	Code, Message string
	RetryAfter    time.Duration
}

func (e *Unavailable) Error() string { return e.Message }

// Invalid is a request that no record can be made of.
type Invalid struct{ Problems directory.Problems }

func (e *Invalid) Error() string { return e.Problems.Error() }

func invalid(field, message string) error {
	return &Invalid{directory.Problems{{Field: field, Message: message}}}
}
