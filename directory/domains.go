package directory

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"golang.org/x/net/idna"
	"golang.org/x/net/publicsuffix"

	"mandate/datastore"
)

const (
	challengeLabel  = "_mandate-challenge."
	challengePrefix = "mandate-verification="
	// maxDomainBytes is what leaves room for the name of the challenge (RFC 1035 §2.3.4).
	maxDomainBytes = 253 - len(challengeLabel)

	// domainChecked is how long after its verification a domain is looked up again for the first time.
	domainChecked = 24 * time.Hour
)

// DomainChallenge is the DNS record by which an organization proves that a domain is its own.
type DomainChallenge struct {
	Type  string `json:"type"`
	Name  string `json:"name"`
	Value string `json:"value"`
}

// NewDomainChallenge makes a challenge that nobody can guess.
func NewDomainChallenge(domain string) *DomainChallenge {
	return challengeOf(domain, challengePrefix+rand.Text())
}

func challengeOf(domain, value string) *DomainChallenge {
	return &DomainChallenge{Type: "TXT", Name: challengeLabel + domain, Value: value}
}

// CheckDomain refuses what no organization can own: anything but a host name in lower-case ASCII (RFC 1123 §2.1, with A-labels of RFC
// 5890 §2.3.2.1), a public suffix such as co.uk, and an address.
func CheckDomain(domain string) error {
	if !printableASCII(domain) {
		return errors.New("must be written in ASCII, as the DNS has it: other scripts have letters that look alike")
	}
	if _, err := netip.ParseAddr(domain); err == nil || len(domain) > maxDomainBytes || !strings.Contains(domain, ".") {
		return errNoDomain()
	}
	for label := range strings.SplitSeq(domain, ".") {
		if !hostLabel(label) {
			return errNoDomain()
		}
	}
	if last := domain[strings.LastIndexByte(domain, '.')+1:]; strings.Trim(last, "0123456789") == "" {
		return errNoDomain()
	}
	if again, err := idna.Registration.ToASCII(domain); err != nil || again != domain {
		return errNoDomain()
	}
	if _, err := publicsuffix.EffectiveTLDPlusOne(domain); err != nil {
		return errors.New("is a public suffix, below which anybody can have a domain")
	}
	return nil
}

func errNoDomain() error {
	return errors.New("must be a domain name in lower case, such as acme.example")
}

func hostLabel(label string) bool {
	if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
		return false
	}
	return !strings.ContainsFunc(label, func(c rune) bool { return (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' })
}

// PutDomain writes a domain of an organization, which is the only one to have it verified. One that was verified by its challenge is
// looked up again from then on.
func (t Tenant) PutDomain(ctx context.Context, tx datastore.Tx, org, domain string, d Domain) error {
	former, _, err := t.Domain(org, domain).Find(ctx, tx)
	if err != nil {
		return err
	}
	var old, owned Place[Alias]
	if former.Status == Verified {
		old = t.VerifiedDomain(domain)
	}
	if d.Status == Verified {
		owned = t.VerifiedDomain(domain)
	}
	if err := claim(ctx, tx, old, owned, Alias{ID: org}); err != nil {
		return fmt.Errorf("org %s: domain %s: %w", org, domain, err)
	}
	if err := t.followDomain(ctx, tx, org, domain, d); err != nil {
		return err
	}
	return t.Domain(org, domain).Put(ctx, tx, d)
}

// followDomain sees to it that a domain is looked up again when it was verified by a challenge, and only then.
func (t Tenant) followDomain(ctx context.Context, tx datastore.Tx, org, domain string, d Domain) error {
	if d.Status != Verified || d.Challenge == nil {
		return t.EndDomainChecks(ctx, tx, org, domain)
	}
	_, scheduled, err := t.DomainCheck(org, domain).Find(ctx, tx)
	if err != nil || scheduled {
		return err
	}
	var at time.Time // as soon as can be, when it is not known how old the verification is
	if d.VerifiedAt != nil {
		at = d.VerifiedAt.Add(domainChecked)
	}
	return t.PutDomainCheck(ctx, tx, org, domain, DomainCheck{DueAt: at})
}

// DomainCheck says when a domain is looked up again.
type DomainCheck struct {
	DueAt time.Time `json:"due_at"`
}

// DomainRef names a domain of an organization.
type DomainRef struct{ Org, Domain string }

func (t Tenant) DomainCheck(org, domain string) Place[DomainCheck] {
	return place[DomainCheck](t, PrivateRoot, "domainchecks", org, domain)
}

// dueDomain is found by the time.
func (t Tenant) dueDomain(at time.Time, org, domain string) Place[link] {
	return place[link](t, PrivateRoot, "duedomains", at.UTC().Format(minute), org, domain)
}

// PutDomainCheck sets when a domain is looked up again.
func (t Tenant) PutDomainCheck(ctx context.Context, tx datastore.Tx, org, domain string, c DomainCheck) error {
	if err := t.EndDomainChecks(ctx, tx, org, domain); err != nil {
		return err
	}
	if err := t.dueDomain(c.DueAt, org, domain).Put(ctx, tx, link{}); err != nil {
		return err
	}
	return t.DomainCheck(org, domain).Put(ctx, tx, c)
}

// EndDomainChecks sees to it that a domain is not looked up again.
func (t Tenant) EndDomainChecks(ctx context.Context, tx datastore.Tx, org, domain string) error {
	check, found, err := t.DomainCheck(org, domain).Find(ctx, tx)
	if err != nil || !found {
		return err
	}
	return remove(tx, t.DomainCheck(org, domain).Path, t.dueDomain(check.DueAt, org, domain).Path)
}

// DueDomains are the domains to look up again, those that have waited longest first, so many at most.
func (t Tenant) DueDomains(ctx context.Context, r datastore.Reader, now time.Time, most int) ([]DomainRef, error) {
	var due []DomainRef
	until := now.UTC().Format(minute)
	err := each(ctx, r, datastore.TenantID(t).Path(PrivateRoot, "duedomains"), func(at []string, _ link) error {
		if at[2] > until || len(due) == most {
			return ErrEnough
		}
		due = append(due, DomainRef{Org: at[3], Domain: at[4]})
		return nil
	})
	return due, err
}

// DomainConnection leads to the one connection that signs in those who have an address in the domain of the organization.
func (t Tenant) DomainConnection(org, domain string) Place[Alias] {
	return place[Alias](t, PrivateRoot, "domainconnections", org, domain)
}

// left is there for a user whose membership was taken away: nobody joins again by a sign-in alone.
func (t Tenant) left(org, user string) Place[link] {
	return place[link](t, PrivateRoot, "leftmembers", org, user)
}

// HasLeft says whether the user has had a membership in the organization that was taken away.
func (t Tenant) HasLeft(ctx context.Context, r datastore.Reader, org, user string) (bool, error) {
	_, found, err := t.left(org, user).Find(ctx, r)
	return found, err
}
