// Package policycheck examines policy folders before anything is decided by them: it runs their tests with coverage, and scenario
// files, which say in YAML what must be decided; it finds what makes a policy slow, dead or hard to follow; it formats.
//
// A scenario is decided by the engine over a store, as a server decides. It knows neither HTTP nor a running server.
package policycheck

import "strings"

func isRego(name string) bool { return strings.HasSuffix(name, ".rego") }

func isTest(name string) bool { return strings.HasSuffix(name, "_test.rego") }
