package vm

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/bundle"
	"github.com/open-policy-agent/opa/v1/compile"
	"github.com/open-policy-agent/opa/v1/ir"
)

// Plan makes an IR policy of what the entry points need of some modules. An entry point is the path of a rule, such
// as "mandate/access/decision", and becomes a plan of that name, whose results bind "result".
func Plan(ctx context.Context, modules map[string]*ast.Module, capabilities *ast.Capabilities, entrypoints []string) (*ir.Policy, error) {
	b := &bundle.Bundle{Data: map[string]any{}}
	b.Manifest.Init()
	copies := map[string]*ast.Module{} // the caller may have other uses for its own
	for name, module := range modules {
		copies[name] = module.Copy()
	}
	orderReplacements(copies)
	for _, name := range slices.Sorted(maps.Keys(copies)) {
		b.Modules = append(b.Modules, bundle.ModuleFile{URL: name, Path: name, Parsed: copies[name]})
	}
	c := compile.New().
		WithBundle(b).
		WithTarget(compile.TargetPlan).
		WithCapabilities(capabilities).
		WithRegoVersion(ast.RegoV1).
		WithPruneUnused(true).
		WithEntrypoints(entrypoints...)
	if err := c.Build(ctx); err != nil {
		return nil, fmt.Errorf("plan policies: %w", err)
	}
	plans := c.Bundle().PlanModules
	if len(plans) != 1 {
		return nil, fmt.Errorf("plan policies: %d plans were made", len(plans))
	}
	policy := &ir.Policy{}
	if err := json.Unmarshal(plans[0].Raw, policy); err != nil {
		return nil, fmt.Errorf("read the plan of policies: %w", err)
	}
	return policy, nil
}
