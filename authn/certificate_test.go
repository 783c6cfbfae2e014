package authn

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"math/big"
	"testing"
	"time"

	"mandate/datastore/memo"
	"mandate/directory"
)

// authority issues certificates.
type authority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

var testSubject = pkix.Name{Country: []string{"DE"}, Organization: []string{"Acme, Inc."}, CommonName: "billing"}

// template is a certificate of a client, valid for an hour around the time.
func template(now time.Time) *x509.Certificate {
	return &x509.Certificate{SerialNumber: big.NewInt(now.UnixNano()), Subject: testSubject, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, BasicConstraintsValid: true}
}

// certify signs the template: by the authority, or by the certificate's own key when there is none.
func certify(t testing.TB, by *authority, template *x509.Certificate) *authority {
	t.Helper()
	key := newECKey(t)
	if by == nil {
		by = &authority{template, key}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, by.certificate, key.Public(), by.key)
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &authority{certificate, key}
}

func newAuthority(t testing.TB, by *authority, now time.Time) *authority {
	t.Helper()
	ca := template(now)
	ca.Subject, ca.IsCA, ca.KeyUsage, ca.ExtKeyUsage = pkix.Name{CommonName: "CA of " + t.Name()}, true, x509.KeyUsageCertSign, nil
	return certify(t, by, ca)
}

func TestCertificatesAuthenticateClients(t *testing.T) {
	h := newOAuthHouse(t)
	ca, stranger := newAuthority(t, nil, h.clock), newAuthority(t, nil, h.clock)
	h.clientCAs = x509.NewCertPool()
	h.clientCAs.AddCert(ca.certificate)
	between := newAuthority(t, ca, h.clock)
	leaf := func(by *authority, change func(*x509.Certificate)) *x509.Certificate {
		certificate := template(h.clock)
		if change != nil {
			change(certificate)
		}
		return certify(t, by, certificate).certificate
	}
	selfSigned, replaced, old := leaf(nil, nil), leaf(nil, nil), leaf(nil, func(c *x509.Certificate) { c.NotAfter = h.clock.Add(-time.Minute) })
	early := leaf(nil, func(c *x509.Certificate) { c.NotBefore = h.clock.Add(time.Minute) })
	x5c := func(c *x509.Certificate) map[string]any {
		return jwkOf(t, c.PublicKey, map[string]any{"x5c": []any{base64.StdEncoding.EncodeToString(c.Raw)}})
	}
	const dn = `CN=billing,O=Acme\, Inc.,C=DE`
	h.client("ca", directory.Client{TokenEndpointAuthMethod: tlsClientAuth, TLSClientAuthSubjectDN: dn})
	h.client("no-name", directory.Client{TokenEndpointAuthMethod: tlsClientAuth})
	h.client("self", directory.Client{TokenEndpointAuthMethod: selfSignedTLSClientAuth, JWKS: jwksOf(x5c(replaced), x5c(selfSigned), x5c(old), x5c(early))})
	h.client("no-cert", directory.Client{TokenEndpointAuthMethod: selfSignedTLSClientAuth, JWKS: jwksOf(jwkOf(t, selfSigned.PublicKey, nil))})
	h.client("spa", directory.Client{TokenEndpointAuthMethod: publicMethod})
	h.client("secret", directory.Client{TLSClientAuthSubjectDN: dn, JWKS: jwksOf(x5c(selfSigned))}, "s")

	valid := leaf(ca, nil)
	chain := func(certificates ...*x509.Certificate) []*x509.Certificate { return certificates }
	none := outcome(nil, onlyNamed())
	for _, row := range []struct {
		name   string
		client string
		chain  []*x509.Certificate
		want   string
	}{
		{"MT-01 RFC 8705 §2.1: of the CA", "ca", chain(valid), "ca tls_client_auth"},
		{"MT-01 RFC 8705 §2.1: by an intermediate CA", "ca", chain(leaf(between, nil), between.certificate), "ca tls_client_auth"},
		{"MT-01 RFC 8705 §2.1: without the intermediate", "ca", chain(leaf(between, nil)), none},
		{"MT-01 RFC 8705 §2.1: no certificate", "ca", nil, none},
		{"MT-01 RFC 8705 §2.1: of another CA", "ca", chain(leaf(stranger, nil)), none},
		{"MT-01 RFC 8705 §2.1: of another CA, which comes along", "ca", chain(leaf(stranger, nil), stranger.certificate), none},
		{"MT-01 RFC 8705 §2.1: self-signed", "ca", chain(selfSigned), none},
		{"MT-01 RFC 8705 §2.1: the good one is not the first", "ca", chain(selfSigned, valid), none},
		{"MT-01 RFC 8705 §2.1: issued by a client's certificate", "ca", chain(leaf(certify(t, ca, template(h.clock)), nil), valid), none},
		{"MT-01 RFC 8705 §2.1: another subject", "ca", chain(leaf(ca, func(c *x509.Certificate) { c.Subject.CommonName = "billing2" })), none},
		{"MT-01 RFC 8705 §2.1: subject with one attribute more", "ca", chain(leaf(ca, func(c *x509.Certificate) { c.Subject.Locality = []string{"Bonn"} })), none},
		{"MT-01 RFC 8705 §2.1: subject in other letters", "ca", chain(leaf(ca, func(c *x509.Certificate) { c.Subject.CommonName = "Billing" })), none},
		{"MT-01 RFC 8705 §2.1: subject within one attribute", "ca", chain(leaf(ca, func(c *x509.Certificate) {
			c.Subject = pkix.Name{CommonName: `billing,O=Acme\, Inc.,C=DE`}
		})), none},
		{"MT-01 RFC 8705 §2.1: the name is an alternative one", "ca", chain(leaf(ca, func(c *x509.Certificate) {
			c.Subject, c.DNSNames = pkix.Name{CommonName: "x"}, []string{"billing"}
		})), none},
		{"MT-01 RFC 5280 §4.1.2.5: expired", "ca", chain(leaf(ca, func(c *x509.Certificate) { c.NotAfter = h.clock.Add(-time.Second) })), none},
		{"MT-01 RFC 5280 §4.1.2.5: not valid yet", "ca", chain(leaf(ca, func(c *x509.Certificate) { c.NotBefore = h.clock.Add(time.Second) })), none},
		{"MT-01 RFC 5280 §4.2.1.12: for servers", "ca", chain(leaf(ca, func(c *x509.Certificate) {
			c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
		})), none},
		{"MT-01 RFC 8705 §2.1: client without a subject", "no-name", chain(valid), none},
		{"MT-01 RFC 8705 §2.1: no subject at all", "no-name", chain(leaf(ca, func(c *x509.Certificate) { c.Subject = pkix.Name{} })), none},
		{"MT-01 RFC 8705 §2.1: unknown client", "nobody", chain(valid), none},
		{"MT-01 RFC 8705 §2: without client_id", "", chain(valid), "missing: the request has no credential"},
		{"MT-01 RFC 8705 §2.2: registered", "self", chain(selfSigned), "self self_signed_tls_client_auth"},
		{"MT-01 RFC 8705 §2.2: the other one that is registered", "self", chain(replaced), "self self_signed_tls_client_auth"},
		{"MT-01 RFC 8705 §2.2: registered, but expired", "self", chain(old), "invalid: the certificate is not valid at this time: register a new one"},
		{"MT-01 RFC 8705 §2.2: registered, but not valid yet", "self", chain(early), "invalid: the certificate is not valid at this time: register a new one"},
		{"MT-01 RFC 8705 §2.2: another one", "self", chain(leaf(nil, nil)), none},
		{"MT-01 RFC 8705 §2.2: of the CA, not registered", "self", chain(valid), none},
		{"MT-01 RFC 8705 §2.2: the good one is not the first", "self", chain(valid, selfSigned), none},
		{"MT-01 RFC 8705 §2.2: no certificate", "self", nil, none},
		{"MT-01 RFC 8705 §2.2: key registered without certificate", "no-cert", chain(selfSigned), none},
		{"OA-29 RFC 7591 §2: secret client by a certificate", "secret", chain(valid), none},
		{"OA-29 RFC 7591 §2: secret client by a self-signed one", "secret", chain(selfSigned), none},
		{"RFC 8705 §4: public client with a certificate", "spa", chain(selfSigned), "spa none"},
	} {
		p, err := h.present(Presented{Registered: true, ClientID: row.client, Certificates: row.chain})
		if got := outcome(p, err); got != row.want {
			t.Errorf("%s: %q, want %q", row.name, got, row.want)
		}
		if err != nil || row.client == "spa" {
			continue
		}
		if p.Confirms == nil || p.Confirms.CertHash != certHash(row.chain[0]) || p.Credential.Type != row.want[len(row.client)+1:] {
			t.Errorf("%s: %+v does not say by which certificate", row.name, p)
		}
	}

	t.Run("RFC 8705 §2.1: no authority is trusted unless configured", func(t *testing.T) {
		bare := newOAuthHouse(t)
		bare.client("ca", directory.Client{TokenEndpointAuthMethod: tlsClientAuth, TLSClientAuthSubjectDN: dn})
		if got := outcome(bare.present(Presented{Registered: true, ClientID: "ca", Certificates: chain(valid)})); got != none {
			t.Errorf("%q", got)
		}
	})

	t.Run("what is remembered ends with the certificate", func(t *testing.T) {
		remembered := memo.New(h.store, memo.Options{Bytes: 64 << 20, Now: h.now})
		start := h.clock
		defer func() { h.clock = start }()
		present := func(certificate *x509.Certificate, client string) error {
			r := remembered.Begin()
			defer r.End()
			_, err := h.Authenticate(t.Context(), r, Presented{Registered: true, ClientID: client, Certificates: chain(certificate)})
			return err
		}
		for client, certificate := range map[string]*x509.Certificate{"ca": valid, "self": selfSigned} {
			h.clock = start
			for range 2 {
				if err := present(certificate, client); err != nil {
					t.Fatal(err)
				}
			}
			h.clock = certificate.NotAfter.Add(time.Second)
			if present(certificate, client) == nil {
				t.Errorf("%s is authenticated by a certificate that has expired", client)
			}
		}
		if hits := remembered.Stats().Hits; hits != 2 {
			t.Errorf("%d hits, want one by client", hits)
		}
	})
}

// TestSubjectNames compares names as RFC 8705 §2.1.2 and RFC 4514 have them.
func TestSubjectNames(t *testing.T) {
	type attributes = []pkix.AttributeTypeAndValue
	attribute := func(oid asn1.ObjectIdentifier, value string) pkix.AttributeTypeAndValue {
		return pkix.AttributeTypeAndValue{Type: oid, Value: value}
	}
	cn, o, ou, c := asn1.ObjectIdentifier{2, 5, 4, 3}, asn1.ObjectIdentifier{2, 5, 4, 10}, asn1.ObjectIdentifier{2, 5, 4, 11}, asn1.ObjectIdentifier{2, 5, 4, 6}
	dc, own := asn1.ObjectIdentifier{0, 9, 2342, 19200300, 100, 1, 25}, asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 99999, 1}
	one := pkix.RDNSequence{{attribute(c, "DE")}, {attribute(o, "Acme, Inc.")}, {attribute(cn, "billing")}}
	units := pkix.RDNSequence{{attribute(ou, "A")}, {attribute(ou, "B")}}
	multi := pkix.RDNSequence{attributes{attribute(ou, "A"), attribute(cn, "x")}}
	domain := pkix.RDNSequence{{attribute(dc, "example")}, {attribute(dc, "acme")}, {attribute(own, "7")}}
	odd := pkix.RDNSequence{{attribute(cn, ` #a+b"c\d;<>= `)}}
	accents := pkix.RDNSequence{{attribute(cn, "Lučić")}}
	for _, row := range []struct {
		name    string
		subject pkix.RDNSequence
		dn      string
		want    bool
	}{
		{"RFC 4514 §2.1: the last comes first", one, `CN=billing,O=Acme\, Inc.,C=DE`, true},
		{"RFC 4514 §2.1: not in the order of the certificate", one, `C=DE,O=Acme\, Inc.,CN=billing`, false},
		{"RFC 4514 §2.4: comma in hexadecimal", one, `CN=billing,O=Acme\2C Inc.,C=DE`, true},
		{"RFC 4514 §3: types in small letters", one, `cn=billing,o=Acme\, Inc.,c=DE`, true},
		{"RFC 4514 §3: types as numbers", one, `2.5.4.3=billing,2.5.4.10=Acme\, Inc.,2.5.4.6=DE`, true},
		{"spaces around separators", one, `CN = billing, O = Acme\, Inc. , C=DE`, true},
		{"values letter by letter", one, `CN=Billing,O=Acme\, Inc.,C=DE`, false},
		{"a part of the name", one, `CN=billing,O=Acme\, Inc.`, false},
		{"a comma that is not escaped", one, `CN=billing,O=Acme, Inc.,C=DE`, false},
		{"two parts are not one of two", units, `OU=B,OU=A`, true},
		{"nor one of two two parts", units, `OU=B+OU=A`, false},
		{"RFC 4514 §2.2: several attributes in one part", multi, `CN=x+OU=A`, true},
		{"RFC 4514 §2.2: in whichever order", multi, `OU=A+CN=x`, true},
		{"RFC 4514 §3: domain components", domain, `1.3.6.1.4.1.99999.1=7,DC=acme,DC=example`, true},
		{"RFC 4514 §2.4: all that is escaped", odd, `CN=\ \#a\+b\"c\\d\;\<\>\=\ `, true},
		{"RFC 4514 §2.4: UTF-8", accents, `CN=Lučić`, true},
		{"RFC 4514 §4: UTF-8 in hexadecimal", accents, `CN=Lu\C4\8Di\C4\87`, true},
		{"values in hexadecimal are not supported", one, `CN=#0c0762696c6c696e67,O=Acme\, Inc.,C=DE`, false},
		{"unknown type", one, `XX=billing,O=Acme\, Inc.,C=DE`, false},
		{"half an escape", one, `CN=billing\`, false},
		{"empty", pkix.RDNSequence{}, ``, false},
	} {
		raw, err := asn1.Marshal(row.subject)
		if err != nil {
			t.Fatal(err)
		}
		if got := isSubject(&x509.Certificate{RawSubject: raw}, row.dn); got != row.want {
			t.Errorf("%s: %q is the subject: %v, want %v", row.name, row.dn, got, row.want)
		}
	}
}
