package compile

// This file compares what a gate enforces with what a state would have it enforce.

import (
	"net/netip"
	"time"

	"github.com/xdpallow/xdpallow/maps"
)

// slack is by how many nanoseconds an end may differ and still be the same: it is counted
// from a wall clock that is steered.
const slack = uint64(time.Minute)

// Difference returns the prefixes that next lets in and was drops, now or later or for a
// service; those that next drops and was lets in; and those that both let in, next for less
// time or fewer services. now is CLOCK_BOOTTIME in nanoseconds.
func Difference(was, next []maps.Entry, now uint64) (opens, shuts, narrows []netip.Prefix) {
	before, after := byPrefix(was), byPrefix(next)
	for _, n := range next {
		w := before[n.Prefix]
		granted, grants := w.Prefix.IsValid() && granting(w, now), granting(n, now)
		switch {
		case grants && (!granted || n.Services&^w.Services&^1 != 0 || endsLater(n, w)):
			opens = append(opens, n.Prefix)
		case granted && !grants:
			shuts = append(shuts, n.Prefix)
		case granted && (w.Services&^n.Services&^1 != 0 || endsLater(w, n)):
			narrows = append(narrows, n.Prefix)
		}
	}
	for _, w := range was {
		if _, stays := after[w.Prefix]; stays {
			continue
		}
		if granting(w, now) {
			shuts = append(shuts, w.Prefix)
		} else if w.Suspended && covered(w.Prefix, after, now) {
			opens = append(opens, w.Prefix)
		}
	}
	return opens, shuts, narrows
}

func byPrefix(entries []maps.Entry) map[netip.Prefix]maps.Entry {
	all := make(map[netip.Prefix]maps.Entry, len(entries))
	for _, e := range entries {
		all[e.Prefix] = e
	}
	return all
}

func granting(e maps.Entry, now uint64) bool {
	return !e.Suspended && (e.Expires == 0 || e.Expires > now)
}

func endsLater(a, b maps.Entry) bool {
	return b.Expires != 0 && (a.Expires == 0 || a.Expires > b.Expires+slack)
}

// covered reports whether an entry around p lets p in. The closest that is suspended
// decides, as it does in the kernel.
func covered(p netip.Prefix, entries map[netip.Prefix]maps.Entry, now uint64) bool {
	for bits := p.Bits() - 1; bits >= 0; bits-- {
		e, found := entries[netip.PrefixFrom(p.Addr(), bits).Masked()]
		switch {
		case found && e.Suspended:
			return false
		case found && granting(e, now):
			return true
		}
	}
	return false
}
