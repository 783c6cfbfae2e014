package authn

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"fmt"
	"math/big"

	"mandate/directory"
)

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
		key, _, err := directory.PublicKey(members)
		if err != nil || !directory.Suits(key, alg) {
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
