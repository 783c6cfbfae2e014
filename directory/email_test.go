package directory_test

import (
	"slices"
	"strings"
	"testing"

	"mandate/directory"
)

// TestCheckEmail: an address says who somebody is, so it is one, bare, and in letters that look like no others.
func TestCheckEmail(t *testing.T) {
	for _, row := range []struct {
		name, email string
		good        bool
	}{
		{"RFC 5321 §4.1.2: a mailbox", "alice@acme.example", true},
		{"with a tag", "alice.a+work@Acme.example", true},
		{"none", "", false},
		{"no domain", "alice@", false},
		{"no local part", "@acme.example", false},
		{"with a name", "Alice <alice@acme.example>", false},
		{"in brackets", "<alice@acme.example>", false},
		{"two", "alice@acme.example,eve@evil.example", false},
		{"two at signs", "alice@acme.example@evil.example", false},
		{"with a comment", "alice@acme.example (Alice)", false},
		{"a line break", "alice@acme.example\r\nBcc: eve@evil.example", false},
		{"a space", "alice@acme.example ", false},
		{"a quoted local part", `"a b"@acme.example`, false},
		{"an address literal", "alice@[127.0.0.1]", false},
		{"a Cyrillic а", "\u0430lice@acme.example", false},
		{"a look-alike domain", "alice@\u0430cme.example", false},
		{"too long", strings.Repeat("a", 64) + "@" + strings.Repeat("a.", 100) + "example", false},
		{"RFC 5321 §4.5.3.1.1: a local part of more than 64 bytes", strings.Repeat("a", 65) + "@acme.example", false},
	} {
		if err := directory.CheckEmail(row.email); (err == nil) != row.good {
			t.Errorf("%s: %v", row.name, err)
		}
	}
}

// TestUsersAreFoundByEmail: whatever the case of its letters, and as long as they have it.
func TestUsersAreFoundByEmail(t *testing.T) {
	f := newFixture(t, 1)
	for _, step := range []struct {
		name, users, email string
		want               []string
	}{
		{"one", "{id: alice, email: Alice@Acme.example}", "alice@acme.EXAMPLE", []string{"alice"}},
		{"two share it", "{id: bob, email: alice@acme.example, email_verified: true}", "alice@acme.example", []string{"alice", "bob"}},
		{"one changes the case", "{id: alice, email: ALICE@acme.example}", "alice@acme.example", []string{"alice", "bob"}},
		{"one changes it", "{id: alice, email: alice@globex.example}", "alice@acme.example", []string{"bob"}},
		{"and is found by the new one", "{id: carol}", "alice@globex.example", []string{"alice"}},
		{"one gives it up", "{id: bob}", "alice@acme.example", nil},
		{"a look-alike", "{id: bob}", "\u0430lice@globex.example", nil},
		{"the beginning of one", "{id: bob}", "alice@globex", nil},
		{"nothing", "{id: bob}", "", nil},
	} {
		f.mustLoad(t, "users: ["+step.users+"]")
		var found []string
		err := tenant.UsersByEmail(t.Context(), f.view(t), step.email, func(user string) error {
			found = append(found, user)
			return nil
		})
		if err != nil || !slices.Equal(found, step.want) {
			t.Errorf("%s: %v %v, want %v", step.name, found, err, step.want)
		}
	}
}
