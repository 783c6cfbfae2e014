package partneriam

import (
	"context"
	"fmt"

	"github.com/go-json-experiment/json"

	"mandate/directory"
	"mandate/manage"
)

// domain is a domain of an organization. VerificationName is where in the DNS its TXT record has to be, which other software of this wire
// expects at the domain itself.
type domain struct {
	ID                   string `json:"Id"`
	DomainName           string
	IsVerified           bool
	VerificationStrategy string
	VerificationToken    string
	VerificationName     string
}

// domainBody names a domain. Whether it is verified is for the DNS to say.
type domainBody struct{ DomainName string }

func domainOf(name string, d directory.Domain) domain {
	shown := domain{ID: pack(domainID, name), DomainName: name, IsVerified: d.Status == directory.Verified, VerificationStrategy: "manual"}
	if d.Challenge != nil {
		shown.VerificationToken, shown.VerificationName = d.Challenge.Value, d.Challenge.Name
	}
	return shown
}

func domainsOf(all []entry[directory.Domain]) []domain {
	shown := []domain{}
	for _, e := range all {
		shown = append(shown, domainOf(e.id, e.record))
	}
	return shown
}

// domain is the one that the route names after its organization.
func (c *call) domain() (string, error) {
	name, ok := only(domainID, c.Params[1])
	if !ok {
		return "", fail(8154, "It is not the id of a domain.")
	}
	return name, nil
}

func (b batch) addDomain(ctx context.Context, org, name string) error {
	err := b.create(ctx, manage.Domains(), []string{org}, map[string]string{"domain": name})
	return instead(err, "already_exists", fail(7900, "The organization has this domain already."))
}

func listDomains(ctx context.Context, c *call) (any, error) {
	org, _, err := c.org(ctx, c.Params[0])
	if err != nil {
		return nil, err
	}
	all, err := every[directory.Domain](ctx, c, manage.Domains(), org)
	return list[domain]{domainsOf(all)}, err
}

func createDomain(ctx context.Context, c *call) (any, error) {
	var body domainBody
	if err := c.read(&body, 7914); err != nil {
		return nil, err
	}
	return c.inOrg(ctx, c.Params[0], func(ctx context.Context, b batch, org string, _ directory.Org) (any, error) {
		if body.DomainName == "" {
			return nil, fail(7900, "The DomainName is required.")
		}
		if err := b.addDomain(ctx, org, body.DomainName); err != nil {
			return nil, err
		}
		record, err := get[directory.Domain](ctx, b, manage.Domains(), org, body.DomainName)
		return domainOf(body.DomainName, record), err
	})
}

func getDomain(ctx context.Context, c *call) (any, error) {
	org, _, err := c.org(ctx, c.Params[0])
	if err != nil {
		return nil, err
	}
	name, err := c.domain()
	if err != nil {
		return nil, err
	}
	record, err := get[directory.Domain](ctx, c, manage.Domains(), org, name)
	return domainOf(name, record), err
}

// verifyDomain looks for the challenge in the DNS. Whether people of the domain join from then on is for the policies to be set to.
func verifyDomain(ctx context.Context, c *call) (any, error) {
	org, _, err := c.org(ctx, c.Params[0])
	if err != nil {
		return nil, err
	}
	name, err := c.domain()
	if err != nil {
		return nil, err
	}
	answer, err := c.Manage.VerifyDomain(ctx, c.Reading, c.Request, []string{org, name})
	if err != nil {
		return nil, explained(manage.Domains(), err)
	}
	var verified directory.Domain
	if err := json.Unmarshal(answer.Body, &verified); err != nil {
		return nil, fmt.Errorf("read the verified domain: %w", err)
	}
	return domainOf(name, verified), nil
}

func deleteDomain(ctx context.Context, c *call) (any, error) {
	name, err := c.domain()
	if err != nil {
		return nil, err
	}
	return c.inOrg(ctx, c.Params[0], func(ctx context.Context, b batch, org string, _ directory.Org) (any, error) {
		return deleted{true}, b.remove(ctx, manage.Domains(), org, name)
	})
}
