package directory

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/lestrrat-go/jwx/v3/jwk"
)

// Sizes of RSA keys: the least of RFC 7518 §3.3, and what bounds the cost of verifying a signature.
const (
	minRSABits = 2048
	maxRSABits = 8192
)

// SigningAlgorithms are those of Mandate's own tokens.
func SigningAlgorithms() []string { return []string{"ES256", "EdDSA", "PS256", "RS256"} }

// AcceptedAlgorithms are those with which JWTs of others may be signed. None is symmetric, and which of them fits is told by
// the key (RFC 8725 §3.1, §3.2).
func AcceptedAlgorithms() []string { return []string{"ES256", "ES384", "EdDSA", "PS256", "RS256"} }

// PublicKey reads a public key (RFC 7517 §4) and makes its thumbprint (RFC 7638). A private or symmetric key is
// an error. What it can be used for is told by Suits.
func PublicKey(members map[string]any) (key crypto.PublicKey, thumbprint string, err error) {
	if name := secretMember(members); name != "" {
		return nil, "", errors.New("the key is not a public one")
	}
	text, err := json.Marshal(members)
	if err != nil {
		return nil, "", fmt.Errorf("encode a key: %w", err)
	}
	parsed, err := jwk.ParseKey(text)
	if err != nil {
		return nil, "", fmt.Errorf("read a key: %w", err)
	}
	raw, err := jwk.PublicRawKeyOf(parsed)
	if err != nil {
		return nil, "", fmt.Errorf("read a key: %w", err)
	}
	sum, err := parsed.Thumbprint(crypto.SHA256)
	if err != nil {
		return nil, "", fmt.Errorf("hash a key: %w", err)
	}
	return raw, base64.RawURLEncoding.EncodeToString(sum), nil
}

// secretMember is a member that only a private or symmetric key has (RFC 7518 §6), empty when there is none.
func secretMember(members map[string]any) string {
	for _, name := range []string{"d", "p", "q", "dp", "dq", "qi", "oth", "k"} {
		if _, found := members[name]; found {
			return name
		}
	}
	return ""
}

// Suits says whether a key is of the kind and size that the algorithm takes (RFC 7518 §3, RFC 8037 §3.1).
func Suits(key crypto.PublicKey, alg string) bool {
	switch key := key.(type) {
	case *rsa.PublicKey:
		return (strings.HasPrefix(alg, "RS") || strings.HasPrefix(alg, "PS")) && key.N.BitLen() >= minRSABits && key.N.BitLen() <= maxRSABits
	case *ecdsa.PublicKey:
		return alg == map[string]string{"P-256": "ES256", "P-384": "ES384", "P-521": "ES512"}[key.Params().Name]
	case ed25519.PublicKey:
		return alg == "EdDSA"
	}
	return false
}
