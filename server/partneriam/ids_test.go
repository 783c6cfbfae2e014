package partneriam

import (
	"slices"
	"testing"
)

func TestIDsAreThoseOfMandate(t *testing.T) {
	for _, row := range []struct {
		prefix string
		parts  []string
		id     string
	}{
		{orgID, []string{"acme"}, "org_acme"},
		{orgID, []string{"acme corp."}, "org_acme~20corp~2E"},
		{roleID, []string{"editor"}, "role_editor"},
		{roleID, []string{"acme", "editor"}, "role_acme.editor"},
		{roleID, []string{"acme.editor"}, "role_acme~2Eeditor"},
		{domainID, []string{"mail.acme.example"}, "org_domain_mail~2Eacme~2Eexample"},
		{permID, []string{"documents:*"}, "perm_documents~3A~2A"},
		{groupRoleID, []string{"Prüfer~/"}, "group_role_Pr~C3~BCfer~7E~2F"},
		{userRoleID, []string{"acme", "acme|sso|1", "viewer"}, "user_role_acme.acme~7Csso~7C1.viewer"},
	} {
		if id := pack(row.prefix, row.parts...); id != row.id {
			t.Errorf("%q is %s, want %s", row.parts, id, row.id)
		}
		if parts := unpack(row.prefix, row.id); !slices.Equal(parts, row.parts) {
			t.Errorf("%s is %q, want %q", row.id, parts, row.parts)
		}
	}
	for _, id := range []string{"", "org_", "acme", "ORG_acme", "org_acme.", "org_.acme", "org_a..b", "org_a b", "org_a/b", "org_~61", "org_~2e", "org_~2", "org_~", "org_~zz", "org_ü", "org_~-1", "org_~+1"} {
		if parts := unpack(orgID, id); parts != nil {
			t.Errorf("%q is %q, and no id", id, parts)
		}
	}
}

// No two ids are the same record's.
func FuzzIDs(f *testing.F) {
	f.Add("org_acme~2E.x")
	f.Fuzz(func(t *testing.T, id string) {
		if parts := unpack(orgID, id); parts != nil && pack(orgID, parts...) != id {
			t.Errorf("%q is %q, which is %q", id, parts, pack(orgID, parts...))
		}
	})
}
