package main

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"

	"mandate/datastore"
	"mandate/directory"
	"mandate/ratelimit"
	"mandate/server"
)

// config is mandate.yaml. Flags and variables override it: see settings.
type config struct {
	Listen         string                  `yaml:"listen"`
	PublicURL      string                  `yaml:"public_url"`
	AllowPlaintext bool                    `yaml:"allow_plaintext"`
	TrustedProxies []netip.Prefix          `yaml:"trusted_proxies"`
	Data           string                  `yaml:"data"`
	MasterKey      string                  `yaml:"master_key"`
	History        time.Duration           `yaml:"history"`
	TLS            tlsConfig               `yaml:"tls"`
	Connections    connectionConfig        `yaml:"connections"`
	DNS            dnsConfig               `yaml:"dns"`
	Tenants        map[string]tenantConfig `yaml:"tenants"`
	Tokens         tokenConfig             `yaml:"tokens"`
	Limits         limitConfig             `yaml:"limits"`
	RateLimits     rateLimitConfig         `yaml:"rate_limits"`
	CheckOneIn     uint64                  `yaml:"check_one_in"`
	Mail           mailConfig              `yaml:"mail"`
	Log            logConfig               `yaml:"log"`
	DecisionLog    decisionLogConfig       `yaml:"decision_log"`
	Tracing        tracingConfig           `yaml:"tracing"`

	dev bool // identity providers on this machine need no TLS
}

type tlsConfig struct {
	Certificate string `yaml:"certificate,omitempty"`
	Key         string `yaml:"key,omitempty"`
	// ClientCA vouches for the certificates of clients; ClientCertificates asks for them, also for those that nobody vouches for.
	ClientCA           string `yaml:"client_ca,omitempty"`
	ClientCertificates bool   `yaml:"client_certificates"`
}

// connectionConfig is about the external identity providers of organizations.
type connectionConfig struct {
	AllowPrivate []netip.Prefix `yaml:"allow_private"`
}

// dnsConfig is about the look-up of organizations' domains.
type dnsConfig struct {
	Resolver string `yaml:"resolver,omitempty"` // the system's when left out
}

type tenantConfig struct {
	Policies     policiesConfig     `yaml:"policies,omitempty"`
	PoliciesRule policiesRuleConfig `yaml:"policies_rule,omitempty"`
	Directory    string             `yaml:"directory,omitempty"` // imported at start when the tenant is empty
	// RefuseQueryCredentials ends what is deprecated: credentials in the query of the administrative API.
	RefuseQueryCredentials bool `yaml:"refuse_query_credentials,omitempty"`
}

type tokenConfig struct {
	AccessLifetime  time.Duration `yaml:"access_lifetime"`
	ClockLeeway     time.Duration `yaml:"clock_leeway"`
	CodeLifetime    time.Duration `yaml:"code_lifetime"`
	RefreshLifetime time.Duration `yaml:"refresh_lifetime"`
	RefreshGrace    time.Duration `yaml:"refresh_grace"`
	KeyLifetime     time.Duration `yaml:"key_lifetime"`
}

type limitConfig struct {
	Body                 byteSize      `yaml:"body"`
	Connections          int           `yaml:"connections"`
	Evaluation           time.Duration `yaml:"evaluation"`
	PasswordChecksAtOnce int           `yaml:"password_checks_at_once"`
	MemoryForRemembering byteSize      `yaml:"memory_for_remembering"`
}

// rateLimitConfig are the rate limits of the families of routes.
type rateLimitConfig struct {
	Tokens     routeLimitConfig `yaml:"tokens"`
	Decisions  routeLimitConfig `yaml:"decisions"`
	Management routeLimitConfig `yaml:"management"`
}

type routeLimitConfig struct {
	Address    ratelimit.Limit `yaml:"address"`
	Client     ratelimit.Limit `yaml:"client"`
	Credential ratelimit.Limit `yaml:"credential"`
}

// defaultRateLimits stop who goes astray, and leave to who runs the server how many decisions each may ask for.
func defaultRateLimits() rateLimitConfig {
	perSecond := func(n, burst int) ratelimit.Limit { return ratelimit.Limit{Count: n, Per: time.Second, Burst: burst} }
	return rateLimitConfig{
		Tokens:     routeLimitConfig{Address: perSecond(50, 500), Client: perSecond(50, 200), Credential: perSecond(50, 200)},
		Management: routeLimitConfig{Address: perSecond(100, 500), Client: perSecond(100, 500), Credential: perSecond(50, 200)},
	}
}

func (c rateLimitConfig) limits() server.RateLimits {
	return server.RateLimits{Tokens: server.RouteLimits(c.Tokens), Decisions: server.RouteLimits(c.Decisions), Management: server.RouteLimits(c.Management)}
}

// addTo adds the settings to the flags.
func (c *rateLimitConfig) addTo(flags *pflag.FlagSet) {
	for _, routes := range []struct {
		name   string
		limits *routeLimitConfig
	}{{"tokens", &c.Tokens}, {"decisions", &c.Decisions}, {"management", &c.Management}} {
		for _, by := range []struct {
			name  string
			limit *ratelimit.Limit
		}{{"address", &routes.limits.Address}, {"client", &routes.limits.Client}, {"credential", &routes.limits.Credential}} {
			flags.TextVar(by.limit, "rate-limits-"+routes.name+"-"+by.name, *by.limit,
				"requests of each "+by.name+" to the routes for "+routes.name+", such as 100/s, 600/m, 20/s+100 with a burst, or off")
		}
	}
}

type logConfig struct {
	Level slog.Level `yaml:"level"`
}

func defaultConfig() *config {
	return &config{
		Listen: "127.0.0.1:8080", Data: "./mandate-data", History: 24 * time.Hour,
		Tenants: map[string]tenantConfig{},
		Tokens: tokenConfig{AccessLifetime: 10 * time.Minute, ClockLeeway: 30 * time.Second, CodeLifetime: time.Minute,
			RefreshLifetime: 720 * time.Hour, RefreshGrace: 10 * time.Second, KeyLifetime: 90 * 24 * time.Hour},
		Limits: limitConfig{Body: 1 << 20, Connections: 2048, Evaluation: 100 * time.Millisecond, PasswordChecksAtOnce: 2,
			MemoryForRemembering: 256 << 20},
		RateLimits:  defaultRateLimits(),
		CheckOneIn:  10_000,
		Log:         logConfig{Level: slog.LevelInfo},
		DecisionLog: defaultDecisionLog(),
		Tracing:     tracingConfig{Sample: 0.01},
	}
}

const plainText = "credentials would cross the network in plain text"

// byteSize is a number of bytes, written like 1MiB.
type byteSize int

func (b byteSize) String() string               { return strings.ReplaceAll(humanize.IBytes(uint64(b)), " ", "") }
func (b byteSize) Type() string                 { return "size" }
func (b byteSize) MarshalText() ([]byte, error) { return []byte(b.String()), nil }

func (b *byteSize) UnmarshalText(text []byte) error { return b.Set(string(text)) }

func (b *byteSize) Set(s string) error {
	n, err := humanize.ParseBytes(s)
	if err != nil || n > 1<<40 {
		return fmt.Errorf("%q is not a size such as 1MiB", s)
	}
	*b = byteSize(n)
	return nil
}

// prefixes are networks, written with commas between them.
type prefixes []netip.Prefix

func (p *prefixes) Type() string { return "networks" }

func (p *prefixes) String() string {
	var all []string
	for _, prefix := range *p {
		all = append(all, prefix.String())
	}
	return strings.Join(all, ",")
}

func (p *prefixes) Set(s string) error {
	var parsed []netip.Prefix
	for text := range strings.SplitSeq(s, ",") {
		prefix, err := netip.ParsePrefix(text)
		if err != nil {
			return fmt.Errorf("%q is not a network such as 10.1.0.0/16", text)
		}
		parsed = append(parsed, prefix)
	}
	*p = parsed
	return nil
}

// settings are the flags over a configuration. The variable of each is MANDATE_ and its name in capitals.
func settings(c *config) *pflag.FlagSet {
	flags := pflag.NewFlagSet("settings", pflag.ContinueOnError)
	flags.StringVar(&c.Listen, "listen", c.Listen, "address to listen on")
	flags.StringVar(&c.PublicURL, "public-url", c.PublicURL, "URL under which clients reach the server, and the issuer of its tokens")
	flags.BoolVar(&c.AllowPlaintext, "allow-plaintext", c.AllowPlaintext, "listen on other than loopback addresses without TLS, behind a proxy that has it")
	flags.Var((*prefixes)(&c.TrustedProxies), "trusted-proxies", "networks of the proxies whose X-Forwarded-For names the caller, such as 10.1.0.0/16,fd00::/8")
	flags.StringVar(&c.Data, "data", c.Data, "folder of the embedded store")
	flags.StringVar(&c.MasterKey, "master-key", c.MasterKey, "file of the master key (default: master.key in the data folder; made when there is none)")
	flags.DurationVar(&c.History, "history", c.History, "how long earlier revisions can be asked for")
	flags.StringVar(&c.TLS.Certificate, "tls-certificate", c.TLS.Certificate, "file of the certificate chain (PEM)")
	flags.StringVar(&c.TLS.Key, "tls-key", c.TLS.Key, "file of the certificate's key (PEM)")
	flags.StringVar(&c.TLS.ClientCA, "tls-client-ca", c.TLS.ClientCA, "file of the CAs (PEM) that vouch for the certificates of clients")
	flags.BoolVar(&c.TLS.ClientCertificates, "tls-client-certificates", c.TLS.ClientCertificates, "ask clients for certificates, also self-signed ones; follows from tls-client-ca")
	flags.Var((*prefixes)(&c.Connections.AllowPrivate), "connections-allow-private", "networks that are not public and yet have identity providers or get webhooks, such as 10.1.0.0/16,fd00::/8")
	flags.StringVar(&c.DNS.Resolver, "dns-resolver", c.DNS.Resolver, "DNS server that is asked for the challenges of domains, such as 127.0.0.1:53 (default: the system's)")
	flags.Var(tenantSetting{c, func(t *tenantConfig) string { return t.Policies.Path }, func(t *tenantConfig, v string) { t.Policies = policiesConfig{Path: v} }}, "policies", "folder, bundle or URL of a bundle with the default tenant's policies, followed while it changes (default: those built in)")
	flags.Var(tenantSetting{c, func(t *tenantConfig) string { return t.Directory }, func(t *tenantConfig, v string) { t.Directory = v }}, "directory", "directory file to import at start when the default tenant is empty")
	flags.DurationVar(&c.Tokens.AccessLifetime, "tokens-access-lifetime", c.Tokens.AccessLifetime, "lifetime of access tokens whose client and API set none")
	flags.DurationVar(&c.Tokens.ClockLeeway, "tokens-clock-leeway", c.Tokens.ClockLeeway, "how far clocks may differ, at most 60s")
	flags.DurationVar(&c.Tokens.CodeLifetime, "tokens-code-lifetime", c.Tokens.CodeLifetime, "lifetime of authorization codes")
	flags.DurationVar(&c.Tokens.RefreshLifetime, "tokens-refresh-lifetime", c.Tokens.RefreshLifetime, "how long a refresh token can be used")
	flags.DurationVar(&c.Tokens.RefreshGrace, "tokens-refresh-grace", c.Tokens.RefreshGrace, "how long a replaced refresh token is answered with its successor, in case the answer was lost")
	flags.DurationVar(&c.Tokens.KeyLifetime, "tokens-key-lifetime", c.Tokens.KeyLifetime, "how long a signing key signs before the next one does")
	flags.Var(&c.Limits.Body, "limits-body", "largest request body")
	flags.IntVar(&c.Limits.Connections, "limits-connections", c.Limits.Connections, "connections served at once, each of which may hold a body")
	flags.DurationVar(&c.Limits.Evaluation, "limits-evaluation", c.Limits.Evaluation, "longest evaluation of a policy")
	flags.IntVar(&c.Limits.PasswordChecksAtOnce, "limits-password-checks-at-once", c.Limits.PasswordChecksAtOnce, "passwords verified at once, 19 MiB each")
	flags.Var(&c.Limits.MemoryForRemembering, "limits-memory-for-remembering", "memory for decisions, principals, tokens and facts that need not be worked out again; 0 for none")
	c.RateLimits.addTo(flags)
	c.Mail.addTo(flags)
	flags.Uint64Var(&c.CheckOneIn, "check-one-in", c.CheckOneIn, "one in so many evaluations is repeated by OPA's evaluator in the background, to check Mandate's own; 0 for none")
	c.DecisionLog.addTo(flags)
	flags.TextVar(&c.Log.Level, "log-level", c.Log.Level, "debug, info, warn or error")
	return flags
}

// tenantSetting is a setting of the default tenant.
type tenantSetting struct {
	config *config
	get    func(*tenantConfig) string
	set    func(*tenantConfig, string)
}

func (s tenantSetting) Type() string { return "path" }

func (s tenantSetting) String() string {
	if s.config == nil {
		return ""
	}
	t := s.config.Tenants[string(server.DefaultTenant)]
	return s.get(&t)
}

func (s tenantSetting) Set(value string) error {
	t := s.config.Tenants[string(server.DefaultTenant)]
	s.set(&t, value)
	s.config.Tenants[string(server.DefaultTenant)] = t
	return nil
}

func variable(flag string) string {
	return "MANDATE_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// addSettings gives a command the flags of the configuration, and --config.
func addSettings(cmd *cobra.Command) {
	flags := settings(defaultConfig())
	flags.VisitAll(func(f *pflag.Flag) { f.Usage += " [" + variable(f.Name) + "]" })
	cmd.Flags().AddFlagSet(flags)
	cmd.Flags().String("config", "", "configuration file (mandate.yaml)")
}

// loadConfig puts together the defaults, the file, the variables and the flags, each over the one before.
func loadConfig(cmd *cobra.Command, lookupEnv func(string) (string, bool)) (*config, error) {
	c := defaultConfig()
	if name, _ := cmd.Flags().GetString("config"); name != "" {
		text, err := os.ReadFile(name)
		if err != nil {
			return nil, fmt.Errorf("read the configuration: %w", err)
		}
		if err := directory.DecodeYAML(text, c); err != nil {
			return nil, fmt.Errorf("configuration %s:\n%w", name, err)
		}
		if c.Tenants == nil {
			c.Tenants = map[string]tenantConfig{}
		}
	}
	var failed error
	flags := settings(c)
	flags.VisitAll(func(f *pflag.Flag) {
		if value, _ := lookupEnv(variable(f.Name)); value != "" && failed == nil {
			if err := f.Value.Set(value); err != nil {
				failed = fmt.Errorf("variable %s: %w", variable(f.Name), err)
			}
		}
	})
	cmd.Flags().Visit(func(f *pflag.Flag) {
		if own := flags.Lookup(f.Name); own != nil && failed == nil {
			failed = own.Value.Set(f.Value.String())
		}
	})
	if failed != nil {
		return nil, failed
	}
	return c, c.complete()
}

// complete fills in what follows from other settings, and refuses what cannot work.
func (c *config) complete() error {
	if _, ok := c.Tenants[string(server.DefaultTenant)]; !ok {
		c.Tenants[string(server.DefaultTenant)] = tenantConfig{}
	}
	if c.MasterKey == "" {
		c.MasterKey = filepath.Join(c.Data, "master.key")
	}
	var problems []error
	wrong := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }
	for name, tenant := range c.Tenants {
		if !datastore.TenantID(name).Valid() {
			wrong("tenants: %q must be lower case letters, digits and inner hyphens, at most 63", name)
		}
		for _, problem := range tenant.Policies.complete() {
			wrong("tenants.%s.policies: %s", name, problem)
		}
		if problem := tenant.PoliciesRule.complete(); problem != "" {
			wrong("tenants.%s.policies_rule: %s", name, problem)
		}
		c.Tenants[name] = tenant
	}
	if u, err := url.Parse(c.publicURL(c.Listen)); err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || strings.Trim(u.Path, "/") != "" {
		wrong("public_url must be an http or https URL without user, path, query and fragment: tenants have paths of their own")
	} else if u.Scheme == "http" && !server.Loopback(u.Hostname()) && (c.PublicURL != "" || c.AllowPlaintext) {
		wrong("public_url must be an https URL, except on loopback: it is %s", u)
	}
	if (c.TLS.Certificate == "") != (c.TLS.Key == "") {
		wrong("tls: certificate and key go together")
	}
	if c.TLS.ClientCA != "" {
		c.TLS.ClientCertificates = true
	}
	if c.TLS.ClientCertificates && c.TLS.Certificate == "" {
		wrong("tls: clients can present certificates only where the server has one: set certificate and key")
	}
	if c.DNS.Resolver != "" {
		if _, err := netip.ParseAddrPort(c.DNS.Resolver); err != nil {
			wrong("dns.resolver must be an address with a port, such as 127.0.0.1:53")
		}
	}
	problems = append(problems, c.Tokens.check()...)
	problems = append(problems, c.Mail.check()...)
	problems = append(problems, c.DecisionLog.check()...)
	if c.Limits.Body < 1<<10 || c.Limits.Body > 1<<30 {
		wrong("limits.body must be between 1KiB and 1GiB")
	}
	if c.Limits.Connections < 1 || c.Limits.Connections > 1<<18 {
		wrong("limits.connections must be between 1 and 262144")
	}
	if c.Limits.Evaluation < time.Millisecond || c.Limits.Evaluation > time.Minute {
		wrong("limits.evaluation must be between 1ms and 1m")
	}
	if c.Limits.PasswordChecksAtOnce < 1 || c.Limits.PasswordChecksAtOnce > 1024 {
		wrong("limits.password_checks_at_once must be between 1 and 1024")
	}
	problems = append(problems, c.Tracing.check()...)
	if c.History < time.Minute {
		wrong("history must be at least 1m")
	}
	return errors.Join(problems...)
}

func (c tokenConfig) check() (problems []error) {
	for _, setting := range []struct {
		name               string
		value, least, most time.Duration
		bounds             string
	}{
		{"access_lifetime", c.AccessLifetime, time.Second, 24 * time.Hour, "1s and 24h"},
		{"clock_leeway", c.ClockLeeway, 0, time.Minute, "0s and 60s"},
		{"code_lifetime", c.CodeLifetime, 10 * time.Second, 10 * time.Minute, "10s and 10m"},
		{"refresh_lifetime", c.RefreshLifetime, time.Minute, 10 * 8760 * time.Hour, "1m and 87600h"},
		{"refresh_grace", c.RefreshGrace, 0, time.Minute, "0s and 60s"},
		{"key_lifetime", c.KeyLifetime, 48 * time.Hour, 10 * 8760 * time.Hour, "48h and 87600h"},
	} {
		if setting.value < setting.least || setting.value > setting.most {
			problems = append(problems, fmt.Errorf("tokens.%s must be between %s", setting.name, setting.bounds))
		}
	}
	return problems
}

// publicURL is the configured one, or follows from the address that the server listens on.
func (c *config) publicURL(address string) string {
	switch {
	case c.PublicURL != "":
		return c.PublicURL
	case c.TLS.Certificate != "":
		return "https://" + address
	}
	return "http://" + address
}

// proxied says that callers cannot come but through a proxy, which has the TLS that they need.
func (c *config) proxied() bool {
	return c.TLS.Certificate == "" && (c.AllowPlaintext || strings.HasPrefix(c.PublicURL, "https:"))
}

// mayListen refuses to carry secrets over a network in plain text.
func (c *config) mayListen() error {
	if c.TLS.Certificate != "" || c.AllowPlaintext {
		return nil
	}
	host, _, err := net.SplitHostPort(c.Listen)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	if server.Loopback(host) {
		return nil
	}
	return fmt.Errorf("listen: %s is not a loopback address and there is no TLS certificate, so "+plainText+": "+
		"set tls, or allow_plaintext behind a proxy that has it", c.Listen)
}

func configCommand(lookupEnv func(string) (string, bool)) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "config",
		Short: "Print the effective configuration",
		Long:  "Print the configuration as serve would use it: defaults, file, variables and flags, each over the one before.",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := loadConfig(cmd, lookupEnv)
			if err != nil {
				return err
			}
			c.PublicURL = c.publicURL(c.Listen)
			encoder := yaml.NewEncoder(cmd.OutOrStdout())
			encoder.SetIndent(2)
			return errors.Join(encoder.Encode(c), encoder.Close())
		},
	}
	addSettings(cmd)
	return cmd
}
