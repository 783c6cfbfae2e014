package manage

import (
	"maps"
	"slices"
)

// Shape says which members the documents of a collection have beside those of its records.
type Shape struct {
	Keys    []string // name the record
	Fixed   []string // of the record; only Mandate sets them
	Takes   []string // secrets, and how they are handed over, that a write may bring
	Secrets []string // that the answer to a write may show
	Used    bool     // whether the last use is shown
}

func (k *kind[T]) Shape() Shape {
	return Shape{Keys: k.keys, Fixed: k.fixed, Takes: k.takes, Secrets: slices.Sorted(maps.Values(k.secrets)), Used: k.used != nil}
}
