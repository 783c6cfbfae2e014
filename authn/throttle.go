package authn

import (
	"errors"
	"hash/maphash"
	"net/netip"
	"sync/atomic"
	"time"
)

const (
	throttleCounters = 1 << 16

	// A user name can be tried ten times, then once in half a minute; an address, from which many people may come, fifty times
	// and every six seconds. A right password costs nothing.
	userFailures    = 10
	userPause       = 30 * time.Second
	addressFailures = 50
	addressPause    = 6 * time.Second

	// From an address ten resets of a password can be asked for, then one a minute.
	resetAllowed = 10
	resetEvery   = time.Minute
)

// throttle slows the guessing of passwords down, by user name and by address, and the asking for resets, by address. Its memory is fixed: names and addresses share
// counters by a hash that nobody outside can compute. Those who share one with a name that is being guessed must wait too,
// which is rare: guessing is bounded by PasswordChecks, and fills a few in a hundred counters at most. Guesses that are being
// checked at the same time are counted when they have failed: as many more as PasswordChecks let in, which lengthens the wait.
type throttle struct {
	now       func() time.Time
	seed      maphash.Seed
	users     counters
	addresses counters
	resets    counters
}

// newThrottle makes a throttle that has counted nothing.
func newThrottle(now func() time.Time) *throttle {
	return &throttle{now: now, seed: maphash.MakeSeed(),
		users:     counters{allowed: userFailures, pause: userPause, empty: make([]atomic.Int64, throttleCounters)},
		addresses: counters{allowed: addressFailures, pause: addressPause, empty: make([]atomic.Int64, throttleCounters)},
		resets:    counters{allowed: resetAllowed, pause: resetEvery, empty: make([]atomic.Int64, throttleCounters)}}
}

// counters are leaky buckets: each failure fills one a little, and it empties with time.
type counters struct {
	allowed int
	pause   time.Duration
	empty   []atomic.Int64 // when each is empty again, in nanoseconds since 1970
}

// password checks a password for the user name that comes from the address, if that is known.
func (t *throttle) password(username, address string, check func() error) error {
	byName := func() error { return t.user(username, check) }
	if address == "" {
		return byName()
	}
	return t.address(address, byName)
}

// user checks a password for the user name, unless it must wait.
func (t *throttle) user(name string, check func() error) error {
	return t.attempt(&t.users, name, check)
}

// address likewise checks one that comes from the address.
func (t *throttle) address(from string, check func() error) error {
	return t.attempt(&t.addresses, subscriber(from), check)
}

// reset counts one more from the address, unless it must wait.
func (t *throttle) reset(from string) error {
	counter := t.counter(&t.resets, subscriber(from))
	if wait := t.resets.wait(counter, t.now()); wait > 0 {
		return &Error{Kind: Busy, RetryAfter: wait, Detail: "too many mails were asked for: wait before you try again"}
	}
	t.resets.count(counter, t.now())
	return nil
}

// subscriber is who has the address. Of an IPv6 address the network counts, all of which one subscriber has.
func subscriber(from string) string {
	if addr, err := netip.ParseAddr(from); err == nil {
		if addr = addr.Unmap(); addr.Is6() {
			network, _ := addr.WithZone("").Prefix(64)
			addr = network.Addr()
		}
		return addr.String()
	}
	return from
}

func (t *throttle) counter(c *counters, key string) *atomic.Int64 {
	return &c.empty[maphash.String(t.seed, key)%throttleCounters]
}

func (t *throttle) attempt(c *counters, key string, check func() error) error {
	counter := t.counter(c, key)
	if wait := c.wait(counter, t.now()); wait > 0 {
		return &Error{Kind: Busy, RetryAfter: wait, Detail: "too many sign-ins have failed: wait before you try again"}
	}
	err := check()
	if failed := (*Error)(nil); errors.As(err, &failed) && failed.Kind == Invalid {
		c.count(counter, t.now())
	}
	return err
}

func (c *counters) wait(counter *atomic.Int64, now time.Time) time.Duration {
	return time.Duration(counter.Load()-now.UnixNano()) - time.Duration(c.allowed-1)*c.pause
}

func (c *counters) count(counter *atomic.Int64, now time.Time) {
	for {
		old := counter.Load()
		if counter.CompareAndSwap(old, max(old, now.UnixNano())+int64(c.pause)) {
			return
		}
	}
}
