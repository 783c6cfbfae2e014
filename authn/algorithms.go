package authn

// Algorithms are those with which JWTs of others may be signed: assertions of clients, DPoP proofs. None is symmetric, and
// which of them fits is told by the key (RFC 8725 §3.1, §3.2).
func Algorithms() []string { return []string{"ES256", "ES384", "EdDSA", "PS256", "RS256"} }
