package engine

import (
	"slices"

	"github.com/open-policy-agent/opa/v1/ast"
)

// unavailable names the builtins that policies cannot call, and why. Policies are trusted to decide, but their
// arguments come from whoever asks for a decision.
func unavailable() map[string]string {
	const schema = `a schema's "$ref" can name any file of this machine`
	return map[string]string{
		"http.send":          "policies must not reach the network: keep what they need as facts under custom/",
		"net.lookup_ip_addr": "policies must not reach the network: keep what they need as facts under custom/",
		"opa.runtime":        "policies must not read the environment of the service",
		// Remote references are stopped by allow_net, local ones are not.
		"json.match_schema":  schema,
		"json.verify_schema": schema,
		// Its result has as many bits as its second argument says: one request could take all memory.
		"bits.lsh": "its result cannot be bounded: multiply instead",
		// Its time grows exponentially with the graph, and it cannot be interrupted.
		"graph.reachable_paths": "it cannot be held to the evaluation limit: graph.reachable can",
	}
}

// capabilities are those of this version of OPA without what is unavailable.
func capabilities() *ast.Capabilities {
	excluded := unavailable()
	c := ast.CapabilitiesForThisVersion()
	c.Builtins = slices.DeleteFunc(c.Builtins, func(b *ast.Builtin) bool {
		_, ok := excluded[b.Name]
		return ok
	})
	c.AllowNet = []string{} // empty allows no host, nil would allow all
	return c
}
