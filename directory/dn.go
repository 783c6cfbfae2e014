package directory

import (
	"encoding/hex"
	"regexp"
	"slices"
	"strings"
)

// ParseDN reads a distinguished name in the form of RFC 4514 §3, spaces around separators allowed: the attributes of each
// part as "OID=value", sorted. Values in hexadecimal ("#") are not supported.
func ParseDN(dn string) (name [][]string, ok bool) {
	for _, rdn := range splitDN(dn, ',') {
		var attributes []string
		for _, attribute := range splitDN(rdn, '+') {
			typ, text, found := strings.Cut(attribute, "=")
			oid := attributeOID(strings.TrimSpace(typ))
			value, good := unescapeDN(text)
			if !found || oid == "" || !good {
				return nil, false
			}
			attributes = append(attributes, oid+"="+value)
		}
		slices.Sort(attributes)
		name = append(name, attributes)
	}
	slices.Reverse(name) // the string begins with what comes last (RFC 4514 §2.1)
	return name, true
}

// splitDN splits at the separators that are not escaped.
func splitDN(s string, separator byte) []string {
	var parts []string
	from := 0
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case separator:
			parts = append(parts, s[from:i])
			from = i + 1
		}
	}
	return append(parts, s[from:])
}

// unescapeDN reads a value (RFC 4514 §2.4). Spaces around it count only when they are escaped.
func unescapeDN(s string) (value string, ok bool) {
	s = strings.TrimLeft(s, " ")
	if s == "" || s[0] == '#' {
		return "", false
	}
	var read []byte
	end := 0 // of what is not a space
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' {
			if read = append(read, s[i]); s[i] != ' ' {
				end = len(read)
			}
			continue
		}
		rest := s[i+1:]
		switch {
		case rest != "" && strings.IndexByte(`"+,;<>#= \`, rest[0]) >= 0:
			read = append(read, rest[0])
			i++
		default:
			if len(rest) < 2 {
				return "", false
			}
			pair, err := hex.DecodeString(rest[:2])
			if err != nil {
				return "", false
			}
			read = append(read, pair...)
			i += 2
		}
		end = len(read)
	}
	return string(read[:end]), true
}

// attributeOID is the object identifier of an attribute type: those of RFC 4514 §3 and a few more have names.
func attributeOID(typ string) string {
	named := map[string]string{
		"CN": "2.5.4.3", "SERIALNUMBER": "2.5.4.5", "C": "2.5.4.6", "L": "2.5.4.7", "ST": "2.5.4.8", "STREET": "2.5.4.9", "O": "2.5.4.10",
		"OU": "2.5.4.11", "POSTALCODE": "2.5.4.17", "DC": "0.9.2342.19200300.100.1.25", "UID": "0.9.2342.19200300.100.1.1",
		"EMAILADDRESS": "1.2.840.113549.1.9.1",
	}
	if oid, known := named[strings.ToUpper(typ)]; known {
		return oid
	}
	if regexp.MustCompile(`^[0-2](\.(0|[1-9][0-9]*))+$`).MatchString(typ) {
		return typ
	}
	return ""
}
