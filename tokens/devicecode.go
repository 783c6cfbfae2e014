package tokens

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"time"

	"mandate/authn"
	"mandate/datastore"
	"mandate/datastore/memo"
	"mandate/directory"
	"mandate/engine"
)

const (
	deviceGrantType = "urn:ietf:params:oauth:grant-type:device_code"
	deviceLifetime  = 10 * time.Minute
	pollInterval    = 5 // seconds (RFC 8628 §3.2)
	// pollLeeway is for polls of which one was on the way for a shorter time than the one before.
	pollLeeway = 500 * time.Millisecond

	userCodeLetters = "BCDFGHJKLMNPQRSTVWXZ" // without vowels there are no words (RFC 8628 §6.1)
	userCodeLength  = 8
)

// Status of a directory.Device.
const (
	devicePending  = "pending"
	deviceApproved = "approved"
	deviceDenied   = "denied"
)

// DeviceResponse is a successful answer of the device authorization endpoint (RFC 8628 §3.2).
type DeviceResponse struct {
	DeviceCode              string `json:"device_code"`
	UserCode                string `json:"user_code"`
	VerificationURI         string `json:"verification_uri"`
	VerificationURIComplete string `json:"verification_uri_complete"`
	ExpiresIn               int64  `json:"expires_in"`
	Interval                int64  `json:"interval"`
}

// AuthorizeDevice begins a device authorization for the client (RFC 8628 §3.1). Nobody has agreed to anything yet: what the
// client may have is decided when somebody does.
func (i *Issuer) AuthorizeDevice(ctx context.Context, r *memo.Reading, client *authn.Principal, q Request) (*DeviceResponse, error) {
	record, err := i.o.Tenant.Client(client.Subject).Get(ctx, r)
	if err != nil {
		return nil, err
	}
	if !slices.Contains(record.GrantTypes, deviceGrantType) {
		return nil, &Error{Code: "unauthorized_client", Description: "the client is not registered for the grant " + deviceGrantType}
	}
	if len(q.Scope) > maxParameter || len(q.Org) > maxParameter {
		return nil, &Error{Code: "invalid_request", Description: "a parameter is too long"}
	}
	scopes, err := parseScope(q.Scope)
	if err != nil {
		return nil, err
	}
	target, err := i.audience(ctx, &asked{Request: q, reading: r, client: client}, &basis{})
	if err != nil {
		return nil, err
	}
	if target.api == "" && target.value != i.o.Issuer {
		return nil, &Error{Code: "invalid_target", Description: "there is no API with this audience"}
	}
	id, err := randomID()
	if err != nil {
		return nil, err
	}
	now := i.o.Now()
	g := directory.Grant{Type: deviceGrantType, Client: client.Subject, Org: q.Org, Scopes: scopes, Audience: target.value,
		CreatedAt: now, ExpiresAt: now.Add(deviceLifetime), Device: &directory.Device{Status: devicePending, Interval: pollInterval}}
	_, err = i.store.Update(ctx, func(tx datastore.Tx) error { return i.putDevice(ctx, tx, id, g) })
	if err != nil {
		return nil, fmt.Errorf("begin a device authorization: %w", err)
	}
	shown := g.Device.UserCode[:userCodeLength/2] + "-" + g.Device.UserCode[userCodeLength/2:]
	page := i.o.Issuer + "/device"
	return &DeviceResponse{
		DeviceCode: i.o.Master.Derive(i.o.Tenant, directory.KindDeviceCode, id).Expose(), UserCode: shown,
		VerificationURI: page, VerificationURIComplete: page + "?user_code=" + shown,
		ExpiresIn: int64(deviceLifetime.Seconds()), Interval: pollInterval,
	}, nil
}

// putDevice writes the grant under a user code that no other one has now.
func (i *Issuer) putDevice(ctx context.Context, tx datastore.Tx, id string, g directory.Grant) error {
	for taken := true; taken; {
		code, err := newUserCode()
		if err != nil {
			return err
		}
		if _, taken, err = i.o.Tenant.UserCode(code).Find(ctx, tx); err != nil {
			return err
		}
		g.Device.UserCode = code
	}
	if err := directory.PutExpiring(ctx, tx, i.o.Tenant.UserCode(g.Device.UserCode), directory.Alias{ID: id}, g.ExpiresAt); err != nil {
		return err
	}
	return i.o.Tenant.PutGrant(ctx, tx, id, g)
}

func newUserCode() (string, error) {
	code := make([]byte, userCodeLength)
	for at := range code {
		n, err := rand.Int(rand.Reader, big.NewInt(int64(len(userCodeLetters))))
		if err != nil {
			return "", fmt.Errorf("make a user code: %w", err)
		}
		code[at] = userCodeLetters[n.Int64()]
	}
	return string(code), nil
}

// FindDevice is what the device with that user code asks for, while nobody has answered. People type the code, so neither
// case nor punctuation matter (RFC 8628 §6.1).
func (i *Issuer) FindDevice(ctx context.Context, r *memo.Reading, userCode string) (*Authorization, error) {
	_, g, err := i.pendingDevice(ctx, r, userCode)
	if err != nil {
		return nil, err
	}
	client, found, err := i.o.Tenant.Client(g.Client).Find(ctx, r)
	if err == nil && !found {
		err = unknownUserCode()
	}
	if err != nil {
		return nil, err
	}
	a := &Authorization{Client: g.Client, Record: client, Org: g.Org, MaxAge: -1, grantType: g.Type}
	if len(g.Scopes) > 0 {
		a.Scopes = g.Scopes
	}
	a.audience, err = i.target(ctx, r, g.Audience)
	return a, err
}

// ApproveDevice lets the device have the offer for that organization, to which the user has agreed.
func (i *Issuer) ApproveDevice(ctx context.Context, r *memo.Reading, policies *engine.PolicySet, userCode string, user *authn.Principal, org string) error {
	a, err := i.FindDevice(ctx, r, userCode)
	if err != nil {
		return err
	}
	if (a.Org != "" && a.Org != org) || (user.Org != "" && user.Org != org) {
		return &Error{Code: "access_denied", Description: "this is not the organization that the device asks for, or that the user is in"}
	}
	offer, err := i.offer(ctx, r, policies, a, user, org)
	if err != nil {
		return err
	}
	return i.answerDevice(ctx, userCode, func(tx datastore.Tx, g *directory.Grant) error {
		g.Device.Status = deviceApproved
		return i.agree(ctx, tx, g, user, offer)
	})
}

// DenyDevice lets the device have nothing.
func (i *Issuer) DenyDevice(ctx context.Context, userCode string) error {
	return i.answerDevice(ctx, userCode, func(_ datastore.Tx, g *directory.Grant) error {
		g.Device.Status = deviceDenied
		return nil
	})
}

// answerDevice settles a device authorization that is pending at this very moment. Its user code is good for nothing after that.
func (i *Issuer) answerDevice(ctx context.Context, userCode string, answer func(datastore.Tx, *directory.Grant) error) error {
	_, err := i.store.Update(ctx, func(tx datastore.Tx) error {
		id, g, err := i.pendingDevice(ctx, tx, userCode)
		if err != nil {
			return err
		}
		if err := tx.Delete(i.o.Tenant.UserCode(g.Device.UserCode).Path); err != nil {
			return err
		}
		if err := answer(tx, &g); err != nil {
			return err
		}
		return i.o.Tenant.PutGrant(ctx, tx, id, g)
	})
	if refusal := (*Error)(nil); errors.As(err, &refusal) {
		return refusal
	}
	if err != nil {
		return fmt.Errorf("answer a device authorization: %w", err)
	}
	return nil
}

func (i *Issuer) pendingDevice(ctx context.Context, r datastore.Reader, userCode string) (id string, g directory.Grant, err error) {
	code := strings.Map(func(c rune) rune {
		if strings.ContainsRune(userCodeLetters, c) {
			return c
		}
		return -1
	}, strings.ToUpper(userCode))
	alias, found, err := i.o.Tenant.UserCode(code).Find(ctx, r)
	if err == nil && !found {
		err = unknownUserCode()
	}
	if err != nil {
		return "", g, err
	}
	g, found, err = i.o.Tenant.Grant(alias.ID).Find(ctx, r)
	if err == nil && (!found || g.Device == nil || g.Device.Status != devicePending || !i.o.Now().Before(g.ExpiresAt)) {
		err = unknownUserCode()
	}
	return alias.ID, g, err
}

func unknownUserCode() *Error {
	return &Error{Code: "invalid_request", Description: "the code is not known, or was used already, or has expired: start again on the device"}
}

// deviceCode is RFC 8628 §3.4. A device code is the secret derived from the id of its grant.
type deviceCode struct{}

func (deviceCode) prove(ctx context.Context, i *Issuer, a *asked) (*basis, error) {
	if a.DeviceCode.IsZero() {
		return nil, &Error{Code: "invalid_request", Description: "the parameter device_code is missing"}
	}
	bad := &Error{Code: "invalid_grant", Description: "the device code is not valid: unknown, used, or given to another client"}
	id, ok := i.o.Master.DerivedID(i.o.Tenant, directory.KindDeviceCode, a.DeviceCode)
	if !ok {
		return nil, bad
	}
	g, found, err := i.o.Tenant.Grant(id).Find(ctx, a.reading)
	switch {
	case err != nil:
		return nil, err
	case !found: // Sweep has removed what had expired
		return nil, expiredDevice()
	case g.Client != a.client.Subject || g.Device == nil:
		return nil, bad
	case !i.o.Now().Before(g.ExpiresAt):
		return nil, expiredDevice()
	case g.Device.Status == deviceDenied:
		return nil, &Error{Code: "access_denied", Description: "the user has refused"}
	case g.Device.Status != deviceApproved:
		return nil, i.poll(ctx, id)
	}
	b := &basis{grantID: id, grant: &g, audience: g.Audience, org: g.Org, spend: i.redeemDevice(id, a, bad)}
	if b.subject, err = i.subject(ctx, a.reading, g); err != nil {
		return nil, err
	}
	b.refreshable, err = i.mayRefresh(ctx, a, g)
	return b, err
}

func expiredDevice() *Error {
	return &Error{Code: "expired_token", Description: "the device code has expired: ask for a new one"}
}

// poll tells a device to wait, and one that does not to wait longer from now on (RFC 8628 §3.5).
func (i *Issuer) poll(ctx context.Context, id string) error {
	var refusal *Error
	_, err := i.store.Update(ctx, func(tx datastore.Tx) error {
		refusal = &Error{Code: "authorization_pending", Description: "the user has not answered yet: ask again after the interval"}
		place := i.o.Tenant.Grant(id)
		g, found, err := place.Find(ctx, tx)
		if err != nil || !found || g.Device == nil || g.Device.Status != devicePending {
			return err // answered at this moment: the next poll will see it
		}
		now := i.o.Now()
		if now.Add(pollLeeway).Before(g.Device.PolledAt.Add(time.Duration(g.Device.Interval) * time.Second)) {
			g.Device.Interval += 5
			refusal = &Error{Code: "slow_down", Description: fmt.Sprintf("ask again every %d seconds at most", g.Device.Interval)}
		}
		g.Device.PolledAt = now
		return place.Put(ctx, tx, g)
	})
	if err != nil {
		return fmt.Errorf("note that a device asked: %w", err)
	}
	return refusal
}

// redeemDevice makes the device code good for this one time.
func (i *Issuer) redeemDevice(id string, a *asked, bad *Error) func(context.Context, datastore.Tx, bool) (uint64, *Error, error) {
	return func(ctx context.Context, tx datastore.Tx, refresh bool) (uint64, *Error, error) {
		place := i.o.Tenant.Grant(id)
		g, found, err := place.Find(ctx, tx)
		if err != nil || !found || g.Device == nil {
			return 0, bad, err
		}
		g.Device = nil
		i.begin(&g, a, refresh)
		return g.Generation, nil, i.o.Tenant.PutGrant(ctx, tx, id, g)
	}
}
