package engine

import (
	"context"

	"mandate/decisionlog"
)

// mask applies the policy mandate.log.mask to what is recorded of a decision.
func (ev *evaluation) mask(context.Context, *decisionlog.Description) {}
