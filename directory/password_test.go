package directory_test

import (
	"strings"
	"testing"

	"github.com/alexedwards/argon2id"
	"golang.org/x/crypto/bcrypt"

	"mandate/datastore"
	"mandate/directory"
)

// Hashes that others have made: crypt_blowfish's and passlib's own examples, both of passwords that they name.
const (
	blowfishHash = "$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW"                   // U*U
	passlibHash  = "$pbkdf2-sha256$8000$XAuBMIYQQogxRg$tRRlz8hYn63B9LYiCd6PRo6FMiunY9ozmMMI3srxeRE" // password
)

func TestImportedHashesAreVerified(t *testing.T) {
	long := strings.Repeat("x", 72)
	made, err := bcrypt.GenerateFromPassword([]byte(long), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	argon, err := argon2id.CreateHash("correct horse", &argon2id.Params{Memory: 64, Iterations: 3, Parallelism: 4, SaltLength: 8, KeyLength: 16})
	if err != nil {
		t.Fatal(err)
	}
	today, err := directory.HashPassword(directory.NewSecret("ﬁve ångströms"))
	if err != nil {
		t.Fatal(err)
	}
	phc := strings.Replace(passlibHash, "$8000$", "$i=8000$", 1)
	for _, row := range []struct {
		name, hash, password string
		want                 bool
	}{
		{"bcrypt 2a", blowfishHash, "U*U", true},
		{"bcrypt 2a, wrong", blowfishHash, "U*V", false},
		{"bcrypt 2b", strings.Replace(blowfishHash, "2a", "2b", 1), "U*U", true},
		{"bcrypt 2y", strings.Replace(blowfishHash, "2a", "2y", 1), "U*U", true},
		{"bcrypt, all the bytes that it reads", string(made), long, true},
		{"bcrypt, a byte more is refused and not cut off", string(made), long + "y", false},
		{"PBKDF2, passlib", passlibHash, "password", true},
		{"PBKDF2, passlib, wrong", passlibHash, "passwort", false},
		{"PBKDF2, PHC", phc, "password", true},
		{"PBKDF2, PHC with the length", strings.Replace(phc, "i=8000", "i=8000,l=32", 1), "password", true},
		{"PBKDF2, padded", strings.Replace(phc, "XAuBMIYQQogxRg", "XAuBMIYQQogxRg==", 1) + "=", "password", true},
		{"PBKDF2, another digest", strings.Replace(phc, "sha256", "sha512", 1), "password", false},
		{"argon2id", argon, "correct horse", true},
		{"argon2id, wrong", argon, "correct hors", false},
		{"NIST SP 800-63B §3.1.1.2: as it was set", today, "ﬁve ångströms", true},
		{"NIST SP 800-63B §3.1.1.2: as another keyboard writes it", today, "five a\u030angstro\u0308ms", true},
		{"NIST SP 800-63B §3.1.1.2: another letter", today, "five angstroms", false},
	} {
		ok, err := directory.PasswordMatches(directory.NewSecret(row.password), row.hash)
		if err != nil || ok != row.want {
			t.Errorf("%s: %v %v, want %v", row.name, ok, err, row.want)
		}
		f := newFixture(t, 1)
		if _, err := f.load(t, `users: [{id: alice, password_hash: "`+row.hash+`"}]`); err != nil {
			t.Errorf("%s: import: %v", row.name, err)
		}
		if outdated := directory.PasswordOutdated(row.hash); outdated != (row.hash != today) {
			t.Errorf("%s: outdated: %v", row.name, outdated)
		}
	}
}

// TestHashesThatAreRefused: one login must not exhaust the machine, and what can never match is no hash.
func TestHashesThatAreRefused(t *testing.T) {
	const salt, key = "AAAAAAAAAAAAAAAAAAAAAA", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
	argon := func(parameters string) string { return "$argon2id$v=19$" + parameters + "$" + salt + "$" + key }
	for _, row := range []struct{ name, hash, want string }{
		{"memory", argon("m=65537,t=1,p=1"), "out of bounds"},
		{"passes", argon("m=65536,t=11,p=1"), "out of bounds"},
		{"lanes", argon("m=65536,t=1,p=5"), "out of bounds"},
		{"no passes", argon("m=65536,t=0,p=1"), "out of bounds"},
		{"argon2i", strings.Replace(argon("m=65536,t=1,p=1"), "argon2id", "argon2i", 1), "is neither"},
		{"bcrypt cost", strings.Replace(blowfishHash, "$05$", "$15$", 1), "cost out of bounds: at most 14"},
		{"bcrypt cost that is none", strings.Replace(blowfishHash, "$05$", "$03$", 1), "is not a bcrypt hash"},
		{"bcrypt 2x, of a broken library", strings.Replace(blowfishHash, "2a", "2x", 1), "is neither"},
		{"bcrypt, cut off", blowfishHash[:59], "is not a bcrypt hash"},
		{"bcrypt, with more", blowfishHash + "x", "is not a bcrypt hash"},
		{"too few iterations", "$pbkdf2-sha256$i=999$" + salt + "$" + key, "out of bounds"},
		{"too many iterations", "$pbkdf2-sha256$i=5000001$" + salt + "$" + key, "out of bounds"},
		{"negative iterations", "$pbkdf2-sha256$-1000$" + salt + "$" + key, "out of bounds"},
		{"a key of two blocks costs twice", "$pbkdf2-sha256$i=1000$" + salt + "$" + key + "AAAA", "out of bounds"},
		{"a short key", "$pbkdf2-sha256$i=1000$" + salt + "$AAAA", "out of bounds"},
		{"no salt", "$pbkdf2-sha256$i=1000$$" + key, "out of bounds"},
		{"not Base64", "$pbkdf2-sha256$i=1000$*$" + key, "is neither"},
		{"PBKDF2 with SHA-1", "$pbkdf2-sha1$i=1000$" + salt + "$" + key, "is neither"},
		{"too long", argon("m=65536,t=1,p=1") + strings.Repeat("A", 500), "is neither"},
		{"a password", "correct horse", "is neither"},
	} {
		_, err := newFixture(t, 1).load(t, `users: [{id: alice, password_hash: "`+row.hash+`"}]`)
		if err == nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: %v, want %s", row.name, err, row.want)
		}
	}
}

func TestPasswordsThatNobodyShouldChoose(t *testing.T) {
	for _, row := range []struct {
		name, password string
		good           bool
	}{
		{"NIST SP 800-63B §3.1.1.2: eight characters", "eight878", true},
		{"seven characters", "seven87", false},
		{"code points count, not bytes", "ééééééé", false},
		{"spaces and any script", "pass wörter 秘密", true},
		{"no rules of composition", "aaaaaaaaaaaa", true},
		{"1024 bytes", strings.Repeat("x", 1024), true},
		{"1025 bytes", strings.Repeat("x", 1025), false},
		{"a control character", "line\nbreak in it", false},
		{"not UTF-8", "eight\xff878", false},
	} {
		if err := directory.CheckPassword(directory.NewSecret(row.password)); (err == nil) != row.good {
			t.Errorf("%s: %v", row.name, err)
		}
	}
}

// TestUpgradeKeepsThePassword: what rests on a password survives another hash of it, and nothing survives another password.
func TestUpgradeKeepsThePassword(t *testing.T) {
	f := newFixture(t, 1)
	f.mustLoad(t, `users: [{id: alice, password_hash: "`+blowfishHash+`"}]`)
	read := func() directory.UserSecrets {
		t.Helper()
		secrets, err := tenant.UserSecrets("alice").Get(t.Context(), f.view(t))
		if err != nil {
			t.Fatal(err)
		}
		return secrets
	}
	update := func(do func(tx datastore.Tx) error) {
		t.Helper()
		if _, err := f.Update(t.Context(), do); err != nil {
			t.Fatal(err)
		}
	}
	first := read()
	for _, row := range []struct {
		name, wantHash string
		same           bool
		do             func(datastore.Tx) error
	}{
		{"an upgrade", "second", true, func(tx datastore.Tx) error {
			return tenant.UpgradePassword(t.Context(), tx, "alice", blowfishHash, "second")
		}},
		{"one that comes too late", "second", true, func(tx datastore.Tx) error {
			return tenant.UpgradePassword(t.Context(), tx, "alice", blowfishHash, "late")
		}},
		{"the next upgrade", "third", true, func(tx datastore.Tx) error {
			return tenant.UpgradePassword(t.Context(), tx, "alice", "second", "third")
		}},
		{"the same hash again", "third", true, func(tx datastore.Tx) error { return tenant.PutPassword(t.Context(), tx, "alice", "third") }},
		{"another password", "fourth", false, func(tx datastore.Tx) error { return tenant.PutPassword(t.Context(), tx, "alice", "fourth") }},
	} {
		update(row.do)
		secrets := read()
		if secrets.PasswordHash != row.wantHash || (secrets.Digest() == first.Digest()) != row.same {
			t.Errorf("%s: %+v, the same password: %v", row.name, secrets, secrets.Digest() == first.Digest())
		}
	}
}
