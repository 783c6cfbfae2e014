// Package partneriam is the wire of a partner IAM administrative API (organizations, members, roles, invitations, domains and
// connections under /v2/manage) over the operations of package manage, so that software written against it finds them here.
//
// What it calls by other names is translated by ids.go, and what Mandate has no record for is kept where it belongs: in the
// metadata of the organization (notes.go), and the descriptions of permissions in a custom document. What has no meaning in
// Mandate is kept and returned, and nothing is decided by it: the display name and logo of an organization, its policies for
// passwords and sessions, whether it is for its domains only, and the URLs and attributes of a connection, which are read from
// the provider's own metadata. Dates that Mandate does not record are left out. No list has pages on this wire, so a collection that is
// too long for one is refused, and not cut off.
//
// It must never decide who may do something, or keep a rule that /v1 does not have.
package partneriam

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"mandate/datastore/memo"
	"mandate/manage"
)

// API is the wire of one tenant.
type API struct {
	Manage      *manage.Manager
	RedirectURI string // where providers send those who sign in
	Now         func() time.Time
}

// Call is one request of an authenticated caller.
type Call struct {
	Reading *memo.Reading
	Request *manage.Request
	Params  []string // those of the route's path, decoded
	Query   map[string]string
	Body    []byte // JSON, or empty
}

// Route is a route below /v2/manage.
type Route struct {
	Method string
	Path   string // with its parameters as {name}
	do     func(context.Context, *call) (any, error)
}

// Serve returns the document of the answer, whose status is 200. Errors that the wire has a code for are *Error.
func (a *API) Serve(ctx context.Context, r Route, c Call) (any, error) {
	return r.do(ctx, &call{API: a, Call: c, records: reading{a.Manage, c.Reading, c.Request}})
}

// Routes are all of them.
func Routes() []Route {
	const get, post, put, remove = http.MethodGet, http.MethodPost, http.MethodPut, http.MethodDelete
	return []Route{
		{post, "/organizations", createOrganization},
		{get, "/organizations", listOrganizations},
		{get, "/organizations/{orgId}", getOrganization},
		{put, "/organizations/{orgId}", updateOrganization},
		{remove, "/organizations/{orgId}", deleteOrganization},
		{put, "/organizations/{orgId}/status", setStatus},
		{put, "/organizations/{orgId}/policy", setPolicies},
		{get, "/organizations/{orgId}/domains", listDomains},
		{post, "/organizations/{orgId}/domains", createDomain},
		{get, "/organizations/{orgId}/domains/{domainId}", getDomain},
		{post, "/organizations/{orgId}/domains/{domainId}", verifyDomain},
		{remove, "/organizations/{orgId}/domains/{domainId}", deleteDomain},
		{get, "/organizations/{orgId}/connections", listConnections},
		{post, "/organizations/{orgId}/connections", createConnection},
		{get, "/organizations/{orgId}/connections/{connId}", getConnection},
		{put, "/organizations/{orgId}/connections/{connId}", updateConnection},
		{remove, "/organizations/{orgId}/connections/{connId}", deleteConnection},
		{put, "/organizations/{orgId}/connections/{connId}/status", setConnectionStatus},
		{get, "/organizations/{orgId}/connections/{connId}/grouproles", listGroupRoles},
		{post, "/organizations/{orgId}/connections/{connId}/grouproles", createGroupRole},
		{put, "/organizations/{orgId}/connections/{connId}/grouproles/{groupRoleId}", updateGroupRole},
		{remove, "/organizations/{orgId}/connections/{connId}/grouproles/{groupRoleId}", deleteGroupRole},
		{get, "/organizations/{orgId}/roles", listOrgRoles},
		{post, "/organizations/{orgId}/roles", createOrgRole},
		{get, "/organizations/{orgId}/orgcontext", contextOfOrg},
		{get, "/roles", listRoles},
		{post, "/roles", createRole},
		{get, "/roles/{id}", getRole},
		{put, "/roles/{id}", updateRole},
		{remove, "/roles/{id}", deleteRole},
		{put, "/roles/{id}/default", setDefaultRole},
		{get, "/roles/{name}/name", findRole},
		{get, "/permissions", listPermissions},
		{post, "/permissions", createPermission},
		{get, "/permissions/{id}", getPermission},
		{put, "/permissions/{id}", updatePermission},
		{remove, "/permissions/{id}", deletePermission},
		{get, "/account/{uid}/orgcontext", contextOfUser},
		{remove, "/account/{uid}/orgcontext", leaveAll},
		{put, "/account/{uid}/orgcontext/roles", assignEverywhere},
		{get, "/account/{uid}/orgcontext/{orgId}", contextInOrg},
		{remove, "/account/{uid}/orgcontext/{orgId}", leave},
		{put, "/account/{uid}/orgcontext/{orgId}/roles", assign},
		{post, "/invitations", invite},
		{get, "/invitations", listInvitations},
		{get, "/invitations/{invitationId}", getInvitation},
		{put, "/invitations/{invitationId}", updateInvitation},
		{remove, "/invitations/{invitationId}", revokeInvitation},
		{post, "/invitations/{invitationId}/resend", resendInvitation},
	}
}

// list is how a collection is answered.
type list[T any] struct{ Data []T }

type deleted struct{ IsDeleted bool }

type call struct {
	*API
	Call
	records
}

// records are the directory: as it is now, or as it is within a write.
type records interface {
	Get(ctx context.Context, k manage.Kind, ids ...string) (*manage.Answer, error)
	List(ctx context.Context, k manage.Kind, parents []string, p manage.Page) (*manage.Listing, error)
	Memberships(ctx context.Context, user string) ([]manage.Membership, error)
}

type reading struct {
	manage *manage.Manager
	r      *memo.Reading
	q      *manage.Request
}

func (r reading) Get(ctx context.Context, k manage.Kind, ids ...string) (*manage.Answer, error) {
	return r.manage.Get(ctx, r.r, r.q, k, ids...)
}

func (r reading) List(ctx context.Context, k manage.Kind, parents []string, p manage.Page) (*manage.Listing, error) {
	return r.manage.List(ctx, r.r, r.q, k, parents, p)
}

func (r reading) Memberships(ctx context.Context, user string) ([]manage.Membership, error) {
	return r.manage.Memberships(ctx, r.r, r.q, user)
}

// write runs what changes the directory in one transaction.
func (c *call) write(ctx context.Context, do func(context.Context, batch) (any, error)) (any, error) {
	answer, err := c.Manage.Together(ctx, c.Request, func(ctx context.Context, b *manage.Batch) (jsontext.Value, error) {
		document, err := do(ctx, batch{b})
		if err != nil {
			return nil, err
		}
		text, err := json.Marshal(document, json.Deterministic(true))
		if err != nil {
			return nil, fmt.Errorf("encode the answer: %w", err)
		}
		return text, nil
	})
	if err != nil {
		return nil, err
	}
	return answer.Body, nil
}

// batch is a write in progress.
type batch struct{ *manage.Batch }

func (b batch) create(ctx context.Context, k manage.Kind, parents []string, record any) error {
	text, err := json.Marshal(record, json.Deterministic(true))
	if err != nil {
		return fmt.Errorf("encode a record: %w", err)
	}
	_, err = b.Create(ctx, k, parents, manage.Write{Body: text})
	return explained(k, err)
}

// put replaces a record; patch changes the members given.
func (b batch) put(ctx context.Context, k manage.Kind, record any, ids ...string) error {
	return b.set(ctx, k, record, false, ids)
}

func (b batch) patch(ctx context.Context, k manage.Kind, record any, ids ...string) error {
	return b.set(ctx, k, record, true, ids)
}

func (b batch) set(ctx context.Context, k manage.Kind, record any, merge bool, ids []string) error {
	text, err := json.Marshal(record, json.Deterministic(true))
	if err != nil {
		return fmt.Errorf("encode a record: %w", err)
	}
	_, err = b.Put(ctx, k, ids, manage.Write{Body: text, Merge: merge})
	return explained(k, err)
}

func (b batch) remove(ctx context.Context, k manage.Kind, ids ...string) error {
	return explained(k, b.Delete(ctx, k, ids...))
}

// get reads a record. What is not there is the error that the wire has for its collection.
func get[T any](ctx context.Context, from records, k manage.Kind, ids ...string) (record T, err error) {
	answer, err := from.Get(ctx, k, ids...)
	if err != nil {
		return record, explained(k, err)
	}
	if err := json.Unmarshal(answer.Body, &record); err != nil {
		return record, fmt.Errorf("read a record of %s: %w", k.Name(), err)
	}
	return record, nil
}

// maxListed bounds a list, which has no pages on this wire.
const maxListed = 1000

// entry is a record of a collection.
type entry[T any] struct {
	id     string
	record T
}

// every reads a collection.
func every[T any](ctx context.Context, from records, k manage.Kind, parents ...string) ([]entry[T], error) {
	member := strings.Trim(k.Path()[strings.LastIndexByte(k.Path(), '/')+1:], "{}")
	var all []entry[T]
	page := manage.Page{Limit: manage.MaxPage}
	for {
		listing, err := from.List(ctx, k, parents, page)
		if err != nil {
			return nil, explained(k, err)
		}
		for _, item := range listing.Items {
			var names map[string]jsontext.Value
			var e entry[T]
			if err := errors.Join(json.Unmarshal(item, &names), json.Unmarshal(names[member], &e.id), json.Unmarshal(item, &e.record)); err != nil {
				return nil, fmt.Errorf("read a record of %s: %w", k.Name(), err)
			}
			all = append(all, e)
		}
		if len(all) > maxListed {
			return nil, fail(7900, fmt.Sprintf("There are more than %d, and this API has no pages: read them at /v1.", maxListed))
		}
		if listing.Next == "" {
			return all, nil
		}
		page.Cursor = listing.Next
	}
}

// read reads the body of the request. Members that it does not know are left alone, as clients send back what they were sent.
func (c *call) read(into any, empty int) error {
	if len(c.Body) == 0 {
		return fail(empty, "Send a JSON object.")
	}
	if err := json.Unmarshal(c.Body, into); err != nil {
		return fail(7900, "A member of the body has the wrong type.")
	}
	return nil
}
