// Package events reads the samples of refused packets. It keeps their number within a
// budget, whatever the flood; it remembers the last of them, and passes them on to those who
// follow. It knows interfaces and times, and no policy.
package events

import (
	"net/netip"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/xdpallow/xdpallow/loader/talkers"
	"github.com/xdpallow/xdpallow/maps/ring"
)

// Event is one refused packet, which stands for Weight of them, a key that was used from another
// customer's address, or a customer who enrolled, or did not. Its JSON is a contract: fields may be added, never changed or
// removed.
type Event struct {
	Time      time.Time     `json:"time"`
	Verdict   string        `json:"verdict"` // "drop", "audit"; "pass" of one who enrolled
	Reason    string        `json:"reason"`
	Family    string        `json:"family"`
	Source    netip.Addr    `json:"source"`   // "" where none was read
	Protocol  string        `json:"protocol"` // "tcp", "udp", a number, or "" where none was read
	Port      uint16        `json:"port"`     // that it went to; 0 where none was read
	Interface string        `json:"interface"`
	Bytes     uint32        `json:"bytes"`  // of this packet
	Weight    uint64        `json:"weight"` // how many refused packets it stands for, itself among them
	Near      *talkers.Near `json:"near"`   // nil when it is no near miss

	Lost uint64 `json:"lost,omitempty"` // events before this one that were not passed on

	// Of reason wrong_owner: the service that was asked for, whose the address is, "" for
	// nobody's, and whose key was used. Of enrolment: who asked.
	Service  string `json:"service,omitempty"`
	Owner    string `json:"owner,omitempty"`
	Expected string `json:"expected,omitempty"`
}

// sample is e in the form that a talkers.Sketch takes.
func (e Event) sample() talkers.Sample {
	return talkers.Sample{
		Time: e.Time, Source: e.Source, Reason: e.Reason, Weight: e.Weight, Bytes: e.Bytes, Near: e.Near,
	}
}

// eventOf turns a sample of the kernel into an Event. boot is when the host booted, by the
// wall clock.
func eventOf(m ring.Event, boot time.Time, interfaceName string) Event {
	return Event{
		Time:    boot.Add(time.Duration(m.Time)).UTC(),
		Verdict: m.Verdict.String(), Reason: m.Reason.String(), Family: m.Family.String(),
		Source: m.Source, Protocol: protocol(m), Port: m.Port,
		Interface: interfaceName, Bytes: m.Length, Weight: uint64(m.Weight),
	}
}

func protocol(m ring.Event) string {
	switch {
	case m.Protocol == unix.IPPROTO_TCP:
		return "tcp"
	case m.Protocol == unix.IPPROTO_UDP:
		return "udp"
	case m.Protocol == 0:
		return ""
	}
	return strconv.Itoa(int(m.Protocol))
}

// bootTime is when CLOCK_BOOTTIME was 0, by the wall clock as it is now.
func bootTime(now time.Time) time.Time {
	var boot unix.Timespec
	// Cannot fail: every kernel that we run on has this clock.
	_ = unix.ClockGettime(unix.CLOCK_BOOTTIME, &boot)
	return now.Add(-time.Duration(boot.Nano()))
}
