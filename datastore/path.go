package datastore

import (
	"strings"
	"unicode/utf8"
)

// MaxSegmentBytes bounds one segment of a path, and MaxPathBytes the encoded path.
const (
	MaxSegmentBytes = 1024
	MaxPathBytes    = 16 << 10
)

// TenantID names an isolated installation. It is made of lower case letters, digits and inner hyphens, at most 63.
type TenantID string

// Valid says whether t can name a tenant.
func (t TenantID) Valid() bool {
	if len(t) == 0 || len(t) > 63 || t[0] == '-' || t[len(t)-1] == '-' {
		return false
	}
	for _, c := range []byte(t) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return true
}

// Path is the place of a document: a tenant and one or more segments. It can only be made from a tenant, so that no
// path leads from one tenant into another. A segment is any non-empty valid UTF-8 text of at most MaxSegmentBytes;
// "/" and "~" in it are escaped as in RFC 6901 ("~1", "~0"), so no two lists of segments share an encoding, and
// ".." has no meaning. Paths are comparable; the zero Path is invalid and is refused by every store with ErrPath.
type Path struct{ key string }

// Path joins the segments below t. It is the zero Path when the tenant or a segment is invalid. Without
// segments it is the root of the tenant, which serves as a prefix but holds no document.
func (t TenantID) Path(segments ...string) Path {
	if !t.Valid() {
		return Path{}
	}
	return Path{key: string(t)}.Join(segments...)
}

// Join appends segments to p. It is the zero Path when p or a segment is invalid.
func (p Path) Join(segments ...string) Path {
	if p.key == "" {
		return Path{}
	}
	size := len(p.key)
	for _, s := range segments {
		if s == "" || len(s) > MaxSegmentBytes || !utf8.ValidString(s) {
			return Path{}
		}
		size += 1 + len(s)
	}
	var b strings.Builder
	b.Grow(size)
	b.WriteString(p.key)
	for _, s := range segments {
		b.WriteByte('/')
		writeEscaped(&b, s)
	}
	if b.Len() > MaxPathBytes {
		return Path{}
	}
	return Path{key: b.String()}
}

func writeEscaped(b *strings.Builder, s string) {
	if strings.IndexByte(s, '~') < 0 && strings.IndexByte(s, '/') < 0 {
		b.WriteString(s)
		return
	}
	for i := range len(s) {
		switch s[i] {
		case '~':
			b.WriteString("~0")
		case '/':
			b.WriteString("~1")
		default:
			b.WriteByte(s[i])
		}
	}
}

// Valid says whether p can be read; only paths with at least one segment can be written.
func (p Path) Valid() bool { return p.key != "" }

// IsDocument says whether p can hold a document: it is valid and has at least one segment.
func (p Path) IsDocument() bool { return strings.IndexByte(p.key, '/') > 0 }

// Tenant is the tenant that p belongs to.
func (p Path) Tenant() TenantID {
	tenant, _, _ := strings.Cut(p.key, "/")
	return TenantID(tenant)
}

// Segments are the unescaped segments below the tenant.
func (p Path) Segments() []string {
	_, rest, ok := strings.Cut(p.key, "/")
	if !ok {
		return nil
	}
	segments := strings.Split(rest, "/")
	for i, s := range segments {
		if strings.IndexByte(s, '~') >= 0 {
			segments[i] = strings.ReplaceAll(strings.ReplaceAll(s, "~1", "/"), "~0", "~")
		}
	}
	return segments
}

// Below says whether p lies strictly below prefix.
func (p Path) Below(prefix Path) bool {
	n := len(prefix.key)
	return n > 0 && len(p.key) > n && p.key[n] == '/' && p.key[:n] == prefix.key
}

// Key is the one encoding of p, with the tenant as its first part: what stores use as key and order by.
func (p Path) Key() string { return p.key }

// ParseKey is the inverse of Key, for stores. It returns the zero Path for anything that Key cannot have returned.
func ParseKey(key string) Path {
	tenant, rest, more := strings.Cut(key, "/")
	if !TenantID(tenant).Valid() || len(key) > MaxPathBytes {
		return Path{}
	}
	for more {
		var segment string
		segment, rest, more = strings.Cut(rest, "/")
		if !isEscaped(segment) {
			return Path{}
		}
	}
	return Path{key: key}
}

// isEscaped says whether s is what writeEscaped makes of a segment.
func isEscaped(s string) bool {
	escapes := strings.Count(s, "~")
	if s == "" || len(s)-escapes > MaxSegmentBytes || !utf8.ValidString(s) {
		return false
	}
	return escapes == strings.Count(s, "~0")+strings.Count(s, "~1")
}

// String is the path without its tenant, as policies know it: "orgs/acme/members/alice".
func (p Path) String() string {
	_, rest, _ := strings.Cut(p.key, "/")
	return rest
}
