package partneriam

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// The ids of the wire are those of Mandate, with a prefix for the type: org_acme is the organization acme. Where the wire has only
// one id for what Mandate has below something else, it has both: role_acme.auditor is the role auditor of acme, and role_editor the
// tenant's editor. A byte that is no letter, digit, hyphen or underscore is ~ and its number in hexadecimal. No two ids are the same
// record's, so what is read in one is never taken for another.
const (
	orgID       = "org_"
	domainID    = "org_domain_" // a domain
	connID      = "conn_"       // the connection's id
	groupRoleID = "group_role_" // a provider's group
	roleID      = "role_"       // a role, or organization and role
	permID      = "perm_"       // the permission
	invID       = "inv_"        // organization and invitation
	userRoleID  = "user_role_"  // organization, user and role
)

func pack(prefix string, parts ...string) string {
	var b strings.Builder
	b.WriteString(prefix)
	for i, part := range parts {
		if i > 0 {
			b.WriteByte('.')
		}
		for j := range len(part) {
			if plain(part[j]) {
				b.WriteByte(part[j])
			} else {
				fmt.Fprintf(&b, "~%02X", part[j])
			}
		}
	}
	return b.String()
}

func plain(c byte) bool {
	return c == '-' || c == '_' || ('0' <= c && c <= '9') || ('a' <= c && c <= 'z') || ('A' <= c && c <= 'Z')
}

// unpack is what pack has made the id of, nil for any other text.
func unpack(prefix, id string) []string {
	text, found := strings.CutPrefix(id, prefix)
	if !found {
		return nil
	}
	parts := strings.Split(text, ".")
	for i, part := range parts {
		var b strings.Builder
		for j := 0; j < len(part); j++ {
			if part[j] != '~' {
				b.WriteByte(part[j])
				continue
			}
			code, err := strconv.ParseUint(part[j+1:min(j+3, len(part))], 16, 8)
			if err != nil {
				return nil
			}
			b.WriteByte(byte(code))
			j += 2
		}
		parts[i] = b.String()
	}
	if slices.Contains(parts, "") || pack(prefix, parts...) != id {
		return nil
	}
	return parts
}

// only is the one part of an id.
func only(prefix, id string) (string, bool) {
	parts := unpack(prefix, id)
	if len(parts) != 1 {
		return "", false
	}
	return parts[0], true
}

// role names a role: the tenant's when it has no organization.
type role struct{ org, name string }

func (r role) id() string {
	if r.org == "" {
		return pack(roleID, r.name)
	}
	return pack(roleID, r.org, r.name)
}

func parseRole(id string) (role, error) {
	switch parts := unpack(roleID, id); len(parts) {
	case 1:
		return role{name: parts[0]}, nil
	case 2:
		return role{parts[0], parts[1]}, nil
	}
	if strings.TrimSpace(id) == "" {
		return role{}, fail(8126, "Send the id of a role.")
	}
	return role{}, fail(8124, "It is not the id of a role.")
}
