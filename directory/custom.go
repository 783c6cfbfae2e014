package directory

import (
	"strings"

	"mandate/datastore"
)

// CustomValue is a document of a security team's own, which may be any JSON value. It is stored as that value.
type CustomValue struct {
	Value any `json:"value"`
}

// Custom is the place of a custom document, named by its segments between slashes.
func (t Tenant) Custom(name string) Place[CustomValue] { return Place[CustomValue]{t.custom(name)} }

// custom is the place of a custom document, named by its segments between slashes.
func (t Tenant) custom(name string) datastore.Path {
	return datastore.TenantID(t).Path(append([]string{"custom"}, strings.Split(name, "/")...)...)
}

// customFree reports when the store has a document above or below the custom document of the file: interior nodes hold
// no value of their own, or a policy could not tell the two apart.
func (c *checker) customFree(name string) {
	p := c.tenant.custom(name)
	if !p.Valid() {
		return
	}
	for fact, err := range c.store.Scan(c.ctx, p, datastore.Path{}) {
		if c.keep(err) {
			c.report("custom."+name, "the store has %s below it: delete that first", fact.Path)
		}
		break
	}
	segments := strings.Split(name, "/")
	for n := 1; n < len(segments); n++ {
		if above := strings.Join(segments[:n], "/"); c.stored(c.tenant.custom(above)) {
			c.report("custom."+name, "the store has a value at custom.%s above it: delete that first", above)
		}
	}
}
