package outbound

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"
)

const (
	lookupTimeout = 5 * time.Second // for all servers and attempts
	lookupsAtOnce = 32
)

// ErrNoAnswer means that the DNS cannot say now what a name has: another time it may.
var ErrNoAnswer = errors.New("the DNS did not answer")

// Resolver looks up names that organizations have given.
type Resolver struct {
	resolver *net.Resolver
	running  chan struct{}
}

// NewResolver makes a resolver that asks the DNS server at the address, such as 127.0.0.1:53; the system's when it is empty.
func NewResolver(server string) *Resolver {
	r := &Resolver{resolver: &net.Resolver{PreferGo: true, StrictErrors: true}, running: make(chan struct{}, lookupsAtOnce)}
	if server != "" {
		r.resolver.Dial = func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, server)
		}
	}
	return r
}

// TXT are the texts that a name has now (RFC 1035 §3.3.14), none when there is no such name: ErrNoAnswer when that is not known. An
// answer is as large as a DNS message at most, 64 KiB.
func (r *Resolver) TXT(ctx context.Context, name string) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	select {
	case r.running <- struct{}{}:
		defer func() { <-r.running }()
	case <-ctx.Done():
		return nil, fmt.Errorf("look up %s: %w", name, ErrNoAnswer)
	}
	// With its last dot the name is not looked up below the domains of this machine.
	texts, err := r.resolver.LookupTXT(ctx, name+".")
	if failed := (*net.DNSError)(nil); errors.As(err, &failed) && failed.IsNotFound {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look up %s: %w: %w", name, ErrNoAnswer, err)
	}
	return texts, nil
}
