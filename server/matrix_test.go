package server_test

import (
	"bufio"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/golang-jwt/jwt/v5"
)

// matrix is who may do what, where, and why. Each line is a credential that asks for a permission on a document; each
// column is the organization of that document:
//
//	acme     active; its roles are those of the tenant
//	globex   active; its own role editor may only read
//	initech  suspended
//	nowhere  there is none
//	none     the document names no organization
//
// An answer is + and the grant that permits, - and what is missing, or ! and the standing of the credential itself, with
// which it cannot ask anything.
const matrix = `
# credential                what it is                                    permission       document  acme                   globex                 initech                nowhere                none

# Users: their roles are all there is, no scope limits a password.
user:alice                  admin and developer in acme                   documents:read   report    +role                  -not_a_member          -not_a_member          -not_a_member          -resource_org_missing
user:alice                  admin: every permission                       members:write    report    +role                  -not_a_member          -not_a_member          -not_a_member          -resource_org_missing
user:carol                  editor in acme, and in globex a weaker one    documents:read   report    +role                  +role                  -not_a_member          -not_a_member          -resource_org_missing
user:carol                  editor in acme, and in globex a weaker one    documents:write  report    +role                  -role_missing          -not_a_member          -not_a_member          -resource_org_missing
user:bob                    viewer in acme                                documents:read   report    +role                  -not_a_member          -not_a_member          -not_a_member          -resource_org_missing
user:bob                    viewer in acme                                documents:write  report    -role_missing          -not_a_member          -not_a_member          -not_a_member          -resource_org_missing
user:ned                    member of acme without a role                 documents:read   report    -role_missing          -not_a_member          -not_a_member          -not_a_member          -resource_org_missing
user:ned                    and viewer of the plan by a relation          documents:read   plan      +relation              +relation              -not_a_member          -not_a_member          +relation
user:ned                    which lets nobody write                       documents:write  plan      -role_missing          -not_a_member          -not_a_member          -not_a_member          -resource_org_missing
user:dave                   editor, but suspended as a member of acme     documents:read   report    -member_suspended      -not_a_member          -not_a_member          -not_a_member          -resource_org_missing
user:dave                   and editor of the plan by a relation          documents:write  plan      -member_suspended      +relation              -not_a_member          -not_a_member          +relation
user:grace                  admin of the suspended initech                documents:read   report    -not_a_member          -not_a_member          -org_suspended         -not_a_member          -resource_org_missing
user:walt                   admin in acme, but disabled                   documents:read   report    !user_disabled         !user_disabled         !user_disabled         !user_disabled         !user_disabled

# Clients: the organizations that they may act in, and their scopes.
client:acme-sync            may read, in acme and globex                  documents:read   report    +scope                 +scope                 -client_not_in_org     -client_not_in_org     -resource_org_missing
client:acme-sync            may not write                                 documents:write  report    -scope_missing         -scope_missing         -client_not_in_org     -client_not_in_org     -resource_org_missing
client:acme-writer          documents:* in acme                           documents:write  report    +scope                 -wrong_org             -wrong_org             -wrong_org             -wrong_org
client:acme-writer          and nothing else                              members:write    report    -scope_missing         -wrong_org             -wrong_org             -wrong_org             -wrong_org
client:globex-reports       reads and writes in globex                    documents:write  report    -wrong_org             +scope                 -wrong_org             -wrong_org             -wrong_org
client:globex-reports       owner of the plan, but bound to globex        documents:write  plan      -wrong_org             +scope                 -wrong_org             -wrong_org             -wrong_org
client:no-scope             of acme, without a scope                      documents:read   report    -scope_missing         -wrong_org             -wrong_org             -wrong_org             -wrong_org
client:operator             decides and manages, acts nowhere             documents:read   report    -client_not_in_org     -client_not_in_org     -client_not_in_org     -client_not_in_org     -resource_org_missing
client:initech-sync         of the suspended initech                      documents:read   report    !org_suspended         !org_suspended         !org_suspended         !org_suspended         !org_suspended
client:disabled-client      disabled                                      documents:read   report    !client_disabled       !client_disabled       !client_disabled       !client_disabled       !client_disabled

# Access tokens of these clients: bound to one organization, and to the scopes that they carry.
token:acme-sync             for acme                                      documents:read   report    +scope                 -wrong_org             -wrong_org             -wrong_org             -wrong_org
token:acme-sync/globex      for globex                                    documents:read   report    -wrong_org             +scope                 -wrong_org             -wrong_org             -wrong_org
token:acme-sync             may not write                                 documents:write  report    -scope_missing         -wrong_org             -wrong_org             -wrong_org             -wrong_org
token:globex-reports        writes in globex                              documents:write  report    -wrong_org             +scope                 -wrong_org             -wrong_org             -wrong_org
token:many-apis             of a client that acts nowhere                 documents:read   report    -client_not_in_org     -client_not_in_org     -client_not_in_org     -client_not_in_org     -resource_org_missing
# A client acts for a user: the user's role, the client's organizations and the token's scope must all grant.
act:alice/acme-sync         admin of acme, the token may read             documents:read   report    +role                  -not_a_member          -not_a_member          -not_a_member          -resource_org_missing
act:alice/acme-sync         but not write                                 documents:write  report    -scope_missing         -not_a_member          -not_a_member          -not_a_member          -resource_org_missing
act:carol/acme-sync         editor in both                                documents:read   report    +role                  +role                  -not_a_member          -not_a_member          -resource_org_missing
act:carol/acme-editor       the client acts in acme only                  documents:read   report    +role                  -client_not_in_org     -not_a_member          -not_a_member          -resource_org_missing
act:bob/acme-editor         viewer; the token may do more than the user   documents:write  report    -role_missing          -not_a_member          -not_a_member          -not_a_member          -resource_org_missing
act:walt/acme-sync          a disabled user                               documents:read   report    !user_disabled         !user_disabled         !user_disabled         !user_disabled         !user_disabled

# API keys with an owner: never more than the owner's roles, and never more than the key's scopes.
key:alice-read              of an admin; the key may read                 documents:read   report    +scope                 -wrong_org             -wrong_org             -wrong_org             -wrong_org
key:alice-read              an admin's key without the scope              documents:write  report    -scope_missing         -wrong_org             -wrong_org             -wrong_org             -wrong_org
key:dora-write              documents:*, of an editor                     documents:write  report    +scope                 -wrong_org             -wrong_org             -wrong_org             -wrong_org
key:dora-admin              the scope, of an editor who has no such role  members:write    report    -role_missing          -wrong_org             -wrong_org             -wrong_org             -wrong_org
key:dora-none               without a scope                               documents:read   report    -scope_missing         -wrong_org             -wrong_org             -wrong_org             -wrong_org
key:dora-star               the scope * is a name, not a pattern          documents:read   report    -scope_missing         -wrong_org             -wrong_org             -wrong_org             -wrong_org
key:bob-read                the owner is no developer                     documents:read   report    !owner_not_developer   !owner_not_developer   !owner_not_developer   !owner_not_developer   !owner_not_developer
key:walt-read               the owner is disabled                         documents:read   report    !owner_inactive        !owner_inactive        !owner_inactive        !owner_inactive        !owner_inactive
key:initech-read            of the suspended initech                      documents:read   report    !org_suspended         !org_suspended         !org_suspended         !org_suspended         !org_suspended
key:revoked                 revoked                                       documents:read   report    !key_revoked           !key_revoked           !key_revoked           !key_revoked           !key_revoked
key:expired                 expired                                       documents:read   report    !key_expired           !key_expired           !key_expired           !key_expired           !key_expired
# API keys without an owner: their scopes, in their organization or in every one.
key:acme-read               of acme                                       documents:read   report    +scope                 -wrong_org             -wrong_org             -wrong_org             -wrong_org
key:tenant-read             of the tenant                                 documents:read   report    +scope                 +scope                 -org_suspended         -not_a_member          -resource_org_missing
key:gateway                 may ask, and nothing more                     documents:read   report    -scope_missing         -scope_missing         -org_suspended         -not_a_member          -resource_org_missing
pair:acme-pair              a pair of an editor; the key may read         documents:read   report    +scope                 -wrong_org             -wrong_org             -wrong_org             -wrong_org
pair:acme-pair              the key may not write                         documents:write  report    -scope_missing         -wrong_org             -wrong_org             -wrong_org             -wrong_org
pair:tenant-admin           manages, and nothing more                     documents:read   report    -scope_missing         -scope_missing         -org_suspended         -not_a_member          -resource_org_missing

# Vendors: an active integration of the organization, its scopes, an active vendor.
vendor:backupco/acme        reads in acme                                 documents:read   report    +integration           -wrong_org             -wrong_org             -wrong_org             -wrong_org
vendor:backupco/acme        may not write                                 documents:write  report    -scope_missing         -wrong_org             -wrong_org             -wrong_org             -wrong_org
vendor:scanly/globex        reads in globex                               documents:read   report    -wrong_org             +integration           -wrong_org             -wrong_org             -wrong_org
vendor:scanly/acme          a suspended integration                       documents:read   report    !vendor_not_authorized !vendor_not_authorized !vendor_not_authorized !vendor_not_authorized !vendor_not_authorized
vendor:closedco/acme        a suspended vendor                            documents:read   report    !vendor_not_authorized !vendor_not_authorized !vendor_not_authorized !vendor_not_authorized !vendor_not_authorized
vendor:backupco/initech     in the suspended initech                      documents:read   report    !org_suspended         !org_suspended         !org_suspended         !org_suspended         !org_suspended
`

// TestMatrix asks each question twice: by the credential about itself, and by a gateway that was given the credential.
func TestMatrix(t *testing.T) {
	s := start(t)
	h := holdersOf(t, "default")
	gateway := h.key("gateway")
	columns := []string{"acme", "globex", "initech", "nowhere", ""}
	lines, cells := bufio.NewScanner(strings.NewReader(matrix)), 0
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < len(columns)+3 || fields[0] == "#" {
			continue
		}
		who, answers := fields[0], fields[len(fields)-len(columns):]
		permission, document := fields[len(fields)-len(columns)-2], fields[len(fields)-len(columns)-1]
		c := s.credentialOf(t, h, who)
		for i, org := range columns {
			resource := `{"type":"document","id":"` + document + `","properties":{"org":"` + org + `"}}`
			if org == "" {
				resource = `{"type":"document","id":"` + document + `"}`
			}
			ask := func(by credential, subject string) answer {
				return s.ask(t, by, evaluationPath, `{"subject":`+subject+`,"action":{"name":"`+permission+`"},"resource":`+resource+`}`)
			}
			cells++
			if got := told(t, ask(gateway, presented(t, c))); got != strings.Replace(answers[i], "!", "-", 1) {
				t.Errorf("%s, %s on %s of %q, presented: want %s, got %s", who, permission, document, org, answers[i], got)
			}
			// A token for another API cannot ask Mandate anything; its API presents it.
			if kind, _, _ := strings.Cut(who, ":"); slices.Contains([]string{"token", "act"}, kind) {
				continue
			}
			itself := ask(c, caller)
			if answers[i][0] == '!' {
				if itself.status != http.StatusUnauthorized && itself.status != http.StatusForbidden {
					t.Errorf("%s cannot ask, but got %v", who, itself)
				}
			} else if got := told(t, itself); got != answers[i] {
				t.Errorf("%s, %s on %s of %q, itself: want %s, got %s", who, permission, document, org, answers[i], got)
			}
		}
	}
	if cells < 200 {
		t.Errorf("only %d cells of the matrix were read", cells)
	}
}

// told is an answer as the matrix writes it.
func told(t testing.TB, a answer) string {
	t.Helper()
	d := a.decision(t)
	if d.allowed() {
		return "+" + d.reason()
	}
	return "-" + d.reason()
}

// credentialOf makes the credential that the first column of the matrix names.
func (s *running) credentialOf(t testing.TB, h holders, who string) credential {
	t.Helper()
	kind, id, _ := strings.Cut(who, ":")
	id, more, _ := strings.Cut(id, "/")
	switch kind {
	case "user":
		usernames := map[string]string{"carol": "carol@acme.example"}
		if name, other := usernames[id]; other {
			return h.user(id, name)
		}
		return h.user(id, id)
	case "client":
		return h.client(id)
	case "token":
		a := s.token(t, h.client(id), clientCredentials+"&audience=https%3A%2F%2Fdocuments.example&org="+more)
		token, ok := issued(a)
		if !ok {
			t.Fatalf("no token for %s: %v", who, a)
		}
		return bearer(token)
	case "act":
		now := s.clock.now().Unix()
		return bearer(s.sign(t, "default", "at+jwt", jwt.MapClaims{"iss": publicURL, "sub": id, "sub_type": "user", "client_id": more, "azp": more, "aud": "https://documents.example",
			"scope": map[string]string{"acme-sync": "documents:read", "acme-editor": "documents:read documents:write"}[more], "jti": who, "iat": now, "exp": now + 60}))
	case "key":
		return h.key(id)
	case "pair":
		return h.pair(id)
	case "vendor":
		return h.partner(id, id+"-"+more)
	}
	t.Fatalf("what is %s?", who)
	return nil
}
