package tokens

import "mandate/authn"

// clientCredentials is RFC 6749 §4.4: the token is for the client itself. There is no refresh token (§4.4.3).
type clientCredentials struct{}

func (clientCredentials) subject(client *authn.Principal, _ Request) (*authn.Principal, error) {
	return client, nil
}
