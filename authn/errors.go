package authn

import "time"

// Kind says in which way authentication failed.
type Kind int

const (
	Missing           Kind = iota // no credential at all
	Ambiguous                     // more than one, or one sent in two places
	Malformed                     // a part is missing or cannot be decoded
	Invalid                       // unknown, wrong, expired, or for another audience
	Inactive                      // genuine, but something that it rests on is suspended or gone
	VendorRefused                 // a genuine pair whose vendor-org relationship does not hold
	InsufficientScope             // genuine, but without the scope that the route needs
	Busy                          // too many password checks wait already or were wrong, or a provider cannot be asked
	BadProof                      // the DPoP proof is missing or not good (RFC 9449 §5, §7.1)
	NonceRequired                 // the DPoP proof is without the nonce that the server wants (RFC 9449 §8, §9)
)

// Error is a failed authentication. Detail is for the caller: it says what to do and nothing about what exists. Code
// is stable and finer than Kind where the caller has proved to hold the credential.
type Error struct {
	Kind   Kind
	Code   string
	Scope  string // the scope that is missing, for InsufficientScope
	Detail string
	// RetryAfter is how long to wait, for Busy, when that is known.
	RetryAfter time.Duration
}

func (e *Error) Error() string { return e.Detail }

// invalid is the one answer to a credential that is unknown or wrong, whichever it is.
func invalid() error {
	return &Error{Kind: Invalid, Detail: "the credential is not valid"}
}

func ambiguous() error {
	return &Error{Kind: Ambiguous, Detail: "the request has more than one credential: send exactly one"}
}

func inactive(code, detail string) error {
	return &Error{Kind: Inactive, Code: code, Detail: detail}
}
