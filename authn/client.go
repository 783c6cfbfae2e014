package authn

import (
	"context"

	"mandate/datastore/memo"
	"mandate/directory"
)

// Methods of client authentication (RFC 7591 §2, token_endpoint_auth_method).
const (
	secretBasic = "client_secret_basic"
	secretPost  = "client_secret_post"
)

// clientSecret is a client's id and secret, however they were sent.
type clientSecret struct {
	id     string
	secret directory.Secret
	method string
	// registered is set where the client must use the method that it registered; elsewhere it may send a secret either way.
	registered bool
}

// recogniseClient finds client credentials outside the Authorization header: in a body, or in the query where the
// server accepts that.
func recogniseClient(p Presented) ([]credential, error) {
	var found []credential
	for _, pair := range p.Clients {
		if pair.ID.IsZero() {
			return nil, &Error{Kind: Malformed, Detail: "client_secret came without client_id"}
		}
		if pair.Secret.IsZero() {
			continue // only names the client
		}
		found = append(found, clientSecret{id: pair.ID.Expose(), secret: pair.Secret, method: secretPost, registered: p.Registered})
	}
	return found, nil
}

func (c clientSecret) authenticate(ctx context.Context, a *Authenticator, r *memo.Reading) (*Principal, error) {
	client, known, err := a.tenant.Client(c.id).Find(ctx, r)
	if err != nil {
		return nil, err
	}
	secrets, _, err := a.tenant.ClientSecrets(c.id).Find(ctx, r)
	if err != nil {
		return nil, err
	}
	// An unknown client costs the same comparison as a wrong secret.
	hashes := secrets.Hashes
	if len(hashes) == 0 {
		hashes = []directory.Hash{"none"}
	}
	matched := false
	for _, h := range hashes {
		matched = a.master.Matches(c.secret, h) || matched
	}
	if !known || !matched {
		return nil, invalid()
	}
	registered := client.TokenEndpointAuthMethod
	if registered != "" && registered != c.method && (c.registered || (registered != secretBasic && registered != secretPost)) {
		return nil, &Error{Kind: Invalid, Detail: "the client is registered for another authentication method: " + registered}
	}
	return clientPrincipal(c.id, client, c.method), nil
}

func clientPrincipal(id string, client directory.Client, method string) *Principal {
	p := &Principal{Type: Client, Subject: id, Scopes: client.Scopes, Credential: CredentialRef{Type: method, ID: id}, MustProve: client.DPoPBoundAccessTokens}
	if method == secretBasic || method == secretPost {
		p.Credential.Type = "client_secret"
	}
	if method != "" {
		p.Methods = []string{method}
	}
	// A client that may act in its home organization only is bound to it; one for many names it request by request.
	if len(client.Orgs) == 0 || (len(client.Orgs) == 1 && client.Orgs[0] == client.Org) {
		p.Org = client.Org
	}
	return p
}
