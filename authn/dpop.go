package authn

import (
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"mandate/datastore/memo"
	"mandate/directory"
)

const (
	proofWindow   = 60 * time.Second // around the present, for the iat of a proof
	nonceLifetime = 2 * time.Minute
	maxProofs     = 100_000         // of a generation
	foreignAhead  = 5 * time.Second // by how much the clock of a foreign proof may be ahead
)

// proofs says which nonces DPoP proofs may have, and remembers which proofs were used (RFC 9449 §8, §11.1).
//
// A proof counts only with the nonce of one of two generations, and its use is noted in that generation. What was noted is
// forgotten only together with the nonce, so a proof is never good twice, not even after a restart. A generation ends
// after a time, or when it is full, and stays beside the next one. So memory is bounded, and a flood of proofs only makes
// others fetch a new nonce, which takes them one more round trip.
type proofs struct {
	now func() time.Time

	mu              sync.Mutex
	current, former generation
	// known is since when every use is remembered that could still be repeated.
	known time.Time
}

// generation is a nonce and the proofs that were used with it.
type generation struct {
	nonce string
	since time.Time
	used  map[memo.Key]struct{}
}

func newProofs(now func() time.Time) *proofs { return &proofs{now: now, known: now()} }

// turn begins a new generation when it is time. The lock must be held.
func (p *proofs) turn() {
	now := p.now()
	age := now.Sub(p.current.since)
	if p.current.nonce != "" && age < nonceLifetime && len(p.current.used) < maxProofs {
		return
	}
	if age < nonceLifetime && p.current.nonce != "" { // it is full, so what the former one knows may be recent
		p.known = p.current.since
	}
	p.former, p.current = p.current, generation{nonce: rand.Text(), since: now, used: map[memo.Key]struct{}{}}
	if age >= 2*nonceLifetime {
		p.former = generation{}
	}
}

func (p *proofs) nonce() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.turn()
	return p.current.nonce
}

// use notes the use of a proof with that nonce.
func (p *proofs) use(nonce string, proof memo.Key) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.turn()
	g := &p.current
	if nonce != g.nonce {
		g = &p.former
	}
	if nonce == "" || nonce != g.nonce || len(g.used) >= maxProofs {
		return &Error{Kind: NonceRequired, Detail: "the DPoP proof must have the nonce of the header DPoP-Nonce of this response"}
	}
	if _, again := g.used[proof]; again {
		return badProof("was used before: sign a new one for each request, with a jti of its own")
	}
	g.used[proof] = struct{}{}
	return nil
}

// useForeign notes the use of a proof that has the nonce of another server, if any. Nothing but the time when it was made tells
// one that was used before a restart or a flood. Its clock may have been ahead, so that time must be later than what is known
// by as much as clocks may be ahead.
func (p *proofs) useForeign(made time.Time, proof memo.Key) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.turn()
	_, now := p.current.used[proof]
	_, before := p.former.used[proof]
	switch {
	case now || before:
		return badProof("was used before: sign a new one for each request, with a jti of its own")
	case made.After(p.now().Add(foreignAhead)), !made.After(p.known.Add(foreignAhead)):
		return badProof("was not made just now: sign a new one")
	}
	p.current.used[proof] = struct{}{}
	return nil
}

// Nonce is the value of the DPoP-Nonce header that proofs must have now (RFC 9449 §8).
func (a *Authenticator) Nonce() string { return a.proofs.nonce() }

// Proof verifies the DPoP proof of a request to an OAuth endpoint, and returns the thumbprint of its key: empty when the
// request has none. A proof is good once.
func (a *Authenticator) Proof(p Presented) (thumbprint string, err error) {
	if len(p.Proofs) == 0 {
		return "", nil
	}
	return a.proof(p, directory.Secret{})
}

// proof checks all that RFC 9449 §4.3 asks for. The token is that of the request, if it has one.
func (a *Authenticator) proof(p Presented, token directory.Secret) (thumbprint string, err error) {
	switch {
	case len(p.Proofs) == 0:
		return "", badProof("is missing: send it in the header DPoP")
	case len(p.Proofs) > 1:
		return "", badProof("was sent more than once")
	}
	claims, thumbprint, err := a.readProof(p.Proofs[0])
	if err != nil {
		return "", err
	}
	target, ok := normalURL(p.URL)
	claimed, wellFormed := normalURL(claims.URL)
	now := a.now()
	problem := ""
	switch {
	case claims.ID == "" || len(claims.ID) > maxJTIBytes:
		problem = fmt.Sprintf("must have a jti of 1 to %d characters", maxJTIBytes)
	case claims.Method == "" || claims.Method != p.Method:
		problem = "is for another method: see its htm"
	case !ok || !wellFormed || claimed != target:
		problem = "is for another URL: see its htu"
	case claims.IssuedAt == nil || claims.IssuedAt.Before(now.Add(-proofWindow)) || claims.IssuedAt.After(now.Add(proofWindow)):
		problem = "was not made just now: see its iat, and the clock"
	case !token.IsZero() && claims.TokenHash != tokenHash(token):
		problem = "is for another access token: see its ath"
	}
	if problem != "" {
		return "", badProof(problem)
	}
	use := memo.Part(memo.Part(memo.Part(nil, thumbprint), claims.ID), target)
	if p.Foreign {
		err = a.proofs.useForeign(claims.IssuedAt.Time, memo.KeyOf(use))
	} else {
		err = a.proofs.use(claims.Nonce, memo.KeyOf(use))
	}
	if err != nil {
		return "", err
	}
	return thumbprint, nil
}

// proofClaims are those of RFC 9449 §4.2.
type proofClaims struct {
	jwt.RegisteredClaims
	Method    string `json:"htm"`
	URL       string `json:"htu"`
	TokenHash string `json:"ath"`
	Nonce     string `json:"nonce"`
}

// readProof verifies the signature of a proof by the key that it brings along.
func (a *Authenticator) readProof(proof string) (claims proofClaims, thumbprint string, err error) {
	if len(proof) > maxCredentialBytes {
		return claims, "", badProof(fmt.Sprintf("is longer than %d bytes", maxCredentialBytes))
	}
	parser := a.parser(jwt.WithValidMethods(directory.AcceptedAlgorithms()))
	_, err = parser.ParseWithClaims(proof, &claims, func(token *jwt.Token) (any, error) {
		var key crypto.PublicKey
		key, thumbprint, err = proofKey(token)
		return key, err
	})
	if failed := (*Error)(nil); errors.As(err, &failed) {
		return claims, "", failed
	}
	if err != nil {
		return claims, "", badProof("is no JWT with a good signature of one of " + strings.Join(directory.AcceptedAlgorithms(), ", "))
	}
	return claims, thumbprint, nil
}

func proofKey(token *jwt.Token) (key crypto.PublicKey, thumbprint string, err error) {
	if token.Header["typ"] != "dpop+jwt" {
		return nil, "", badProof("must have the typ dpop+jwt")
	}
	if _, critical := token.Header["crit"]; critical {
		return nil, "", badProof("has critical header parameters, none of which is understood (RFC 7515 §4.1.11)")
	}
	members, ok := token.Header["jwk"].(map[string]any)
	if !ok {
		return nil, "", badProof("must have its public key as the header parameter jwk")
	}
	key, thumbprint, err = directory.PublicKey(members)
	if err != nil || !directory.Suits(key, token.Method.Alg()) {
		return nil, "", badProof("must have a public key as its jwk, without private members, of the kind and size that its alg takes")
	}
	return key, thumbprint, nil
}

// normalURL is the URL without query and fragment, normalised as RFC 9449 §4.3 recommends: by RFC 3986 §6.2.2 and §6.2.3.
func normalURL(s string) (normal string, ok bool) {
	u, err := url.Parse(s)
	if err != nil || (u.Scheme != "https" && u.Scheme != "http") || u.Host == "" || u.User != nil {
		return "", false
	}
	host := strings.TrimSuffix(strings.ToLower(u.Host), map[string]string{"https": ":443", "http": ":80"}[u.Scheme])
	segments := strings.Split(u.EscapedPath(), "/")
	for i, escaped := range segments {
		segment, err := url.PathUnescape(escaped)
		if err != nil {
			return "", false
		}
		segments[i] = url.PathEscape(segment)
	}
	path := strings.Join(segments, "/")
	if path == "" {
		path = "/"
	}
	return u.Scheme + "://" + host + path, true
}

// tokenHash is the ath of a proof for the token.
func tokenHash(token directory.Secret) string {
	sum := sha256.Sum256([]byte(token.Expose()))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

func badProof(problem string) error {
	return &Error{Kind: BadProof, Detail: "the DPoP proof " + problem}
}

// confirm checks that whoever presents an access token holds the key that it is bound to, and that a token which is
// bound to a DPoP key is not sent as a bearer token, nor the other way round (RFC 9449 §7.1, RFC 8705 §3).
func (a *Authenticator) confirm(r *memo.Reading, c accessToken, to *Confirmation) error {
	_, withProof := c.presented.authorization("DPoP")
	bound := to != nil && to.Thumbprint != ""
	switch {
	case bound && !withProof: // RFC 9449 §7.2
		return &Error{Kind: Invalid, Detail: "the access token is bound to a key: send it with the scheme DPoP and a proof"}
	case withProof && !bound:
		return &Error{Kind: Invalid, Detail: "the access token is not bound to a key: send it with the scheme Bearer"}
	}
	if to == nil {
		return nil
	}
	if to.CertHash != "" {
		certificates := c.presented.Certificates
		if len(certificates) == 0 || subtle.ConstantTimeCompare([]byte(certHash(certificates[0])), []byte(to.CertHash)) != 1 {
			return &Error{Kind: Invalid, Detail: "the access token is bound to a client certificate: use it in a TLS connection with that one"}
		}
	}
	if !bound {
		return nil
	}
	r.Volatile()
	thumbprint, err := a.proof(c.presented, c.token)
	if err != nil {
		return err
	}
	if thumbprint != to.Thumbprint {
		return &Error{Kind: Invalid, Detail: "the access token is bound to another key than that of the DPoP proof"}
	}
	return nil
}
