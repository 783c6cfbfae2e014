package tokens_test

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"mandate/authn"
	"mandate/datastore"
	"mandate/directory"
	"mandate/tokens"
)

func (o office) begin(t *testing.T, id string, q tokens.Request) *tokens.DeviceResponse {
	t.Helper()
	begun, err := o.AuthorizeDevice(t.Context(), o.reading(t), client(id), q)
	if err != nil {
		t.Fatal(err)
	}
	return begun
}

func (o office) poll(t *testing.T, id, deviceCode string) (*tokens.Response, error) {
	t.Helper()
	return o.Issue(t.Context(), o.reading(t), o.set, client(id), tokens.Request{GrantType: deviceGrant, DeviceCode: directory.NewSecret(deviceCode)})
}

func alice(o office) *authn.Principal {
	return &authn.Principal{Type: authn.User, Subject: "alice", Methods: []string{"pwd"}, AuthTime: o.now().Unix(),
		Credential: authn.CredentialRef{Type: "session"}}
}

func (o office) approve(t *testing.T, userCode, org string) error {
	t.Helper()
	return o.ApproveDevice(t.Context(), o.reading(t), o.set, userCode, alice(o), org)
}

func TestDeviceAuthorizationRequests(t *testing.T) {
	o := newOffice(t)
	for _, row := range []struct {
		rule, by string
		q        tokens.Request
		code     string
	}{
		{"RFC 8628 §3.1 a public client", "tv", tokens.Request{Scope: "read"}, ""},
		{"§3.1 one that authenticates", "app", tokens.Request{}, ""},
		{"a client that is not registered for it", "idle", tokens.Request{}, "unauthorized_client"},
		{"RFC 6749 §3.3 a scope that is none", "tv", tokens.Request{Scope: `re"ad`}, "invalid_scope"},
		{"scopes without end", "tv", tokens.Request{Scope: strings.Repeat("a", 5000)}, "invalid_request"},
		{"RFC 8707 §2 an audience of nobody", "tv", tokens.Request{Audience: "https://nobody.example"}, "invalid_target"},
		{"§2 a resource that is no URI", "tv", tokens.Request{Resources: []string{"documents"}}, "invalid_target"},
		{"Mandate itself", "tv", tokens.Request{Audience: issuerURL}, ""},
	} {
		t.Run(row.rule, func(t *testing.T) {
			begun, err := o.AuthorizeDevice(t.Context(), o.reading(t), client(row.by), row.q)
			if got := code(t, err); got != row.code {
				t.Fatalf("got %q (%v), want %q", got, err, row.code)
			}
			if err != nil {
				return
			}
			if !regexp.MustCompile(`^[BCDFGHJKLMNPQRSTVWXZ]{4}-[BCDFGHJKLMNPQRSTVWXZ]{4}$`).MatchString(begun.UserCode) {
				t.Errorf("the user code is %s", begun.UserCode)
			}
			if begun.VerificationURI != issuerURL+"/device" || begun.VerificationURIComplete != issuerURL+"/device?user_code="+begun.UserCode ||
				begun.ExpiresIn != 600 || begun.Interval != 5 || !strings.HasPrefix(begun.DeviceCode, "mdt_dc_") {
				t.Errorf("answered %+v", begun)
			}
		})
	}
}

// TestPollingForADevice: RFC 8628 §3.5.
func TestPollingForADevice(t *testing.T) {
	o := newOffice(t)
	begun := o.begin(t, "tv", tokens.Request{})
	for _, step := range []struct {
		after time.Duration
		code  string
	}{
		{0, "authorization_pending"},
		{5 * time.Second, "authorization_pending"},
		{time.Second, "slow_down"},                  // 10 s from now on
		{6 * time.Second, "slow_down"},              // 15 s
		{15 * time.Second, "authorization_pending"}, // long enough
		{10 * time.Second, "slow_down"},             // 20 s, and it does not shrink again
	} {
		o.advance(step.after)
		if _, err := o.poll(t, "tv", begun.DeviceCode); code(t, err) != step.code {
			t.Fatalf("after %v: %v, want %s", step.after, err, step.code)
		}
	}
	if err := o.approve(t, begun.UserCode, "acme"); err != nil {
		t.Fatal(err)
	}
	response, err := o.poll(t, "tv", begun.DeviceCode)
	if err != nil {
		t.Fatal(err)
	}
	if claims := claimsOf(t, response.AccessToken); claims["sub"] != "alice" || claims["client_id"] != "tv" || claims["org"] != "acme" ||
		claims["scope"] != "read write" || claims["aud"] != documents || claims["grant_id"] == nil || claims["auth_time"] == nil {
		t.Errorf("issued %v", claims)
	}
	if response.RefreshToken == "" {
		t.Error("a client that may refresh got no refresh token")
	}
	refreshed, err := o.Issue(t.Context(), o.reading(t), o.set, client("tv"),
		tokens.Request{GrantType: "refresh_token", RefreshToken: directory.NewSecret(response.RefreshToken)})
	if err != nil || claimsOf(t, refreshed.AccessToken)["sub"] != "alice" {
		t.Errorf("refresh: %v", err)
	}
	if _, err := o.poll(t, "tv", begun.DeviceCode); code(t, err) != "invalid_grant" {
		t.Errorf("the device code works twice: %v", err)
	}
}

func TestDeviceCodesThatAreNotGood(t *testing.T) {
	o := newOffice(t)
	begun := o.begin(t, "tv", tokens.Request{})
	for name, row := range map[string]struct{ by, deviceCode, code string }{
		"none":                     {"tv", "", "invalid_request"},
		"garbage":                  {"tv", "garbage", "invalid_grant"},
		"another secret":           {"tv", o.master.Derive("default", directory.KindCode, "x").Expose(), "invalid_grant"},
		"that of another client":   {"app", begun.DeviceCode, "invalid_grant"},
		"that of another tenant":   {"tv", o.master.Derive("staging", directory.KindDeviceCode, "x").Expose(), "invalid_grant"},
		"one that was swept":       {"tv", o.master.Derive("default", directory.KindDeviceCode, "x").Expose(), "expired_token"},
		"a user code for a device": {"tv", begun.UserCode, "invalid_grant"},
	} {
		if _, err := o.poll(t, row.by, row.deviceCode); code(t, err) != row.code {
			t.Errorf("%s: %v, want %s", name, err, row.code)
		}
	}
	if err := o.DenyDevice(t.Context(), begun.UserCode); err != nil {
		t.Fatal(err)
	}
	if _, err := o.poll(t, "tv", begun.DeviceCode); code(t, err) != "access_denied" {
		t.Errorf("denied: %v", err)
	}
	late := o.begin(t, "tv", tokens.Request{})
	if err := o.approve(t, late.UserCode, ""); err != nil {
		t.Fatal(err)
	}
	pending := o.begin(t, "tv", tokens.Request{})
	o.advance(10 * time.Minute)
	for _, expired := range []string{late.DeviceCode, pending.DeviceCode, begun.DeviceCode} {
		if _, err := o.poll(t, "tv", expired); code(t, err) != "expired_token" {
			t.Errorf("expired: %v", err)
		}
	}
	if err := o.approve(t, pending.UserCode, ""); code(t, err) != "invalid_request" {
		t.Errorf("an expired user code is approved: %v", err)
	}
	if _, err := directory.Tenant("default").Sweep(t.Context(), o.store, o.now().Add(2*time.Minute)); err != nil {
		t.Fatal(err)
	}
	if _, err := o.poll(t, "tv", pending.DeviceCode); code(t, err) != "expired_token" {
		t.Errorf("expired and swept: %v", err)
	}
	if _, found, err := directory.Tenant("default").UserCode(strings.ReplaceAll(pending.UserCode, "-", "")).Find(t.Context(), o.reading(t)); err != nil || found {
		t.Errorf("the user code was not swept (%v)", err)
	}
}

// TestUserCodes: people type them (RFC 8628 §6.1), and each is answered once.
func TestUserCodes(t *testing.T) {
	o := newOffice(t)
	begun := o.begin(t, "tv", tokens.Request{Scope: "read", Org: "acme"})
	bare := strings.ReplaceAll(begun.UserCode, "-", "")
	for _, typed := range []string{begun.UserCode, bare, strings.ToLower(begun.UserCode), " " + bare[:2] + " " + bare[2:] + ". "} {
		a, err := o.FindDevice(t.Context(), o.reading(t), typed)
		if err != nil || a.Client != "tv" || fmt.Sprint(a.Scopes) != "[read]" || a.Org != "acme" || a.Audience() != documents {
			t.Errorf("%q finds %+v (%v)", typed, a, err)
		}
	}
	for _, typed := range []string{"", "BBBB-BBBB", bare[:7], bare + "B", "../" + bare + "/x/BB"} {
		if _, err := o.FindDevice(t.Context(), o.reading(t), typed); code(t, err) != "invalid_request" {
			t.Errorf("%q: %v", typed, err)
		}
	}
	if err := o.approve(t, begun.UserCode, "globex"); code(t, err) != "access_denied" {
		t.Errorf("another organization than the device asks for: %v", err)
	}
	if err := o.approve(t, begun.UserCode, "acme"); err != nil {
		t.Fatal(err)
	}
	if err := o.approve(t, begun.UserCode, "acme"); code(t, err) != "invalid_request" {
		t.Errorf("approved twice: %v", err)
	}
	if err := o.DenyDevice(t.Context(), begun.UserCode); code(t, err) != "invalid_request" {
		t.Errorf("denied after it was approved: %v", err)
	}
	response, err := o.poll(t, "tv", begun.DeviceCode)
	if err != nil || response.Scope != "read" {
		t.Errorf("issued %+v (%v)", response, err)
	}
}

// TestDeviceTokensRestOnTheConsent: taking it back ends them.
func TestDeviceTokensRestOnTheConsent(t *testing.T) {
	o := newOffice(t)
	begun := o.begin(t, "tv", tokens.Request{})
	if err := o.approve(t, begun.UserCode, "acme"); err != nil {
		t.Fatal(err)
	}
	consent, err := directory.Tenant("default").Consent("alice", "tv").Get(t.Context(), o.reading(t))
	if err != nil || !slices.ContainsFunc(slices.Collect(maps.Values(consent.Orgs["acme"].Scopes)), func(s []string) bool { return fmt.Sprint(s) == "[read write]" }) {
		t.Fatalf("the consent is %+v (%v)", consent, err)
	}
	response, err := o.poll(t, "tv", begun.DeviceCode)
	if err != nil {
		t.Fatal(err)
	}
	exchanged := o.exchanged(t, "reports", response.AccessToken)
	_, err = o.store.Update(t.Context(), func(tx datastore.Tx) error {
		return tx.Delete(directory.Tenant("default").Consent("alice", "tv").Path)
	})
	if err != nil {
		t.Fatal(err)
	}
	for name, token := range map[string]string{"the device's token": response.AccessToken, "one that it was exchanged for": exchanged} {
		var failed *authn.Error
		if _, err := o.present(t, token); !errors.As(err, &failed) {
			t.Errorf("%s outlives the consent: %v", name, err)
		}
	}
}

// TestDeviceCodeIsRedeemedOnce also when it is polled from many places at once.
func TestDeviceCodeIsRedeemedOnce(t *testing.T) {
	o := newOffice(t)
	begun := o.begin(t, "tv", tokens.Request{})
	if err := o.approve(t, begun.UserCode, "acme"); err != nil {
		t.Fatal(err)
	}
	var polls sync.WaitGroup
	codes := make(chan string, 16)
	for range cap(codes) {
		r := o.reading(t)
		polls.Go(func() {
			_, err := o.Issue(t.Context(), r, o.set, client("tv"), tokens.Request{GrantType: deviceGrant, DeviceCode: directory.NewSecret(begun.DeviceCode)})
			var refused *tokens.Error
			if errors.As(err, &refused) {
				codes <- refused.Code
			} else {
				codes <- fmt.Sprint(err)
			}
		})
	}
	polls.Wait()
	close(codes)
	got := map[string]int{}
	for c := range codes {
		got[c]++
	}
	if got["<nil>"] != 1 || got["invalid_grant"] != cap(codes)-1 {
		t.Errorf("16 polls at once: %v", got)
	}
}
