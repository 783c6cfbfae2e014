package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"mandate/directory"
)

// shutdownGrace is how long a shutdown waits for requests in flight.
const shutdownGrace = 20 * time.Second

func serveCommand(lookupEnv func(string) (string, bool)) *cobra.Command {
	var dev bool
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Serve decisions and tokens over HTTP",
		Long: `Serve decisions and tokens over HTTP.

With --dev: on a fresh store that is thrown away at the end, filled with an example whose credentials are
printed with five commands to try, and with the policies of ./policies when there is such a folder.`,
		Example: `  mandate serve --dev
  mandate serve --config mandate.yaml
  mandate serve --data ./mandate-data --policies ./policies`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := loadConfig(cmd, lookupEnv)
			if err != nil {
				return err
			}
			if err := c.mayListen(); err != nil {
				return err
			}
			if dev {
				if cmd.Flags().Changed("data") || cmd.Flags().Changed("directory") {
					return errors.New("--dev serves its own example on a store that is thrown away: leave out --data and --directory")
				}
				return serveDev(cmd, c)
			}
			return serve(cmd, c, func(*service) error { return nil })
		},
	}
	addSettings(cmd)
	cmd.Flags().BoolVar(&dev, "dev", false, "serve an example on a store that is thrown away at the end")
	return cmd
}

// serve runs until the command's context ends or the listener fails. prepare is called before the first request is
// answered, when connections are queued already.
func serve(cmd *cobra.Command, c *config, prepare func(*service) error) error {
	ctx := cmd.Context()
	signal.Ignore(syscall.SIGPIPE) // a reader of the standard output that goes away is no reason to end
	log := logger(cmd, c)
	certificates, err := c.certificates()
	if err != nil {
		return err
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", c.Listen)
	if err != nil {
		return fmt.Errorf("listen on %s: %w", c.Listen, err)
	}
	c.PublicURL = c.publicURL(listener.Addr().String())
	var shown bool
	var lost error
	s, err := openService(ctx, c, log, func(made []directory.Made) {
		var err error
		shown, err = printMade(cmd, made, shown)
		lost = cmp.Or(lost, err)
	})
	if err == nil && lost != nil {
		err = errors.Join(lost, s.close())
	}
	if err != nil {
		_ = listener.Close()
		return err
	}
	if err := prepare(s); err != nil {
		return errors.Join(err, listener.Close(), s.close())
	}
	served := make(chan error, 1)
	go func() { served <- s.server.Serve(listener, certificates) }()
	if c.proxied() && len(c.TrustedProxies) == 0 {
		log.Warn("the addresses of callers are not known, so that neither guessing passwords nor a flood of requests is slowed down by address: set trusted_proxies")
	}
	log.Info("serving", "address", listener.Addr().String(), "issuer", c.PublicURL)
	select {
	case err = <-served:
	case <-ctx.Done():
		log.Info("shutting down: finishing the requests in flight")
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownGrace)
		defer cancel()
		err = errors.Join(s.server.Shutdown(grace), <-served)
	}
	return errors.Join(err, s.close())
}

func logger(cmd *cobra.Command, c *config) *slog.Logger {
	return slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), &slog.HandlerOptions{Level: c.Log.Level}))
}

func (c *config) certificates() (*tls.Config, error) {
	if c.TLS.Certificate == "" {
		return nil, nil
	}
	pair, err := tls.LoadX509KeyPair(c.TLS.Certificate, c.TLS.Key)
	if err != nil {
		return nil, fmt.Errorf("tls: %w", err)
	}
	config := &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
	if c.TLS.ClientCertificates {
		// They are verified where clients are authenticated: many come without one, and some are self-signed (RFC 8705 §2.2).
		config.ClientAuth = tls.RequestClientCert
	}
	return config, nil
}

// clientCAs vouch for the certificates of clients (RFC 8705 §2.1).
func (c *config) clientCAs() (*x509.CertPool, error) {
	if c.TLS.ClientCA == "" {
		return nil, nil
	}
	text, err := os.ReadFile(c.TLS.ClientCA)
	if err != nil {
		return nil, fmt.Errorf("tls.client_ca: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("tls.client_ca: %s has no certificate (PEM)", c.TLS.ClientCA)
	}
	return pool, nil
}

// printMade shows secrets for the only time, below a heading unless that was shown before.
func printMade(cmd *cobra.Command, made []directory.Made, shown bool) (bool, error) {
	out := cmd.OutOrStdout()
	if len(made) > 0 && !shown {
		say(out, "Secrets that were made. They are shown this once:\n")
		shown = true
	}
	for _, m := range made {
		if err := output(out, "  %-15s %-20s %s\n", kindName(m.Kind), m.ID, m.Secret.Expose()); err != nil {
			return shown, unshown(err)
		}
	}
	return shown, nil
}

func kindName(k directory.SecretKind) string {
	switch k {
	case directory.KindAPIKey:
		return "API key"
	case directory.KindAPISecret:
		return "API secret"
	case directory.KindClientSecret:
		return "client secret"
	case directory.KindVendorToken:
		return "vendor token"
	case directory.KindPartnerToken:
		return "partner token"
	case directory.KindPassword:
		return "password"
	}
	return string(k)
}

// serveDev serves the example.
func serveDev(cmd *cobra.Command, c *config) error {
	folder, err := os.MkdirTemp("", "mandate-dev-")
	if err != nil {
		return fmt.Errorf("make a folder for the example: %w", err)
	}
	defer func() { _ = os.RemoveAll(folder) }()
	c.Data, c.MasterKey, c.dev = folder, folder+"/master.key", true
	c.Mail.forDev(c.Data)
	tenant := c.Tenants["default"]
	if info, err := os.Stat("policies"); tenant.Policies.builtIn() && err == nil && info.IsDir() {
		tenant.Policies.Path = "policies"
	}
	c.Tenants["default"] = tenant
	example, err := newExample()
	if err != nil {
		return err
	}
	return serve(cmd, c, func(s *service) error {
		if err := example.load(cmd.Context(), s); err != nil {
			return fmt.Errorf("load the example: %w", err)
		}
		policies := "the built-in policies"
		switch place := tenant.Policies; {
		case place.URL != "":
			policies = "the policies of a bundle server"
		case !place.builtIn():
			policies = "the policies of ./" + strings.TrimPrefix(place.Path, "./") + ", which you can edit while it runs"
		}
		variables := c.Data + "/env"
		if err := example.writeVariables(variables, c.PublicURL, c.Mail.Folder); err != nil {
			return err
		}
		example.print(cmd.OutOrStdout(), c.PublicURL, policies, variables, c.Mail.Folder)
		return nil
	})
}
