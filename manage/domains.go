package manage

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"mandate/datastore"
	"mandate/datastore/memo"
	"mandate/directory"
)

// When the challenge of a verified domain is looked up again. A domain is given up when the DNS says that the challenge is not there,
// and has not said otherwise for lostAfter. As long as it says nothing at all, for it or its servers are down, that takes unknownAfter.
const (
	checkAgain   = 24 * time.Hour
	checkSoon    = time.Hour // after a look-up that did not find the challenge
	lostAfter    = 72 * time.Hour
	unknownAfter = 14 * 24 * time.Hour
)

// Bounds of one run of Maintain. What it leaves is the first thing of the next one.
const (
	checksPerRun = 200
	checksAtOnce = 8
	checksTake   = 30 * time.Second
)

// Bounds of what is repeated of the DNS records of others.
const (
	textsShown    = 3
	maxTextsShown = 80 // bytes of each
)

// Domains are the internet domains that an organization claims.
func Domains() Kind { return domains() }

func domains() *kind[directory.Domain] {
	return &kind[directory.Domain]{
		name: "orgs.domains", resource: "domain", path: "orgs/{org}/domains/{domain}", keys: []string{"domain"}, org: inPath[directory.Domain],
		place: func(t directory.Tenant, ids []string) directory.Place[directory.Domain] {
			return t.Domain(ids[0], ids[1])
		},
		file: func(ids []string, d directory.Domain, _ given) (*directory.File, string) {
			return within(ids[0], directory.OrgEntry{Domains: []directory.DomainEntry{d.Entry(ids[1])}}), "orgs[0].domains[0]"
		},
		remove: func(ctx context.Context, tx datastore.Tx, t directory.Tenant, ids []string) error {
			return t.DeleteDomain(ctx, tx, ids[0], ids[1])
		},
		fixed: []string{"status", "challenge", "verified_at", "failing_since"}, filters: []string{"status"},
		about: aboutDomain,
	}
}

// aboutDomain gives a new domain its challenge, lets people join by a verified one only, and keeps one that a connection needs.
func aboutDomain(ctx context.Context, c *change, ids []string, before, after *directory.Domain, _ map[string]any) error {
	switch {
	case after == before:
		return nil
	case after == nil:
		connection, used, err := c.tenant().DomainConnection(ids[0], ids[1]).Find(ctx, c.reading)
		if err == nil && used {
			err = &Conflict{"domain_in_use", "The connection " + connection.ID + " is for this domain: delete it first, or give it another one."}
		}
		return err
	case before == nil:
		if err := directory.CheckDomain(ids[1]); err != nil {
			return invalid("domain", err.Error())
		}
		after.Status, after.Challenge = directory.Pending, directory.NewDomainChallenge(ids[1])
		before = &directory.Domain{}
	}
	if after.Status != directory.Verified && len(after.AutoJoin) > 0 && !slices.Equal(before.AutoJoin, after.AutoJoin) {
		return domainNotVerified()
	}
	return nil
}

func domainNotVerified() error {
	return &Conflict{"domain_not_verified", "The domain is not verified: set up the DNS record of its challenge, and verify it first."}
}

// VerifyDomain makes a domain that of the organization, when the DNS has the record of its challenge.
func (m *Manager) VerifyDomain(ctx context.Context, r *memo.Reading, q *Request, ids []string) (*Answer, error) {
	k := domains()
	claimed, err := k.find(ctx, m, r, ids)
	if err != nil {
		return nil, err
	}
	if _, err := m.Permit(ctx, r, q, "orgs.domains.verify", k.resourceOf(ids, claimed, verified(claimed, m.o.Now()))); err != nil {
		return nil, err
	}
	var challenge directory.DomainChallenge
	var texts []string
	var failed error
	if claimed != nil && claimed.Status != directory.Verified && claimed.Challenge != nil {
		challenge = *claimed.Challenge
		texts, failed = m.o.DNS.TXT(ctx, challenge.Name)
	}
	return m.change(ctx, q, func(c *change) (*Answer, error) {
		before, err := k.find(ctx, m, c, ids)
		if err != nil {
			return nil, err
		}
		after := verified(before, c.at)
		resource := k.resourceOf(ids, before, after)
		if err := c.permit(ctx, "orgs.domains.verify", resource); err != nil {
			return nil, err
		}
		switch {
		case before == nil:
			return nil, ErrNotFound
		case before.Status == directory.Verified:
			return nil, &Conflict{"already_verified", "The domain is verified already."}
		case before.Challenge == nil || *before.Challenge != challenge:
			return nil, &Conflict{"challenge_changed", "The domain was changed while its challenge was looked up: try again."}
		case failed != nil:
			return nil, &Unavailable{"dns_unavailable", "The DNS did not answer for " + challenge.Name + ": try again in a minute.", time.Minute}
		case !slices.Contains(texts, challenge.Value):
			return nil, &Conflict{"challenge_not_met", notMet(challenge.Name, texts)}
		}
		if err := c.expects(ctx, k.place(c.tenant(), ids).Path); err != nil {
			return nil, err
		}
		holder, taken, err := c.tenant().VerifiedDomain(ids[1]).Find(ctx, c)
		if err != nil {
			return nil, err
		}
		if taken && holder.ID != ids[0] {
			return nil, &Conflict{"domain_taken", "Another organization has verified this domain: it has to give it up first."}
		}
		if err := c.tenant().PutDomain(ctx, c, ids[0], ids[1], *after); err != nil {
			return nil, err
		}
		return k.finish(ctx, c, ids, ".verify", resource, before, nil)
	})
}

func verified(d *directory.Domain, now time.Time) *directory.Domain {
	if d == nil {
		return nil
	}
	after, at := *d, now.UTC()
	after.Status, after.VerifiedAt, after.FailingSince = directory.Verified, &at, nil
	return &after
}

// notMet says what was found instead of the challenge.
func notMet(name string, texts []string) string {
	if len(texts) == 0 {
		return "There is no TXT record at " + name + ": add the one of the challenge, and try again when the DNS has it."
	}
	var shown []string
	for _, text := range texts[:min(len(texts), textsShown)] {
		if len(text) > maxTextsShown {
			text = text[:maxTextsShown] + "..."
		}
		shown = append(shown, strconv.QuoteToASCII(text))
	}
	if len(texts) > textsShown {
		shown = append(shown, fmt.Sprintf("and %d more", len(texts)-textsShown))
	}
	return "The TXT records at " + name + " do not have the value of the challenge; found: " + strings.Join(shown, ", ") + "."
}

// Maintain looks again at the domains for which it is time. It is to be called every minute.
func (m *Manager) Maintain(ctx context.Context) error {
	view, err := m.o.Store.View(ctx)
	if err != nil {
		return fmt.Errorf("look again at domains: %w", err)
	}
	due, err := m.o.Tenant.DueDomains(ctx, view, m.o.Now(), checksPerRun)
	view.Close()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, checksTake)
	defer cancel()
	failed := make([]error, len(due))
	running := make(chan struct{}, checksAtOnce)
	var all sync.WaitGroup
	for i, domain := range due {
		running <- struct{}{}
		all.Go(func() {
			defer func() { <-running }()
			failed[i] = m.checkDomain(ctx, domain)
		})
	}
	all.Wait()
	return errors.Join(failed...)
}

// checkDomain looks up the challenge of a verified domain, and gives the domain up when it has been gone for too long.
func (m *Manager) checkDomain(ctx context.Context, of directory.DomainRef) error {
	view, err := m.o.Store.View(ctx)
	if err != nil {
		return fmt.Errorf("look again at the domain %s: %w", of.Domain, err)
	}
	was, due, err := m.dueDomain(ctx, view, of)
	view.Close()
	if err != nil || !due {
		return err
	}
	texts, unknown := m.o.DNS.TXT(ctx, was.Challenge.Name)
	select {
	case <-ctx.Done():
		return nil // what the DNS would have said is not known, and it stays due
	default:
	}
	met := slices.Contains(texts, was.Challenge.Value)
	return m.itself(ctx, "domain_check", func(c *change) error {
		before, due, err := m.dueDomain(ctx, c, of)
		if err != nil || !due || *before.Challenge != *was.Challenge {
			return err
		}
		after, next := before, checkAgain+jitter()
		switch {
		case met:
			after.FailingSince = nil
		case before.FailingSince == nil:
			at := c.at.UTC()
			after.FailingSince, next = &at, checkSoon
		default:
			next = checkSoon
		}
		if !met && lost(c.at.Sub(*after.FailingSince), unknown != nil) {
			after.Status, after.VerifiedAt, after.FailingSince = directory.Pending, nil, nil
		}
		if err := c.tenant().PutDomain(ctx, c, of.Org, of.Domain, after); err != nil {
			return err
		}
		if after.Status == directory.Verified {
			if err := c.tenant().PutDomainCheck(ctx, c, of.Org, of.Domain, directory.DomainCheck{DueAt: c.at.Add(next)}); err != nil {
				return err
			}
		}
		if after.Status == before.Status && (after.FailingSince == nil) == (before.FailingSince == nil) {
			return nil
		}
		ids := []string{of.Org, of.Domain}
		return c.done(ctx, "orgs.domains.update", domains().resourceOf(ids, &before, &after), before, after)
	})
}

// jitter is up to an hour, so that what was verified at once is not looked up at once for ever.
func jitter() time.Duration {
	var random [2]byte
	_, _ = rand.Read(random[:]) // never fails
	return time.Hour * time.Duration(binary.LittleEndian.Uint16(random[:])) >> 16
}

func lost(failing time.Duration, unknown bool) bool {
	if unknown {
		return failing >= unknownAfter
	}
	return failing >= lostAfter
}

// dueDomain is the domain, if it is still time to look at it.
func (m *Manager) dueDomain(ctx context.Context, r datastore.Reader, of directory.DomainRef) (d directory.Domain, due bool, err error) {
	check, found, err := m.o.Tenant.DomainCheck(of.Org, of.Domain).Find(ctx, r)
	if err != nil || !found || check.DueAt.After(m.o.Now()) {
		return d, false, err
	}
	d, found, err = m.o.Tenant.Domain(of.Org, of.Domain).Find(ctx, r)
	return d, found && d.Status == directory.Verified && d.Challenge != nil, err
}
