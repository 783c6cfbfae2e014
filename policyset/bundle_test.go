package policyset_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/open-policy-agent/opa/v1/bundle"
	"github.com/open-policy-agent/opa/v1/compile"

	"mandate/engine"
	"mandate/policies"
	"mandate/policyset"
)

func bundleOf(t testing.TB, set *engine.PolicySet, sign *policyset.Signing) []byte {
	t.Helper()
	var b bytes.Buffer
	must(t, policyset.WriteBundle(&b, set, set.Revision(), sign))
	return b.Bytes()
}

func TestBundle(t *testing.T) {
	builtIn, err := engine.CompileTested(t.Context(), policies.FS)
	must(t, err)
	for _, set := range []*engine.PolicySet{builtIn, compiled(t, numbered(1))} {
		raw := bundleOf(t, set, nil)
		if !bytes.Equal(raw, bundleOf(t, set, nil)) {
			t.Error("the same set is not the same bytes")
		}
		files, err := policyset.ReadBundle(raw, nil)
		must(t, err)
		read, err := engine.CompileFiles(t.Context(), files)
		must(t, err)
		if read.Revision() != set.Revision() {
			t.Error("the bundle of a set is another set")
		}
		// It is what OPA reads.
		b, err := bundle.NewReader(bytes.NewReader(raw)).Read()
		must(t, err)
		if b.Manifest.Revision != set.Revision() || !slices.Contains(*b.Manifest.Roots, "mandate") {
			t.Error("the manifest is", b.Manifest)
		}
	}
}

// What "opa build" writes is a set, and the same one as the folder when it is built as it stands.
func TestBundleOfOPA(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "policies")
	write(t, dir, numbered(1))
	t.Chdir(dir) // else the names in the bundle begin with the folder
	folder := compiled(t, numbered(1))
	for _, test := range []struct {
		name    string
		build   func(*compile.Compiler) *compile.Compiler
		same    bool
		refused string
	}{
		{"as a bundle", func(c *compile.Compiler) *compile.Compiler { return c }, true, ""},
		{"with a manifest", func(c *compile.Compiler) *compile.Compiler { return c.WithRevision("v1").WithRoots("mandate", "team") }, true, ""},
		{"optimized", func(c *compile.Compiler) *compile.Compiler {
			return c.WithOptimizationLevel(1).WithEntrypoints("mandate/access/decision", "mandate/tokens/decision", "mandate/manage/decision")
		}, false, ""},
		{"optimized more", func(c *compile.Compiler) *compile.Compiler {
			return c.WithOptimizationLevel(2).WithEntrypoints("mandate/access/decision", "mandate/tokens/decision", "mandate/manage/decision")
		}, false, ""},
		{"planned", func(c *compile.Compiler) *compile.Compiler {
			return c.WithTarget("plan").WithEntrypoints("mandate/access/decision")
		}, true, ""},
		{"as WebAssembly", func(c *compile.Compiler) *compile.Compiler {
			return c.WithTarget("wasm").WithEntrypoints("mandate/access/decision")
		}, false, "it holds WebAssembly"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var b bytes.Buffer
			compiler := test.build(compile.New().WithPaths(".").WithAsBundle(true)).WithOutput(&b)
			if err := compiler.Build(t.Context()); err != nil {
				if test.refused != "" {
					t.Skip("this build of OPA's library has no WebAssembly:", err)
				}
				t.Fatal(err)
			}
			files, err := policyset.ReadBundle(b.Bytes(), nil)
			if test.refused != "" {
				if err == nil || !strings.Contains(err.Error(), test.refused) {
					t.Error("not refused:", err)
				}
				return
			}
			must(t, err)
			set, err := engine.Admit(t.Context(), files)
			must(t, err)
			if same := set.Revision() == folder.Revision(); same != test.same {
				t.Errorf("the same set: %v\n%v", same, files)
			}
		})
	}
}

// key writes a private key, and returns its file and its public key.
func key(t *testing.T, private any, public any) (file string, pemText string) {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(private)
	must(t, err)
	file = filepath.Join(t.TempDir(), "key.pem")
	must(t, os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600))
	der, err = x509.MarshalPKIXPublicKey(public)
	must(t, err)
	return file, string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}

func rsaKey(t *testing.T) (file string, public string) {
	t.Helper()
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	must(t, err)
	return key(t, private, private.Public())
}

func trusting(public string) *policyset.Verification {
	return &policyset.Verification{Keys: map[string]policyset.VerificationKey{"release": {Key: public}}}
}

func TestSignedBundle(t *testing.T) {
	set := compiled(t, numbered(1))
	release, public := rsaKey(t)
	other, otherPublic := rsaKey(t)
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	curve, curvePublic := key(t, private, private.Public())
	claims := filepath.Join(t.TempDir(), "claims.json")
	must(t, os.WriteFile(claims, []byte(`{"scope": "policies"}`), 0o600))

	signed := bundleOf(t, set, &policyset.Signing{Key: release, KeyID: "release"})
	if !bytes.Equal(signed, bundleOf(t, set, &policyset.Signing{Key: release, KeyID: "release"})) {
		t.Error("the same set and key are not the same bytes")
	}
	scoped := bundleOf(t, set, &policyset.Signing{Key: release, KeyID: "release", Claims: claims})
	withScope := trusting(public)
	withScope.Scope = "policies"
	both := &policyset.Verification{Keys: map[string]policyset.VerificationKey{"release": {Key: public}, "next": {Key: curvePublic, Algorithm: "ES256"}}}
	for _, test := range []struct {
		name    string
		raw     []byte
		verify  *policyset.Verification
		refused string
	}{
		{"good", signed, trusting(public), ""},
		{"nobody asks", signed, nil, ""},
		{"of the next key", bundleOf(t, set, &policyset.Signing{Key: curve, KeyID: "next", Algorithm: "ES256"}), both, ""},
		{"of a key of two", signed, both, ""},
		{"of an unknown key", bundleOf(t, set, &policyset.Signing{Key: release, KeyID: "former"}), both, "verification key corresponding to ID former not found"},
		{"of another key", bundleOf(t, set, &policyset.Signing{Key: other, KeyID: "release"}), trusting(public), "failed to verify JWT signature"},
		{"verified by another key", signed, trusting(otherPublic), "failed to verify JWT signature"},
		{"with scope", scoped, withScope, ""},
		{"without scope", signed, withScope, "scope mismatch"},
		{"with a scope that nobody asks for", scoped, trusting(public), "scope mismatch"},
		{"not signed", bundleOf(t, set, nil), trusting(public), "missing .signatures.json"},
		{"signatures removed", altered(t, signed, func(m map[string]string) { delete(m, "/.signatures.json") }), trusting(public), "missing .signatures.json"},
		{"signatures emptied", altered(t, signed, func(m map[string]string) { m["/.signatures.json"] = `{"signatures": []}` }), trusting(public), ".signatures.json: missing JWT"},
		{"policy changed", altered(t, signed, func(m map[string]string) { m["/tokens.rego"] += "\n" }), trusting(public), "tokens.rego: digest mismatch"},
		{"policy added", altered(t, signed, func(m map[string]string) { m["/x.rego"] = "package mandate.x" }), trusting(public), "x.rego not included in bundle signature"},
		{"policy removed", altered(t, signed, func(m map[string]string) { delete(m, "/access_test.rego") }), trusting(public), "not found in the target bundle"},
		{"data changed", altered(t, signed, func(m map[string]string) { m["/data.json"] = "{}" }), trusting(public), "data.json: digest mismatch"},
		{"data added", altered(t, signed, func(m map[string]string) { m["/team/data.json"] = `{"more": 1}` }), trusting(public), "not included in bundle signature"},
		{"manifest changed", altered(t, signed, func(m map[string]string) { m["/.manifest"] = `{"revision":"x"}` }), trusting(public), ".manifest: digest mismatch"},
		{"a delta", altered(t, signed, func(m map[string]string) {
			clear(m)
			m["/patch.json"] = `{"data":[{"op":"upsert","path":"/team/open","value":false}]}`
		}),
			trusting(public), "delta bundles do not support signature verification"},
	} {
		t.Run(test.name, func(t *testing.T) {
			files, err := policyset.ReadBundle(test.raw, test.verify)
			if test.refused != "" {
				if err == nil || !strings.Contains(err.Error(), test.refused) {
					t.Error("not refused:", err)
				}
				return
			}
			must(t, err)
			if revision, err := engine.RevisionOf(files); err != nil || revision != set.Revision() {
				t.Error("another set:", err)
			}
		})
	}
}

// altered is a bundle with other files.
func altered(t testing.TB, raw []byte, change func(files map[string]string)) []byte {
	t.Helper()
	unpacked, err := gzip.NewReader(bytes.NewReader(raw))
	must(t, err)
	all := map[string]string{}
	for r := tar.NewReader(unpacked); ; {
		header, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		must(t, err)
		text, err := io.ReadAll(r)
		must(t, err)
		all[header.Name] = string(text)
	}
	change(all)
	return packed(t, all)
}

func packed(t testing.TB, files map[string]string) []byte {
	t.Helper()
	var b bytes.Buffer
	compressed := gzip.NewWriter(&b)
	w := tar.NewWriter(compressed)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		must(t, w.WriteHeader(&tar.Header{Name: name, Mode: 0o600, Size: int64(len(files[name]))}))
		_, err := io.WriteString(w, files[name])
		must(t, err)
	}
	must(t, w.Close())
	must(t, compressed.Close())
	return b.Bytes()
}

// archive is a bundle of one file.
func archive(t testing.TB, header tar.Header, text string) []byte {
	t.Helper()
	var b bytes.Buffer
	compressed := gzip.NewWriter(&b)
	w := tar.NewWriter(compressed)
	header.Mode, header.Size = 0o600, int64(len(text))
	must(t, w.WriteHeader(&header))
	_, err := io.WriteString(w, text)
	must(t, err)
	must(t, w.Close())
	must(t, compressed.Close())
	return b.Bytes()
}

// sparse is a bundle of one file that has the size by its header alone, as GNU tar 1.14 writes it. Go's own writer does not.
func sparse(t testing.TB, size int) []byte {
	t.Helper()
	records := ""
	for _, record := range []string{"major=0", "minor=1", "name=x.rego", fmt.Sprintf("size=%d", size), "numblocks=1", fmt.Sprintf("map=%d,0", size)} {
		length := len("00 GNU.sparse.\n") + len(record)
		records += fmt.Sprintf("%d GNU.sparse.%s\n", length, record)
	}
	var b bytes.Buffer
	compressed := gzip.NewWriter(&b)
	for _, entry := range []struct {
		name, text string
		kind       byte
	}{{"PaxHeaders/x", records, 'x'}, {"x.rego", "", '0'}} {
		block := make([]byte, 512+(len(entry.text)+511)/512*512)
		copy(block, entry.name)
		copy(block[100:], "0000600\x000000000\x000000000\x00"+fmt.Sprintf("%011o\x00%011o\x00        ", len(entry.text), 0))
		block[156] = entry.kind
		copy(block[257:], "ustar\x0000")
		copy(block[512:], entry.text)
		sum := 0
		for _, octet := range block[:512] {
			sum += int(octet)
		}
		copy(block[148:], fmt.Sprintf("%06o\x00 ", sum))
		_, err := compressed.Write(block)
		must(t, err)
	}
	_, err := compressed.Write(make([]byte, 1024))
	must(t, err)
	must(t, compressed.Close())
	return b.Bytes()
}

func TestBrokenBundle(t *testing.T) {
	good := bundleOf(t, compiled(t, numbered(1)), nil)
	many := map[string]string{}
	for n := range 65 {
		many["/"+strings.Repeat("x", n)+".json"] = strings.Repeat(" ", 1<<20)
	}
	grows := "a: &a \"" + strings.Repeat("x", 20_000) + "\"\nb: [" + strings.Repeat("*a,", 20_000) + "]\n"
	for _, test := range []struct {
		name string
		raw  []byte
		want string
	}{
		{"nothing", nil, "not the gzipped tar"},
		{"text", []byte("package x"), "not the gzipped tar"},
		{"cut", good[:len(good)/2], "not a gzipped tar"},
		{"unpacks to much", packed(t, many), "unpacks to more than"},
		{"sparse", sparse(t, 1), `"x.rego" is neither a regular file nor a folder`},
		{"sparse to much", sparse(t, 1<<40), `"x.rego" is neither a regular file nor a folder`},
		{"a link", archive(t, tar.Header{Name: "x.rego", Typeflag: tar.TypeSymlink, Linkname: "/etc/passwd"}, ""), `"x.rego" is neither a regular file nor a folder`},
		{"a device", archive(t, tar.Header{Name: "x.rego", Typeflag: tar.TypeChar}, ""), `"x.rego" is neither a regular file nor a folder`},
		{"one file too large", archive(t, tar.Header{Name: "x.rego"}, strings.Repeat(" ", 33<<20)), "exceeds configured size_limit_bytes"},
		{"YAML that grows", packed(t, map[string]string{"/x/data.yaml": grows}), `"/x/data.yaml": line 2: an alias cannot be used here`},
		{"YAML that grows, by its other name", packed(t, map[string]string{"data.yml": grows}), `"data.yml": line 2: an alias cannot be used here`},
		{"much YAML", packed(t, map[string]string{"data.yml": "- a\n" + strings.Repeat("- a\n", 1<<18)}), "write it as JSON"},
		{"too large", make([]byte, policyset.MaxBundle+1), "more than"},
		{"no Rego", packed(t, map[string]string{"/x.rego": "package"}), "rego_parse_error"},
		{"outside its roots", altered(t, good, func(m map[string]string) { m["/.manifest"] = `{"roots":["team"]}` }), "manifest roots [team] do not permit 'package mandate"},
		{"a delta", packed(t, map[string]string{"/patch.json": `{"data":[{"op":"remove","path":"/team"}]}`}), "it is a delta bundle"},
	} {
		t.Run(test.name, func(t *testing.T) {
			// Nothing that is refused is made room for, before a signature is looked at or after.
			for _, verify := range []*policyset.Verification{nil, trusting("no key")} {
				var before, after runtime.MemStats
				runtime.ReadMemStats(&before)
				_, err := policyset.ReadBundle(test.raw, verify)
				runtime.ReadMemStats(&after)
				if err == nil || verify == nil && !strings.Contains(err.Error(), test.want) {
					t.Error("not refused:", err)
				}
				if allocated := (after.TotalAlloc - before.TotalAlloc) >> 20; allocated > 64 {
					t.Errorf("%d bytes took %d MB", len(test.raw), allocated)
				}
			}
		})
	}
}
