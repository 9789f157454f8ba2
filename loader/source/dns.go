// This file follows the addresses of host names. Names move, servers fail, and answers rotate:
// an address stays for a while after it was last answered, and a failure changes nothing.

package source

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/xdpallow/xdpallow/loader/policy"
)

// resolvesWithin is for a query and what its server's servers need. Two servers that are silent
// take Go's resolver twice five seconds each.
const resolvesWithin = 20 * time.Second

// hosts follows host names.
type hosts struct {
	settings Settings
	kick     chan struct{}
	patience time.Duration
	lookup   func(ctx context.Context, network, name string) ([]netip.Addr, error)

	names   []*host
	sum     string // of the claims that were handed on last; "" is none
	refused bool   // take refused them
}

// host is one name.
type host struct {
	name     string
	families [2]*family // IPv4, IPv6: asked for and answered apart, so one can fail alone
}

// family is what is known of the addresses of one family of one name.
type family struct {
	network  string                   // "ip4", "ip6"
	answered map[netip.Addr]time.Time // when it was last answered
	looked   time.Time
	ends     time.Time // of its claims, with settings.Stale
}

// newResolver asks with StrictErrors: without it, an answer beside a failure comes as a success
// with half the addresses, and the other half would be cut off. dial is nil but in tests.
func newResolver(dial func(ctx context.Context, network, address string) (net.Conn, error)) *net.Resolver {
	return &net.Resolver{PreferGo: true, StrictErrors: true, Dial: dial}
}

func newHosts(s Settings) *hosts {
	h := &hosts{settings: s, kick: make(chan struct{}, 1), patience: resolvesWithin, lookup: newResolver(nil).LookupNetIP}
	for _, name := range s.Names {
		one := &host{name: name}
		for i, network := range []string{"ip4", "ip6"} {
			one.families[i] = &family{network: network, answered: map[netip.Addr]time.Time{}}
		}
		h.names = append(h.names, one)
	}
	return h
}

func (h *hosts) Origin() policy.Origin { return h.settings.Origin() }

func (h *hosts) Kick() { kick(h.kick) }

// Follow is that of Follower.
func (h *hosts) Follow(ctx context.Context, have Have, take func(context.Context, Reading) error) {
	h.recall(have.Claims, time.Now())
	poll(ctx, EveryDNS, h.kick, func(ctx context.Context, kicked bool) (time.Duration, bool) {
		return 0, h.look(ctx, kicked, take)
	})
}

// recall begins with what an earlier daemon knew: else a restart would cut off whom a rotating
// answer leaves out. The note of a claim is its name.
func (h *hosts) recall(claims []policy.Claim, now time.Time) {
	if len(claims) > 0 {
		h.sum = sumOf(claims)
	}
	for _, c := range claims {
		if !c.Prefix.IsSingleIP() || policy.HasEnded(c.Until, now) {
			continue
		}
		for _, one := range h.names {
			if f := one.of(c.Prefix.Addr()); one.name == c.Note {
				f.answered[c.Prefix.Addr()] = now
				f.looked = now
				if c.Until.After(f.ends) {
					f.ends = c.Until
				}
			}
		}
	}
}

func (one *host) of(addr netip.Addr) *family {
	if addr.Is4() {
		return one.families[0]
	}
	return one.families[1]
}

// look asks for every name, and hands on what is new. failed is whether a server failed.
func (h *hosts) look(ctx context.Context, kicked bool, take func(context.Context, Reading) error) (failed bool) {
	answers := h.ask(ctx)
	if ctx.Err() != nil {
		return true
	}
	now := time.Now()
	var errs []error
	for i, one := range h.names {
		some := false
		for j, a := range answers[i] {
			err := h.note(one, one.families[j], a, now)
			failed = failed || a.failed
			some = some || err != nil || len(a.addrs) > 0
			if err != nil {
				what := record[one.families[j].network] + ": " + err.Error()
				errs = append(errs, &policy.InputError{Where: one.name, What: what})
			}
		}
		if !some {
			errs = append(errs, &policy.InputError{Where: one.name, What: "there is no such name, or it has no address"})
		}
	}
	h.hand(ctx, h.claims(now), kicked, len(errs) == 0, take)
	if len(errs) > 0 {
		_ = take(ctx, Reading{Origin: h.Origin(), Err: firstOf(errors.Join(errs...))})
	}
	return failed
}

// reply is what the server says of one family of one name. No such name is a reply without
// addresses.
type reply struct {
	addrs  []netip.Addr
	failed bool
	what   string // the failure
}

// ask asks for all names at once, and waits for all answers.
func (h *hosts) ask(ctx context.Context) [][2]reply {
	ctx, cancel := context.WithTimeout(ctx, h.patience)
	defer cancel()
	answers := make([][2]reply, len(h.names))
	var waiting sync.WaitGroup
	for i, one := range h.names {
		for j, f := range one.families {
			waiting.Go(func() {
				// With the dot a search domain of this host cannot answer in the customer's place.
				addrs, err := h.lookup(ctx, f.network, one.name+".")
				dns, isDNS := errors.AsType[*net.DNSError](err)
				switch {
				case isDNS && dns.IsNotFound:
				case err != nil:
					answers[i][j] = reply{failed: true, what: failure(err)}
				default:
					answers[i][j].addrs = addrs
				}
			})
		}
	}
	waiting.Wait()
	return answers
}

var record = map[string]string{"ip4": "A", "ip6": "AAAA"}

// failure is err for an operator.
func failure(err error) string {
	dns, ok := errors.AsType[*net.DNSError](err)
	switch {
	case !ok:
		return err.Error()
	case dns.Server != "":
		return fmt.Sprintf("%s (server %s)", dns.Err, dns.Server)
	}
	return dns.Err
}

// note makes f what it is after a reply. An error says why the reply does not count. While
// replies do not count, Hold stands still: nobody could tell that an address is gone.
func (h *hosts) note(one *host, f *family, r reply, now time.Time) error {
	err := h.check(r)
	since := now.Sub(f.looked)
	f.looked = now
	if err != nil {
		for addr, at := range f.answered {
			f.answered[addr] = at.Add(since)
		}
		return err
	}
	if policy.HasEnded(f.ends, now) { // the kernel has ended them all
		clear(f.answered)
	}
	f.ends = h.settings.end(f.ends, now)
	maps.DeleteFunc(f.answered, func(addr netip.Addr, at time.Time) bool {
		return !slices.Contains(r.addrs, addr) && now.Sub(at) >= h.settings.Hold
	})
	all := maps.Clone(f.answered)
	for _, addr := range r.addrs {
		all[addr] = now
	}
	others := len(one.families[0].answered) + len(one.families[1].answered) - len(f.answered)
	if n := others + len(all); n > h.settings.Limits.Entries {
		for addr := range f.answered { // those that are known may stay
			if slices.Contains(r.addrs, addr) {
				f.answered[addr] = now
			}
		}
		return tooMany(n, h.settings.Limits.Entries)
	}
	f.answered = all
	return nil
}

// check says why a reply does not count.
func (h *hosts) check(r reply) error {
	if r.failed {
		return errors.New(r.what)
	}
	if len(r.addrs) > h.settings.Limits.Entries {
		return tooMany(len(r.addrs), h.settings.Limits.Entries)
	}
	for i, addr := range r.addrs {
		addr = addr.Unmap().WithZone("")
		r.addrs[i] = addr
		if what := h.settings.Limits.refuse(netip.PrefixFrom(addr, addr.BitLen())); what != "" {
			return fmt.Errorf("%s %s", addr, what)
		}
	}
	return nil
}

func tooMany(n, most int) error {
	return fmt.Errorf("%d addresses are over max_entries %d: list the prefixes instead", n, most)
}

// claims returns a claim for each address that is held, sorted.
func (h *hosts) claims(now time.Time) []policy.Claim {
	byPrefix := map[netip.Prefix]policy.Claim{}
	for _, one := range h.names {
		for _, f := range one.families {
			if policy.HasEnded(f.ends, now) {
				continue
			}
			for addr := range f.answered {
				c := policy.Claim{
					Prefix: netip.PrefixFrom(addr, addr.BitLen()), Owner: h.settings.Owner, Services: h.settings.Services,
					Until: f.ends, Note: one.name, Origin: h.Origin(),
				}
				if other, has := byPrefix[c.Prefix]; has { // of a name that stands before this one
					if other.Until.Before(c.Until) {
						other.Until = c.Until
					}
					c = other
				}
				byPrefix[c.Prefix] = c
			}
		}
	}
	return slices.SortedFunc(maps.Values(byPrefix), func(a, b policy.Claim) int { return policy.ComparePrefix(a.Prefix, b.Prefix) })
}

// hand hands claims to take if they are new, and says otherwise that all is as before, where all
// replies counted.
func (h *hosts) hand(ctx context.Context, claims []policy.Claim, kicked, counted bool, take func(context.Context, Reading) error) {
	sum := sumOf(claims)
	if sum == h.sum && !kicked {
		if !h.refused && counted {
			_ = take(ctx, Reading{Origin: h.Origin(), Edit: &policy.Edit{}, Sum: sum})
		}
		return
	}
	if h.sum == "" && !counted && len(claims) == 0 {
		return // nothing is known yet
	}
	err := take(ctx, Reading{Origin: h.Origin(), Claims: claims, Sum: sum, Why: "resolved " + listed(h.settings.Names)})
	h.sum, h.refused = sum, isRefusal(err)
	if err != nil && !h.refused {
		h.sum = "" // it was not the claims: try again
	}
}

// listed is the first of a few names, and how many follow.
func listed(names []string) string {
	if len(names) == 1 {
		return names[0]
	}
	return fmt.Sprintf("%s and %d more", names[0], len(names)-1)
}
