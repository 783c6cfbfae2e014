package authn

import (
	"context"
	"encoding/base64"
	"errors"
	"net/url"
	"strings"

	"mandate/datastore/memo"
	"mandate/directory"
)

// basic is an Authorization: Basic credential: a client's (its two parts form-encoded, RFC 6749 §2.3.1) or a user's (as
// they are, RFC 7617).
type basic struct {
	name    string
	secret  directory.Secret
	meaning BasicMeaning
	address string
	// registered is set where a client must use the method that it registered.
	registered bool
}

func recogniseBasic(p Presented) ([]credential, error) {
	value, ok := p.authorization("Basic")
	if !ok {
		return nil, nil
	}
	decoded, err := base64.StdEncoding.DecodeString(value)
	if err != nil {
		return nil, &Error{Kind: Malformed, Detail: "the Basic credential is not base64"}
	}
	name, secret, ok := strings.Cut(string(decoded), ":")
	if !ok {
		return nil, &Error{Kind: Malformed, Detail: "the Basic credential has no colon between name and secret"}
	}
	if name == "" || secret == "" {
		return nil, &Error{Kind: Malformed, Detail: "the Basic credential lacks the name or the secret"}
	}
	c := basic{name: name, secret: directory.NewSecret(secret), meaning: p.Basic, address: p.Address, registered: p.Registered}
	if p.Registered {
		c.meaning = BasicClient
	}
	return []credential{c}, nil
}

func (c basic) authenticate(ctx context.Context, a *Authenticator, r *memo.Reading) (*Principal, error) {
	switch c.meaning {
	case BasicUser:
		return a.password(ctx, r, c.name, c.secret, c.address)
	case BasicClient:
		client, err := c.asClient()
		if err != nil {
			return nil, err
		}
		return client.authenticate(ctx, a, r)
	}
	client, err := c.asClient()
	if err == nil {
		_, known, err := a.tenant.Client(client.id).Find(ctx, r)
		if err != nil {
			return nil, err
		}
		if known {
			principal, err := client.authenticate(ctx, a, r)
			// A client's wrong secret takes as long as a user's wrong password, and counts as one: where both can sign in, the
			// answer must not tell which ids are clients.
			if wrong := (*Error)(nil); errors.As(err, &wrong) && wrong.Kind == Invalid {
				return nil, a.wrongPassword(ctx, c.name, c.secret, c.address)
			}
			return principal, err
		}
	}
	return a.password(ctx, r, c.name, c.secret, c.address)
}

func (c basic) asClient() (clientSecret, error) {
	id, err := url.QueryUnescape(c.name)
	secret, err2 := url.QueryUnescape(c.secret.Expose())
	if err != nil || err2 != nil || id == "" || secret == "" {
		return clientSecret{}, &Error{Kind: Malformed, Detail: "the client's id and secret must be form-encoded in a Basic credential (RFC 6749 §2.3.1)"}
	}
	return clientSecret{id: id, secret: directory.NewSecret(secret), method: secretBasic, registered: c.registered}, nil
}
