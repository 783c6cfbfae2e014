package directory

import (
	"crypto"
	"crypto/x509"
	"encoding/base64"
	"maps"
	"net/url"
	"slices"
	"strings"
)

const (
	maxSecrets = 2 // live ones of a client: the new and the old
	maxRules   = 100
)

func (c *checker) checkClients(master *MasterKey) {
	pairs := map[[2]string]string{} // issuer and subject to the client for which they stand
	for i := range c.file.Clients {
		client := &c.file.Clients[i]
		here := item("clients", i)
		c.text(here+".name", client.Name)
		c.oneOf(here+".kind", client.Kind, "service", "web", "native", "spa")
		c.oneOf(here+".party", client.Party, "first", "third")
		c.oneOf(here+".id_token_signed_response_alg", client.IDTokenSignedResponseAlg, SigningAlgorithms()...)
		c.status(here+".status", client.Status, Active, Disabled)
		c.known("orgs", client.Org, here+".org")
		for j, org := range client.Orgs {
			c.known("orgs", org, item(here+".orgs", j))
		}
		c.known("vendors", client.Vendor, here+".vendor")
		c.scopes(here+".scopes", client.Scopes)
		c.scopes(here+".grant_types", client.GrantTypes)
		for j, audience := range client.Audiences {
			c.absoluteURI(item(here+".audiences", j), audience)
		}
		c.lifetime(here+".token_lifetime", client.TokenLifetime)
		c.redirects(here+".redirect_uris", client)
		c.clientAuthentication(here, client)
		c.clientSecrets(here, client, master)
		c.federated(here+".federated_credentials", client, pairs)
	}
}

func (c *checker) redirects(field string, client *ClientEntry) {
	if len(client.RedirectURIs) == 0 && slices.Contains(client.GrantTypes, "authorization_code") {
		c.report(field, "is missing: codes are sent nowhere else")
	}
	for i, s := range client.RedirectURIs {
		u, err := url.Parse(s)
		switch {
		case err != nil || strings.ContainsAny(s, "#*") || !visible(s) || len(s) > maxTextBytes || u.User != nil:
		case u.Scheme == "https" && u.Hostname() != "":
			continue
		case u.Scheme == "http" && loopback(u): // RFC 8252 §7.3
			continue
		case client.Kind == "native" && u.Host == "" && strings.Contains(u.Scheme, "."): // RFC 8252 §7.1
			continue
		}
		c.report(item(field, i), "must be an https URI, an http one of 127.0.0.1, [::1] or localhost, or for native clients one of a "+
			"private-use scheme such as com.example.app:/callback; without user, fragment and wildcard")
	}
}

// JWTBearerGrant is that of workloads (RFC 7523 §2.1).
const JWTBearerGrant = "urn:ietf:params:oauth:grant-type:jwt-bearer"

// clientAuthentication checks that the client has what its method needs (RFC 7591 §2, RFC 8705 §2).
func (c *checker) clientAuthentication(here string, client *ClientEntry) {
	method := client.TokenEndpointAuthMethod
	field := here + ".token_endpoint_auth_method"
	c.oneOf(field, method, "client_secret_basic", "client_secret_post", "private_key_jwt", "tls_client_auth", "self_signed_tls_client_auth", "none")
	switch method {
	case "none": // RFC 6749 §2.1, §4.4
		workload := len(client.FederatedCredentials) > 0 && !slices.ContainsFunc(client.GrantTypes, func(g string) bool { return g != JWTBearerGrant })
		if client.Kind != "native" && client.Kind != "spa" && !workload {
			c.report(field, "is none, which is for clients of the kinds native and spa, and for workloads with federated_credentials and no other grant than %s", JWTBearerGrant)
		}
		if slices.Contains(client.GrantTypes, "client_credentials") {
			c.report(field, "is none, so the client has no credentials for client_credentials")
		}
	case "tls_client_auth":
		if client.TLSClientAuthSubjectDN == "" {
			c.report(here+".tls_client_auth_subject_dn", "is missing: %s needs it", method)
		}
	case "private_key_jwt", "self_signed_tls_client_auth":
		if client.JWKS == nil {
			c.report(here+".jwks", "is missing: %s needs it", method)
		}
	}
	c.text(here+".tls_client_auth_subject_dn", client.TLSClientAuthSubjectDN)
	if _, ok := ParseDN(client.TLSClientAuthSubjectDN); !ok && client.TLSClientAuthSubjectDN != "" {
		c.report(here+".tls_client_auth_subject_dn", "must be a distinguished name such as CN=billing,O=Acme,C=DE (RFC 4514), without values in hexadecimal")
	}
	if client.JWKS != nil {
		c.jwks(here+".jwks", client.JWKS, method == "self_signed_tls_client_auth")
	}
}

// jwks checks a set of public keys (RFC 7517 §5); certificates says whether each must come with its own.
func (c *checker) jwks(field string, jwks map[string]any, certificates bool) {
	keys, _ := jwks["keys"].([]any)
	if len(keys) == 0 || len(keys) > maxRules {
		c.report(field+".keys", "must be a list of 1 to %d keys", maxRules)
		return
	}
	kids := map[string]int{}
	for i, k := range keys {
		here := item(field+".keys", i)
		key, _ := k.(map[string]any)
		if kty, _ := key["kty"].(string); kty == "" {
			c.report(here+".kty", "is missing")
			continue
		}
		if name := secretMember(key); name != "" {
			c.report(here+"."+name, "is a part of a secret key: only public keys may leave the client")
			continue
		}
		if kid, _ := key["kid"].(string); kid != "" {
			if former, twice := kids[kid]; twice {
				c.report(here+".kid", "is that of keys[%d] already", former)
			}
			kids[kid] = i
		}
		c.publicKey(here, key, certificates)
	}
}

// publicKey checks that the key can be used: for signatures unless it says otherwise, and as its certificate has it.
func (c *checker) publicKey(here string, key map[string]any, certificate bool) {
	chain, given := key["x5c"]
	if certificate && !given {
		c.report(here+".x5c", "is missing: self_signed_tls_client_auth needs it")
	}
	members := maps.Clone(key)
	delete(members, "x5c") // read here, so that what is wrong is told apart
	public, _, err := PublicKey(members)
	if err != nil {
		c.report(here, "cannot be read: its kty is not known, a member of it is missing or wrong, or it is an RSA key of less than %d bits", minRSABits)
		return
	}
	use, _ := key["use"].(string)
	suits := func(alg string) bool { return Suits(public, alg) }
	if (use == "" || use == "sig") && !slices.ContainsFunc(AcceptedAlgorithms(), suits) {
		c.report(here, "is for none of %s, where RSA keys have at most %d bits", strings.Join(AcceptedAlgorithms(), ", "), maxRSABits)
	}
	if given && !certifies(chain, public) {
		c.report(here+".x5c", "must be a list of certificates in base64 DER, the first with this very key (RFC 7517 §4.7)")
	}
}

// certifies says whether the x5c of a key is a chain of certificates of which the first has the key.
func certifies(x5c any, key crypto.PublicKey) bool {
	chain, _ := x5c.([]any)
	for i, entry := range chain {
		text, _ := entry.(string)
		der, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			return false
		}
		certificate, err := x509.ParseCertificate(der)
		if err != nil {
			return false
		}
		own, ok := key.(interface{ Equal(crypto.PublicKey) bool })
		if i == 0 && (!ok || !own.Equal(certificate.PublicKey)) {
			return false
		}
	}
	return len(chain) > 0
}

func (c *checker) clientSecrets(here string, client *ClientEntry, master *MasterKey) {
	given := 0
	for _, is := range []bool{!client.Secret.IsZero(), len(client.Secrets) > 0, len(client.SecretHashes) > 0} {
		if is {
			given++
		}
	}
	switch {
	case given > 1:
		c.report(here+".secret", "is given together with secrets or secret_hashes: give one of them")
	case given > 0 && !usesSecret(client.TokenEndpointAuthMethod):
		c.report(here+".secret", "has no use: the client authenticates with %s", client.TokenEndpointAuthMethod)
	}
	if len(client.Secrets) > maxSecrets {
		c.report(here+".secrets", "has more than the new one and the old one")
	}
	if len(client.SecretHashes) > maxSecrets {
		c.report(here+".secret_hashes", "has more than the new one and the old one")
	}
	c.secret(here+".secret", client.Secret, "", master)
	for i, secret := range client.Secrets {
		if secret.IsZero() {
			c.report(item(here+".secrets", i), "is empty")
		}
		c.secret(item(here+".secrets", i), secret, "", master)
	}
	for i, hash := range client.SecretHashes {
		if err := master.Check(hash); err != nil {
			c.report(item(here+".secret_hashes", i), "%v", err)
		}
	}
}

// federated checks the trust rules of a client. Pairs are those of the clients before it.
func (c *checker) federated(field string, client *ClientEntry, pairs map[[2]string]string) {
	if len(client.FederatedCredentials) > maxRules {
		c.report(field, "has more than %d entries", maxRules)
	}
	for i, rule := range client.FederatedCredentials {
		here := item(field, i)
		c.issuer(here+".issuer", rule.Issuer)
		for _, part := range []struct{ name, value string }{{"subject", rule.Subject}, {"audience", rule.Audience}} {
			if part.value == "" {
				c.report(here+"."+part.name, "is missing")
			}
			c.text(here+"."+part.name, part.value)
		}
		c.oneOf(here+".algorithm", rule.Algorithm, AcceptedAlgorithms()...)
		pair := [2]string{rule.Issuer, rule.Subject}
		former, taken := pairs[pair]
		if !taken {
			former = c.holder(c.tenant.Federated(rule.Issuer, rule.Subject))
		}
		switch {
		case former == "" || former == client.ID:
		case taken:
			c.report(here+".subject", "%q of this issuer already stands for client %q", rule.Subject, former)
		default: // whose it is, is nobody's business
			c.report(here+".subject", "%q of this issuer already stands for a client of the tenant", rule.Subject)
		}
		pairs[pair] = client.ID
	}
}

// clientVendor is the vendor of a client, of the file or else of the store.
func (c *checker) clientVendor(id string) (vendor string, found bool) {
	if entry := c.clients[id]; entry != nil {
		return entry.Vendor, true
	}
	client, found, err := c.tenant.Client(id).Find(c.ctx, c.store)
	return client.Vendor, c.keep(err) && found
}

func usesSecret(method string) bool {
	return method == "" || method == "client_secret_basic" || method == "client_secret_post"
}
