package main

import (
	"cmp"
	"fmt"
	"net/url"
	"os"
	"strings"
	"time"

	"mandate/policies"
	"mandate/policyset"
	"mandate/server"
)

// policiesConfig says where a tenant's policies come from: a folder, a bundle file or a bundle server; those built in when it is empty.
// In the file it may be the path or the URL alone.
type policiesConfig struct {
	Path        string        `yaml:"path,omitempty"`
	URL         string        `yaml:"url,omitempty"`
	TokenFile   string        `yaml:"token_file,omitempty"` // of the bearer token for url
	Polling     pollingConfig `yaml:"polling,omitempty"`
	LongPolling time.Duration `yaml:"long_polling,omitempty"`
	Verify      verifyConfig  `yaml:"verify,omitempty"`
}

// pollingConfig says how often a bundle server is asked.
type pollingConfig struct {
	MinDelay time.Duration `yaml:"min_delay,omitempty"`
	MaxDelay time.Duration `yaml:"max_delay,omitempty"`
}

// verifyConfig says by which keys a bundle must be signed.
type verifyConfig struct {
	Keys  map[string]verifyKeyConfig `yaml:"keys,omitempty"` // by id
	Scope string                     `yaml:"scope,omitempty"`
}

type verifyKeyConfig struct {
	File      string `yaml:"file"`
	Algorithm string `yaml:"algorithm,omitempty"` // RS256 when left out
}

// UnmarshalYAML reads a path or URL alone, or all settings. The function keeps the strictness of the decoder.
func (c *policiesConfig) UnmarshalYAML(unmarshal func(any) error) error {
	if unmarshal(&c.Path) == nil {
		return nil
	}
	type settings policiesConfig
	return unmarshal((*settings)(c))
}

func (c *policiesConfig) builtIn() bool { return c.Path == "" && c.URL == "" }

// complete fills in what is left out, and says what cannot work.
func (c *policiesConfig) complete() (problems []string) {
	if c.URL == "" && (strings.HasPrefix(c.Path, "https://") || strings.HasPrefix(c.Path, "http://")) {
		c.Path, c.URL = "", c.Path
	}
	wrong := func(problem string) { problems = append(problems, problem) }
	if c.Path != "" && c.URL != "" {
		wrong("give one of path and url")
	}
	if c.URL == "" && (c.TokenFile != "" || c.Polling != (pollingConfig{}) || c.LongPolling != 0) {
		wrong("token_file, polling and long_polling are for url")
	}
	if (len(c.Verify.Keys) > 0 || c.Verify.Scope != "") && (c.builtIn() || c.Path != "" && !isBundle(c.Path)) {
		wrong("only bundles are signed: verify is for the path of a bundle, or for url")
	}
	if len(c.Verify.Keys) == 0 && c.Verify.Scope != "" {
		wrong("verify needs keys")
	}
	if c.URL == "" {
		return problems
	}
	u, err := url.Parse(c.URL)
	if err != nil || u.Host == "" || u.User != nil || u.Fragment != "" || u.Scheme != "https" && (u.Scheme != "http" || !server.Loopback(u.Hostname())) {
		wrong("url must be an https URL, or on loopback an http URL, without user and fragment")
	}
	// The defaults are those of OPA.
	c.Polling.MinDelay = cmp.Or(c.Polling.MinDelay, time.Minute)
	c.Polling.MaxDelay = cmp.Or(c.Polling.MaxDelay, 2*c.Polling.MinDelay)
	if c.Polling.MinDelay < time.Second || c.Polling.MaxDelay < c.Polling.MinDelay || c.Polling.MaxDelay > 24*time.Hour {
		wrong("polling must be between 1s and 24h, min_delay not above max_delay")
	}
	if c.LongPolling != 0 && (c.LongPolling < time.Second || c.LongPolling > time.Hour) {
		wrong("long_polling must be between 1s and 1h")
	}
	return problems
}

// isBundle tells a file from a folder, also where there is neither yet.
func isBundle(path string) bool {
	if info, err := os.Stat(path); err == nil {
		return !info.IsDir()
	}
	return strings.HasSuffix(path, ".tar.gz") || strings.HasSuffix(path, ".tgz")
}

func (c *policiesConfig) source() (policyset.Source, error) {
	verify, err := c.Verify.verification()
	switch {
	case err != nil:
		return nil, err
	case c.URL != "":
		return policyset.Server(policyset.ServerOptions{URL: c.URL, TokenFile: c.TokenFile, Verify: verify,
			MinDelay: c.Polling.MinDelay, MaxDelay: c.Polling.MaxDelay, LongPolling: c.LongPolling}), nil
	case c.Path == "":
		return policyset.BuiltIn(policies.FS), nil
	case isBundle(c.Path):
		return policyset.BundleFile(c.Path, verify), nil
	}
	return policyset.Folder(c.Path), nil
}

// verification reads the keys; nil when there are none.
func (c *verifyConfig) verification() (*policyset.Verification, error) {
	if len(c.Keys) == 0 {
		return nil, nil
	}
	v := &policyset.Verification{Keys: map[string]policyset.VerificationKey{}, Scope: c.Scope}
	for id, key := range c.Keys {
		text, err := os.ReadFile(key.File)
		if err != nil {
			return nil, fmt.Errorf("verify.keys.%s: %w", id, err)
		}
		v.Keys[id] = policyset.VerificationKey{Key: string(text), Algorithm: key.Algorithm}
	}
	return v, nil
}
