package tokens

import "context"

// clientCredentials is RFC 6749 §4.4: the token is for the client itself. There is no refresh token (§4.4.3).
type clientCredentials struct{}

func (clientCredentials) prove(_ context.Context, _ *Issuer, a *asked) (*basis, error) {
	if a.client.Methods[0] == "none" {
		return nil, &Error{Code: "unauthorized_client", Description: "a client that does not authenticate cannot get a token for itself (RFC 6749 §4.4)"}
	}
	return &basis{subject: a.client}, nil
}
