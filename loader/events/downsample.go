package events

// This file chooses which events are passed on when there are too many.

import "slices"

// thin keeps room events, evenly spread. The rest are lost to who reads, and those that
// are kept stand for them.
func thin(events []Event, room int, log *Log) []Event {
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
	kept := make([]Event, room)
	var sum uint64
	for i := range kept {
		kept[i] = events[i*n/room]
		sum += kept[i].Weight
	}
	for i := range kept {
		kept[i].Weight = kept[i].Weight * weight / max(sum, 1)
	}
	return kept
}

// inOrder merges events by their time.
func inOrder(a, b []Event) []Event {
	all := slices.Concat(a, b)
	slices.SortStableFunc(all, func(x, y Event) int { return x.Time.Compare(y.Time) })
	return all
}
