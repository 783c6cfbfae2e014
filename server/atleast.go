package server

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/gofiber/fiber/v2"

	"mandate/authn"
	"mandate/datastore"
)

// Bounds of waiting for a revision: for how long, and how many requests at once.
const (
	longestWait = 2 * time.Second
	mostWaiting = 64
)

// leastRevision is the revision that the query names as at_least, so that the caller sees its own writes wherever they were
// acknowledged; 0 for none.
func leastRevision(c *fiber.Ctx) (datastore.Revision, error) {
	if len(c.Request().URI().QueryString()) == 0 {
		return 0, nil
	}
	asked := c.Query("at_least")
	if asked == "" {
		return 0, nil
	}
	least, err := strconv.ParseUint(asked, 10, 64)
	if err != nil {
		return 0, badRequest("at_least must be the revision of an answer")
	}
	return datastore.Revision(least), nil
}

// presentedOnce says whether the caller cannot be authenticated again, on the revision that was waited for: a DPoP proof is good for
// one time (RFC 9449 §11.1), and the check of a password takes long.
func presentedOnce(p authn.Presented, caller *authn.Principal) bool {
	return len(p.Proofs) > 0 || caller.Credential.Type == "password"
}

// await waits until the revision is visible. Only who has authenticated may take one of the places.
func (s *Server) await(least datastore.Revision) error {
	if s.waiting.Add(1) > mostWaiting {
		s.waiting.Add(-1)
		return notReached(least)
	}
	defer s.waiting.Add(-1)
	ctx, cancel := context.WithTimeout(s.base, longestWait)
	defer cancel()
	err := s.store.Await(ctx, least)
	if errors.Is(err, context.DeadlineExceeded) {
		return notReached(least)
	}
	if err != nil {
		return fmt.Errorf("wait for a revision: %w", err)
	}
	return nil
}

func notReached(revision datastore.Revision) error {
	return &requestError{http.StatusServiceUnavailable, "revision_not_reached",
		fmt.Sprintf("revision %d is not visible here yet: ask again, or take a revision from an answer of this tenant", revision)}
}
