// This file judges what a run has counted.

package probe

// acceptedChance is how likely it may be that a run accuses anybody who does not forward.
const acceptedChance = 1. / 1000

// judge sets the answer of each target, of which each had knocks unless it was settled before.
// suspects are those that were not after the first one.
func (o *Outcome) judge(knocks, suspects int) {
	// The chance is shared among all that can be accused, so that it holds for the run.
	accepted := acceptedChance / float64(suspects)
	for i := range o.Targets {
		t := &o.Targets[i]
		t.Chance = 1
		switch {
		case t.Knocks == 0:
			t.Answer = Closed
		case t.Followed < t.Knocks:
			t.Answer = No
		case t.Knocks < knocks: // it answered, and then no more: perhaps it locks us out
			t.Answer = Inconclusive
		default:
			t.Chance = chance(knocks-1, o.Busy, o.Quiet)
			t.Answer = Inconclusive
			if t.Chance <= accepted {
				t.Answer = Forwards
			}
		}
	}
}

// chance returns how likely it is that all of knocks windows with a knock had an opening, and no
// more than busy of the quiet ones, if knocks do nothing. knocks+busy windows had one, and every
// choice of knocks among knocks+quiet windows was equally likely (Fisher's exact test): that is
// C(knocks+busy, knocks) / C(knocks+quiet, knocks). It needs nothing of how openings are spread.
// The first knock at each address does not count: it came before the order was drawn.
//
// It holds beside the addresses that were dropped: what is left out for them moves windows with
// and without a knock at this address alike. An address that was dropped is not accused.
func chance(knocks, busy, quiet int) float64 {
	p := 1.
	for i := 1; i <= knocks; i++ {
		p *= float64(busy+i) / float64(quiet+i)
	}
	return p
}
