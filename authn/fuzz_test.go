package authn

import (
	"encoding/base64"
	"errors"
	"strings"
	"testing"
	"time"

	"mandate/datastore/badgerstore"
	"mandate/datastore/memo"
	"mandate/directory"
)

const fuzzTenant = directory.Tenant("default")

// fuzzSecret opens everything in the store of the fuzz target, so that a parser that goes wrong finds somebody.
const fuzzSecret = "the-one-secret"

// FuzzPresented: whatever is presented, no recogniser panics, one Authorization header is at most one credential, and
// two credentials are never one principal.
func FuzzPresented(f *testing.F) {
	store, err := badgerstore.Open(f.TempDir(), badgerstore.Options{})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = store.Close() })
	master, err := directory.NewMasterKey([32]byte{1})
	if err != nil {
		f.Fatal(err)
	}
	file, err := directory.ParseFile(strings.NewReader(`
clients: [{id: a, secret: ` + fuzzSecret + `}]
api_keys: [{id: b, key: ` + fuzzSecret + `}, {id: c, kind: pair, key: pair-key, secret: ` + fuzzSecret + `}]
`))
	if err != nil {
		f.Fatal(err)
	}
	if _, err := (directory.Importer{Store: store, Master: master}).Import(f.Context(), fuzzTenant, file); err != nil {
		f.Fatal(err)
	}
	passwords, err := NewPasswordChecks(1)
	if err != nil {
		f.Fatal(err)
	}
	a := New(Options{Tenant: fuzzTenant, Master: master, Issuer: "https://mandate.example", PasswordChecks: passwords, Now: time.Now})

	b64 := base64.StdEncoding.EncodeToString
	f.Add("Bearer "+fuzzSecret, "", "", "", "", "")
	f.Add("bearer  "+fuzzSecret, "", "", "", "", "")
	f.Add("Basic "+b64([]byte("a:"+fuzzSecret)), "", "", "", "", "")
	f.Add("Basic "+b64([]byte("%61:"+fuzzSecret)), "Basic x", "", "", "", "")
	f.Add("Bearer "+b64([]byte("x:y")), "", "pair-key", fuzzSecret, "", "")
	f.Add("Bearer x:y", "", "", "", "a", fuzzSecret)
	f.Add("", "", "pair-key", fuzzSecret, "", "")
	f.Add("", "", "pair-key", fuzzSecret, "a", fuzzSecret)
	f.Add("Bearer eyJhbGciOiJub25lIiwidHlwIjoiYXQrand0In0.e30.", "", "", "", "", "")
	f.Add("Bearer eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiIifQ.AA", "Bearer", "\x00", "\xff", ":", "%")
	f.Fuzz(func(t *testing.T, first, second, key, keySecret, client, clientSecret string) {
		p := Presented{Basic: BasicClient} // passwords cost too much to try many
		for _, value := range []string{first, second} {
			if value != "" {
				p.Authorization = append(p.Authorization, value)
			}
		}
		if key != "" || keySecret != "" {
			p.KeyPairs = []Pair{{directory.NewSecret(key), directory.NewSecret(keySecret)}}
		}
		if client != "" || clientSecret != "" {
			p.Clients = []Pair{{directory.NewSecret(client), directory.NewSecret(clientSecret)}}
		}
		for _, one := range p.Authorization {
			if found := recognised(Presented{Authorization: []string{one}}); found > 1 {
				t.Fatalf("one header is %d credentials", found)
			}
		}
		view, err := store.View(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer view.Close()
		principal, err := a.Authenticate(t.Context(), memo.Over(view), p)
		if (principal == nil) == (err == nil) {
			t.Fatalf("%v and %v", principal, err)
		}
		if err != nil {
			if failed := (*Error)(nil); !errors.As(err, &failed) || strings.Contains(err.Error(), fuzzSecret) {
				t.Fatalf("not for the caller: %v", err)
			}
			return
		}
		places := len(p.Authorization) + len(p.KeyPairs)
		if client != "" && clientSecret != "" {
			places++
		}
		if places != 1 {
			t.Fatalf("%d credentials made %+v", places, principal)
		}
		if principal.Type != Client && principal.Type != APIKey || !strings.Contains("abc", principal.Subject) {
			t.Fatalf("who is %+v?", principal)
		}
	})
}

// recognised counts the credentials that all recognisers together see.
func recognised(p Presented) int {
	count := 0
	for _, recognise := range recognisers() {
		found, err := recognise(p)
		if err == nil {
			count += len(found)
		}
	}
	return count
}
