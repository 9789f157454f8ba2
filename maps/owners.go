package maps

import (
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/cilium/ebpf"

	"github.com/xdpallow/xdpallow/bpf"
)

// MaxOwners is the greatest number that an owner can have.
const MaxOwners = int(bpf.XdpallowLimitNR_OWNERS) - 1

// Owner is what holds for all entries of an owner.
type Owner struct {
	Suspended bool
	Limit     Limit
}

// Limit is how many TCP openings an owner has in the long run, and how many at once.
// The zero Limit is none.
type Limit struct {
	PerSecond float64
	Burst     uint32 // 1 at least
}

// value is the limit as the kernel has it, nanoseconds. A burst is worth 146 years at
// most, so that the clock and what is due fit a word.
func (l Limit) value() (interval, burst uint64) {
	if !(l.PerSecond > 0) {
		return 0, 0
	}
	burst = max(uint64(l.Burst), 1)
	interval = uint64(min(max(math.Round(float64(time.Second)/l.PerSecond), 1), float64(1<<62/burst)))
	return interval, interval * (burst - 1)
}

// SetOwner says what holds for the owner of that number, at once and for every
// generation. What is left of a burst is kept.
func (t *Tables) SetOwner(number uint16, o Owner) error {
	if number == 0 || int(number) > MaxOwners {
		return fmt.Errorf("owner number %d: there is room for %d", number, MaxOwners)
	}
	var value bpf.XdpallowOwner
	if err := t.owners.Lookup(uint32(number), &value); err != nil {
		return fmt.Errorf("read owner %d: %w", number, err)
	}
	next := o.over(value)
	if next == value {
		return nil
	}
	if next.Interval != value.Interval {
		next.Due = 0
	}
	if err := t.owners.Put(uint32(number), next); err != nil {
		return fmt.Errorf("write owner %d: %w", number, err)
	}
	return nil
}

// SameOwner reports whether the kernel has o for the owner of that number.
func (t *Tables) SameOwner(number uint16, o Owner) (bool, error) {
	var value bpf.XdpallowOwner
	if err := t.owners.Lookup(uint32(number), &value); err != nil {
		return false, fmt.Errorf("read owner %d: %w", number, err)
	}
	return o.over(value) == value, nil
}

// over returns what the kernel has for an owner with o in it; what is due is kept.
func (o Owner) over(value bpf.XdpallowOwner) bpf.XdpallowOwner {
	value.Interval, value.Burst = o.Limit.value()
	value.Flags = 0
	if o.Suspended {
		value.Flags = uint64(bpf.XdpallowLimitOWNER_SUSPENDED)
	}
	return value
}

// Openings are the TCP openings of one owner, by what became of them. They never go
// backwards while the tables live.
type Openings struct {
	Passed   uint64
	Dropped  map[Reason]uint64 // zero ones too
	Audited  map[Reason]uint64
	LastSeen uint32 // CLOCK_BOOTTIME in s, of the last that passed; 0 is never
}

// charges are the reasons that an owner is charged with, in the order of enum charge.
var charges = [...]Reason{Expired, WrongService, Suspended, RateLimited}

func openingsOf(values []bpf.XdpallowOpenings) Openings {
	o := Openings{Dropped: map[Reason]uint64{}, Audited: map[Reason]uint64{}}
	for _, value := range values {
		o.Passed += value.Passed
		o.LastSeen = max(o.LastSeen, uint32(value.LastSeen))
		for i, reason := range charges {
			o.Dropped[reason] += value.Dropped[i]
			o.Audited[reason] += value.Audited[i]
		}
	}
	return o
}

// Openings returns what was counted for the owner of that number.
func (t *Tables) Openings(number uint16) (Openings, error) {
	var values []bpf.XdpallowOpenings
	if err := t.openings.Lookup(uint32(number), &values); err != nil {
		return Openings{}, fmt.Errorf("read openings of owner %d: %w", number, err)
	}
	return openingsOf(values), nil
}

// ForgetOwner makes a number ready for another owner: no limit, no suspension, and
// counts from zero. No entry may have it.
func (t *Tables) ForgetOwner(number uint16) error {
	cpus, err := ebpf.PossibleCPU()
	if err != nil {
		return fmt.Errorf("count possible CPUs: %w", err)
	}
	return errors.Join(
		t.owners.Put(uint32(number), bpf.XdpallowOwner{}),
		t.openings.Put(uint32(number), make([]bpf.XdpallowOpenings, cpus)),
	)
}

// CountersID is what the kernel calls the map that owners are counted in: with another
// one, the counts began at zero.
func (t *Tables) CountersID() (uint32, error) { return mapID(t.openings) }
