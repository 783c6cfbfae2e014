package server

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/gofiber/fiber/v2"

	"mandate/datastore"
)

// Bounds of waiting for a revision: for how long, and how many requests at once.
const (
	longestWait = 2 * time.Second
	mostWaiting = 64
)

// awaitRevision waits until the revision is visible that the query names as at_least, so that the caller sees its own
// writes wherever they were acknowledged.
func (h *handler) awaitRevision(c *fiber.Ctx) error {
	if len(c.Request().URI().QueryString()) == 0 {
		return nil
	}
	asked := c.Query("at_least")
	if asked == "" {
		return nil
	}
	least, err := strconv.ParseUint(asked, 10, 64)
	if err != nil {
		return badRequest("at_least must be the revision of an answer")
	}
	s := h.server
	if datastore.Revision(least) <= s.store.Newest() {
		return nil
	}
	if s.waiting.Add(1) > mostWaiting {
		s.waiting.Add(-1)
		return notReached(least)
	}
	defer s.waiting.Add(-1)
	ctx, cancel := context.WithTimeout(s.base, longestWait)
	defer cancel()
	err = s.store.Await(ctx, datastore.Revision(least))
	if errors.Is(err, context.DeadlineExceeded) {
		return notReached(least)
	}
	if err != nil {
		return fmt.Errorf("wait for a revision: %w", err)
	}
	return nil
}

func notReached(revision uint64) error {
	return &requestError{http.StatusServiceUnavailable, "revision_not_reached",
		fmt.Sprintf("revision %d is not visible here yet: ask again, or take a revision from an answer of this tenant", revision)}
}
