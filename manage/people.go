package manage

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"mandate/datastore"
	"mandate/datastore/memo"
	"mandate/directory"
)

// Person is a member of an organization, as its own directory of people knows them (RFC 7643 §4.1): the user, the membership, and
// what neither has a member for.
type Person struct {
	ID          string                `json:"id"`
	User        directory.User        `json:"user"`
	Member      directory.Member      `json:"member"`
	Provisioned directory.Provisioned `json:"provisioned"`
	Revision    datastore.Revision    `json:"-"` // 0 for that of the commit
}

// PersonData is what that directory says of a person. What is empty or nil stays as it is; the attributes and the external id are
// all there are.
type PersonData struct {
	Username, Email string
	Active          *bool
	ExternalID      string
	Attributes      jsontext.Value
}

// maxAttributes bounds what is kept of a person or group and has no other meaning here.
const maxAttributes = 16 << 10

func (d PersonData) check() error {
	if len(d.Attributes) > maxAttributes {
		return invalid("", fmt.Sprintf("has more than %d bytes of attributes", maxAttributes))
	}
	return checkExternal(d.ExternalID)
}

// maxExternalID bounds an id of another directory.
const maxExternalID = 1024

func checkExternal(id string) error {
	if len(id) > maxExternalID {
		return invalid("externalId", fmt.Sprintf("is longer than %d bytes", maxExternalID))
	}
	return nil
}

// taken is the refusal of a name that somebody has. It does not say who: they may be another organization's.
func taken(what string) error {
	return &Conflict{"uniqueness", what + " belongs to somebody else already: choose another one."}
}

// members and users are those collections as an organization's own directory writes them.
func members() *kind[directory.Member] { return Members().(*kind[directory.Member]) }

func usersOf(org string) *kind[directory.User] {
	k := Users().(*kind[directory.User])
	k.org = func([]string, directory.User) string { return org }
	// An address in a verified domain of the organization needs no other proof.
	k.about = func(ctx context.Context, c *change, ids []string, _, _ *directory.User, properties map[string]any) (err error) {
		properties["member_elsewhere"], err = c.memberElsewhere(ctx, org, ids[0])
		return err
	}
	k.after = func(ctx context.Context, c *change, ids []string, before, after *directory.User) error {
		if before == nil || after == nil || directory.SameEmail(before.Email, after.Email) {
			return nil
		}
		return c.endReset(ctx, ids[0])
	}
	return k
}

// memberElsewhere says whether the user has a membership, of whatever status, in another organization.
func (c *change) memberElsewhere(ctx context.Context, org, user string) (elsewhere bool, err error) {
	err = c.tenant().OrgsOf(ctx, c, user, func(other string) error {
		elsewhere = elsewhere || other != org
		return nil
	})
	return elsewhere, err
}

// endReset ends the reset of the user's password that is under way: its link went to another address.
func (c *change) endReset(ctx context.Context, user string) error {
	secrets, _, err := c.tenant().UserSecrets(user).Find(ctx, c)
	if err != nil || secrets.Reset == "" {
		return err
	}
	secrets.Reset = ""
	return c.tenant().UserSecrets(user).Put(ctx, c, secrets)
}

// unconditional is the change without the conditions of the request, which are about the whole that is written in parts.
func (c *change) unconditional() *change {
	part, q := *c, *c.q
	q.IfMatch, q.IfNone = 0, false
	part.q = &q
	return &part
}

// person reads the parts of a member, nil for who is none.
func (m *Manager) person(ctx context.Context, r datastore.Reader, org, id string) (*Person, error) {
	p := &Person{ID: id}
	t := m.o.Tenant
	var found bool
	var err error
	if p.Member, found, err = t.Member(org, id).Find(ctx, r); err != nil || !found {
		return nil, err
	}
	if p.User, found, err = t.User(id).Find(ctx, r); err != nil || !found {
		return nil, err
	}
	if p.Provisioned, _, err = t.Provisioned(directory.ProvisionedMembers, org, id).Find(ctx, r); err != nil {
		return nil, err
	}
	p.Revision, err = newest(ctx, r, t.Member(org, id).Path, t.User(id).Path, t.Provisioned(directory.ProvisionedMembers, org, id).Path)
	return p, err
}

// newest is the revision of what was written last, 0 when this transaction has done so.
func newest(ctx context.Context, r datastore.Reader, paths ...datastore.Path) (last datastore.Revision, err error) {
	for _, p := range paths {
		revision, err := r.Stat(ctx, p)
		switch {
		case errors.Is(err, datastore.ErrNotFound):
			continue
		case err != nil:
			return 0, fmt.Errorf("find the revision: %w", err)
		case revision == 0:
			return 0, nil
		}
		last = max(last, revision)
	}
	return last, nil
}

// Person reads a member of the organization.
func (m *Manager) Person(ctx context.Context, r *memo.Reading, q *Request, org, id string) (*Person, error) {
	p, err := m.person(ctx, r, org, id)
	if err != nil {
		return nil, err
	}
	member, user := members().resourceOf([]string{org, id}, nil, nil), usersOf(org).resourceOf([]string{id}, nil, nil)
	if p != nil {
		member = members().resourceOf([]string{org, id}, &p.Member, nil)
		user = usersOf(org).resourceOf([]string{id}, &p.User, nil)
	}
	if _, err := m.Permit(ctx, r, q, "orgs.members.get", member); err != nil {
		return nil, err
	}
	if _, err := m.Permit(ctx, r, q, "users.get", user); err != nil {
		return nil, err
	}
	if p == nil {
		return nil, ErrNotFound
	}
	return p, nil
}

// ProvisionPerson makes somebody a member of the organization: a new user, or the one who is there already with the same verified
// email address in a domain that the organization has verified, who keeps their username. The address is the username when only that is
// given.
func (m *Manager) ProvisionPerson(ctx context.Context, q *Request, org string, d PersonData) (*Answer, error) {
	if err := d.check(); err != nil {
		return nil, err
	}
	if d.Email == "" && directory.ValidEmail(d.Username) {
		d.Email = d.Username
	}
	fresh := strings.ToLower(rand.Text())
	return m.change(ctx, q, func(c *change) (*Answer, error) {
		c, id := c.unconditional(), fresh
		user := directory.User{Username: d.Username, Email: d.Email, Status: directory.Active}
		var err error
		if user.EmailVerified, err = c.ownsDomain(ctx, org, d.Email); err != nil {
			return nil, err
		}
		// Who may not make such a user does not learn whether there is one.
		if err := c.permit(ctx, "users.create", usersOf(org).resourceOf([]string{id}, nil, &user)); err != nil {
			return nil, err
		}
		existing, err := c.samePerson(ctx, org, user)
		if err != nil {
			return nil, err
		}
		if existing != "" {
			id = existing
		}
		if err := c.free(ctx, d.Username, id); err != nil {
			return nil, err
		}
		if existing == "" {
			fields := map[string]any{"username": user.Username, "email": user.Email, "email_verified": user.EmailVerified}
			if err := write(ctx, c, usersOf(org), []string{id}, fields); err != nil {
				return nil, err
			}
		}
		status := directory.Active
		if d.Active != nil && !*d.Active {
			status = directory.Suspended
		}
		if err := write(ctx, c, members(), []string{org, id}, map[string]any{"roles": []string{}, "status": status}); err != nil {
			return nil, err
		}
		record := directory.Provisioned{ExternalID: d.ExternalID, Attributes: d.Attributes, Made: existing == "", CreatedAt: c.at.UTC(), ModifiedAt: c.at.UTC()}
		if err := c.provision(ctx, directory.ProvisionedMembers, org, id, directory.Provisioned{}, record); err != nil {
			return nil, err
		}
		return c.personAnswer(ctx, org, id, true)
	})
}

// write creates a record, or patches the one that is there.
func write[T any](ctx context.Context, c *change, k *kind[T], ids []string, members map[string]any) error {
	body, err := json.Marshal(members, json.Deterministic(true))
	if err != nil {
		return fmt.Errorf("encode a record: %w", err)
	}
	before, err := k.find(ctx, c.m, c, ids)
	if err != nil {
		return err
	}
	_, err = k.put(ctx, c, ids, Write{Body: body, Merge: before != nil})
	return err
}

func (c *change) personAnswer(ctx context.Context, org, id string, created bool) (*Answer, error) {
	p, err := c.m.person(ctx, c, org, id)
	if err != nil {
		return nil, err
	}
	body, err := json.Marshal(p, json.Deterministic(true))
	if err != nil {
		return nil, fmt.Errorf("encode a person: %w", err)
	}
	return &Answer{Body: body, Revision: p.Revision, Created: created}, nil
}

// ownsDomain says whether the email address is in a domain that the organization has verified.
func (c *change) ownsDomain(ctx context.Context, org, email string) (bool, error) {
	if !directory.ValidEmail(email) {
		return false, nil
	}
	owner, found, err := c.tenant().VerifiedDomain(strings.ToLower(email[strings.LastIndexByte(email, '@')+1:])).Find(ctx, c)
	return found && owner.ID == org, err
}

// samePerson is the user whom the organization means, empty for none. Who has the address must have proved it, and the address be in
// the organization's own domain: nobody else is made a member by naming their address, or told of.
func (c *change) samePerson(ctx context.Context, org string, user directory.User) (string, error) {
	named, hasName, err := c.tenant().Username(user.Username).Find(ctx, c)
	if err != nil {
		return "", err
	}
	var same []string
	looked := 0
	err = c.tenant().UsersByEmail(ctx, c, user.Email, func(id string) error {
		if looked++; looked > maxSameEmail {
			return taken("The email address")
		}
		other, found, err := c.tenant().User(id).Find(ctx, c)
		if err == nil && found && other.EmailVerified {
			same = append(same, id)
		}
		return err
	})
	if err != nil {
		return "", err
	}
	switch {
	case len(same) == 0 && hasName:
		return "", taken("The userName")
	case len(same) == 0:
		return "", nil
	case len(same) > 1 || !user.EmailVerified || hasName && named.ID != same[0]:
		return "", taken("The userName or the email address")
	}
	_, member, err := c.tenant().Member(org, same[0]).Find(ctx, c)
	if err == nil && member {
		err = taken("The userName or the email address")
	}
	return same[0], err
}

// maxSameEmail bounds how many users with one address are looked at.
const maxSameEmail = 100

// free refuses a username that another record of the tenant has, in whatever case, without saying which.
func (c *change) free(ctx context.Context, username, id string) error {
	t := c.tenant()
	found, own, looked := false, false, 0
	err := c.m.named(ctx, c, username, func(other string) error {
		if looked++; looked > maxSameEmail {
			return taken("The userName")
		}
		u, _, err := t.User(other).Find(ctx, c)
		own = own || other == id && u.Username == username
		found = found || other != id && strings.EqualFold(u.Username, username)
		return err
	})
	if err != nil {
		return err
	}
	if own {
		return nil
	}
	for _, p := range []datastore.Path{t.User(username).Path, t.Client(username).Path, t.APIKey(username).Path} {
		if found || !p.Valid() {
			break
		}
		_, err := c.Stat(ctx, p)
		if err != nil && !errors.Is(err, datastore.ErrNotFound) {
			return fmt.Errorf("look for a username: %w", err)
		}
		found = err == nil
	}
	if found {
		return taken("The userName")
	}
	return nil
}

// provision writes what there is besides the records, and records the change if there is one.
func (c *change) provision(ctx context.Context, collection, org, id string, before, after directory.Provisioned) error {
	owner, err := c.external(ctx, collection, org, after.ExternalID)
	if err != nil {
		return err
	}
	if owner != "" && owner != id {
		return taken("The externalId")
	}
	same := before
	same.ModifiedAt = after.ModifiedAt
	if equalProvisioned(same, after) {
		return nil
	}
	if err := c.tenant().PutProvisioned(ctx, c, collection, org, id, after); err != nil {
		return err
	}
	resource := Resource{Type: strings.TrimSuffix(collection, "s"), ID: id, Properties: map[string]any{"org": org}}
	return c.done(ctx, "orgs."+collection+".provision", resource, before, after)
}

func equalProvisioned(a, b directory.Provisioned) bool {
	return a.ExternalID == b.ExternalID && a.DisplayName == b.DisplayName && string(a.Attributes) == string(b.Attributes) &&
		a.Made == b.Made && a.CreatedAt.Equal(b.CreatedAt) && a.ModifiedAt.Equal(b.ModifiedAt)
}

// external is whose external id that is, empty for nobody's.
func (c *change) external(ctx context.Context, collection, org, value string) (string, error) {
	if value == "" {
		return "", nil
	}
	alias, _, err := c.tenant().ProvisionedAs(collection, org, "external_id", value).Find(ctx, c)
	return alias.ID, err
}

// ChangePerson makes of a member what edit makes of what is there now.
func (m *Manager) ChangePerson(ctx context.Context, q *Request, org, id string, edit func(*Person) (PersonData, error)) (*Answer, error) {
	return m.change(ctx, q, func(c *change) (*Answer, error) {
		before, err := c.seen(ctx, org, id, "orgs.members.update")
		if err != nil {
			return nil, err
		}
		d, err := edit(before)
		if err != nil {
			return nil, err
		}
		if err := d.check(); err != nil {
			return nil, err
		}
		if err := c.changePerson(ctx, org, before, d); err != nil {
			return nil, err
		}
		return c.personAnswer(ctx, org, id, false)
	})
}

// seen is the member that is to be changed, when the caller may do that and it is as the request says.
func (c *change) seen(ctx context.Context, org, id, action string) (*Person, error) {
	p, err := c.m.person(ctx, c, org, id)
	if err != nil {
		return nil, err
	}
	resource := members().resourceOf([]string{org, id}, nil, nil)
	if p != nil {
		resource = members().resourceOf([]string{org, id}, &p.Member, nil)
		if action == "orgs.members.update" {
			resource = members().resourceOf([]string{org, id}, &p.Member, &p.Member)
		}
		if err := aboutMember(ctx, c, []string{org, id}, &p.Member, &p.Member, resource.Properties); err != nil {
			return nil, err
		}
	}
	if err := c.permit(ctx, action, resource); err != nil {
		return nil, err
	}
	switch {
	case p == nil:
		return nil, ErrNotFound
	case c.q.IfMatch != 0 && c.q.IfMatch != p.Revision:
		return nil, ErrChanged
	}
	return p, nil
}

func (c *change) changePerson(ctx context.Context, org string, before *Person, d PersonData) error {
	c = c.unconditional()
	patch := map[string]any{}
	if d.Username != "" && d.Username != before.User.Username {
		patch["username"] = d.Username
	}
	if d.Email != "" && d.Email != before.User.Email {
		verified, err := c.ownsDomain(ctx, org, d.Email)
		if err != nil {
			return err
		}
		if directory.SameEmail(d.Email, before.User.Email) {
			verified = before.User.EmailVerified
		}
		patch["email"], patch["email_verified"] = d.Email, verified
	}
	if len(patch) > 0 {
		// Who may not write the user does not learn whether the name is free.
		after := before.User
		if name, ok := patch["username"].(string); ok {
			after.Username = name
		}
		if email, ok := patch["email"].(string); ok {
			after.Email = email
		}
		users, ids := usersOf(org), []string{before.ID}
		resource := users.resourceOf(ids, &before.User, &after)
		if err := users.about(ctx, c, ids, &before.User, &after, resource.Properties); err != nil {
			return err
		}
		if err := c.permit(ctx, "users.update", resource); err != nil {
			return err
		}
		if err := c.free(ctx, after.Username, before.ID); err != nil {
			return err
		}
		if err := write(ctx, c, users, ids, patch); err != nil {
			return err
		}
	}
	if d.Active != nil && *d.Active != (before.Member.Status == directory.Active) {
		status := directory.Active
		if !*d.Active {
			status = directory.Suspended
		}
		if err := write(ctx, c, members(), []string{org, before.ID}, map[string]any{"status": status}); err != nil {
			return err
		}
	}
	after := before.Provisioned
	after.ExternalID, after.Attributes, after.ModifiedAt = d.ExternalID, d.Attributes, c.at.UTC()
	return c.provision(ctx, directory.ProvisionedMembers, org, before.ID, before.Provisioned, after)
}

// RemovePerson ends a membership. The user is deleted as well if this directory has made them, they are a member nowhere else, and
// the policy lets the caller.
func (m *Manager) RemovePerson(ctx context.Context, q *Request, org, id string) (*Answer, error) {
	return m.change(ctx, q, func(c *change) (*Answer, error) {
		p, err := c.seen(ctx, org, id, "orgs.members.delete")
		if err != nil {
			return nil, err
		}
		c = c.unconditional()
		elsewhere, err := c.memberElsewhere(ctx, org, id)
		if err != nil {
			return nil, err
		}
		whole := p.Provisioned.Made && !elsewhere
		users := usersOf(org)
		resource := users.resourceOf([]string{id}, &p.User, nil)
		resource.Properties["provisioned"] = true
		if resource.Properties["sole_holder_in"], err = c.soleHolderIn(ctx, id); err != nil {
			return nil, err
		}
		if whole {
			if whole, err = c.permitted(ctx, "users.delete", resource); err != nil {
				return nil, err
			}
		}
		answer, err := members().delete(ctx, c, []string{org, id})
		if err != nil || !whole {
			return answer, err
		}
		if err := users.revoke(ctx, c, []string{id}, p.User); err != nil {
			return nil, err
		}
		return answer, c.done(ctx, "users.delete", resource, p.User, nil)
	})
}

// permitted is permit where a refusal is no error.
func (c *change) permitted(ctx context.Context, action string, resource Resource) (bool, error) {
	err := c.permit(ctx, action, resource)
	if refused := (*Refusal)(nil); errors.As(err, &refused) || errors.Is(err, ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}
