package tokens

import (
	"context"
	"fmt"
	"net/url"
	"strings"
	"time"

	"mandate/authn"
	"mandate/datastore"
	"mandate/datastore/memo"
	"mandate/directory"
)

// Pushed is the answer to a pushed authorization request (RFC 9126 §2.2).
type Pushed struct {
	RequestURI string `json:"request_uri"`
	ExpiresIn  int64  `json:"expires_in"`
}

const (
	requestURIPrefix = "urn:ietf:params:oauth:request_uri:"
	pushedLifetime   = 10 * time.Minute // time enough to sign in
	maxPushedBytes   = 16 << 10
)

// Push keeps the authorization request of an authenticated client for a while (RFC 9126). It is checked as it will be when
// the browser comes with it; every refusal is an *Error.
//
// With a DPoP proof, of which the key has this thumbprint, the code will be bound to that key (RFC 9449 §10.1).
func (i *Issuer) Push(ctx context.Context, r *memo.Reading, client *authn.Principal, parameters url.Values, thumbprint string) (*Pushed, error) {
	request := url.Values{}
	for name, values := range parameters {
		if isOurs(name) || name == "resource" {
			request[name] = values
		}
	}
	if len(request.Encode()) > maxPushedBytes {
		return nil, &Error{Code: "invalid_request", Description: fmt.Sprintf("the request is larger than %d KiB", maxPushedBytes>>10)}
	}
	switch {
	case request.Get("request_uri") != "":
		return nil, &Error{Code: "invalid_request", Description: "request_uri cannot be pushed (RFC 9126 §2.1)"}
	case request.Get("client_id") != "" && request.Get("client_id") != client.Subject:
		return nil, &Error{Code: "invalid_request", Description: "client_id is not the client that authenticated"}
	case thumbprint != "" && request.Get("dpop_jkt") != "" && request.Get("dpop_jkt") != thumbprint:
		return nil, &Error{Code: "invalid_request", Description: "dpop_jkt is not the key of the DPoP proof"}
	}
	if thumbprint != "" {
		request.Set("dpop_jkt", thumbprint)
	}
	request.Set("client_id", client.Subject)
	read, err := i.readPushed(ctx, r, request)
	if err != nil {
		return nil, err
	}
	id, err := randomID()
	if err != nil {
		return nil, err
	}
	record := directory.PushedRequest{Client: read.Client, Parameters: request, ExpiresAt: i.o.Now().Add(pushedLifetime)}
	_, err = i.store.Update(ctx, func(tx datastore.Tx) error {
		return directory.PutExpiring(ctx, tx, i.o.Tenant.PushedRequest(id), record, record.ExpiresAt)
	})
	if err != nil {
		return nil, fmt.Errorf("keep a pushed authorization request: %w", err)
	}
	return &Pushed{RequestURI: requestURIPrefix + id, ExpiresIn: int64(pushedLifetime.Seconds())}, nil
}

// readPushed checks the request as one that was pushed already.
func (i *Issuer) readPushed(ctx context.Context, r *memo.Reading, request url.Values) (*Authorization, error) {
	client, err := i.o.Tenant.Client(request.Get("client_id")).Get(ctx, r)
	if err != nil {
		return nil, err
	}
	a := &Authorization{Client: request.Get("client_id"), Record: client, MaxAge: -1, grantType: "authorization_code", pushed: "now"}
	if err := i.readTarget(a, request); err != nil {
		return nil, err
	}
	return a, i.readRest(ctx, r, a, request)
}

// pushed puts the parameters of a pushed request in the place of those of the browser.
func (i *Issuer) pushed(ctx context.Context, r *memo.Reading, a *Authorization, parameters url.Values) (url.Values, error) {
	id, ok := strings.CutPrefix(parameters.Get("request_uri"), requestURIPrefix)
	if !ok || len(parameters["request_uri"]) > 1 {
		return parameters, nil
	}
	record, found, err := i.o.Tenant.PushedRequest(id).Find(ctx, r)
	if err != nil {
		return nil, err
	}
	if !found || record.Client != a.Client || !i.o.Now().Before(record.ExpiresAt) {
		return nil, &Error{Code: "invalid_request", Description: "the application that sent you here took too long, or its request was used already: go back to it and try again"}
	}
	a.pushed = id
	return record.Parameters, nil
}

// spendPushed makes the pushed request, if it is one, good for this one code (RFC 9126 §4).
func (i *Issuer) spendPushed(ctx context.Context, tx datastore.Tx, a *Authorization) (spent bool, err error) {
	if a.pushed == "" {
		return false, nil
	}
	place := i.o.Tenant.PushedRequest(a.pushed)
	_, found, err := place.Find(ctx, tx)
	if err != nil || !found {
		return !found, err
	}
	return false, tx.Delete(place.Path)
}
