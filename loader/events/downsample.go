package events

// This file chooses which events are passed on when there are too many.

import "slices"

// downsample returns at most room of events, evenly spread, and counts the rest as lost. The
// weights of those that are left add up to the weight of all.
func downsample(events []Event, room int, log *Log) []Event {
	n := len(events)
	if n <= room {
		return events
	}
	log.lose(uint64(n - room))
	if room == 0 {
		return nil
	}
	var weight uint64
	for _, e := range events {
		weight += e.Weight
	}
	chosen := make([]Event, room)
	var sum uint64
	for i := range chosen {
		chosen[i] = events[i*n/room]
		sum += chosen[i].Weight
	}
	for i := range chosen {
		chosen[i].Weight = chosen[i].Weight * weight / max(sum, 1)
	}
	return chosen
}

// inOrder merges events by their time.
func inOrder(a, b []Event) []Event {
	all := slices.Concat(a, b)
	slices.SortStableFunc(all, func(x, y Event) int { return x.Time.Compare(y.Time) })
	return all
}
