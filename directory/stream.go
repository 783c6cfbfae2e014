package directory

import (
	"errors"
	"reflect"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Record is one line of JSON Lines: an object with one member, which names what it is, and has the members of the
// directory file's entries.
type Record struct {
	Role        *RoleRecord       `json:"role,omitzero"`
	API         *APIEntry         `json:"api,omitzero"`
	Org         *OrgEntry         `json:"org,omitzero"`
	User        *UserEntry        `json:"user,omitzero"`
	Member      *MemberRecord     `json:"member,omitzero"`
	Vendor      *VendorEntry      `json:"vendor,omitzero"`
	Client      *ClientEntry      `json:"client,omitzero"`
	APIKey      *APIKeyEntry      `json:"api_key,omitzero"`
	Integration *IntegrationEntry `json:"integration,omitzero"`
	Consent     *ConsentEntry     `json:"consent,omitzero"`
	Relation    *RelationEntry    `json:"relation,omitzero"`
	Custom      *CustomRecord     `json:"custom,omitzero"`
}

// RoleRecord is a role of the organization, or of the tenant when Org is empty.
type RoleRecord struct {
	Org string `json:"org,omitempty"`
	ID  string `json:"id"`
	RoleEntry
}

type MemberRecord struct {
	Org string `json:"org"`
	MemberEntry
}

// CustomRecord is a document by its path below custom.
type CustomRecord struct {
	Path  string `json:"path"`
	Value any    `json:"value"`
}

// UnmarshalJSONFrom takes the bare name of a verified domain, as in YAML, or {domain, status}.
func (d *DomainEntry) UnmarshalJSONFrom(decoder *jsontext.Decoder) error {
	if decoder.PeekKind() == '"' {
		d.Status = Verified
		return json.UnmarshalDecode(decoder, &d.Domain)
	}
	type plain DomainEntry
	return json.UnmarshalDecode(decoder, (*plain)(d))
}

// addTo adds the record to a directory file.
func (r *Record) addTo(f *File) {
	switch {
	case r.Role != nil && r.Role.Org != "":
		f.Orgs = append(f.Orgs, OrgEntry{ID: r.Role.Org, Within: true, Roles: map[string]RoleEntry{r.Role.ID: r.Role.RoleEntry}})
	case r.Role != nil:
		if f.Roles == nil {
			f.Roles = map[string]RoleEntry{}
		}
		f.Roles[r.Role.ID] = r.Role.RoleEntry
	case r.API != nil:
		f.APIs = append(f.APIs, *r.API)
	case r.Org != nil:
		f.Orgs = append(f.Orgs, *r.Org)
	case r.User != nil:
		f.Users = append(f.Users, *r.User)
	case r.Member != nil:
		f.Orgs = append(f.Orgs, OrgEntry{ID: r.Member.Org, Within: true, Members: []MemberEntry{r.Member.MemberEntry}})
	case r.Vendor != nil:
		f.Vendors = append(f.Vendors, *r.Vendor)
	case r.Client != nil:
		f.Clients = append(f.Clients, *r.Client)
	case r.APIKey != nil:
		f.APIKeys = append(f.APIKeys, *r.APIKey)
	case r.Integration != nil:
		f.Integrations = append(f.Integrations, *r.Integration)
	case r.Consent != nil:
		f.Consents = append(f.Consents, *r.Consent)
	case r.Relation != nil:
		f.Relations = append(f.Relations, *r.Relation)
	case r.Custom != nil:
		if f.Custom == nil {
			f.Custom = map[string]any{}
		}
		f.Custom[r.Custom.Path] = r.Custom.Value
	}
}

// kinds counts what the record says it is.
func (r *Record) kinds() (n int) {
	for _, field := range reflect.ValueOf(r).Elem().Fields() {
		if !field.IsNil() {
			n++
		}
	}
	return n
}

// inLine turns the field of a file with this one record into that of the line.
func (r *Record) inLine(field string) string {
	var names []string
	switch {
	case r.Role != nil && r.Role.Org != "":
		names = []string{"orgs[0].roles." + r.Role.ID, "role", "orgs[0].id", "role.org"}
	case r.Role != nil:
		names = []string{"roles." + r.Role.ID, "role"}
	case r.Member != nil:
		names = []string{"orgs[0].members[0]", "member", "orgs[0].id", "member.org"}
	case r.Custom != nil:
		names = []string{"custom." + r.Custom.Path, "custom"}
	default:
		names = []string{"apis[0]", "api", "orgs[0]", "org", "users[0]", "user", "vendors[0]", "vendor", "clients[0]", "client",
			"api_keys[0]", "api_key", "integrations[0]", "integration", "consents[0]", "consent", "relations[0]", "relation"}
	}
	for i := 0; i < len(names); i += 2 {
		if rest, ok := strings.CutPrefix(field, names[i]); ok {
			return names[i+1] + rest
		}
	}
	return field
}

// lineOptions are how a line is read and written. Durations are texts such as 10m, as in YAML.
func lineOptions() json.Options {
	return json.JoinOptions(json.RejectUnknownMembers(true), json.Deterministic(true),
		json.WithUnmarshalers(json.UnmarshalFromFunc(func(decoder *jsontext.Decoder, d *time.Duration) error {
			var text string
			if err := json.UnmarshalDecode(decoder, &text); err != nil {
				return err
			}
			var err error
			*d, err = time.ParseDuration(text)
			return err
		})),
		json.WithMarshalers(json.MarshalToFunc(func(encoder *jsontext.Encoder, d time.Duration) error {
			return encoder.WriteToken(jsontext.String(d.String()))
		})))
}

// parseRecord reads one line. What is wrong with it is a Problem, which never repeats a value.
func parseRecord(line []byte, options json.Options) (Record, error) {
	var r Record
	if err := json.Unmarshal(line, &r, options); err != nil {
		return r, jsonProblem(err)
	}
	if r.kinds() != 1 {
		return r, Problems{{Message: `must have one member, such as {"user": {"id": "alice"}}`}}
	}
	return r, nil
}

func jsonProblem(err error) Problems {
	var wrong *json.SemanticError
	var syntax *jsontext.SyntacticError
	switch {
	case errors.As(err, &syntax) && errors.Is(err, jsontext.ErrDuplicateName):
		return Problems{{Field: fieldOf(syntax.JSONPointer), Message: "is given twice"}}
	case errors.As(err, &syntax):
		return Problems{{Field: fieldOf(syntax.JSONPointer), Message: "is not JSON: " + syntax.Err.Error()}}
	case errors.As(err, &wrong) && errors.Is(err, json.ErrUnknownName):
		return Problems{{Field: fieldOf(wrong.JSONPointer), Message: "is not known"}}
	case errors.As(err, &wrong) && wrong.GoType != nil:
		return Problems{{Field: fieldOf(wrong.JSONPointer), Message: "must be " + plainType(strings.TrimPrefix(wrong.GoType.String(), "*"))}}
	}
	return Problems{{Message: "cannot be read as JSON"}}
}

// fieldOf writes a JSON Pointer (RFC 6901) as the fields of problems are.
func fieldOf(pointer jsontext.Pointer) string {
	var b strings.Builder
	for token := range pointer.Tokens() {
		switch {
		case token != "" && strings.Trim(token, "0123456789") == "":
			b.WriteString("[" + token + "]")
		case b.Len() == 0:
			b.WriteString(token)
		default:
			b.WriteString("." + token)
		}
	}
	return b.String()
}
