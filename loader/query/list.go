package query

import (
	"fmt"
	"iter"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/policy"
	"github.com/xdpallow/xdpallow/loader/sockets"
	"github.com/xdpallow/xdpallow/loader/store"
)

// This file picks the entries that list shows. It goes through a million of them, so that what an
// entry says is looked at first, how it was used only where that matters, and nothing where the
// counts of the state say that there is none.

// List returns the entries that r asks for. The error is that of finding out who is connected.
func (v *View) List(r api.ListRequest) (api.Listed, error) {
	now := v.Now()
	listed := api.Listed{Generation: v.Generation, Total: v.Policy.Entries.Len()}
	if r.Unused > 0 {
		connected, err := v.connected(now)
		if err != nil {
			return listed, err
		}
		p := picker{v, r, now, nil}
		for _, e := range connected {
			for entry, err := range p.report(p.only(e), always) {
				if err != nil {
					return listed, err
				}
				listed.Connected = append(listed.Connected, entry.Prefix)
			}
		}
	}
	left := make(map[netip.Prefix]bool, len(listed.Connected))
	for _, prefix := range listed.Connected {
		left[prefix] = true
	}
	p := picker{v, r, now, left}
	listed.Claims, listed.Entries = p.claims, func(use func() bool) iter.Seq2[*api.Entry, error] { return p.report(p.picked(), use) }
	return listed, nil
}

// picker goes through the entries that r asks for.
type picker struct {
	*View
	r    api.ListRequest
	now  time.Time
	left map[netip.Prefix]bool // left out
}

func always() bool { return true }

// wish is what the entries must be that are asked for.
type wish struct {
	fits func(*policy.Entry) bool
	most int // of all entries that fit, unknown if negative
}

const unknown = -1

// wishes are those of r that the use of an entry does not matter for.
func (p picker) wishes() (all []wish) {
	if p.r.Owner != "" {
		all = append(all, p.ofOwner())
	}
	if p.r.Expiring > 0 {
		all = append(all, wish{
			func(e *policy.Entry) bool { return EndsWithin(e, p.now, p.r.Expiring) },
			// The counts are of whole seconds: one more at each end is never too few.
			p.Counts.Ending(p.now.Add(-time.Second), p.r.Expiring+2*time.Second),
		})
	}
	if p.r.Expired {
		all = append(all, wish{func(e *policy.Entry) bool { return policy.HasEnded(e.Until(), p.now) }, p.Counts.Ended(p.now)})
	}
	return all
}

func (p picker) ofOwner() wish {
	owner := p.r.Owner
	if owner == api.NoOwner {
		return wish{func(e *policy.Entry) bool { return e.Owner() == "" }, unknown}
	}
	most := p.Counts.Owner(owner)
	if _, _, suspended := p.SuspensionOf(policy.Subject{Owner: owner}); suspended {
		most = unknown // what others list in his network counts for him
	}
	return wish{func(e *policy.Entry) bool { return e.Owner() == owner || p.Policy.OwnerOf(e) == owner }, most}
}

// picked yields the entries that fit every wish. It ends with the last one that can.
func (p picker) picked() iter.Seq[*policy.Entry] {
	return func(yield func(*policy.Entry) bool) {
		wishes := p.wishes()
		for _, w := range wishes {
			if w.most == 0 {
				return
			}
		}
		for e := range among(p.r, p.Policy.Entries) {
			fits, last := !p.left[e.Prefix], false
			for i := range wishes {
				if !wishes[i].fits(e) {
					fits = false
					continue
				}
				wishes[i].most--
				last = last || wishes[i].most == 0
			}
			if fits && !yield(e) || last {
				return
			}
		}
	}
}

// only yields e if it fits every wish.
func (p picker) only(e *policy.Entry) iter.Seq[*policy.Entry] {
	return func(yield func(*policy.Entry) bool) {
		for _, w := range p.wishes() {
			if !w.fits(e) {
				return
			}
		}
		if within := p.r.Prefix; !within.IsValid() || within.Overlaps(e.Prefix) {
			yield(e)
		}
	}
}

// report yields entries with their use, where use says so, and without those that are used too
// much for r.
func (p picker) report(entries iter.Seq[*policy.Entry], use func() bool) iter.Seq2[*api.Entry, error] {
	return func(yield func(*api.Entry, error) bool) {
		for some, err := range p.withUse(entries, use) {
			if err != nil {
				yield(nil, err)
				return
			}
			for i, e := range some.entries {
				if p.r.Unused > 0 && !isUnused(some.uses[i], p.now, p.r.Unused) {
					continue
				}
				entry := p.placed(EntryOf(*e, some.uses[i]), e)
				if !yield(&entry, nil) {
					return
				}
			}
		}
	}
}

// claims yields what the entries say that r asks for.
func (p picker) claims(yield func(policy.Claim, error) bool) {
	claim := func(e *policy.Entry) policy.Claim {
		return policy.Claim{Prefix: e.Prefix, Owner: e.Owner(), Services: e.Services(), Until: e.Until(), Note: e.Note()}
	}
	if p.r.Unused == 0 {
		for e := range p.picked() {
			if !yield(claim(e), nil) {
				return
			}
		}
		return
	}
	for some, err := range p.withUse(p.picked(), always) {
		if err != nil {
			yield(policy.Claim{}, err)
			return
		}
		for i, e := range some.entries {
			if isUnused(some.uses[i], p.now, p.r.Unused) && !yield(claim(e), nil) {
				return
			}
		}
	}
}

// used are some entries, and how each was used.
type used struct {
	entries []*policy.Entry
	uses    []store.Use
}

// withUse yields entries in chunks, with their use where use says so and where r asks for it. A
// chunk is valid until the next one.
func (p picker) withUse(entries iter.Seq[*policy.Entry], use func() bool) iter.Seq2[used, error] {
	return func(yield func(used, error) bool) {
		var some used
		var prefixes []netip.Prefix
		give := func() bool {
			some.uses = make([]store.Use, len(some.entries))
			if p.r.Unused > 0 || use() {
				prefixes = prefixes[:0]
				for _, e := range some.entries {
					prefixes = append(prefixes, e.Prefix)
				}
				var err error
				if some.uses, err = p.Usage.Of(prefixes, p.usedTooMuch()); err != nil {
					yield(used{}, err)
					return false
				}
			}
			more := yield(some, nil)
			some.entries = some.entries[:0]
			return more
		}
		for e := range entries {
			if some.entries = append(some.entries, e); len(some.entries) == chunk && !give() {
				return
			}
		}
		if len(some.entries) > 0 {
			give()
		}
	}
}

// usedTooMuch reports of a use whether no later one can matter to r; nil is never.
func (p picker) usedTooMuch() func(store.Use) bool {
	if p.r.Unused == 0 {
		return nil
	}
	return func(use store.Use) bool { return !isUnused(use, p.now, p.r.Unused) }
}

// isUnused reports whether an entry was not seen for so long. Who was let in yesterday and has
// not come yet is not unused for a quarter.
func isUnused(use store.Use, now time.Time, long time.Duration) bool {
	since := use.FirstEnforced
	if since.IsZero() {
		return false // not known yet
	}
	if use.LastSeen.After(since) {
		since = use.LastSeen
	}
	return now.Sub(since) >= long
}

// among yields the entries that lie in the prefix of r or cover it, and all without one, sorted
// by policy.ComparePrefix.
func among(r api.ListRequest, entries policy.Entries) iter.Seq[*policy.Entry] {
	if !r.Prefix.IsValid() {
		return entries.All()
	}
	return func(yield func(*policy.Entry) bool) {
		around := slices.Collect(entries.Covering(r.Prefix)) // longest first
		for _, e := range slices.Backward(around) {
			if e.Prefix != r.Prefix && !yield(e) {
				return
			}
		}
		for e := range entries.Under(r.Prefix) {
			if !yield(e) {
				return
			}
		}
	}
}

// EndsWithin reports whether e ends after now and within so long, and is not renewed.
func EndsWithin(e *policy.Entry, now time.Time, within time.Duration) bool {
	until := e.Until()
	return until.After(now) && until.Sub(now) <= within && !e.Renewed()
}

// connected are the entries by which somebody who is connected now would be let in
// again, sorted: a client that opens once and stays for a quarter is in use.
func (v *View) connected(now time.Time) ([]*policy.Entry, error) {
	var ports []uint16
	for _, service := range v.Policy.Services {
		ports = append(ports, service.Numbers(policy.TCP)...)
	}
	conns, err := sockets.Established(ports)
	if err != nil {
		return nil, &policy.Refused{What: fmt.Sprintf("who is connected now is not known, and could be listed as unused: %v", err), Hint: "modprobe tcp_diag"}
	}
	found := map[*policy.Entry]bool{}
	for _, peer := range sockets.Peers(conns) {
		service, protected := v.Policy.ServiceOf(policy.Port{Protocol: policy.TCP, Number: peer.Port})
		if !protected {
			continue
		}
		if e, _ := v.Policy.Lookup(peer.Addr, service.Name, now); e != nil {
			found[e] = true
		}
	}
	byPrefix := func(a, b *policy.Entry) int { return policy.ComparePrefix(a.Prefix, b.Prefix) }
	return slices.SortedFunc(maps.Keys(found), byPrefix), nil
}
