package server_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"mandate/authn"
)

const deviceGrant = "urn:ietf:params:oauth:grant-type:device_code"

// device begins a device authorization.
func (s *running) device(t testing.TB, c credential, form string) answer {
	t.Helper()
	return s.send(t, "POST", "/oauth2/device_authorization", form, append(c, "Content-Type: application/x-www-form-urlencoded")...)
}

func (s *running) poll(t testing.TB, client, deviceCode string) answer {
	t.Helper()
	return s.token(t, nil, url.Values{"grant_type": {deviceGrant}, "client_id": {client}, "device_code": {deviceCode}}.Encode())
}

// approve is what a user does who agrees on the page.
func (s *running) approve(t testing.TB, userCode, user, org string) {
	t.Helper()
	r, policies := s.engines["default"].Begin(s.memo)
	defer r.End()
	must(t, s.issuers["default"].ApproveDevice(t.Context(), r, policies, userCode, &authn.Principal{Type: authn.User, Subject: user,
		Methods: []string{"pwd"}, AuthTime: s.clock.now().Unix(), Credential: authn.CredentialRef{Type: "session"}}, org))
}

func TestDeviceAuthorizationRequests(t *testing.T) {
	s := start(t)
	h := holdersOf(t, "default")
	for _, row := range []struct {
		rule   string
		client credential
		form   string
		code   string // of the error
	}{
		{"RFC 8628 §3.1 a public client", nil, "client_id=cli-app", ""},
		{"§3.1 scopes", nil, "client_id=cli-app&scope=openid+documents:read", ""},
		{"§3.1 nobody", nil, "scope=documents:read", "invalid_client"},
		{"an unknown client", nil, "client_id=nobody", "invalid_client"},
		{"a client that does not authenticate as it must", nil, "client_id=web-app", "invalid_client"},
		{"a client that is not registered for it", h.client("web-app"), "", "unauthorized_client"},
		{"RFC 6749 §3.1 a parameter twice", nil, "client_id=cli-app&scope=openid&scope=openid", "invalid_request"},
		{"RFC 6749 §3.3 scopes with two spaces", nil, "client_id=cli-app&scope=openid++documents:read", "invalid_scope"},
		{"RFC 8707 §2 an unknown audience", nil, "client_id=cli-app&audience=https://nobody.example", "invalid_target"},
	} {
		t.Run(row.rule, func(t *testing.T) {
			a := s.device(t, row.client, row.form)
			if row.code != "" {
				if got := a.oauthError(t); got != row.code {
					t.Errorf("got %v, want %s", a, row.code)
				}
				return
			}
			begun := a.object(t)
			if a.status != http.StatusOK || a.header.Get("Cache-Control") != "no-store" || begun["verification_uri"] != publicURL+"/device" ||
				begun["expires_in"] != 600.0 || begun["interval"] != 5.0 || begun["verification_uri_complete"] != publicURL+"/device?user_code="+begun["user_code"].(string) {
				t.Errorf("answered %v", a)
			}
		})
	}
	if a := s.send(t, "POST", "/oauth2/device_authorization", `{"client_id":"cli-app"}`, jsonType); a.oauthError(t) != "invalid_request" {
		t.Errorf("RFC 8628 §3.1 a body in JSON: %v", a)
	}
}

// TestDeviceFlow: RFC 8628 §3.2 to §3.5, from the request to the refresh.
func TestDeviceFlow(t *testing.T) {
	s := start(t)
	h := holdersOf(t, "default")
	begun := s.device(t, nil, "client_id=cli-app&scope=openid+offline_access+documents:read").object(t)
	deviceCode, userCode := begun["device_code"].(string), begun["user_code"].(string)
	for _, step := range []struct {
		after time.Duration
		code  string
	}{
		{0, "authorization_pending"},
		{5 * time.Second, "authorization_pending"},
		{time.Second, "slow_down"},
		{6 * time.Second, "slow_down"},
		{15 * time.Second, "authorization_pending"},
	} {
		s.clock.advance(step.after)
		if got := s.poll(t, "cli-app", deviceCode).oauthError(t); got != step.code {
			t.Fatalf("§3.5 after %v: %s, want %s", step.after, got, step.code)
		}
	}
	if got := s.token(t, h.client("web-app"), "grant_type="+url.QueryEscape(deviceGrant)+"&device_code="+deviceCode).oauthError(t); got != "invalid_grant" {
		t.Errorf("by another client: %s", got)
	}
	s.approve(t, strings.ToLower(userCode), "carol", "globex")
	got := s.poll(t, "cli-app", deviceCode).tokens(t)
	claims := claimsOf(t, got.Access)
	if claims["sub"] != "carol" || claims["org"] != "globex" || claims["client_id"] != "cli-app" || got.Scope != "documents:read offline_access openid" {
		t.Errorf("issued %v", claims)
	}
	if id := claimsOf(t, got.ID); id["sub"] != "carol" || id["aud"] != "cli-app" {
		t.Errorf("the ID token has %v", id)
	}
	if got := s.poll(t, "cli-app", deviceCode).oauthError(t); got != "invalid_grant" {
		t.Errorf("the device code a second time: %s", got)
	}
	if refreshed := s.token(t, nil, refreshing(got.Refresh, "client_id", "cli-app")).tokens(t); claimsOf(t, refreshed.Access)["sub"] != "carol" {
		t.Error("the refreshed token is for somebody else")
	}
}

func TestDeviceIsRefused(t *testing.T) {
	s := start(t)
	begun := s.device(t, nil, "client_id=cli-app").object(t)
	must(t, s.issuers["default"].DenyDevice(t.Context(), begun["user_code"].(string)))
	if got := s.poll(t, "cli-app", begun["device_code"].(string)).oauthError(t); got != "access_denied" {
		t.Errorf("§3.5 denied: %s", got)
	}
	begun = s.device(t, nil, "client_id=cli-app").object(t)
	s.clock.advance(10*time.Minute + time.Second)
	if got := s.poll(t, "cli-app", begun["device_code"].(string)).oauthError(t); got != "expired_token" {
		t.Errorf("§3.5 expired: %s", got)
	}
}

func TestDeviceCodesAreRedeemedOnce(t *testing.T) {
	s := start(t)
	for range 5 {
		begun := s.device(t, nil, "client_id=cli-app").object(t)
		s.approve(t, begun["user_code"].(string), "alice", "acme")
		answers := atOnce(8, func(int) answer { return s.poll(t, "cli-app", begun["device_code"].(string)) })
		if n := succeeded(answers); n != 1 {
			t.Fatalf("the device code was redeemed %d times", n)
		}
	}
}
