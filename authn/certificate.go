package authn

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"slices"

	"mandate/datastore/memo"
	"mandate/directory"
)

// Methods of mutual-TLS client authentication (RFC 8705 §2).
const (
	tlsClientAuth           = "tls_client_auth"
	selfSignedTLSClientAuth = "self_signed_tls_client_auth"
)

// vouchedFor authenticates a client by a certificate of one of the authorities, about the subject that the client
// registered (RFC 8705 §2.1). TLS has proved that the client has its key.
func (c namedClient) vouchedFor(a *Authenticator, r *memo.Reading, client directory.Client) (*Confirmation, error) {
	if len(c.certificates) == 0 || a.clientCAs == nil { // without roots, Verify would take those of the system
		return nil, onlyNamed()
	}
	own := c.certificates[0]
	intermediates := x509.NewCertPool()
	for _, other := range c.certificates[1:] {
		intermediates.AddCert(other)
	}
	chains, err := own.Verify(x509.VerifyOptions{Roots: a.clientCAs, Intermediates: intermediates, CurrentTime: a.now(),
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	if err != nil || !isSubject(own, client.TLSClientAuthSubjectDN) {
		return nil, onlyNamed()
	}
	for _, part := range chains[0] {
		r.NotAfter(part.NotAfter)
	}
	return &Confirmation{CertHash: certHash(own)}, nil
}

// selfSigned authenticates a client by the very certificate that it registered in its JWKS (RFC 8705 §2.2).
func (c namedClient) selfSigned(a *Authenticator, r *memo.Reading, client directory.Client) (*Confirmation, error) {
	if len(c.certificates) == 0 {
		return nil, onlyNamed()
	}
	own := c.certificates[0]
	registered := slices.ContainsFunc(registeredKeys(client.JWKS), func(key map[string]any) bool {
		chain, _ := key["x5c"].([]any)
		if len(chain) == 0 {
			return false
		}
		text, _ := chain[0].(string)
		der, err := base64.StdEncoding.DecodeString(text) // RFC 7517 §4.7: not base64url
		return err == nil && bytes.Equal(der, own.Raw)
	})
	if !registered {
		return nil, onlyNamed()
	}
	if now := a.now(); now.Before(own.NotBefore) || now.After(own.NotAfter) {
		return nil, &Error{Kind: Invalid, Detail: "the certificate is not valid at this time: register a new one"}
	}
	r.NotAfter(own.NotAfter)
	return &Confirmation{CertHash: certHash(own)}, nil
}

// certHash is the x5t#S256 of a certificate (RFC 8705 §3.1).
func certHash(c *x509.Certificate) string {
	sum := sha256.Sum256(c.Raw)
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// isSubject says whether the certificate is about the subject with that name, written as in RFC 4514. Names are equal when
// they have the same attributes in the same order; values count letter by letter.
func isSubject(c *x509.Certificate, dn string) bool {
	var subject pkix.RDNSequence
	if rest, err := asn1.Unmarshal(c.RawSubject, &subject); err != nil || len(rest) > 0 {
		return false
	}
	var name [][]string
	for _, rdn := range subject {
		var attributes []string
		for _, attribute := range rdn {
			value, ok := attribute.Value.(string)
			if !ok {
				return false
			}
			attributes = append(attributes, attribute.Type.String()+"="+value)
		}
		slices.Sort(attributes)
		name = append(name, attributes)
	}
	registered, ok := directory.ParseDN(dn)
	return ok && slices.EqualFunc(name, registered, slices.Equal)
}
