// Promises guarded here: an address stays while it is answered and for Hold after; a failure
// changes nothing until the entries end by themselves; and no answer lists more than the
// settings allow.

package source

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/xdpallow/xdpallow/loader/policy"
)

const branch = "vpn.branch.example"

// zone answers for names, by "ip4 NAME." or "ip6 NAME.": addresses with blanks between them, or an error.
type zone map[string]any

var (
	notFound = &net.DNSError{Err: "no such host", IsNotFound: true}
	servfail = &net.DNSError{Err: "server misbehaving", Server: "192.0.2.53:53", IsTemporary: true}
)

func (z zone) lookup(_ context.Context, network, name string) (addrs []netip.Addr, err error) {
	switch reply := z[network+" "+name].(type) {
	case error:
		return nil, reply
	case string:
		for text := range strings.FieldsSeq(reply) {
			addrs = append(addrs, netip.MustParseAddr(text))
		}
		return addrs, nil
	}
	return nil, notFound
}

// resolving is a follower, its zone and what it handed on.
type resolving struct {
	*hosts
	zone     zone
	readings []Reading
	refuse   error
}

func newResolving(names ...string) *resolving {
	r := &resolving{zone: zone{}}
	r.hosts = newHosts(Settings{Name: "branch", Names: names, Owner: "acme", Limits: DNSLimits, Hold: Hold, Stale: StaleDNS})
	r.hosts.lookup = func(ctx context.Context, network, name string) ([]netip.Addr, error) {
		return r.zone.lookup(ctx, network, name)
	}
	return r
}

func (r *resolving) take(_ context.Context, reading Reading) error {
	r.readings = append(r.readings, reading)
	return r.refuse
}

// looks looks once. It returns the addresses that were handed on, "=" for as before, "" for
// nothing, and the error that was told.
func (r *resolving) looks(t *testing.T) (addrs, told string) {
	t.Helper()
	r.readings = nil
	r.look(t.Context(), false, r.take)
	for _, reading := range r.readings {
		switch {
		case reading.Err != nil:
			told = reading.Err.Error()
		case reading.Edit != nil:
			addrs = "="
		default:
			var all []string
			for _, c := range reading.Claims {
				all = append(all, c.Prefix.Addr().String())
			}
			addrs = "[" + strings.Join(all, " ") + "]"
		}
	}
	return addrs, told
}

// expect looks once and compares.
func (r *resolving) expect(t *testing.T, addrs, told string) {
	t.Helper()
	if gotAddrs, gotTold := r.looks(t); gotAddrs != addrs || gotTold != told {
		t.Errorf("handed on %s, told %q; want %s, %q", gotAddrs, gotTold, addrs, told)
	}
}

func TestNames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newResolving(branch, "other.example")
		r.zone = zone{"ip4 " + branch + ".": "198.51.100.7 203.0.113.4", "ip6 " + branch + ".": "2001:db8::7", "ip4 other.example.": "203.0.113.4"}
		r.expect(t, "[198.51.100.7 203.0.113.4 2001:db8::7]", "")
		end := time.Now().Add(24 * time.Hour).UTC()
		want := "198.51.100.7/32 owner=acme until=" + end.Format(time.RFC3339) + " note=\"" + branch + "\"\n"
		if got := r.readings[0]; !strings.HasPrefix(lines(got.Claims), want) || got.Origin != "dns:branch" || got.Why != "resolved vpn.branch.example and 1 more" {
			t.Errorf("reading %s%+v", lines(got.Claims), got)
		}
		r.expect(t, "=", "")
	})
}

// Rotating answers: an address stays for ten minutes after it was last answered.
func TestHold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newResolving(branch)
		a := "ip4 " + branch + "."
		r.zone[a] = "198.51.100.1 198.51.100.2"
		r.expect(t, "[198.51.100.1 198.51.100.2]", "")
		r.zone[a] = "198.51.100.3"
		time.Sleep(time.Minute)
		r.expect(t, "[198.51.100.1 198.51.100.2 198.51.100.3]", "")
		r.zone[a] = "198.51.100.2"
		time.Sleep(8 * time.Minute)
		r.expect(t, "=", "")
		time.Sleep(time.Minute)
		r.expect(t, "[198.51.100.2 198.51.100.3]", "") // ten minutes without the first
		time.Sleep(time.Minute)
		r.expect(t, "[198.51.100.2]", "")
	})
}

// No such name, or no address of a family, is an answer: gone after Hold, and told of.
func TestNameIsGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newResolving(branch)
		const told = branch + ": there is no such name, or it has no address"
		r.expect(t, "", told) // nothing was known, and nothing is
		r.zone["ip4 "+branch+"."], r.zone["ip6 "+branch+"."] = "198.51.100.1", "2001:db8::1"
		r.expect(t, "[198.51.100.1 2001:db8::1]", "")
		delete(r.zone, "ip6 "+branch+".")
		time.Sleep(9 * time.Minute)
		r.expect(t, "=", "")
		time.Sleep(time.Minute)
		r.expect(t, "[198.51.100.1]", "")
		clear(r.zone)
		time.Sleep(9 * time.Minute)
		r.expect(t, "", told)
		time.Sleep(time.Minute)
		r.expect(t, "[]", told)
	})
}

// While a server fails, nothing changes; then the kernel ends the entries, and what comes back
// is what is answered then.
func TestServerFails(t *testing.T) {
	for name, fails := range map[string]struct {
		err  error
		told string
	}{
		"SERVFAIL": {servfail, branch + ": A: server misbehaving (server 192.0.2.53:53)"},
		"silence":  {&net.DNSError{Err: "i/o timeout", IsTimeout: true, IsTemporary: true}, branch + ": A: i/o timeout"},
		"deadline": {context.DeadlineExceeded, branch + ": A: context deadline exceeded"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newResolving(branch)
				a, aaaa := "ip4 "+branch+".", "ip6 "+branch+"."
				r.zone[a], r.zone[aaaa] = "198.51.100.1 198.51.100.2", "2001:db8::1"
				r.expect(t, "[198.51.100.1 198.51.100.2 2001:db8::1]", "")
				r.zone[a] = fails.err
				for range 60 {
					time.Sleep(time.Minute)
					r.expect(t, "", fails.told)
				}
				r.zone[a] = "198.51.100.2" // Hold stood still, and goes on now
				r.expect(t, "=", "")
				time.Sleep(9 * time.Minute)
				r.expect(t, "=", "")
				time.Sleep(time.Minute)
				r.expect(t, "[198.51.100.2 2001:db8::1]", "")

				// The family that is answered is moved on alone, when less than half is left.
				began := time.Now()
				r.zone[a] = fails.err
				moved := 0
				for range 25 {
					time.Sleep(time.Hour)
					if addrs, _ := r.looks(t); addrs != "" {
						moved++
					}
				}
				if moved == 0 || moved > 4 { // moved on twice, and the end of the other family
					t.Errorf("handed on %d times in 25 hours", moved)
				}
				if addrs := r.held(); addrs != "2001:db8::1" {
					t.Errorf("after a day without an answer %s is held, since %v", addrs, began)
				}
				r.zone[a] = "198.51.100.9"
				r.expect(t, "[198.51.100.9 2001:db8::1]", "")
			})
		})
	}
}

// held are the addresses that have not ended.
func (r *resolving) held() string {
	var all []string
	for _, c := range r.claims(time.Now()) {
		all = append(all, c.Prefix.Addr().String())
	}
	return strings.Join(all, " ")
}

// Promise: the end of an entry is written so that the kernel ends it, and is moved on only when
// less than half is left.
func TestStaleNames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newResolving(branch)
		r.zone["ip4 "+branch+"."] = "198.51.100.1"
		r.expect(t, "[198.51.100.1]", "")
		first := r.readings[0].Claims[0].Until
		if left := time.Until(first); left != 24*time.Hour {
			t.Errorf("ends in %v", left)
		}
		time.Sleep(12 * time.Hour)
		r.expect(t, "=", "")
		time.Sleep(time.Minute)
		r.expect(t, "[198.51.100.1]", "")
		if got := r.readings[0].Claims[0].Until; got.Sub(first) != 12*time.Hour+time.Minute {
			t.Errorf("moved on from %v to %v", first, got)
		}
	})
}

// Promise: a restart goes on where the daemon before it was: it cuts off nobody whom a rotating
// answer leaves out, and moves no end.
func TestNamesAfterRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newResolving(branch, "gone.example")
		r.zone = zone{"ip4 " + branch + ".": "198.51.100.1 198.51.100.2", "ip6 gone.example.": "2001:db8::1"}
		r.expect(t, "[198.51.100.1 198.51.100.2 2001:db8::1]", "")
		kept := r.readings[0].Claims
		time.Sleep(5 * time.Minute)

		again := newResolving(branch)
		again.zone = zone{"ip4 " + branch + ".": "198.51.100.2", "ip6 " + branch + ".": servfail}
		again.recall(kept, time.Now())
		again.expect(t, "[198.51.100.1 198.51.100.2]", branch+": AAAA: server misbehaving (server 192.0.2.53:53)")
		if got := again.readings[0].Claims[0]; !got.Until.Equal(kept[0].Until) {
			t.Errorf("the end moved from %v to %v", kept[0].Until, got.Until)
		}
		same := newResolving(branch, "gone.example")
		same.zone = zone{"ip4 " + branch + ".": servfail, "ip6 " + branch + ".": servfail, "ip6 gone.example.": servfail}
		same.recall(kept, time.Now())
		same.expect(t, "", branch+": A: server misbehaving (server 192.0.2.53:53) (and 2 more)") // no success
		same.zone = zone{"ip4 " + branch + ".": "198.51.100.1 198.51.100.2", "ip6 gone.example.": "2001:db8::1"}
		same.expect(t, "=", "")
		late := newResolving(branch)
		time.Sleep(24 * time.Hour)
		late.recall(kept, time.Now())
		if addrs := late.held(); addrs != "" {
			t.Errorf("%s is held again after its end", addrs)
		}
	})
}

// Each row is an answer after a good one.
func TestAnswerIsRefused(t *testing.T) {
	var many, more []string
	for i := range 60 {
		many = append(many, fmt.Sprintf("198.51.100.%d", i+1))
	}
	for i := range 32 {
		more = append(more, fmt.Sprintf("2001:db8::%x", i+1))
	}
	for name, c := range map[string]struct{ a, aaaa, told string }{
		"private":        {"198.51.100.9 10.0.0.5", "", "A: 10.0.0.5 is private, which needs private: true"},
		"loopback":       {"127.0.0.1", "", "A: 127.0.0.1 is reserved, and nobody's on the Internet"},
		"unspecified":    {"0.0.0.0", "", "A: 0.0.0.0 is reserved, and nobody's on the Internet"},
		"link-local":     {"198.51.100.1", "fe80::1", "AAAA: fe80::1 is reserved, and nobody's on the Internet"},
		"mapped private": {"198.51.100.1", "::ffff:10.0.0.5", "AAAA: 10.0.0.5 is private, which needs private: true"},
		"sixty":          {strings.Join(many, " "), "", "A: 60 addresses are over max_entries 32: list the prefixes instead"},
		"both families":  {"198.51.100.1", strings.Join(more, " "), "AAAA: 33 addresses are over max_entries 32: list the prefixes instead"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newResolving(branch)
				r.zone["ip4 "+branch+"."] = "198.51.100.1"
				r.expect(t, "[198.51.100.1]", "")
				r.zone["ip4 "+branch+"."], r.zone["ip6 "+branch+"."] = c.a, c.aaaa
				time.Sleep(time.Minute)
				r.expect(t, "", branch+": "+c.told)
				if addrs := r.held(); addrs != "198.51.100.1" {
					t.Errorf("held: %s", addrs)
				}
			})
		})
	}
}

// Promise: whoever moves with all his addresses is let in again, though for a while old and new
// ones are too many.
func TestManyMove(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newResolving(branch)
		var old, moved []string
		for i := range 20 {
			old = append(old, fmt.Sprintf("198.51.100.%d", i+1))
			moved = append(moved, fmt.Sprintf("203.0.113.%d", i+1))
		}
		r.zone["ip4 "+branch+"."] = strings.Join(old, " ")
		r.expect(t, "["+strings.Join(old, " ")+"]", "")
		r.zone["ip4 "+branch+"."] = strings.Join(moved, " ")
		for range 9 {
			time.Sleep(time.Minute)
			r.expect(t, "", branch+": A: 40 addresses are over max_entries 32: list the prefixes instead")
		}
		time.Sleep(time.Minute)
		r.expect(t, "["+strings.Join(moved, " ")+"]", "")
	})
}

// Promise: what was refused is not handed on again until it changes or somebody asks, and what
// failed otherwise is.
func TestRefusedNames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newResolving(branch)
		r.zone["ip4 "+branch+"."] = "198.51.100.1"
		r.refuse = &policy.Refused{What: "no prefix is left"}
		r.expect(t, "[198.51.100.1]", "")
		r.expect(t, "", "")
		r.readings = nil
		r.look(t.Context(), true, r.take)
		if len(r.readings) != 1 {
			t.Errorf("after a kick: %+v", r.readings)
		}
		r.refuse = errors.New("no space left on device")
		r.zone["ip4 "+branch+"."] = "198.51.100.2"
		r.expect(t, "[198.51.100.1 198.51.100.2]", "")
		r.refuse = nil
		r.expect(t, "[198.51.100.1 198.51.100.2]", "")
		r.expect(t, "=", "")
	})
}

// Promise: names are asked with a trailing dot, so that no search domain of the host can answer.
func TestNamesAreAskedWhole(t *testing.T) {
	r := newResolving(branch)
	var asked []string
	answers := make(chan string, 2)
	r.hosts.lookup = func(_ context.Context, network, name string) ([]netip.Addr, error) {
		answers <- network + " " + name
		return nil, notFound
	}
	r.looks(t)
	asked = append(asked, <-answers, <-answers)
	slices.Sort(asked)
	if want := []string{"ip4 " + branch + ".", "ip6 " + branch + "."}; !slices.Equal(asked, want) {
		t.Errorf("asked %v, want %v", asked, want)
	}
}
