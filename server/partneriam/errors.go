package partneriam

import (
	"errors"
	"net/http"

	"mandate/manage"
)

// Error is an error as the wire has it.
type Error struct {
	Status      int `json:"-"`
	Code        int `json:"ErrorCode"`
	Message     string
	Description string
}

func (e *Error) Error() string { return e.Message + ": " + e.Description }

type kindOfError struct {
	status  int
	message string
}

// errorKinds are the codes of the wire.
func errorKinds() map[int]kindOfError {
	const bad, forbidden, missing, conflict = http.StatusBadRequest, http.StatusForbidden, http.StatusNotFound, http.StatusConflict
	const parameter = "A parameter is not formatted correctly."
	return map[int]kindOfError{
		908:  {bad, parameter},
		6002: {forbidden, "Access Unauthorized"},
		7900: {bad, parameter},
		7909: {http.StatusInternalServerError, "Operation failed due to an internal error."},
		7914: {bad, "Post body is invalid"},
		7934: {bad, "Put body is invalid or empty"},
		8044: {bad, "Invalid Body"},
		8116: {conflict, "Organization exists with the same name"},
		8117: {bad, "Organization ID is invalid"},
		8118: {missing, "Organization not found"},
		8119: {bad, "Invalid permission id"},
		8120: {conflict, "Duplicate permission name"},
		8122: {bad, "Permission id is required"},
		8123: {conflict, "Duplicate role name"},
		8124: {bad, "Invalid role id"},
		8125: {missing, "Role does not exist"},
		8126: {bad, "Role id is required"},
		8127: {bad, "Role name is required"},
		8128: {forbidden, "Default role cannot be deleted"},
		8129: {bad, "Organization id is required"},
		8130: {conflict, "User role already exists"},
		8131: {bad, "User id is required"},
		8132: {missing, "User does not exist"},
		8135: {missing, "User not found in organization"},
		8137: {bad, "Invalid email"},
		8142: {forbidden, "Role does not belong to organization"},
		8143: {forbidden, "Role does not belong to tenant"},
		8148: {conflict, "Connection exists with the same name"},
		8149: {conflict, "Domain exists with another connection"},
		8150: {missing, "Domain does not exist within the organization"},
		8151: {bad, "Connection ID is invalid"},
		8154: {bad, "Domain ID is invalid"},
		8156: {bad, "Domain already verified"},
		8157: {conflict, "Domain exists with the same name"},
		8159: {bad, "Organization member role is invalid"},
		8160: {forbidden, "Organization MFA enforcement not allowed"},
		8161: {conflict, "GroupRole exists with the same name"},
		8162: {conflict, "GroupRole exists with the same GroupId"},
		8163: {missing, "GroupRole ID not exist"},
		8164: {bad, "GroupRole ID is invalid"},
		8166: {conflict, "Status already updated"},
		8167: {bad, "Status update is invalid"},
		8168: {bad, "Failed to fetch Domain TXT record"},
		8169: {missing, "Invitation not found"},
		8170: {conflict, "User already exist in an organization"},
		8171: {bad, "invitation is active"},
		8174: {bad, "Inviter uid invalid or inviter does not exist/active"},
		8175: {bad, "The invitation id/token is invalid"},
		8176: {bad, "The Invitation URL is invalid"},
		8177: {forbidden, "Organization domain is not verified"},
		8178: {forbidden, "Organization domain can not be deleted"},
		8180: {forbidden, "Organization is not active"},
		8181: {forbidden, "JIT policy not allowed in organization"},
	}
}

// fail is an error with that code.
func fail(code int, description string) *Error {
	kind := errorKinds()[code]
	return &Error{Status: kind.status, Code: code, Message: kind.message, Description: description}
}

// codes are those of the wire for the codes that Mandate's own API has.
func codes() map[string]int {
	return map[string]int{
		"invalid_request":       8044,
		"invalid_record":        7900,
		"org_suspended":         8180,
		"default_role":          8128,
		"already_invited":       8171,
		"sent_already":          8171,
		"already_member":        8170,
		"invitation_accepted":   8175,
		"invitation_expired":    8175,
		"invitation_revoked":    8175,
		"domain_in_use":         8178,
		"domain_not_verified":   8177,
		"domain_unknown":        8150,
		"domain_has_connection": 8149,
		"domain_taken":          8157,
		"issuer_fixed":          7900,
		"already_verified":      8156,
		"challenge_not_met":     8168,
		"challenge_changed":     8168,
		"dns_unavailable":       8168,
	}
}

// ErrorOf is the error with which Mandate's own API would answer, as this wire has it. What it has no code for keeps its status, which
// is its code then.
func ErrorOf(status int, code, detail string) *Error {
	if known, ok := codes()[code]; ok {
		return fail(known, detail)
	}
	if code == "already_exists" {
		detail = "There is a record with this id already: choose another one." // PUT replaces nothing here
	}
	switch {
	case status == http.StatusUnauthorized, status == http.StatusForbidden, code == "credential_ambiguous":
		return fail(6002, detail)
	case status >= http.StatusInternalServerError:
		e := fail(7909, detail)
		e.Status = status
		return e
	}
	return &Error{Status: status, Code: status, Message: http.StatusText(status), Description: detail}
}

// explained is the error of an operation on a record of that kind: what is missing has a code by its kind.
func explained(k manage.Kind, err error) error {
	if !errors.Is(err, manage.ErrNotFound) {
		return err
	}
	switch k.Name() {
	case "orgs":
		return fail(8118, "There is no such organization, or not for this caller.")
	case "orgs.members":
		return fail(8135, "The user is no member of the organization.")
	case "roles", "orgs.roles":
		return fail(8125, "There is no such role.")
	case "orgs.domains":
		return fail(8154, "The organization has no domain with this id.")
	case "orgs.connections":
		return fail(8151, "The organization has no connection with this id.")
	case "orgs.invitations":
		return fail(8169, "There is no such invitation.")
	case "users":
		return fail(8132, "There is no such user.")
	}
	return fail(6002, "The caller may not do this.")
}

// instead is another error for a conflict of Mandate's.
func instead(err error, code string, as *Error) error {
	if conflict := (*manage.Conflict)(nil); errors.As(err, &conflict) && conflict.Code == code {
		return as
	}
	return err
}

// field is the first member of a record that is wrong by the error, empty when none is.
func field(err error) string {
	if invalid := (*manage.Invalid)(nil); errors.As(err, &invalid) && len(invalid.Problems) > 0 {
		return invalid.Problems[0].Field
	}
	return ""
}
