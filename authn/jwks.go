package authn

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"errors"
	"fmt"
	"math/big"

	"github.com/go-json-experiment/json"
	"github.com/lestrrat-go/jwx/v3/jwk"
)

// maxRSABits bounds what verifying a signature with somebody else's key can cost.
const maxRSABits = 8192

// publicKey reads a public key (RFC 7517 §4) and makes its thumbprint (RFC 7638). A private or symmetric key is an error.
func publicKey(members map[string]any) (key crypto.PublicKey, thumbprint string, err error) {
	for _, name := range []string{"d", "p", "q", "dp", "dq", "qi", "oth", "k"} { // RFC 7518 §6
		if _, found := members[name]; found {
			return nil, "", errors.New("is not a public key")
		}
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
	if large, ok := raw.(*rsa.PublicKey); ok && large.N.BitLen() > maxRSABits {
		return nil, "", fmt.Errorf("is longer than %d bits", maxRSABits)
	}
	sum, err := parsed.Thumbprint(crypto.SHA256)
	if err != nil {
		return nil, "", fmt.Errorf("hash a key: %w", err)
	}
	return raw, base64.RawURLEncoding.EncodeToString(sum), nil
}

// registeredKey is the one key of a client's set that suits the algorithm and has the kid, if one is named. It is nil when
// there is none, or more than one.
func registeredKey(jwks map[string]any, kid, alg string) crypto.PublicKey {
	var found crypto.PublicKey
	for _, members := range registeredKeys(jwks) {
		text := func(name string) string {
			value, _ := members[name].(string)
			return value
		}
		if (kid != "" && text("kid") != kid) || (text("use") != "" && text("use") != "sig") || (text("alg") != "" && text("alg") != alg) {
			continue
		}
		key, _, err := publicKey(members)
		if err != nil || !suits(key, alg) {
			continue
		}
		if found != nil {
			return nil
		}
		found = key
	}
	return found
}

func registeredKeys(jwks map[string]any) []map[string]any {
	list, _ := jwks["keys"].([]any)
	keys := make([]map[string]any, 0, len(list))
	for _, entry := range list {
		if members, ok := entry.(map[string]any); ok {
			keys = append(keys, members)
		}
	}
	return keys
}

// decoyKey is no client's key. To verify with it costs what it would with one.
func decoyKey(alg string) (crypto.PublicKey, error) {
	switch alg {
	case "ES256", "ES384":
		curve := elliptic.P256()
		if alg == "ES384" {
			curve = elliptic.P384()
		}
		private, err := ecdsa.GenerateKey(curve, rand.Reader)
		if err != nil {
			return nil, fmt.Errorf("make a decoy: %w", err)
		}
		return private.Public(), nil
	case "EdDSA":
		public, _, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			return nil, fmt.Errorf("make a decoy: %w", err)
		}
		return public, nil
	}
	modulus := new(big.Int).Lsh(big.NewInt(1), 2048)
	return &rsa.PublicKey{N: modulus.Sub(modulus, big.NewInt(1)), E: 65537}, nil
}
