package main

import (
	"fmt"
	"math/rand/v2"

	"mandate/directory"
)

// workload is the facts and the questions about them that all contestants get.
type workload struct {
	file      *directory.File
	questions []question
}

// question is an AuthZEN evaluation request, as it goes over the wire.
type question struct {
	Subject struct {
		Type string `json:"type"`
		ID   string `json:"id"`
	} `json:"subject"`
	Action struct {
		Name string `json:"name"`
	} `json:"action"`
	Resource struct {
		Type       string `json:"type"`
		ID         string `json:"id"`
		Properties struct {
			Org string `json:"org"`
		} `json:"properties"`
	} `json:"resource"`
}

// choice is one of several values, drawn by weight.
type choice[T any] struct {
	weight int
	value  T
}

func draw[T any](random *rand.Rand, choices []choice[T]) T {
	sum := 0
	for _, c := range choices {
		sum += c.weight
	}
	n := random.IntN(sum)
	for _, c := range choices {
		if n -= c.weight; n < 0 {
			return c.value
		}
	}
	panic("the weights add up")
}

// memberRoles are how roles are spread over the members of an organization. "reviewer" is one that each organization
// defines for itself.
func memberRoles() []choice[[]string] {
	return []choice[[]string]{
		{28, []string{"viewer"}},
		{24, []string{"editor"}},
		{12, []string{"viewer", "reviewer"}},
		{8, []string{"billing"}},
		{8, []string{"auditor"}},
		{8, []string{"manager"}},
		{5, []string{"viewer", "billing", "auditor"}},
		{5, []string{"admin"}},
		{2, nil},
	}
}

// asked are how often what is asked for.
func asked() []choice[[2]string] {
	return []choice[[2]string]{
		{52, [2]string{"documents:read", "document"}},
		{18, [2]string{"documents:write", "document"}},
		{6, [2]string{"documents:approve", "document"}},
		{4, [2]string{"documents:delete", "document"}},
		{8, [2]string{"reports:read", "report"}},
		{8, [2]string{"invoices:read", "invoice"}},
		{4, [2]string{"invoices:pay", "invoice"}},
	}
}

// keyID is the API key of the caller, which may ask about everybody.
const keyID = "bench-gateway"

// generate makes the same workload for the same arguments. About half of its questions are allowed; the others are
// denied for lack of a role, of a membership, or because something is suspended, disabled or unknown.
func generate(seed uint64, orgs, members, questions int) workload {
	random := rand.New(rand.NewPCG(seed, 0))
	w := workload{file: &directory.File{
		Roles: map[string]directory.RoleEntry{
			"viewer":  {Permissions: []string{"documents:read"}},
			"editor":  {Permissions: []string{"documents:read", "documents:write"}},
			"manager": {Permissions: []string{"documents:*", "reports:read"}},
			"billing": {Permissions: []string{"invoices:read", "invoices:pay"}},
			"auditor": {Permissions: []string{"documents:read", "reports:read", "invoices:read"}},
			"admin":   {Permissions: []string{"*"}},
		},
		APIKeys: []directory.APIKeyEntry{{ID: keyID, Kind: directory.BearerKey, Scopes: []string{"decide"}}},
	}}
	for org := range orgs {
		w.file.Orgs = append(w.file.Orgs, generateOrg(random, org, orgs, members))
		for member := range members {
			u := directory.UserEntry{ID: userID(org, member), Email: userID(org, member) + "@" + orgID(org) + ".example"}
			if random.IntN(100) == 0 {
				u.Status = directory.Disabled
			}
			w.file.Users = append(w.file.Users, u)
		}
	}
	for i := range questions {
		w.ask(random, i, orgs, members)
	}
	return w
}

func generateOrg(random *rand.Rand, org, orgs, members int) directory.OrgEntry {
	entry := directory.OrgEntry{ID: orgID(org), Name: fmt.Sprintf("Organization %d", org),
		Roles: map[string]directory.RoleEntry{"reviewer": {Permissions: []string{"documents:read", "documents:approve"}}}}
	if org%40 == 1 { // by number, so that there is one among few organizations too
		entry.Status = directory.Suspended
	}
	if org%10 == 0 { // hides the tenant-wide role of the name
		entry.Roles["editor"] = directory.RoleEntry{Permissions: []string{"documents:write"}}
	}
	for member := range members {
		m := directory.MemberEntry{User: userID(org, member), Roles: draw(random, memberRoles())}
		if random.IntN(20) == 0 { // a guest, who belongs to another organization
			m.User = userID((org+1)%orgs, member)
		}
		if random.IntN(33) == 0 {
			m.Status = directory.Suspended
		}
		entry.Members = append(entry.Members, m)
	}
	return entry
}

// ask adds question i: mostly about a member of the organization, sometimes about somebody else or nobody.
func (w *workload) ask(random *rand.Rand, i, orgs, members int) {
	org := random.IntN(orgs)
	member := w.file.Orgs[org].Members[random.IntN(members)].User
	what := draw(random, asked())
	var q question
	q.Subject.Type, q.Subject.ID = "user", member
	q.Action.Name = what[0]
	q.Resource.Type, q.Resource.ID = what[1], fmt.Sprintf("%s-%06d", what[1], i)
	q.Resource.Properties.Org = orgID(org)
	switch n := random.IntN(100); {
	case n < 2:
		q.Subject.ID = fmt.Sprintf("nobody-%06d", i)
	case n < 12:
		q.Subject.ID = userID((org+orgs/2)%orgs, random.IntN(members))
		if n < 5 { // the resource was shared with them
			w.file.Relations = append(w.file.Relations, directory.RelationEntry{
				Resource: q.Resource.Type + ":" + q.Resource.ID, Relation: "viewer", Subject: "user:" + q.Subject.ID})
		}
	}
	w.questions = append(w.questions, q)
}

func orgID(org int) string { return fmt.Sprintf("org-%05d", org) }

func userID(org, member int) string { return fmt.Sprintf("user-%05d-%04d", org, member) }
