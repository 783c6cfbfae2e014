package directory_test

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"go.yaml.in/yaml/v3"
	"pgregory.net/rapid"

	"mandate/directory"
)

func TestSecretsCannotBePrinted(t *testing.T) {
	const value = "hunter2-hunter2"
	secret := directory.NewSecret(value)
	holder := struct{ S directory.Secret }{secret}
	var printed bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		fmt.Fprintf(&printed, verb+" "+verb+" "+verb+"\n", secret, &secret, holder)
	}
	slog.New(slog.NewTextHandler(&printed, nil)).Info("log", "secret", secret, "holder", holder)
	slog.New(slog.NewJSONHandler(&printed, nil)).Info("log", "secret", secret, "holder", holder)
	for _, marshal := range []func(any) ([]byte, error){json.Marshal, yaml.Marshal} {
		text, err := marshal(holder)
		if err != nil {
			t.Fatal(err)
		}
		printed.Write(text)
	}
	if strings.Contains(printed.String(), value) || strings.Contains(printed.String(), fmt.Sprintf("%x", value)) {
		t.Errorf("a secret was printed:\n%s", printed.String())
	}
}

func TestMadeSecretsAreFoundAndChecked(t *testing.T) {
	seen := map[string]bool{}
	for range 1000 {
		secret, err := directory.MakeSecret(directory.KindAPIKey, "acme-key", rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		s := secret.Expose()
		if len(s) != len("mdt_ak_acme-key_")+43+6 || seen[s] || directory.Mistyped(s) {
			t.Fatalf("%q has the wrong length, was made before or fails its own checksum", s)
		}
		seen[s] = true
		if changed := s[:len(s)-8] + "!" + s[len(s)-7:]; !directory.Mistyped(changed) {
			t.Fatalf("the checksum does not notice the change to %q", changed)
		}
	}
	odd, err := directory.MakeSecret(directory.KindAPIKey, "a_b/c", rand.Reader)
	if err != nil || !strings.HasPrefix(odd.Expose(), "mdt_ak_x_") {
		t.Errorf("an id that could be misread was put into %q (%v)", odd.Expose(), err)
	}
}

func TestShapeOf(t *testing.T) {
	pair := "vendor-token:partner-token"
	for _, row := range []struct {
		name, token string
		want        directory.TokenShape
	}{
		{"made key", "mdt_ak_x_0123", directory.OpaqueToken},
		{"JWT", "eyJhbGciOiJFUzI1NiJ9.e30.c2ln", directory.JWTToken},
		{"JWT without signature", "eyJhbGciOiJub25lIn0.e30.", directory.JWTToken},
		{"three parts without a header", "a.b.c", directory.OpaqueToken},
		{"base64 pair", base64.StdEncoding.EncodeToString([]byte(pair)), directory.PairToken},
		{"base64url pair without padding", base64.RawURLEncoding.EncodeToString([]byte("vendor-token>:partner?")), directory.PairToken},
		{"raw pair", pair, directory.PairToken},
		{"two colons", "a:b:c", directory.OpaqueToken},
		{"one half", "a:", directory.OpaqueToken},
		{"base64 of two colons", base64.StdEncoding.EncodeToString([]byte("a:b:c")), directory.OpaqueToken},
		{"base64 of control characters around a colon", base64.StdEncoding.EncodeToString([]byte("\x00:\x01")), directory.OpaqueToken},
		{"empty", "", directory.OpaqueToken},
	} {
		if shape, _, _ := directory.ShapeOf(row.token); shape != row.want {
			t.Errorf("%s: shape %d, want %d", row.name, shape, row.want)
		}
	}
}

func TestPairsComeApartAsTheyWereJoined(t *testing.T) {
	half := rapid.StringMatching(`[!-9;-~]{1,40}`)
	rapid.Check(t, func(t *rapid.T) {
		vendor, partner := half.Draw(t, "vendor"), half.Draw(t, "partner")
		token := base64.StdEncoding.EncodeToString([]byte(vendor + ":" + partner))
		if shape, v, p := directory.ShapeOf(token); shape != directory.PairToken || v != vendor || p != partner {
			t.Fatalf("%q and %q became %d %q %q", vendor, partner, shape, v, p)
		}
	})
}

func TestMasterKey(t *testing.T) {
	a, err := directory.NewMasterKey([32]byte{1})
	if err != nil {
		t.Fatal(err)
	}
	b, err := directory.NewMasterKey([32]byte{2})
	if err != nil {
		t.Fatal(err)
	}
	secret := directory.NewSecret("s")
	if !a.Matches(secret, a.Hash(secret)) || a.Matches(directory.NewSecret("t"), a.Hash(secret)) || b.Matches(secret, a.Hash(secret)) {
		t.Error("a hash matches exactly its secret under its master key")
	}
	sealed, err := a.Seal([]byte("private"), "here")
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(sealed, []byte("private")) {
		t.Error("sealed in the clear")
	}
	if opened, err := a.Open(sealed, "here"); err != nil || string(opened) != "private" {
		t.Errorf("opened %q, %v", opened, err)
	}
	for name, open := range map[string]func() ([]byte, error){
		"elsewhere":            func() ([]byte, error) { return a.Open(sealed, "there") },
		"under another master": func() ([]byte, error) { return b.Open(sealed, "here") },
		"cut short":            func() ([]byte, error) { return a.Open(sealed[:5], "here") },
		"changed": func() ([]byte, error) {
			return a.Open(append(sealed[:len(sealed)-1:len(sealed)-1], sealed[len(sealed)-1]^1), "here")
		},
	} {
		if _, err := open(); err == nil {
			t.Errorf("opened %s", name)
		}
	}
}

func TestMasterKeyFileIsMadeOnce(t *testing.T) {
	file := filepath.Join(t.TempDir(), "master.key")
	hashes := make([]directory.Hash, 8)
	var group sync.WaitGroup
	for i := range hashes {
		group.Go(func() {
			master, err := directory.LoadMasterKey(file)
			if err != nil {
				t.Error(err)
				return
			}
			hashes[i] = master.Hash(directory.NewSecret("s"))
		})
	}
	group.Wait()
	for _, h := range hashes {
		if h != hashes[0] {
			t.Fatal("two starts at once made two master keys")
		}
	}
	info, err := os.Stat(file)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the master key can be read by others: %v, %v", info.Mode(), err)
	}
	if err := os.WriteFile(file, []byte("short"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := directory.LoadMasterKey(file); err == nil {
		t.Error("a damaged master key was taken")
	}
}

func TestPasswords(t *testing.T) {
	hash, err := directory.HashPassword(directory.NewSecret("correct horse"))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(hash, "$argon2id$v=19$m=19456,t=2,p=1$") {
		t.Errorf("not OWASP's parameters: %s", hash)
	}
	for password, want := range map[string]bool{"correct horse": true, "Correct horse": false, "": false} {
		if ok, err := directory.PasswordMatches(directory.NewSecret(password), hash); ok != want || err != nil {
			t.Errorf("%q matches: %v, %v", password, ok, err)
		}
	}
}

func TestStoreKeepsToItsMasterKey(t *testing.T) {
	f := newFixture(t, 1)
	dir := t.TempDir()
	file := filepath.Join(dir, "master.key")
	first, err := directory.OpenMasterKey(t.Context(), f, file)
	if err != nil {
		t.Fatal(err)
	}
	again, err := directory.OpenMasterKey(t.Context(), f, file)
	if err != nil || again.Hash(directory.NewSecret("s")) != first.Hash(directory.NewSecret("s")) {
		t.Fatalf("the same file is another key: %v", err)
	}
	if _, err := directory.OpenMasterKey(t.Context(), f, filepath.Join(dir, "other.key")); err == nil || !strings.Contains(err.Error(), "is missing") {
		t.Errorf("a store with a key was given another one: %v", err)
	}
	if _, err := directory.LoadMasterKey(filepath.Join(dir, "other.key")); err != nil {
		t.Fatal(err)
	}
	if _, err := directory.OpenMasterKey(t.Context(), f, filepath.Join(dir, "other.key")); err == nil || !strings.Contains(err.Error(), "the store was made with") {
		t.Errorf("a store was opened with the key of another: %v", err)
	}
}

func TestDerivedSecrets(t *testing.T) {
	master, err := directory.NewMasterKey([32]byte{1})
	if err != nil {
		t.Fatal(err)
	}
	other, err := directory.NewMasterKey([32]byte{2})
	if err != nil {
		t.Fatal(err)
	}
	const id = "0a1b2c.7"
	secret := master.Derive(tenant, directory.KindRefreshToken, id)
	s := secret.Expose()
	if !strings.HasPrefix(s, "mdt_rt_"+id+"_") || directory.Mistyped(s) {
		t.Errorf("%q is not of the form mdt_<kind>_<id>_<secret><crc>", s)
	}
	if got, ok := master.DerivedID(tenant, directory.KindRefreshToken, secret); !ok || got != id {
		t.Fatalf("the secret that was derived for %q leads to %q, %v", id, got, ok)
	}
	last := "0"
	if strings.HasSuffix(s, last) {
		last = "1"
	}
	derive := func(m *directory.MasterKey, t directory.Tenant, kind directory.SecretKind, id string) string {
		return m.Derive(t, kind, id).Expose()
	}
	for _, row := range []struct{ name, secret string }{
		{"of another tenant", derive(master, "staging", directory.KindRefreshToken, id)},
		{"of another kind", derive(master, tenant, directory.KindCode, id)},
		{"of another kind, renamed", strings.Replace(derive(master, tenant, directory.KindCode, id), "mdt_ac_", "mdt_rt_", 1)},
		{"of another id, renamed", strings.Replace(derive(master, tenant, directory.KindRefreshToken, "0a1b2c.8"), "0a1b2c.8", id, 1)},
		{"of another master key", derive(other, tenant, directory.KindRefreshToken, id)},
		{"with another checksum", s[:len(s)-1] + last},
		{"cut short", s[:len(s)-1]},
		{"without the checksum", s[:len(s)-6]},
		{"longer", s + "0"},
		{"with a space", s + " "},
		{"in upper case", strings.ToUpper(s)},
		{"with a part more", s + "_"},
		{"of nothing but its id", "mdt_rt_" + id + "__"},
		{"empty", ""},
		{"made, not derived", mustMake(t, directory.KindRefreshToken, id)},
	} {
		if _, ok := master.DerivedID(tenant, directory.KindRefreshToken, directory.NewSecret(row.secret)); ok {
			t.Errorf("a secret %s was taken: %s", row.name, row.secret)
		}
	}
}

func mustMake(t *testing.T, kind directory.SecretKind, id string) string {
	t.Helper()
	secret, err := directory.MakeSecret(kind, id, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return secret.Expose()
}

// FuzzDerivedID: only what was derived is taken, for the id that it was derived for.
func FuzzDerivedID(f *testing.F) {
	master, err := directory.NewMasterKey([32]byte{1})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(master.Derive(tenant, directory.KindCode, "a.1").Expose())
	f.Add(master.Derive(tenant, directory.KindRefreshToken, "a.1").Expose())
	f.Add("mdt_ac_a.1_")
	f.Add("mdt_ac___")
	f.Add("___")
	f.Fuzz(func(t *testing.T, text string) {
		secret := directory.NewSecret(text)
		id, ok := master.DerivedID(tenant, directory.KindCode, secret)
		if ok != (text == master.Derive(tenant, directory.KindCode, id).Expose()) {
			t.Errorf("%q is taken for %q: %v", text, id, ok)
		}
		if _, ok := master.DerivedID("staging", directory.KindCode, secret); ok {
			t.Errorf("%q is taken in another tenant", text)
		}
	})
}
