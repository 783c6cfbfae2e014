package policyset_test

import (
	"testing"
	"time"

	"mandate/datastore"
	"mandate/engine"
	"mandate/policyset"
)

// Where it takes a person to activate a set, a source stores what it gives, and decides only while nothing else does.
func TestSourceOnlyStores(t *testing.T) {
	store := openStore(t)
	decides := engine.New(datastore.TenantID(tenant), nil, engine.Options{})
	library := policyset.New(policyset.Options{Tenant: tenant, Store: store, Engine: decides, TwoPerson: true, Now: time.Now})
	first, second := compiled(t, numbered(1)), compiled(t, numbered(2))
	for _, set := range []*engine.PolicySet{first, second, first, second} {
		must(t, library.Offer(t.Context(), set, "folder"))
		if decides.Policies().Revision() != first.Revision() {
			t.Fatal("a source has activated a set")
		}
	}
	view, err := store.View(t.Context())
	must(t, err)
	defer view.Close()
	state, _, err := library.State(t.Context(), view)
	must(t, err)
	if state.Active != first.Revision() || state.Source != second.Revision() || state.Activation != 1 {
		t.Errorf("the state is %+v", state)
	}
	if record, found, err := tenant.PolicySet(second.Revision()).Find(t.Context(), view); err != nil || !found || record.By != "" {
		t.Errorf("stored: %+v, %v, %v", record, found, err)
	}
}
