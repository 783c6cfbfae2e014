package directory_test

import (
	"context"
	"testing"
	"time"

	"mandate/datastore"
)

func TestLastUse(t *testing.T) {
	f := newFixture(t, 1)
	f.mustLoad(t, "api_keys: [{id: k}]\norgs: [{id: acme}]\nvendors: [{id: v}]\nintegrations: [{id: i, vendor: v, org: acme}]")
	for _, step := range []struct {
		name, collection, id string
		at, want             time.Time
	}{
		{"to the minute", "apikeys", "k", noon().Add(90 * time.Second), noon().Add(time.Minute)},
		{"an earlier one", "apikeys", "k", noon(), noon().Add(time.Minute)},
		{"a later one", "apikeys", "k", noon().Add(time.Hour), noon().Add(time.Hour)},
		{"of an integration, by its id", "integrations", "i", noon(), noon()},
		{"of an unknown record", "apikeys", "unknown", noon(), time.Time{}},
		{"of an unknown integration", "integrations", "v", noon(), time.Time{}},
	} {
		f.commit(t, func(ctx context.Context, tx datastore.Tx) error {
			return tenant.PutLastUse(ctx, tx, step.collection, step.id, step.at)
		})
		if use, _, err := tenant.LastUse(step.collection, step.id).Find(t.Context(), f.view(t)); err != nil || !use.LastUsedAt.Equal(step.want) {
			t.Errorf("%s: %s (%v), want %s", step.name, use.LastUsedAt, err, step.want)
		}
	}
}
