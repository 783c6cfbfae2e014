package server

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"strconv"
	"sync/atomic"
)

// idSource makes the ids of decisions: unique over restarts by a random part, cheap by a counter.
type idSource struct {
	prefix string
	count  *atomic.Uint64
}

func newIDSource() (idSource, error) {
	var random [8]byte
	if _, err := rand.Read(random[:]); err != nil {
		return idSource{}, fmt.Errorf("make an id: %w", err)
	}
	return idSource{prefix: hex.EncodeToString(random[:]) + "-", count: new(atomic.Uint64)}, nil
}

func (s idSource) next() string { return string(s.appendNext(nil)) }

func (s idSource) appendNext(b []byte) []byte {
	return strconv.AppendUint(append(b, s.prefix...), s.count.Add(1), 36)
}
