package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"sync"
	"time"

	"mandate/authn"
	"mandate/datastore"
	"mandate/datastore/badgerstore"
	"mandate/directory"
	"mandate/engine"
	"mandate/policies"
	"mandate/server"
	"mandate/tokens"
)

// service is everything wired together, listening or not.
type service struct {
	store   datastore.Store
	master  *directory.MasterKey
	server  *server.Server
	engines map[directory.Tenant]*engine.Engine
	made    []directory.Made // secrets that importing at start made
	log     *slog.Logger

	follow    context.CancelFunc
	following sync.WaitGroup
}

// openStore opens the data folder and its master key, making both when there are none.
func openStore(c *config, log *slog.Logger) (datastore.Store, *directory.MasterKey, error) {
	if err := os.MkdirAll(c.Data, 0o700); err != nil {
		return nil, nil, fmt.Errorf("make the data folder: %w", err)
	}
	master, err := directory.LoadMasterKey(c.MasterKey)
	if err != nil {
		return nil, nil, err
	}
	store, err := badgerstore.Open(c.Data, badgerstore.Options{Retention: c.History, Logger: log})
	if err != nil {
		return nil, nil, fmt.Errorf("open the data folder %s: %w", c.Data, err)
	}
	return store, master, nil
}

// openService opens everything. The policies' folders are followed until close.
func openService(ctx context.Context, c *config, log *slog.Logger) (*service, error) {
	store, master, err := openStore(c, log)
	if err != nil {
		return nil, err
	}
	s := &service{store: store, master: master, engines: map[directory.Tenant]*engine.Engine{}, log: log}
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
	var tenants []server.Tenant
	for name, settings := range c.Tenants {
		id := directory.Tenant(name)
		set, err := engine.Compile(ctx, policySource(settings.Policies))
		if err != nil {
			return fmt.Errorf("policies of tenant %s:\n%w", name, err)
		}
		decides := engine.New(datastore.TenantID(id), set, engine.Options{EvaluationLimit: c.Limits.Evaluation})
		s.engines[id] = decides
		if settings.Policies != "" {
			s.following.Go(func() { s.followPolicies(following, id, settings.Policies) })
		}
		if err := s.importWhenEmpty(ctx, id, settings.Directory); err != nil {
			return err
		}
		issuer := server.Issuer(c.PublicURL, id)
		issues, err := tokens.NewIssuer(ctx, s.store, tokens.Options{Tenant: id, Issuer: issuer, Master: s.master, Policy: decides,
			Lifetime: c.Tokens.AccessLifetime, Now: time.Now})
		if err != nil {
			return err
		}
		tenants = append(tenants, server.Tenant{ID: id, Issuer: issuer, Engine: decides, Tokens: issues,
			Authn: authn.New(authn.Options{Tenant: id, Master: s.master, Issuer: issuer, PasswordChecks: passwords,
				ClockLeeway: c.Tokens.ClockLeeway, Now: time.Now})})
	}
	s.server, err = server.New(server.Options{Store: s.store, Tenants: tenants, BodyLimit: int(c.Limits.Body), Log: s.log})
	return err
}

func policySource(folder string) fs.FS {
	if folder == "" {
		return policies.FS
	}
	return os.DirFS(folder)
}

// followPolicies swaps in each good version of the folder; after a bad one the last good one goes on serving.
func (s *service) followPolicies(ctx context.Context, tenant directory.Tenant, folder string) {
	decides := s.engines[tenant]
	err := engine.Follow(ctx, folder, decides.Policies(), func(set *engine.PolicySet, err error) {
		if err != nil {
			s.log.Error("policies refused, the former ones go on serving", "tenant", tenant, "folder", folder,
				"serving", decides.Policies().ShortRevision(), "error", err)
			return
		}
		decides.Swap(set)
		s.log.Info("policies changed", "tenant", tenant, "folder", folder, "serving", set.ShortRevision())
	})
	if err != nil {
		s.log.Error("policies are no longer followed", "tenant", tenant, "folder", folder, "error", err)
	}
}

// importWhenEmpty gives a new tenant its directory.
func (s *service) importWhenEmpty(ctx context.Context, tenant directory.Tenant, file string) error {
	if file == "" {
		return nil
	}
	empty, err := s.empty(ctx, tenant)
	if err != nil || !empty {
		return err
	}
	f, err := readDirectory(file)
	if err != nil {
		return err
	}
	imported, err := directory.Importer{Store: s.store, Master: s.master}.Import(ctx, tenant, f)
	s.made = append(s.made, imported.Made...)
	return err
}

func (s *service) empty(ctx context.Context, tenant directory.Tenant) (bool, error) {
	view, err := s.store.View(ctx)
	if err != nil {
		return false, fmt.Errorf("open a view: %w", err)
	}
	defer view.Close()
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
	if err := s.store.Close(); err != nil {
		return fmt.Errorf("close the store: %w", err)
	}
	return nil
}
