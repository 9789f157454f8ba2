package owner

// This file counts the answers and tells of the worst of them.

import (
	"cmp"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/events"
	"github.com/xdpallow/xdpallow/loader/policy"
)

// reasons are all that an answer about a service may give. Each is a series from the start: an
// alert on the first wrong_owner needs a zero before it.
var reasons = []string{
	policy.ReasonListed, policy.ReasonNotListed, policy.ReasonExpired, policy.ReasonWrongService,
	policy.ReasonSuspended, api.ReasonWrongOwner, api.ReasonLocal, api.ReasonNoAddress,
}

// checks counts answers. Services come from the policy and reasons from the lists above, so a
// client cannot choose how many series there are.
type checks struct{ answers sync.Map } // [2]string{service, reason} → *atomic.Uint64

func (c *checks) count(service, reason string) { c.of(service, reason).Add(1) }

func (c *checks) of(service, reason string) *atomic.Uint64 {
	key := [2]string{service, reason}
	n, found := c.answers.Load(key)
	if !found {
		n, _ = c.answers.LoadOrStore(key, new(atomic.Uint64))
	}
	return n.(*atomic.Uint64)
}

// Checks returns what was answered about services, zeros too, and how often there was no such
// service.
func (h *Handler) Checks(services []policy.Service) []api.OwnerCheck {
	all := []api.OwnerCheck{}
	for _, s := range services {
		for _, reason := range reasons {
			all = append(all, api.OwnerCheck{Service: s.Name, Reason: reason, Answers: h.checks.of(s.Name, reason).Load()})
		}
	}
	none := h.checks.of(api.NoOwner, api.ReasonNoService).Load()
	return append(all, api.OwnerCheck{Service: api.NoOwner, Reason: api.ReasonNoService, Answers: none})
}

// alarmsMost is how many keys from wrong addresses are told of in a minute: a thief tries
// more often than anybody reads. The count of answers has all of them.
const alarmsMost = 10

// alarm tells of keys that are used from another customer's addresses.
type alarm struct {
	most   int // in a minute; 0 is alarmsMost
	mu     sync.Mutex
	since  time.Time // when the minute began
	told   int       // in that minute
	silent int       // of that minute: not told
}

// ring tells of one in the log and among the events, if there is room for it in this minute.
func (a *alarm) ring(engine Engine, addr netip.Addr, service, expected string, o api.Ownership) {
	now := time.Now()
	more, room := a.room(now)
	if !room {
		return
	}
	whose := "nobody's"
	if o.Owner != "" {
		whose = o.Owner + "'s"
	}
	text := fmt.Sprintf("wrong_owner: a key of %q was used from %s, which is %s, for service %s", expected, addr, whose, service)
	if more > 0 {
		text += fmt.Sprintf(" (%d more were not told)", more)
	}
	if o.Audit {
		text += " (passed: audit)"
	}
	slog.Warn(text)
	e := events.Event{
		Time: now.UTC(), Verdict: "drop", Reason: o.Reason, Family: "ipv6", Source: addr, Weight: 1,
		Service: service, Owner: o.Owner, Expected: expected,
	}
	if o.Audit {
		e.Verdict = string(policy.Audit)
	}
	if addr.Is4() {
		e.Family = "ipv4"
	}
	engine.Tell(e)
}

// room reports whether one more may be told at now, and how many were not told before it.
func (a *alarm) room(now time.Time) (more int, room bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if now.Sub(a.since) >= time.Minute {
		a.since, a.told = now, 0
	}
	if a.told == cmp.Or(a.most, alarmsMost) {
		a.silent++
		return 0, false
	}
	a.told++
	more, a.silent = a.silent, 0
	return more, true
}
