package authn

import (
	"encoding/binary"
	"fmt"
	"strconv"
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
		case !strings.EqualFold(scheme, "Bearer") && !strings.EqualFold(scheme, "DPoP") && !strings.EqualFold(scheme, "Basic"):
			return &Error{Kind: Malformed, Detail: "the Authorization header must use the scheme Bearer, DPoP or Basic"}
		case strings.Trim(rest, " ") == "":
			return &Error{Kind: Malformed, Detail: "the Authorization header has a scheme but no credential"}
		case p.Registered && !strings.EqualFold(scheme, "Basic"):
			return p.onlyClients()
		}
	}
	if p.Registered && len(p.KeyPairs) > 0 {
		return p.onlyClients()
	}
	return nil
}

func (p Presented) onlyClients() error {
	if len(p.Authorization)+len(p.KeyPairs)+len(p.Clients) > 1 || !p.Assertion.IsZero() {
		return ambiguous()
	}
	return &Error{Kind: Invalid, Detail: "only OAuth clients authenticate here, by the method that they are registered for"}
}

// appendTo makes everything that was presented a part of the question who it is, except Address.
func (p Presented) appendTo(question []byte) []byte {
	for _, flag := range [...]bool{p.Registered, p.Foreign} {
		question = strconv.AppendBool(question, flag)
	}
	for _, n := range [...]int{int(p.Basic), len(p.Authorization), len(p.KeyPairs), len(p.Clients), len(p.Body),
		len(p.Certificates), len(p.Proofs)} {
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
	for _, certificate := range p.Certificates {
		question = memo.Part(question, certificate.Raw)
	}
	for _, proof := range p.Proofs {
		question = memo.Part(question, proof)
	}
	for _, text := range [...]string{p.ClientID, p.Assertion.Expose(), p.AssertionType, p.Method, p.URL} {
		question = memo.Part(question, text)
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

// Empty says whether there is nothing that could be a credential.
func (p Presented) Empty() bool {
	return len(p.Authorization)+len(p.KeyPairs)+len(p.Clients)+len(p.Body) == 0 && p.Assertion.IsZero() && p.ClientID == ""
}
