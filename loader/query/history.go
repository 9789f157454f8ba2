package query

import (
	"fmt"
	"slices"

	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/store"
)

// This file tells what was changed.

// History is the last records of kept, the newest at the end; all when last is 0.
func History(kept *store.Store, last int) (api.History, error) {
	h := api.History{Changes: []store.Record{}}
	for record, err := range kept.Changes(store.NewestFirst) {
		if err != nil {
			return h, fmt.Errorf("read the change log: %w", err)
		}
		if h.Changes = append(h.Changes, record); len(h.Changes) == last {
			break
		}
	}
	slices.Reverse(h.Changes)
	return h, nil
}
