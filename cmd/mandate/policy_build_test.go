package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestPoliciesFromBundles is the way from the built-in policies to a server that takes changed ones, signed, from a bundle server.
func TestPoliciesFromBundles(t *testing.T) {
	dir := t.TempDir()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	in := func(name string) string { return filepath.Join(dir, name) }
	ok := func(args ...string) string {
		t.Helper()
		out, err := commandAt(t, "", args...)
		if err != nil {
			t.Fatalf("%v: %v\n%s", args, err, out)
		}
		return out
	}
	refused := func(why string, args ...string) {
		t.Helper()
		if out, err := commandAt(t, "", args...); err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("%v is not refused with %q: %v\n%s", args, why, err, out)
		}
	}
	ok("policy", "init", in("policies"))
	refused("is not empty", "policy", "init", in("policies"))

	first := ok("policy", "build", in("policies"), "-o", in("one.tar.gz"))
	ok("policy", "build", in("policies"), "-o", in("two.tar.gz"))
	one, two := read(t, in("one.tar.gz")), read(t, in("two.tar.gz"))
	if one != two {
		t.Error("the same folder is not the same bytes")
	}
	revision := regexp.MustCompile(`[0-9a-f]{64}`)
	if again := ok("policy", "build", in("one.tar.gz"), "-o", in("three.tar.gz"), "--revision", "v3"); revision.FindString(again) != revision.FindString(first) {
		t.Errorf("the bundle is another set than the folder:\n%s%s", first, again)
	}

	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(err)
	der, err := x509.MarshalPKCS8PrivateKey(private)
	must(err)
	write(t, in("key.pem"), string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})))
	der, err = x509.MarshalPKIXPublicKey(private.Public())
	must(err)
	write(t, in("public.pem"), string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})))
	refused("no such file", "policy", "build", in("policies"), "-o", in("x.tar.gz"), "--signing-key", in("absent.pem"))
	refused("are for --signing-key", "policy", "build", in("policies"), "-o", in("x.tar.gz"), "--key-id", "release")
	signed := func(to string) {
		t.Helper()
		ok("policy", "build", in("policies"), "-o", in(to), "--signing-key", in("key.pem"), "--signing-alg", "ES256", "--key-id", "release")
	}
	signed("served.tar.gz")

	bundles := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer token-for-bundles" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		http.ServeFile(w, r, in("served.tar.gz"))
	}))
	defer bundles.Close()
	write(t, in("token"), "token-for-bundles\n")
	write(t, in("mandate.yaml"), "tenants:\n  default:\n    policies:\n      url: "+bundles.URL+"/served.tar.gz\n      token_file: "+in("token")+
		"\n      polling: {min_delay: 1s, max_delay: 1s}\n      verify:\n        keys: {release: {file: "+in("public.pem")+", algorithm: ES256}}\n")
	p := start(t, dir, "serve", "--dev", "--listen", "127.0.0.1:0", "--config", in("mandate.yaml"))
	p.wait(t, "the policies of a bundle server")
	ask := p.commands(t)[0]
	if answer := shell(t, ask); answer["decision"] != true {
		t.Fatalf("carol is an editor: %v", answer)
	}
	write(t, in("policies/access/grants.rego"), read(t, in("policies/access/grants.rego"))+"\ngranted_to_nobody := true\n")
	must(os.Rename(in("two.tar.gz"), in("served.tar.gz"))) // which nobody has signed
	p.wait(t, `missing .signatures.json`)
	signed("served.tar.gz")
	p.wait(t, "the source of the policies is good again")
	if err := p.stop(t); err != nil {
		t.Errorf("the server ended with %v", err)
	}

	write(t, in("policies/access/grants.rego"), "package mandate.access\n\nbroken if {\n")
	refused("access/grants.rego:", "policy", "build", in("policies"), "-o", in("x.tar.gz"))
	if _, err := os.Stat(in("x.tar.gz")); err == nil {
		t.Error("a bundle of bad policies was written")
	}
}

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestPoliciesConfig(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "b.tar.gz"), "")
	t.Chdir(dir)
	for _, test := range []struct{ policies, want string }{ // what is printed of it, or why it is refused
		{`./policies`, "policies:\n      path: ./policies\n"},
		{`https://bundles.example/b.tar.gz`, "policies:\n      url: https://bundles.example/b.tar.gz\n      polling:\n        min_delay: 1m0s\n        max_delay: 2m0s\n"},
		{`{path: b.tar.gz, verify: {keys: {release: {file: key.pem}}}}`, "policies:\n      path: b.tar.gz\n      verify:\n        keys:\n          release:\n            file: key.pem\n"},
		{`{url: "http://bundles.example/b"}`, "tenants.default.policies: url must be an https URL"},
		{`{url: "https://user:pw@bundles.example/b"}`, "url must be an https URL"},
		{`{url: "https://bundles.example/b", path: x}`, "give one of path and url"},
		{`{url: "https://bundles.example/b", polling: {min_delay: 5m, max_delay: 1m}}`, "polling must be between"},
		{`{url: "https://bundles.example/b", polling: {min_delay: 10ms}}`, "polling must be between"},
		{`{url: "https://bundles.example/b", long_polling: 10ms}`, "long_polling must be between"},
		{`{path: x, token_file: t}`, "are for url"},
		{`{path: x, verify: {keys: {a: {file: k}}}}`, "only bundles are signed"},
		{`{verify: {keys: {a: {file: k}}}}`, "only bundles are signed"},
		{`{path: b.tar.gz, verify: {scope: s}}`, "verify needs keys"},
		{`{urls: x}`, `unknown key "urls"`},
		{`{polling: {min: 1s}}`, `unknown key "min"`},
		{`[x]`, "cannot be used as"},
	} {
		write(t, "mandate.yaml", "tenants:\n  default:\n    policies: "+test.policies+"\n")
		out, err := commandAt(t, "", "config", "--config", "mandate.yaml")
		if err != nil {
			out = err.Error()
		}
		if !strings.Contains(out, test.want) {
			t.Errorf("%s makes\n%s", test.policies, out)
		}
	}
	write(t, "mandate.yaml", "tenants:\n  default:\n    policies: {url: \"https://bundles.example/b\"}\n")
	if out, err := commandAt(t, "", "config", "--config", "mandate.yaml", "--policies", "folder"); err != nil || !strings.Contains(out, "path: folder") || strings.Contains(out, "url: https") {
		t.Errorf("the flag does not replace what the file says: %v\n%s", err, out)
	}
}
