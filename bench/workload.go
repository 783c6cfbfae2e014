package main

import (
	"fmt"
	"iter"
	"math/rand/v2"

	"mandate/directory"
)

// workload is the facts and the questions about them that all contestants get.
type workload struct {
	population
	relations []directory.RelationEntry // what was shared with those who are asked about
	questions []question
}

// population is organizations and their members. Each follows from the seed and its number alone, so that millions of
// them need not be kept to be asked about.
type population struct {
	seed          uint64
	orgs, members int
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

// keyID is the API key of the caller, which may ask about everybody, as may the clients. The operator's may see metrics.
const (
	keyID      = "bench-gateway"
	operatorID = "bench-operator"
	keyClients = 100
)

// The API that tokens are for, beside those for Mandate itself.
const (
	apiAudience = "https://documents.example/"
	apiScope    = "documents:read"
)

func clientID(n int) string { return fmt.Sprintf("bench-client-%02d", n) }

// generate makes the same workload for the same arguments. About half of its questions are allowed; the others are
// denied for lack of a role, of a membership, or because something is suspended, disabled or unknown.
func generate(seed uint64, orgs, members, questions int) workload {
	w := workload{population: population{seed, orgs, members}}
	random := rand.New(rand.NewPCG(seed, 0))
	for i := range questions {
		w.ask(random, i)
	}
	return w
}

// files are the facts in pieces that refer to nothing that comes after them, so that no more than one of them has to be
// in memory.
func (w workload) files() iter.Seq[*directory.File] {
	const pieceMembers = 2000
	return func(yield func(*directory.File) bool) {
		more := yield(w.common())
		piece := func(add func(f *directory.File, org int)) {
			orgs := max(1, pieceMembers/w.members)
			for from := 0; from < w.orgs && more; from += orgs {
				f := &directory.File{}
				for org := from; org < min(from+orgs, w.orgs); org++ {
					add(f, org)
				}
				more = yield(f)
			}
		}
		piece(func(f *directory.File, org int) {
			for member := range w.members {
				f.Users = append(f.Users, w.user(org, member))
			}
		})
		piece(func(f *directory.File, org int) { f.Orgs = append(f.Orgs, w.org(org)) })
		if more && len(w.relations) > 0 {
			yield(&directory.File{Relations: w.relations})
		}
	}
}

// common are the tenant's roles, an API, and the callers.
func (w workload) common() *directory.File {
	f := &directory.File{
		Roles: tenantRoles(),
		APIs:  []directory.APIEntry{{ID: "documents", Audience: apiAudience, Scopes: []string{apiScope}}},
		APIKeys: []directory.APIKeyEntry{
			{ID: keyID, Kind: directory.BearerKey, Scopes: []string{"decide"}},
			{ID: operatorID, Kind: directory.BearerKey, Scopes: []string{"manage"}},
		},
	}
	for n := range keyClients {
		f.Clients = append(f.Clients, directory.ClientEntry{ID: clientID(n), Scopes: []string{"decide", apiScope},
			Audiences: []string{apiAudience}, GrantTypes: []string{"client_credentials"}, TokenLifetime: tokenLifetime})
	}
	return f
}

func tenantRoles() map[string]directory.RoleEntry {
	return map[string]directory.RoleEntry{
		"viewer":  {Permissions: []string{"documents:read"}},
		"editor":  {Permissions: []string{"documents:read", "documents:write"}},
		"manager": {Permissions: []string{"documents:*", "reports:read"}},
		"billing": {Permissions: []string{"invoices:read", "invoices:pay"}},
		"auditor": {Permissions: []string{"documents:read", "reports:read", "invoices:read"}},
		"admin":   {Permissions: []string{"*"}},
	}
}

// random is the source of everything about one member, or about the user of the same number.
func (p population) random(subject uint64, org, member int) *rand.Rand {
	return rand.New(rand.NewPCG(p.seed, subject<<62|uint64(org)<<32|uint64(member)))
}

func (p population) org(org int) directory.OrgEntry {
	entry := directory.OrgEntry{ID: orgID(org), Name: fmt.Sprintf("Organization %d", org),
		Roles: map[string]directory.RoleEntry{"reviewer": {Permissions: []string{"documents:read", "documents:approve"}}}}
	if org%40 == 1 { // by number, so that there is one among few organizations too
		entry.Status = directory.Suspended
	}
	if org%10 == 0 { // hides the tenant-wide role of the name
		entry.Roles["editor"] = directory.RoleEntry{Permissions: []string{"documents:write"}}
	}
	for member := range p.members {
		entry.Members = append(entry.Members, p.member(org, member))
	}
	return entry
}

func (p population) member(org, member int) directory.MemberEntry {
	random := p.random(1, org, member)
	m := directory.MemberEntry{User: userID(org, member), Roles: draw(random, memberRoles())}
	if random.IntN(20) == 0 { // a guest, who belongs to another organization
		m.User = userID((org+1)%p.orgs, member)
	}
	if random.IntN(33) == 0 {
		m.Status = directory.Suspended
	}
	return m
}

func (p population) user(org, member int) directory.UserEntry {
	u := directory.UserEntry{ID: userID(org, member), Email: userID(org, member) + "@" + orgID(org) + ".example"}
	if p.random(2, org, member).IntN(100) == 0 {
		u.Status = directory.Disabled
	}
	return u
}

// ask adds question i: mostly about a member of the organization, sometimes about somebody else or nobody.
func (w *workload) ask(random *rand.Rand, i int) {
	org := random.IntN(w.orgs)
	member := w.member(org, random.IntN(w.members)).User
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
		q.Subject.ID = userID((org+w.orgs/2)%w.orgs, random.IntN(w.members))
		if n < 5 { // the resource was shared with them
			w.relations = append(w.relations, directory.RelationEntry{
				Resource: q.Resource.Type + ":" + q.Resource.ID, Relation: "viewer", Subject: "user:" + q.Subject.ID})
		}
	}
	w.questions = append(w.questions, q)
}

func orgID(org int) string { return fmt.Sprintf("org-%05d", org) }

func userID(org, member int) string { return fmt.Sprintf("user-%05d-%04d", org, member) }
