package replay

import (
	"iter"
	"math"

	"mandate/decisionlog"
)

// Sample yields about that share of the records, the same ones each time.
func Sample(records iter.Seq2[decisionlog.Record, error], share float64) iter.Seq2[decisionlog.Record, error] {
	if share >= 1 {
		return records
	}
	limit := uint64(share * math.MaxUint32)
	return func(yield func(decisionlog.Record, error) bool) {
		for r, err := range records {
			// Ids that follow each other are spread by the golden ratio.
			if spread := uint64(r.ID) * 0x9e3779b97f4a7c15 >> 32; (err != nil || spread < limit) && !yield(r, err) {
				return
			}
		}
	}
}

// First yields the first n records.
func First(records iter.Seq2[decisionlog.Record, error], n uint64) iter.Seq2[decisionlog.Record, error] {
	return func(yield func(decisionlog.Record, error) bool) {
		left := n
		for r, err := range records {
			if left == 0 || !yield(r, err) {
				return
			}
			left--
		}
	}
}
