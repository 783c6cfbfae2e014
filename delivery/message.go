package delivery

import "context"

// Message is a mail, by the name of its template and what that shows.
type Message struct {
	To       string            `json:"to"`
	Template string            `json:"template"`
	Data     map[string]string `json:"data"`
}

// Mailer sends mail. A *PermanentError means that it is of no use to try again.
type Mailer interface {
	Send(ctx context.Context, m Message) error
}

// PermanentError is why a message will never be taken, such as an address that does not exist (RFC 5321 §4.2.1, 5yz).
type PermanentError struct{ Err error }

func (e *PermanentError) Error() string { return e.Err.Error() }
func (e *PermanentError) Unwrap() error { return e.Err }
