package main

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/go-json-experiment/json"
)

//go:embed oidc-provider.mjs
var oidcProviderProgram []byte

// oidcProvider is npm oidc-provider, as it is installed in a folder.
type oidcProvider struct {
	node    string
	folder  string
	version string
}

// findOIDCProvider looks for it, and for Node to run it. What is not installed is not found, without an error.
func findOIDCProvider(folder string) (*oidcProvider, error) {
	text, err := os.ReadFile(filepath.Join(folder, "node_modules", "oidc-provider", "package.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("find oidc-provider: %w", err)
	}
	p := &oidcProvider{}
	p.node, err = exec.LookPath("node")
	if errors.Is(err, exec.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("find Node: %w", err)
	}
	if p.folder, err = filepath.Abs(folder); err != nil {
		return nil, fmt.Errorf("find oidc-provider: %w", err)
	}
	var description struct {
		Version string `json:"version"`
	}
	if err := json.Unmarshal(text, &description); err != nil {
		return nil, fmt.Errorf("read the version of oidc-provider: %w", err)
	}
	p.version = description.Version
	return p, nil
}

type oidcProviderSettings struct {
	Audience string               `json:"audience"`
	Scope    string               `json:"scope"`
	Lifetime int64                `json:"lifetime"` // seconds
	Clients  []oidcProviderClient `json:"clients"`
}

type oidcProviderClient struct {
	ID     string `json:"id"`
	Secret string `json:"secret"`
}

// serveOIDCProvider starts it with the clients of the workload.
func (b *bench) serveOIDCProvider(ctx context.Context, p *oidcProvider, f *filled) (*served, error) {
	b.say("starting oidc-provider")
	settings := oidcProviderSettings{Audience: apiAudience, Scope: apiScope, Lifetime: int64(tokenLifetime.Seconds())}
	for n := range keyClients {
		settings.Clients = append(settings.Clients, oidcProviderClient{clientID(n), f.secrets[clientID(n)].Expose()})
	}
	text, err := json.Marshal(settings)
	if err != nil {
		return nil, fmt.Errorf("encode the settings of oidc-provider: %w", err)
	}
	program, file := filepath.Join(b.temp, "oidc-provider.mjs"), filepath.Join(b.temp, "oidc-provider.json")
	for name, content := range map[string][]byte{program: oidcProviderProgram, file: text} {
		if err := os.WriteFile(name, content, 0o600); err != nil {
			return nil, fmt.Errorf("write what oidc-provider needs: %w", err)
		}
	}
	const keys = "/jwks"
	c, err := startChild(ctx, "oidc-provider", keys, programRole, p.node, program, p.folder, file)
	if err != nil {
		return nil, err
	}
	return b.askForTokens(c, "/token", keys, f), nil
}
