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
	"mandate/policyset"
	"mandate/replay"
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

	endTraces func() error
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

// openService opens everything and follows the sources of policies until close. Without show, it is for asking an existing
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
		source, err := settings.Policies.source()
		if err != nil {
			return fmt.Errorf("policies of tenant %s: %w", name, err)
		}
		log, err := s.openLog(c, id)
		if err != nil {
			return fmt.Errorf("decision log of tenant %s: %w", name, err)
		}
		decides := engine.New(datastore.TenantID(id), nil, engine.Options{EvaluationLimit: c.Limits.Evaluation, CheckOneIn: c.CheckOneIn, Log: log})
		s.engines[id] = decides
		library := policyset.New(policyset.Options{Tenant: id, Store: s.store, Engine: decides, Source: source, TwoPerson: settings.PoliciesRule.TwoPerson, Log: s.log, Now: time.Now})
		begin := library.Start
		if s.show == nil {
			begin = library.Use
		}
		if err := begin(ctx); err != nil {
			return fmt.Errorf("policies of tenant %s:\n%w", name, err)
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
		figures, err := s.startSinks(following, c, id, log)
		if err != nil {
			return err
		}
		tenant.Metrics = append(tenant.Metrics, figures...)
		if id == server.DefaultTenant {
			tenant.Metrics = append(tenant.Metrics, storeBytes(c.Data))
		}
		s.following.Go(func() { s.checkDecisions(following, id) })
		s.following.Go(func() { library.Follow(following) })
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
			Authn: tenant.Authn, Tokens: tenant.Tokens, Deliveries: queue, Policies: library, PolicyRule: settings.PoliciesRule.reading(filepath.Join(c.Data, "decisions", string(id))), DNS: names, Now: time.Now, AllowHTTP: c.dev})
		tenant.Metrics = append(tenant.Metrics, queue.Collectors()...)
		shadow := replay.NewShadow(name, decides, memory)
		tenant.Shadow = shadow
		tenant.Metrics = append(tenant.Metrics, shadow.Collectors()...)
		s.following.Go(func() { shadow.Run(following) })
		tenant.Metrics = append(tenant.Metrics, library.Collectors()...)
		if mailer != nil {
			tenant.Deliveries = queue
		}
		s.following.Go(func() { queue.Run(following) })
		s.following.Go(func() { s.maintain(following, tenant) })
		tenants = append(tenants, tenant)
	}
	tracer, end, err := c.Tracing.tracer(ctx)
	if err != nil {
		return err
	}
	s.endTraces = end
	s.server, err = server.New(server.Options{Store: s.store, Memo: memory, Tenants: tenants, Tracer: tracer, BodyLimit: int(c.Limits.Body), Connections: c.Limits.Connections,
		Proxied: c.proxied(), TrustedProxies: c.TrustedProxies, RateLimits: c.RateLimits.limits(), Log: s.log})
	return err
}

func securityEvents(tenant directory.Tenant) *prometheus.CounterVec {
	events := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "mandate_security_events_total",
		Help: "Signs that somebody may have got hold of what is not theirs.", ConstLabels: prometheus.Labels{"tenant": string(tenant)}}, []string{"type"})
	for _, kind := range []string{"code_replayed", "refresh_token_reused"} {
		events.WithLabelValues(kind)
	}
	return events
}

// lastFlush is for how long the end waits for the last use of credentials to be written down.
const lastFlush = 5 * time.Second

// maintain rotates signing keys, removes what has expired, writes down which credentials were used, looks again at domains, and makes
// sure that the active policies decide, each minute.
func (s *service) maintain(ctx context.Context, of server.Tenant) {
	tenant := of.ID
	defer func() {
		ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastFlush)
		defer cancel()
		if err := of.Authn.FlushUsage(ending); err != nil {
			s.log.Error("the last use of credentials is lost", "tenant", tenant, "error", err)
		}
	}()
	ticker := time.NewTicker(time.Minute)
	defer ticker.Stop()
	for {
		done, err := of.Tokens.Maintain(ctx)
		err = errors.Join(err, of.Authn.FlushUsage(ctx), of.Manage.Maintain(ctx), of.Policies.Apply(ctx))
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
	if s.endTraces != nil {
		failed = s.endTraces()
	}
	for _, log := range s.logs {
		failed = errors.Join(failed, log.Close())
	}
	if err := s.store.Close(); err != nil {
		return errors.Join(failed, fmt.Errorf("close the store: %w", err))
	}
	return failed
}
