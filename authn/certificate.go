package authn

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/hex"
	"regexp"
	"slices"
	"strings"

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
	registered, ok := parseDN(dn)
	return ok && slices.EqualFunc(name, registered, slices.Equal)
}

// parseDN reads a distinguished name in the form of RFC 4514 §3, spaces around separators allowed: the attributes of each
// part as "OID=value", sorted. Values in hexadecimal ("#") are not supported.
func parseDN(dn string) (name [][]string, ok bool) {
	for _, rdn := range splitDN(dn, ',') {
		var attributes []string
		for _, attribute := range splitDN(rdn, '+') {
			typ, text, found := strings.Cut(attribute, "=")
			oid := attributeOID(strings.TrimSpace(typ))
			value, good := unescapeDN(text)
			if !found || oid == "" || !good {
				return nil, false
			}
			attributes = append(attributes, oid+"="+value)
		}
		slices.Sort(attributes)
		name = append(name, attributes)
	}
	slices.Reverse(name) // the string begins with what comes last (RFC 4514 §2.1)
	return name, true
}

// splitDN splits at the separators that are not escaped.
func splitDN(s string, separator byte) []string {
	var parts []string
	from := 0
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case separator:
			parts = append(parts, s[from:i])
			from = i + 1
		}
	}
	return append(parts, s[from:])
}

// unescapeDN reads a value (RFC 4514 §2.4). Spaces around it count only when they are escaped.
func unescapeDN(s string) (value string, ok bool) {
	s = strings.TrimLeft(s, " ")
	if s == "" || s[0] == '#' {
		return "", false
	}
	var read []byte
	end := 0 // of what is not a space
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' {
			if read = append(read, s[i]); s[i] != ' ' {
				end = len(read)
			}
			continue
		}
		rest := s[i+1:]
		switch {
		case rest != "" && strings.IndexByte(`"+,;<>#= \`, rest[0]) >= 0:
			read = append(read, rest[0])
			i++
		default:
			if len(rest) < 2 {
				return "", false
			}
			pair, err := hex.DecodeString(rest[:2])
			if err != nil {
				return "", false
			}
			read = append(read, pair...)
			i += 2
		}
		end = len(read)
	}
	return string(read[:end]), true
}

// attributeOID is the object identifier of an attribute type: those of RFC 4514 §3 and a few more have names.
func attributeOID(typ string) string {
	named := map[string]string{
		"CN": "2.5.4.3", "SERIALNUMBER": "2.5.4.5", "C": "2.5.4.6", "L": "2.5.4.7", "ST": "2.5.4.8", "STREET": "2.5.4.9", "O": "2.5.4.10",
		"OU": "2.5.4.11", "POSTALCODE": "2.5.4.17", "DC": "0.9.2342.19200300.100.1.25", "UID": "0.9.2342.19200300.100.1.1",
		"EMAILADDRESS": "1.2.840.113549.1.9.1",
	}
	if oid, known := named[strings.ToUpper(typ)]; known {
		return oid
	}
	if regexp.MustCompile(`^[0-2](\.(0|[1-9][0-9]*))+$`).MatchString(typ) {
		return typ
	}
	return ""
}
