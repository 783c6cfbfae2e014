package authn

import (
	"encoding/binary"
	"fmt"
	"strings"

	"mandate/datastore/memo"
)

// maxCredentialBytes bounds what is looked at; longer tokens are refused unread.
const maxCredentialBytes = 8 << 10

// unambiguous refuses requests that carry one credential in two places or two forms.
func (p Presented) unambiguous() error {
	if len(p.Body) > 0 {
		return &Error{Kind: Ambiguous, Detail: string(p.Body[0])}
	}
	if len(p.Authorization) > 1 {
		return &Error{Kind: Ambiguous, Detail: "the request has more than one Authorization header: send one"}
	}
	for _, value := range p.Authorization {
		if len(value) > maxCredentialBytes {
			return &Error{Kind: Malformed, Detail: fmt.Sprintf("the Authorization header is longer than %d bytes", maxCredentialBytes)}
		}
		scheme, rest, _ := strings.Cut(value, " ")
		switch {
		case !strings.EqualFold(scheme, "Bearer") && !strings.EqualFold(scheme, "Basic"):
			return &Error{Kind: Malformed, Detail: "the Authorization header must use the scheme Bearer or Basic"}
		case strings.Trim(rest, " ") == "":
			return &Error{Kind: Malformed, Detail: "the Authorization header has a scheme but no credential"}
		}
	}
	return nil
}

// appendTo makes everything that was presented a part of the question who it is.
func (p Presented) appendTo(question []byte) []byte {
	registered := 0
	if p.Registered {
		registered = 1
	}
	for _, n := range [...]int{int(p.Basic), registered, len(p.Authorization), len(p.KeyPairs), len(p.Clients), len(p.Body)} {
		question = binary.AppendUvarint(question, uint64(n))
	}
	for _, value := range p.Authorization {
		question = memo.Part(question, value)
	}
	for _, pairs := range [][]Pair{p.KeyPairs, p.Clients} {
		for _, pair := range pairs {
			question = memo.Part(memo.Part(question, pair.ID.Expose()), pair.Secret.Expose())
		}
	}
	for _, problem := range p.Body {
		question = memo.Part(question, problem)
	}
	return question
}

// authorization returns the credential of the Authorization header when it uses the scheme, whose name is
// case-insensitive (RFC 9110 §11.1).
func (p Presented) authorization(scheme string) (value string, ok bool) {
	if len(p.Authorization) != 1 {
		return "", false
	}
	given, rest, _ := strings.Cut(p.Authorization[0], " ")
	if !strings.EqualFold(given, scheme) {
		return "", false
	}
	return strings.Trim(rest, " "), true
}
