package tokens

import (
	"context"
	"errors"

	"mandate/authn"
)

// jwtBearer is RFC 7523 §2.1: the JWT of a workload stands for a client, and so for its authentication as well (§3.1). The
// token is for that client itself, as with client_credentials.
type jwtBearer struct{}

func (jwtBearer) prove(ctx context.Context, i *Issuer, a *asked) (*basis, error) {
	if a.Assertion.IsZero() {
		return nil, &Error{Code: "invalid_request", Description: "the parameter assertion is missing"}
	}
	client, err := i.o.Authn.Federated(ctx, a.reading, a.Assertion)
	if failed := (*authn.Error)(nil); errors.As(err, &failed) && failed.Kind != authn.Busy {
		return nil, &Error{Code: "invalid_grant", Description: "the assertion is not good: " + failed.Detail}
	}
	if err != nil {
		return nil, err
	}
	named := a.Presented.ClientID
	if (named != "" && named != client.Subject) || (a.client != nil && a.client.Subject != client.Subject) {
		return nil, &Error{Code: "invalid_grant", Description: "the assertion stands for another client than the one that sends it"}
	}
	a.client = client
	return &basis{subject: client, notAfter: expiry(client)}, nil
}
