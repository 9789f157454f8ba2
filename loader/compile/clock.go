package compile

import (
	"time"

	"golang.org/x/sys/unix"
)

// Clock maps wall time to CLOCK_BOOTTIME, by which the kernel ends an entry. It is
// read once and kept, so that one deadline always comes out as one number.
type Clock struct{ Offset time.Duration } // boot = wall - offset

// NewClock is the clock by which wall, the time of day, is boot.
func NewClock(wall time.Time, boot time.Duration) Clock {
	return Clock{time.Duration(wall.UnixNano()) - boot}
}

// Boottime is the present by CLOCK_BOOTTIME.
func Boottime() time.Duration {
	var boot unix.Timespec
	// Cannot fail: every kernel that we run on has this clock.
	_ = unix.ClockGettime(unix.CLOCK_BOOTTIME, &boot)
	return time.Duration(boot.Nano())
}

// forever is past every host's life and within what ns in an int64 can say.
var forever = time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC)

// Boot is when, in ns since boot; 0 stays "never", and what ended before the boot
// has ended.
func (c Clock) Boot(when time.Time) uint64 {
	if when.IsZero() || when.After(forever) {
		return 0
	}
	return uint64(max(1, when.UnixNano()-int64(c.Offset)))
}

// Time is the wall time that boot maps to boot. Where the wall clock was stepped since the
// start it is not the time of day, but a deadline made of it is as far off as it should be.
func (c Clock) Time(boot time.Duration) time.Time {
	return time.Unix(0, int64(c.Offset+boot)).UTC()
}

// At is when boot ns were or will be, to the second.
func (c Clock) At(boot uint64) *time.Time {
	when := c.Time(time.Duration(boot)).Truncate(time.Second)
	return &when
}

// Seconds is when boot seconds were; nil for 0, "never".
func (c Clock) Seconds(seconds uint32) *time.Time {
	if seconds == 0 {
		return nil
	}
	return c.At(uint64(seconds) * uint64(time.Second))
}

// Step is how much the wall clock has moved against boottime from c to now.
func (c Clock) Step(now Clock) time.Duration { return now.Offset - c.Offset }
