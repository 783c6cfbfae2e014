package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"mandate/authn"
	"mandate/datastore"
	"mandate/datastore/badgerstore"
	"mandate/datastore/memo"
	"mandate/decisionlog"
	"mandate/delivery"
	"mandate/directory"
	"mandate/engine"
	"mandate/manage"
	"mandate/outbound"
	"mandate/policies"
	"mandate/policyset"
	"mandate/server"
	"mandate/tokens"
)

// service is everything wired together, listening or not.
type service struct {
	store   datastore.Store
	master  *directory.MasterKey
	server  *server.Server
	engines map[directory.Tenant]*engine.Engine
	logs    []*decisionlog.Log
	// show tells the secrets that importing at start made. Without it nothing is imported, made or followed: the
	// service only answers.
	show func([]directory.Made)
	log  *slog.Logger

	follow    context.CancelFunc
	following sync.WaitGroup
}

// openStore opens the data folder and its master key, making both when there are none.
func openStore(ctx context.Context, c *config, log *slog.Logger) (datastore.Store, *directory.MasterKey, error) {
	if err := os.MkdirAll(c.Data, 0o700); err != nil {
		return nil, nil, fmt.Errorf("make the data folder: %w", err)
	}
	store, err := badgerstore.Open(c.Data, badgerstore.Options{Retention: c.History, Logger: log})
	if err != nil {
		return nil, nil, fmt.Errorf("open the data folder %s: %w", c.Data, err)
	}
	master, err := directory.OpenMasterKey(ctx, store, c.MasterKey)
	if err != nil {
		return nil, nil, errors.Join(err, store.Close())
	}
	return store, master, nil
}

// openExisting opens a data folder only when it has a store already.
func openExisting(ctx context.Context, c *config, log *slog.Logger) (datastore.Store, *directory.MasterKey, error) {
	if !badgerstore.Exists(c.Data) {
		return nil, nil, fmt.Errorf("there is no store in the data folder %s: name the folder with --data", c.Data)
	}
	return openStore(ctx, c, log)
}

// openService opens everything and follows the policies' folders until close. Without show, it is for asking an existing
// store only.
func openService(ctx context.Context, c *config, log *slog.Logger, show func([]directory.Made)) (*service, error) {
	open := openStore
	if show == nil {
		open = openExisting
	}
	store, master, err := open(ctx, c, log)
	if err != nil {
		return nil, err
	}
	s := &service{store: store, master: master, show: show, engines: map[directory.Tenant]*engine.Engine{}, log: log}
	following, cancel := context.WithCancel(context.WithoutCancel(ctx))
	s.follow = cancel
	if err := s.start(ctx, following, c); err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

func (s *service) start(ctx, following context.Context, c *config) error {
	passwords, err := authn.NewPasswordChecks(c.Limits.PasswordChecksAtOnce)
	if err != nil {
		return err
	}
	clientCAs, err := c.clientCAs()
	if err != nil {
		return err
	}
	providers := authn.NewProviders(authn.ProviderOptions{AllowHTTP: c.dev, AllowPrivate: c.Connections.AllowPrivate, Now: time.Now,
		Report: func(issuer string, err error) {
			s.log.Warn("an identity provider cannot be reached", "issuer", issuer, "error", err)
		}})
	mailer, err := c.Mail.mailer()
	if err != nil {
		return err
	}
	names := outbound.NewResolver(c.DNS.Resolver)
	memory := memo.New(s.store, memo.Options{Bytes: int64(c.Limits.MemoryForRemembering)})
	var tenants []server.Tenant
	for name, settings := range c.Tenants {
		id := directory.Tenant(name)
		set, err := compilePolicies(ctx, settings.Policies)
		if err != nil {
			return fmt.Errorf("policies of tenant %s:\n%w", name, err)
		}
		s.logUnplanned(id, set)
		log, err := s.openLog(c, id)
		if err != nil {
			return fmt.Errorf("decision log of tenant %s: %w", name, err)
		}
		decides := engine.New(datastore.TenantID(id), set, engine.Options{EvaluationLimit: c.Limits.Evaluation, CheckOneIn: c.CheckOneIn, Log: log})
		s.engines[id] = decides
		library := policyset.New(policyset.Options{Tenant: id, Store: s.store, Engine: decides, Now: time.Now})
		if s.show != nil {
			err = library.Offer(ctx, set, settings.source())
		} else {
			err = library.Apply(ctx)
		}
		if err != nil {
			return err
		}
		issuer := server.Issuer(c.PublicURL, id)
		events := securityEvents(id)
		tenant := server.Tenant{ID: id, Issuer: issuer, Engine: decides, Policies: library, Master: s.master, Now: time.Now,
			ClientCertificates: c.TLS.ClientCertificates, RefuseQueryCredentials: settings.RefuseQueryCredentials, Metrics: []prometheus.Collector{events},
			Authn: authn.New(authn.Options{Tenant: id, Master: s.master, Issuer: issuer, PasswordChecks: passwords, Store: s.store,
				ClientCAs: clientCAs, Providers: providers, ClockLeeway: c.Tokens.ClockLeeway, Now: time.Now})}
		if s.show == nil {
			tenants = append(tenants, tenant)
			continue
		}
		s.following.Go(func() { log.Run(following) })
		s.following.Go(func() { s.checkDecisions(following, id) })
		if settings.Policies != "" {
			s.following.Go(func() { s.followPolicies(following, id, library, settings.Policies) })
		}
		if err := s.importWhenEmpty(ctx, id, settings.Directory); err != nil {
			return err
		}
		if err := s.tellUnfinished(ctx, id); err != nil {
			return err
		}
		tenant.Tokens, err = tokens.NewIssuer(ctx, s.store, tokens.Options{Tenant: id, Issuer: issuer, Master: s.master, Policy: decides,
			Authn: tenant.Authn, Lifetime: c.Tokens.AccessLifetime, CodeLifetime: c.Tokens.CodeLifetime,
			RefreshLifetime: c.Tokens.RefreshLifetime, RefreshGrace: c.Tokens.RefreshGrace, KeyLifetime: c.Tokens.KeyLifetime,
			Report: func(e tokens.SecurityEvent) {
				events.WithLabelValues(e.Type).Inc()
				s.log.Warn("security event", "tenant", id, "type", e.Type, "grant", e.Grant, "client", e.Client, "subject", e.Subject, "org", e.Org)
			}, Now: time.Now})
		if err != nil {
			return err
		}
		if err := tenant.Tokens.PrepareKeys(ctx); err != nil {
			return fmt.Errorf("signing keys of tenant %s: %w", name, err)
		}
		queue := delivery.New(delivery.Options{Tenant: id, Store: s.store, Master: s.master, HTTP: delivery.NewClient(c.dev, c.Connections.AllowPrivate),
			Mailer: mailer, Log: s.log, Now: time.Now})
		tenant.Manage = manage.New(manage.Options{Tenant: id, Issuer: issuer, Store: s.store, Master: s.master, Policy: decides,
			Authn: tenant.Authn, Tokens: tenant.Tokens, Deliveries: queue, DNS: names, Now: time.Now, AllowHTTP: c.dev})
		tenant.Metrics = append(tenant.Metrics, queue.Collectors()...)
		if mailer != nil {
			tenant.Deliveries = queue
		}
		s.following.Go(func() { queue.Run(following) })
		s.following.Go(func() { s.maintain(following, id, tenant.Tokens, tenant.Authn, tenant.Manage) })
		tenants = append(tenants, tenant)
	}
	s.server, err = server.New(server.Options{Store: s.store, Memo: memory, Tenants: tenants, BodyLimit: int(c.Limits.Body), Connections: c.Limits.Connections,
		Proxied: c.proxied(), TrustedProxies: c.TrustedProxies, RateLimits: c.RateLimits.limits(), Log: s.log})
	return err
}

func securityEvents(tenant directory.Tenant) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "mandate_security_events_total",
		Help: "Signs that somebody may have got hold of what is not theirs.", ConstLabels: prometheus.Labels{"tenant": string(tenant)}}, []string{"type"})
}

// lastFlush is for how long the end waits for the last use of credentials to be written down.
const lastFlush = 5 * time.Second

// maintain rotates signing keys, removes what has expired, writes down which credentials were used and looks again at domains, each
// minute.
func (s *service) maintain(ctx context.Context, tenant directory.Tenant, issuer *tokens.Issuer, credentials *authn.Authenticator, manager *manage.Manager) {
	defer func() {
		ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastFlush)
		defer cancel()
		if err := credentials.FlushUsage(ending); err != nil {
			s.log.Error("the last use of credentials is lost", "tenant", tenant, "error", err)
		}
	}()
	ticker := time.NewTicker(time.Minute)
	defer ticker.Stop()
	for {
		done, err := issuer.Maintain(ctx)
		err = errors.Join(err, credentials.FlushUsage(ctx), manager.Maintain(ctx))
		if len(done.Rotated) > 0 {
			s.log.Info("signing keys rotated", "tenant", tenant, "next", done.Rotated)
		}
		if len(done.Removed) > 0 {
			s.log.Info("former signing keys removed", "tenant", tenant, "removed", done.Removed)
		}
		if done.Swept > 0 {
			s.log.Debug("expired state removed", "tenant", tenant, "records", done.Swept)
		}
		if err != nil && ctx.Err() == nil {
			s.log.Error("maintenance failed, and will be tried again", "tenant", tenant, "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

func compilePolicies(ctx context.Context, folder string) (*engine.PolicySet, error) {
	if folder == "" {
		return engine.CompileTested(ctx, policies.FS)
	}
	return engine.Compile(ctx, os.DirFS(folder))
}

// followPolicies swaps in each good version of the folder; after a bad one the last good one goes on serving.
func (s *service) followPolicies(ctx context.Context, tenant directory.Tenant, library *policyset.Library, folder string) {
	decides := s.engines[tenant]
	err := engine.Follow(ctx, folder, decides.Policies(), func(set *engine.PolicySet, err error) {
		if err == nil {
			err = library.Offer(ctx, set, sourceFolder)
		}
		if err != nil {
			s.logRefusal(err, "tenant", tenant, "folder", folder, "serving", decides.Policies().ShortRevision())
			return
		}
		s.log.Info("policies changed", "tenant", tenant, "folder", folder, "serving", set.ShortRevision())
		s.logUnplanned(tenant, set)
	})
	if err != nil {
		s.log.Error("policies are no longer followed", "tenant", tenant, "folder", folder, "error", err)
	}
}

// Where policy sets come from, as their records say.
const (
	sourceFolder  = "folder"
	sourceBuiltin = "builtin"
)

func (t tenantConfig) source() string {
	if t.Policies == "" {
		return sourceBuiltin
	}
	return sourceFolder
}

// openLog opens the decision log of a tenant. Where nobody is served, nothing is logged.
func (s *service) openLog(c *config, tenant directory.Tenant) (*decisionlog.Log, error) {
	if s.show == nil {
		return decisionlog.Nothing(time.Now), nil
	}
	log, err := decisionlog.Open(filepath.Join(c.Data, "decisions", string(tenant)), decisionlog.Options{Tenant: string(tenant),
		Key: s.master.SigningKey(tenant, "decision log"), Now: time.Now, Report: func(err error) {
			if err != nil {
				s.log.Error("the decision log fails, so that nothing is decided", "tenant", tenant, "error", err)
				return
			}
			s.log.Info("the decision log works again", "tenant", tenant)
		}})
	if err != nil {
		return nil, err
	}
	s.logs = append(s.logs, log)
	return log, nil
}

// logUnplanned says when decisions are slower than they could be.
func (s *service) logUnplanned(tenant directory.Tenant, set *engine.PolicySet) {
	if why := set.Unplanned(); why != nil {
		s.log.Warn("OPA's evaluator decides by these policies, which takes longer", "tenant", tenant, "policies", set.ShortRevision(), "why", why)
	}
}

// checkDecisions repeats a share of the decisions by OPA's evaluator. What differs is logged with all that it takes to
// repeat it.
func (s *service) checkDecisions(ctx context.Context, tenant directory.Tenant) {
	err := s.engines[tenant].Check(ctx, s.store, func(d engine.Difference) {
		s.log.Error("a decision differs from that of OPA's evaluator, which decides by these policies from now on; please report it",
			"tenant", tenant, "decision", d.Point, "policy_revision", d.PolicyRevision, "data_revision", d.DataRevision, "now", d.Now,
			"input", d.Input, "decided", d.Decided, "wanted", d.Wanted)
	})
	if err != nil {
		s.log.Error("decisions are no longer checked", "tenant", tenant, "error", err)
	}
}

// logRefusal writes a line for each problem, up to what a person would read.
func (s *service) logRefusal(err error, attrs ...any) {
	const most = 10
	problems := []string{err.Error()}
	if refused := (*engine.CompileError)(nil); errors.As(err, &refused) {
		problems = nil
		for _, p := range refused.Problems {
			problems = append(problems, p.String())
		}
	}
	s.log.Error("policies refused, the former ones go on serving", append(attrs, "problems", len(problems))...)
	for _, p := range problems[:min(len(problems), most)] {
		s.log.Error("policy problem", "at", p)
	}
}

// importWhenEmpty gives a new tenant its directory.
func (s *service) importWhenEmpty(ctx context.Context, tenant directory.Tenant, file string) error {
	if file == "" {
		return nil
	}
	wanted, err := s.wantsDirectory(ctx, tenant)
	if err != nil || !wanted {
		return err
	}
	f, err := readDirectory(file)
	if err != nil {
		return err
	}
	importer := directory.Importer{Store: s.store, Master: s.master, Progress: func(done, total int, made []directory.Made) {
		s.show(made)
		s.log.Info("importing", "tenant", tenant, "file", file, "done", done, "of", total)
	}}
	_, err = importer.Import(ctx, tenant, f)
	return err
}

// wantsDirectory says whether the tenant is empty, or its import was interrupted.
func (s *service) wantsDirectory(ctx context.Context, tenant directory.Tenant) (bool, error) {
	view, err := s.store.View(ctx)
	if err != nil {
		return false, fmt.Errorf("open a view: %w", err)
	}
	defer view.Close()
	if interrupted, err := directory.Interrupted(ctx, tenant, view); err != nil || interrupted {
		return interrupted, err
	}
	for _, collection := range directory.Collections() {
		for _, err := range view.Scan(ctx, datastore.TenantID(tenant).Path(collection), datastore.Path{}) {
			return false, err
		}
	}
	return true, nil
}

func readDirectory(name string) (*directory.File, error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("open the directory file: %w", err)
	}
	defer func() { _ = file.Close() }()
	f, err := directory.ParseFile(file)
	if err != nil {
		return nil, fmt.Errorf("%s:\n%w", name, err)
	}
	return f, nil
}

// close ends what the service started, the store last.
func (s *service) close() error {
	s.follow()
	s.following.Wait()
	var failed error
	for _, log := range s.logs {
		failed = errors.Join(failed, log.Close())
	}
	if err := s.store.Close(); err != nil {
		return errors.Join(failed, fmt.Errorf("close the store: %w", err))
	}
	return failed
}
