package authn

import (
	"context"
	"crypto/x509"

	"mandate/datastore/memo"
)

// publicMethod is the method of clients that have no credential (RFC 7591 §2).
const publicMethod = "none"

// namedClient is a client that the request only names: a public one (RFC 6749 §2.1), or one that the certificate of the
// connection authenticates (RFC 8705 §2). Only what it registered tells them apart, as a public client may have a
// certificate, too (RFC 8705 §4).
type namedClient struct {
	id           string
	certificates []*x509.Certificate
}

func recogniseNamedClient(p Presented) ([]credential, error) {
	if p.ClientID == "" || len(p.Authorization) > 0 || len(p.Clients) > 0 || !p.Assertion.IsZero() {
		return nil, nil
	}
	return []credential{namedClient{p.ClientID, p.Certificates}}, nil
}

func (c namedClient) authenticate(ctx context.Context, a *Authenticator, r *memo.Reading) (*Principal, error) {
	client, _, err := a.tenant.Client(c.id).Find(ctx, r)
	if err != nil {
		return nil, err
	}
	var confirms *Confirmation
	switch client.TokenEndpointAuthMethod {
	case publicMethod:
	case tlsClientAuth:
		confirms, err = c.vouchedFor(a, r, client)
	case selfSignedTLSClientAuth:
		confirms, err = c.selfSigned(a, r, client)
	default:
		err = onlyNamed()
	}
	if err != nil {
		return nil, err
	}
	p := clientPrincipal(c.id, client, client.TokenEndpointAuthMethod)
	p.Confirms = confirms
	return p, nil
}

// onlyNamed is the one answer to a request that authenticates no client but names one, whether or not there is such a
// client.
func onlyNamed() error {
	return &Error{Kind: Invalid, Detail: "client_id names a client that the request does not authenticate: send its secret, assertion or " +
		"certificate, by the method that it is registered for"}
}
