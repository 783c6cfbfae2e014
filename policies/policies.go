// Package policies embeds the default Rego policies of Mandate and their tests. It serves where no folder and no
// bundle of a tenant's own replaces them.
//
//   - data.mandate.access.decision: may this principal do this?
//   - data.mandate.tokens.decision: what may this token carry?
//   - data.mandate.manage.decision: who may change the directory?
//
// They are ordinary Rego v1 and pass `opa test` with the plain tool. What they decide is shown, for those who read no Rego, by the files
// in scenarios, which `mandate policy test` runs.
package policies

import "embed"

// FS holds every .rego file of this folder, tests included, by its path: access/access.rego and so on.
//
//go:embed */*.rego
var FS embed.FS

// Scenarios are the files of the folder scenarios, which show what is decided.
//
//go:embed scenarios
var Scenarios embed.FS
