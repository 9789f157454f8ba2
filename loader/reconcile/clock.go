package reconcile

import (
	"time"

	"golang.org/x/sys/unix"
)

// clock maps wall time to CLOCK_BOOTTIME, by which the kernel ends an entry. It is
// read once and kept, so that one deadline always comes out as one number.
type clock struct{ offset time.Duration } // boot = wall - offset

func readClock() clock {
	boot := bootNow()
	return clock{time.Duration(wallNow().UnixNano()) - boot}
}

// wallNow is a variable so that tests can step the wall clock, which belongs to
// everybody on the host.
var wallNow = time.Now

// bootNow is CLOCK_BOOTTIME.
func bootNow() time.Duration {
	var boot unix.Timespec
	// Cannot fail: every kernel that we run on has this clock.
	_ = unix.ClockGettime(unix.CLOCK_BOOTTIME, &boot)
	return time.Duration(boot.Nano())
}

// forever is past every host's life and within what ns in an int64 can say.
var forever = time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC)

// boot is when, in ns since boot; 0 stays "never", and what ended before the boot
// has ended.
func (c clock) boot(when time.Time) uint64 {
	if when.IsZero() || when.After(forever) {
		return 0
	}
	return uint64(max(1, when.UnixNano()-int64(c.offset)))
}

// now is the wall time that boot maps to the present. Where the wall clock was stepped
// since the start it is not the time of day, but a deadline made of it is as far off
// as it should be.
func (c clock) now() time.Time { return time.Unix(0, int64(c.offset+bootNow())).UTC() }

// at is when boot ns were or will be, to the second.
func (c clock) at(boot uint64) *time.Time {
	when := time.Unix(0, int64(c.offset)+int64(boot)).UTC().Truncate(time.Second)
	return &when
}

// bootSeconds is the present by CLOCK_BOOTTIME, as the kernel notes who was seen.
func bootSeconds() uint32 {
	return uint32(bootNow() / time.Second)
}

// step is how much the wall clock has moved against boottime since c was read.
func (c clock) step() time.Duration { return readClock().offset - c.offset }

// wall is when boot seconds were; nil for 0, "never".
func (c clock) wall(seconds uint32) *time.Time {
	if seconds == 0 {
		return nil
	}
	when := time.Unix(0, int64(c.offset)).Add(time.Duration(seconds) * time.Second).UTC().Truncate(time.Second)
	return &when
}
