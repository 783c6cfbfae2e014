package server

import (
	"sync"
	"time"

	"mandate/manage"
)

// slots bound how many requests of a kind run at once: those of one caller, of those bound to one organization, of one tenant, and all.
// Nobody can so keep the others from being served.
type slots struct {
	perCaller, perOrg, perTenant, all int

	mu    sync.Mutex
	taken map[slotHolder]int
}

// slotHolder is whom a slot is counted for. What is empty stands for all.
type slotHolder struct{ tenant, org, caller string }

// heavySlots are for reads that go through much of the decision log or of the facts, or ask a policy many times.
func heavySlots() *slots {
	return &slots{perCaller: 2, perOrg: 4, perTenant: 8, all: 32, taken: map[slotHolder]int{}}
}

// tailSlots are for listings that wait for the next record, which costs a connection.
func tailSlots() *slots {
	return &slots{perCaller: 8, perOrg: 16, perTenant: 32, all: 64, taken: map[slotHolder]int{}}
}

// take takes a slot, which must be released, or says that there is none.
func (s *slots) take(a *asking) (release func(), ok bool) {
	tenant := string(a.tenant.ID)
	bounds := map[slotHolder]int{{}: s.all, {tenant: tenant}: s.perTenant, {tenant: tenant, caller: string(a.caller.Type) + ":" + a.caller.Subject}: s.perCaller}
	if a.caller.Org != "" {
		bounds[slotHolder{tenant: tenant, org: a.caller.Org}] = s.perOrg
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for holder, most := range bounds {
		if s.taken[holder] >= most {
			return nil, false
		}
	}
	for holder := range bounds {
		s.taken[holder]++
	}
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		for holder := range bounds {
			if s.taken[holder]--; s.taken[holder] == 0 {
				delete(s.taken, holder)
			}
		}
	}, true
}

// slot takes a slot for a heavy read.
func (a *asking) slot() (release func(), err error) {
	release, ok := a.server.heavy.take(a)
	if !ok {
		return nil, &manage.Unavailable{Code: "too_many_heavy_requests", RetryAfter: time.Second,
			Message: "too many searches, explanations and readings of the decision log run at once: send the next one when one of yours has been answered"}
	}
	return release, nil
}

// heavy does what takes a slot.
func heavy(do func(*managing) error) func(*managing) error {
	return func(m *managing) error {
		release, err := m.slot()
		if err != nil {
			return err
		}
		defer release()
		return do(m)
	}
}
