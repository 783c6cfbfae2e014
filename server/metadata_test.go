package server_test

import (
	"crypto"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/golang-jwt/jwt/v5"
	"github.com/lestrrat-go/jwx/v3/jwk"

	"mandate/directory"
	"mandate/server"
)

// bases are where the tenants are served.
var bases = map[directory.Tenant]string{server.DefaultTenant: "", staging: "/t/staging"}

// keySet gets the tenant's public keys.
func (s *running) keySet(t testing.TB, tenant directory.Tenant) jwk.Set {
	t.Helper()
	a := s.send(t, "GET", bases[tenant]+"/.well-known/jwks.json", "")
	set, err := jwk.Parse([]byte(a.body))
	if err != nil || a.status != http.StatusOK {
		t.Fatalf("no key set: %v", a)
	}
	return set
}

// verify checks a JWT with the tenant's public keys, as a stranger to the server would.
func (s *running) verify(t testing.TB, tenant directory.Tenant, token string) (header map[string]any, claims jwt.MapClaims) {
	t.Helper()
	set := s.keySet(t, tenant)
	claims = jwt.MapClaims{}
	parsed, err := jwt.NewParser(jwt.WithValidMethods([]string{"ES256"}), jwt.WithTimeFunc(s.clock.now)).ParseWithClaims(token, claims, func(token *jwt.Token) (any, error) {
		kid, _ := token.Header["kid"].(string)
		key, ok := set.LookupKeyID(kid)
		if !ok {
			t.Fatalf("the key set has no key %q", kid)
		}
		var public crypto.PublicKey
		return public, jwk.Export(key, &public)
	})
	if err == nil {
		return parsed.Header, claims
	}
	t.Fatal(err)
	return nil, nil
}

func TestAuthZENMetadata(t *testing.T) {
	s := start(t)
	for tenant, base := range bases {
		issuer := publicURL + base
		gateway := holdersOf(t, tenant).key("gateway")
		a := s.send(t, "GET", "/.well-known/authzen-configuration"+base, "")
		if a.status != http.StatusOK || a.header.Get("Content-Type") != "application/json" || !strings.Contains(a.header.Get("Cache-Control"), "max-age=") {
			t.Fatalf("AZ-50, AZ-55: %v %v", a, a.header)
		}
		metadata := a.object(t)
		checkValues(t, metadata)
		signed, _ := metadata["signed_metadata"].(string)
		delete(metadata, "signed_metadata")
		for name, want := range map[string]string{
			"policy_decision_point":       issuer, // AZ-48: https, no query, no fragment, the id used for discovery
			"access_evaluation_endpoint":  issuer + evaluationPath,
			"access_evaluations_endpoint": issuer + evaluationsPath,
		} {
			if metadata[name] != want {
				t.Errorf("AZ-47 %s: %s is %v, want %s", tenant, name, metadata[name], want)
			}
			if path, ok := strings.CutPrefix(want, publicURL); ok && strings.HasSuffix(name, "_endpoint") {
				if works := s.ask(t, gateway, path, good); works.status != http.StatusOK || !strings.Contains(path, "/v1/") {
					t.Errorf("AZ-51, AZ-52 %s: %s does not work: %v", tenant, path, works)
				}
			}
		}
		for _, search := range []string{"subject", "resource", "action"} {
			path := base + "/access/v1/search/" + search
			if metadata["search_"+search+"_endpoint"] != publicURL+path {
				t.Errorf("AZ-47 %s: the search of %s is at %v", tenant, search, metadata["search_"+search+"_endpoint"])
			}
			if works := s.ask(t, gateway, path, good); works.status != http.StatusForbidden { // as it takes more than to ask
				t.Errorf("AZ-51 %s: the search of %s does not work: %v", tenant, search, works)
			}
		}
		header, claims := s.verify(t, tenant, signed)
		if header["alg"] != "ES256" || claims["iss"] != issuer {
			t.Errorf("AZ-53 %s: %v %v", tenant, header, claims)
		}
		if _, nested := claims["signed_metadata"]; nested {
			t.Errorf("AZ-54 %s: signed_metadata within itself", tenant)
		}
		for name, value := range metadata {
			if claims[name] != value {
				t.Errorf("AZ-53 %s: %s is %v, signed as %v", tenant, name, value, claims[name])
			}
		}
		for _, scheme := range []string{"Bearer ", "bearer "} {
			if a := s.ask(t, credential{"Authorization: " + scheme + signed}, base+evaluationPath, good); a.status != http.StatusUnauthorized {
				t.Errorf("AT-07 %s: signed metadata passes for an access token: %v", tenant, a)
			}
		}
	}
}

// checkValues: AZ-50, MD-04, what has no value is left out.
func checkValues(t *testing.T, metadata map[string]any) {
	t.Helper()
	for name, value := range metadata {
		list, isList := value.([]any)
		if value == nil || value == "" || isList && len(list) == 0 {
			t.Errorf("%s has no value: %v", name, value)
		}
	}
}

// MD-01 to MD-07 and OA-27, as far as there are endpoints.
func TestOAuthMetadata(t *testing.T) {
	s := start(t)
	for tenant, base := range bases {
		issuer := publicURL + base
		a := s.send(t, "GET", "/.well-known/oauth-authorization-server"+base, "")
		metadata := a.object(t)
		checkValues(t, metadata)
		if a.status != http.StatusOK || a.header.Get("Content-Type") != "application/json" || metadata["issuer"] != issuer ||
			metadata["token_endpoint"] != issuer+tokenPath || metadata["jwks_uri"] != issuer+"/.well-known/jwks.json" {
			t.Errorf("%s: %v", tenant, a)
		}
		for _, grant := range []string{"implicit", "password"} {
			if slices.Contains(metadata["grant_types_supported"].([]any), any(grant)) {
				t.Errorf("OA-27 %s: %s", tenant, grant)
			}
		}
		for name, value := range metadata {
			if strings.HasSuffix(name, "alg_values_supported") && slices.ContainsFunc(value.([]any), func(alg any) bool { return alg == "none" || strings.HasPrefix(alg.(string), "HS") }) {
				t.Errorf("MD-05 %s: %s has %v", tenant, name, value)
			}
			if endpoint, ok := strings.CutPrefix(fmt.Sprint(value), publicURL); ok && strings.HasSuffix(name, "_endpoint") {
				if a := s.send(t, "POST", endpoint, ""); a.status == http.StatusNotFound || a.status == http.StatusMethodNotAllowed || a.status >= 500 {
					t.Errorf("MD-07 %s: %s is named and not served: %v", tenant, name, a)
				}
			}
		}
		openID := s.send(t, "GET", base+"/.well-known/openid-configuration", "").object(t)
		for name, value := range metadata {
			if fmt.Sprint(openID[name]) != fmt.Sprint(value) {
				t.Errorf("MD-06 %s: %s is %v there and %v here", tenant, name, openID[name], value)
			}
		}
		if metadata["authorization_response_iss_parameter_supported"] != true || openID["userinfo_endpoint"] != issuer+"/userinfo" {
			t.Errorf("MD-11, MD-08 %s: %v", tenant, openID)
		}
		if works := s.send(t, "POST", base+tokenPath, "grant_type=client_credentials",
			append(holdersOf(t, tenant).client("operator"), "Content-Type: application/x-www-form-urlencoded")...); works.status != http.StatusOK {
			t.Errorf("MD-07 %s: %v", tenant, works)
		}
		keys := s.send(t, "GET", base+"/.well-known/jwks.json", "").object(t)["keys"].([]any)
		kids := map[any]bool{}
		for _, k := range keys {
			key := k.(map[string]any)
			kids[key["kid"]] = true
			if key["kty"] != "EC" || key["crv"] != "P-256" || key["alg"] != "ES256" || key["use"] != "sig" || key["d"] != nil || key["k"] != nil {
				t.Errorf("MD-09 %s: %v", tenant, key)
			}
		}
		if len(keys) == 0 || len(kids) != len(keys) || kids[nil] {
			t.Errorf("MD-09 %s: %d keys, %d ids", tenant, len(keys), len(kids))
		}
	}
}

// AZ-49, MD-02: well-known documents are between host and path, and only there.
func TestWellKnownPlaces(t *testing.T) {
	s := start(t)
	for path, status := range map[string]int{
		"/.well-known/authzen-configuration": 200, "/.well-known/authzen-configuration/t/staging": 200,
		"/.well-known/oauth-authorization-server": 200, "/.well-known/oauth-authorization-server/t/staging": 200,
		"/.well-known/jwks.json": 200, "/t/staging/.well-known/jwks.json": 200,
		"/t/staging/.well-known/authzen-configuration": 404, "/t/staging/.well-known/oauth-authorization-server": 404,
		"/.well-known/authzen-configuration/": 404, "/.well-known/authzen-configuration/t/none": 404, "/.well-known/authzen-configuration/t/staging/": 404,
		"/.well-known/AuthZEN-configuration": 404, "/t/default/.well-known/jwks.json": 404, "/t/none/.well-known/jwks.json": 404, "/t/Staging/.well-known/jwks.json": 404,
		// OpenID Connect Discovery §4 appends it to the issuer.
		"/.well-known/openid-configuration": 200, "/t/staging/.well-known/openid-configuration": 200, "/.well-known/openid-configuration/t/staging": 404,
		"/.well-known/oauth-protected-resource": 200, "/.well-known/oauth-protected-resource/t/staging": 200,
	} {
		if a := s.send(t, "GET", path, ""); a.status != status {
			t.Errorf("%s: want %d, got %d %v", path, status, a.status, a)
		}
	}
}

// SB-22: no document and no token follows Host or the headers of proxies.
func TestEvilHostChangesNothing(t *testing.T) {
	s := start(t)
	operator := holdersOf(t, "default").client("operator")
	evil := credential{"Host: evil.example", "X-Forwarded-Host: evil.example", "X-Forwarded-Proto: http", "X-Forwarded-Prefix: /evil", "X-Forwarded-Port: 666",
		"Forwarded: host=evil.example;proto=http", "X-Original-URL: http://evil.example/", "X-Rewrite-URL: /evil.example", "X-Host: evil.example"}
	for _, path := range []string{"/.well-known/authzen-configuration", "/.well-known/authzen-configuration/t/staging", "/.well-known/oauth-authorization-server"} {
		plain, forged := s.send(t, "GET", path, ""), s.send(t, "GET", path, "", evil...)
		a, b := plain.object(t), forged.object(t)
		delete(a, "signed_metadata") // ES256 signatures differ each time
		signed, _ := b["signed_metadata"].(string)
		delete(b, "signed_metadata")
		left, _ := json.Marshal(a)
		right, _ := json.Marshal(b)
		if forged.status != http.StatusOK || string(left) != string(right) || strings.Contains(forged.body, "evil") || strings.Contains(decoded(signed), "evil") {
			t.Errorf("%s: %v", path, forged)
		}
	}
	form := credential{"Content-Type: application/x-www-form-urlencoded"}
	a := s.token(t, append(operator, evil...), "grant_type=client_credentials")
	token, _ := a.object(t)["access_token"].(string)
	if _, claims := s.verify(t, "default", token); claims["iss"] != publicURL || claims["aud"] != publicURL {
		t.Errorf("a token of another issuer: %v", claims)
	}
	for _, lines := range []credential{evil, append(form, evil...)} {
		if a := s.send(t, "POST", tokenPath, "", lines...); strings.Contains(a.body+strings.Join(a.header.Values("Location"), ""), "evil") {
			t.Errorf("an error follows the Host: %v", a)
		}
	}
	// The absolute form of a request target names a host, too (RFC 9112 §3.2.2).
	a = s.raw(t, "GET http://evil.example/.well-known/authzen-configuration HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n")
	if strings.Contains(a.body, "evil") {
		t.Errorf("the target's host: %v", a)
	}
}

// decoded is a JWT's payload.
func decoded(token string) string {
	_, rest, _ := strings.Cut(token, ".")
	payload, _, _ := strings.Cut(rest, ".")
	text, _ := base64.RawURLEncoding.DecodeString(payload)
	return string(text)
}
