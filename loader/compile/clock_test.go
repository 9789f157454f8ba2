package compile

import (
	"net/netip"
	"testing"
	"time"

	"github.com/xdpallow/xdpallow/loader/policy"
)

// A deadline that --for made stays where it is when the wall clock is stepped, one of
// --until moves, a claim that ends at another time than its deadline says follows the
// clock, and a refused change leaves the deadline that stood.
func TestDeadlines(t *testing.T) {
	now := time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)
	clock := NewClock(now, time.Hour)
	lasting := policy.Claim{Prefix: netip.MustParsePrefix("192.0.2.0/24"), Until: now.Add(90 * time.Minute)}
	dated := policy.Claim{Prefix: netip.MustParsePrefix("198.51.100.0/24"), Until: now.Add(90 * time.Minute)}
	c := Compiler{Clock: clock, Deadlines: Deadlines{}}
	c.Deadlines.Set([]policy.Claim{lasting}, clock)
	ends := func(claim policy.Claim) time.Duration {
		entry, err := c.Entry(policy.EntryOf(policy.Claim{Prefix: claim.Prefix, Until: claim.Until}), nil)
		if err != nil {
			t.Fatal(err)
		}
		return time.Duration(entry.Expires)
	}
	const at = 150 * time.Minute
	if ends(lasting) != at || ends(dated) != at {
		t.Errorf("they end at %v and %v, want %v", ends(lasting), ends(dated), at)
	}
	c.Clock = NewClock(now.Add(10*time.Minute), time.Hour)
	if ends(lasting) != at || ends(dated) != at-10*time.Minute {
		t.Errorf("after a step they end at %v and %v", ends(lasting), ends(dated))
	}
	longer := lasting
	longer.Until = longer.Until.Add(time.Hour)
	if ends(longer) != at+time.Hour-10*time.Minute {
		t.Errorf("a claim with another end than its deadline ends at %v", ends(longer))
	}
	undo := c.Deadlines.Set([]policy.Claim{longer, dated}, c.Clock)
	undo()
	if ends(lasting) != at || ends(dated) != at-10*time.Minute {
		t.Errorf("after a refused change they end at %v and %v", ends(lasting), ends(dated))
	}
}

// No deadline is lost: zero is never, what ended before the boot has ended, and the wall
// time of a deadline is the deadline.
func TestClock(t *testing.T) {
	now := time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)
	c := NewClock(now, time.Hour)
	for _, test := range []struct {
		when time.Time
		boot uint64
	}{
		{time.Time{}, 0},
		{now, uint64(time.Hour)},
		{now.Add(-2 * time.Hour), 1},
		{now.AddDate(200, 0, 0), 0},
	} {
		if got := c.Boot(test.when); got != test.boot {
			t.Errorf("%v is %d since boot, want %d", test.when, got, test.boot)
		}
	}
	if at := c.At(uint64(2*time.Hour + time.Millisecond)); !at.Equal(now.Add(time.Hour)) {
		t.Errorf("two hours since boot are at %v", at)
	}
	if c.Seconds(0) != nil || !c.Seconds(3600).Equal(now) {
		t.Errorf("0 seconds are at %v, and 3600 at %v", c.Seconds(0), c.Seconds(3600))
	}
	if step := c.Step(NewClock(now.Add(90*time.Minute), 2*time.Hour)); step != 30*time.Minute {
		t.Errorf("the wall clock has moved by %v", step)
	}
}
