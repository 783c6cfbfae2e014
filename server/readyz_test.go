package server_test

import (
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"mandate/policies"
	"mandate/policyset"
	"mandate/server"
)

// A source of policies that has gone bad does not make the server unready: it decides by what the source gave before.
func TestReadyWithStalePolicies(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "policies")
	must(t, os.CopyFS(folder, policies.FS))
	var library *policyset.Library
	s := start(t, func(o *server.Options) {
		of := &o.Tenants[0]
		library = policyset.New(policyset.Options{Tenant: of.ID, Store: o.Store, Engine: of.Engine, Source: policyset.Folder(folder), Now: time.Now})
		of.Policies = library
	})
	ready := func(want string) {
		t.Helper()
		s.send(t, "GET", "/readyz", "").wantMembers(t, http.StatusOK, map[string]any{"status": "ready", "policies": want})
	}
	ready("current")
	must(t, os.WriteFile(filepath.Join(folder, "broken.rego"), []byte("package x\n\np :="), 0o600))
	must(t, library.Start(t.Context()))
	ready("stale")
}
