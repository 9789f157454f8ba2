package reconcile_test

import (
	"errors"
	"maps"
	"math/rand/v2"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/netlab/labtest"
	"github.com/xdpallow/xdpallow/loader/policy"
)

// said is the model: what was said, without any of the kernel's ways.
type said struct {
	claims  map[netip.Prefix]policy.Claim
	stopped map[netip.Prefix]bool
	owners  map[string]policy.Hold
	drained bool // globex has a limit that he has used up
}

// held is the model of one generation.
type held struct {
	policy.State
	drained bool
}

func (s said) hold(t *testing.T, services []policy.Service) held {
	var claims []policy.Claim
	for _, c := range s.claims {
		claims = append(claims, c)
	}
	entries := labtest.Must(policy.Merge(claims, time.Now()))(t)
	var prefixes []netip.Prefix
	for p := range s.stopped {
		prefixes = append(prefixes, p)
	}
	owners := slices.Collect(maps.Values(s.owners))
	return held{policy.State{Services: services, Entries: policy.NewEntries(entries), Suspended: policy.NewSuspended(prefixes, owners)}, s.drained}
}

// reason is the model's word on a source.
func (h held) reason(source netip.Addr, service string, now time.Time) string {
	entry, reason := h.Lookup(source, service, now)
	if reason == policy.ReasonListed && h.drained && h.OwnerOf(entry) == "globex" {
		return "rate_limited"
	}
	return reason
}

// answer is one answer of the shadow program, and between when and when it was given.
type answer struct {
	api.CheckResult
	began, ended time.Time
}

// Promise: nested prefixes with different owners, services, lifetimes,
// suspensions and limits, in any order of changes and under a flood of checks: the
// kernel's word on every source is the model's word on that generation.
func TestNestedAgainstModel(t *testing.T) {
	seed := rand.Uint64()
	if text := os.Getenv("TEST_SEED"); text != "" {
		seed = labtest.Must(strconv.ParseUint(text, 10, 64))(t)
	}
	t.Logf("TEST_SEED=%d", seed)
	n := &nested{gate: newGate(t, 1), dice: rand.New(rand.NewPCG(seed, 1)), models: map[uint64]held{}}
	n.options.Services = labtest.Must(policy.NewServices([]policy.Service{
		{Name: "api", Ports: []policy.Port{{Protocol: policy.TCP, Number: 8443}}, Mode: policy.Enforce, Scope: policy.ScopeSYN},
		{Name: "mail", Ports: []policy.Port{{Protocol: policy.TCP, Number: 8444}}, Mode: policy.Enforce, Scope: policy.ScopeSYN},
	}))(t)
	n.start()
	n.begin()
	stop, answers := make(chan struct{}), make([][]answer, 2)
	var flood sync.WaitGroup
	for i := range answers {
		dice := rand.New(rand.NewPCG(seed, uint64(i+2)))
		flood.Go(func() {
			answers[i] = n.ask(dice, func() bool {
				select {
				case <-stop:
					return false
				default:
					return true
				}
			})
		})
	}
	for range 150 {
		n.change()
		time.Sleep(time.Millisecond)
	}
	close(stop)
	flood.Wait()
	judged := n.judge(slices.Concat(answers...))

	// And so it is for the next daemon, which is told nothing.
	n.stop()
	n.entries = len(n.now.claims)
	n.start()
	left := 500
	again := n.ask(n.dice, func() bool { left--; return left > 0 })
	n.models[again[0].Generation] = n.now.hold(t, n.options.Services)
	judged += n.judge(again)
	t.Logf("%d generations, %d answers judged: %v", len(n.models), judged, n.reasons)
	for _, reason := range []string{"listed", "not_listed", "expired", "wrong_service", "suspended", "rate_limited"} {
		if n.reasons[reason] == 0 {
			t.Errorf("no source was %s: the test shows less than it says", reason)
		}
	}
}

// nested is a gate whose list is a heap of prefixes within each other.
type nested struct {
	*gate
	dice    *rand.Rand
	now     said
	models  map[uint64]held
	unsure  map[uint64]bool // an entry ended as its owner was suspended: nobody knows whether it is held
	reasons map[string]int
}

// begin makes globex an owner who has used up his limit for today.
func (n *nested) begin() {
	n.Helper()
	n.reasons, n.unsure = map[string]int{}, map[uint64]bool{}
	first := policy.Claim{Prefix: netip.MustParsePrefix("10.0.0.0/32"), Owner: "acme-0", Origin: policy.OriginCLI}
	n.now = said{map[netip.Prefix]policy.Claim{first.Prefix: first}, map[netip.Prefix]bool{}, map[string]policy.Hold{}, false}
	if err := n.owned("203.0.113.200 owner=globex"); err != nil {
		n.Fatal(err)
	}
	drained := policy.Claim{Prefix: netip.MustParsePrefix("203.0.113.200/32"), Owner: "globex", Origin: policy.OriginCLI}
	n.now.claims[drained.Prefix] = drained
	limit := api.LimitRequest{Owner: "globex", Limit: api.Limit{PerSecond: 1. / 86400, Burst: 1}}
	labtest.Must(n.engine.Limit(background, api.Caller{}, limit))(n.T)
	n.opens("203.0.113.200")
	n.counts("globex", 1, 0)
	n.now.drained = true
	n.models[labtest.Must(n.engine.Snapshot(background))(n.T).Generation] = n.now.hold(n.T, n.options.Services)
}

func nestedAddr(dice *rand.Rand) netip.Addr {
	last := byte(dice.IntN(32))
	if dice.IntN(2) == 0 {
		return netip.AddrFrom16([16]byte{0: 0x20, 1: 0x01, 15: last})
	}
	return netip.AddrFrom4([4]byte{203, 0, 113, last})
}

func nestedPrefix(dice *rand.Rand) netip.Prefix {
	addr := nestedAddr(dice)
	return netip.PrefixFrom(addr, addr.BitLen()-dice.IntN(6)).Masked()
}

// change makes a change that may be refused; the model follows what was made.
func (n *nested) change() {
	n.Helper()
	p, owner := nestedPrefix(n.dice), []string{"acme", "globex", "initech"}[n.dice.IntN(3)]
	subject := policy.Subject{Prefix: p}
	if n.dice.IntN(4) == 0 {
		subject = policy.Subject{Owner: owner}
	}
	var err error
	var generation uint64
	before, began := n.now.hold(n.T, n.options.Services).State, time.Now()
	switch n.dice.IntN(10) {
	case 0, 1, 2:
		r := api.AddRequest{Prefixes: []string{p.String()}, Owner: owner, Whole: true}
		r.Services = [][]string{nil, {"api"}, {"mail"}}[n.dice.IntN(3)]
		r.For = []string{"", "1s"}[n.dice.IntN(2)]
		var listing api.Listing
		if listing, err = n.engine.Add(background, api.Caller{}, r); err == nil {
			claim := policy.Claim{Prefix: p, Owner: owner, Services: r.Services, Origin: policy.OriginCLI}
			if until := listing.Entries[0].Until; until != nil {
				claim.Until = *until
			}
			n.now.claims[p] = claim
		}
		generation = listing.Generation
	case 3, 4:
		var listing api.Listing
		if listing, err = n.engine.Remove(background, api.Caller{}, api.RemoveRequest{Prefixes: []string{p.String()}}); err == nil {
			delete(n.now.claims, p)
		}
		generation = listing.Generation
	case 5, 6:
		var result api.SuspendResult
		if result, err = n.engine.Suspend(background, api.Caller{}, api.SuspendRequest{Subject: subject}); err == nil {
			n.stopped(subject, true)
		}
		// The engine looked at the clock in between.
		if err == nil && subject.Owner != "" && len(before.Hold(subject.Owner, false, began).Held) != len(before.Hold(subject.Owner, false, time.Now()).Held) {
			n.unsure[result.Generation] = true
			n.models[result.Generation] = n.now.hold(n.T, n.options.Services)
			result = labtest.Must(n.engine.Resume(background, api.Caller{}, api.SuspendRequest{Subject: subject}))(n.T)
			n.stopped(subject, false)
		}
		generation = result.Generation
	case 7, 8, 9:
		for stopped := range n.now.stopped {
			subject = policy.Subject{Prefix: stopped}
			break
		}
		if n.dice.IntN(2) == 0 {
			subject = policy.Subject{Owner: owner}
		}
		var result api.SuspendResult
		if result, err = n.engine.Resume(background, api.Caller{}, api.SuspendRequest{Subject: subject}); err == nil {
			n.stopped(subject, false)
		}
		generation = result.Generation
	}
	if _, ok := errors.AsType[*policy.Refused](err); ok {
		return
	}
	if err != nil {
		n.Fatal(err)
	}
	after := n.now.hold(n.T, n.options.Services).State
	for owner, hold := range n.now.owners {
		n.now.owners[owner], _ = hold.Follow(before, after, policy.Diff(before, after), began)
	}
	n.models[generation] = n.now.hold(n.T, n.options.Services)
}

func (n *nested) stopped(s policy.Subject, yes bool) {
	switch {
	case s.Owner != "" && yes:
		state := n.now.hold(n.T, n.options.Services).State
		hold, again := n.now.owners[s.Owner]
		if n.now.owners[s.Owner] = state.Hold(s.Owner, false, time.Now()); again {
			n.now.owners[s.Owner] = hold.Tightened(state, false, time.Now())
		}
	case s.Owner != "":
		delete(n.now.owners, s.Owner)
	case yes:
		n.now.stopped[s.Prefix] = true
	default:
		delete(n.now.stopped, s.Prefix)
	}
}

// ask asks the shadow program about sources, at every port, as long as more says so.
func (n *nested) ask(dice *rand.Rand, more func() bool) (answers []answer) {
	if err := n.lab.Host.Do(func() error {
		for more() {
			began := time.Now()
			results, err := n.engine.Check(background, []netip.Addr{nestedAddr(dice)}, nil)
			if err != nil {
				return err
			}
			for _, r := range results {
				answers = append(answers, answer{r, began, time.Now()})
			}
		}
		return nil
	}); err != nil {
		n.Error(err)
	}
	return answers
}

// judge holds answers against the model of their generation, and counts them. Which side
// of a deadline an answer was given on is not known to 100 ms.
func (n *nested) judge(answers []answer) (judged int) {
	n.Helper()
	const unsure = 100 * time.Millisecond
	for _, a := range answers {
		model, found := n.models[a.Generation]
		if !found {
			n.Fatalf("%s was judged by generation %d, which nobody made", a.Address, a.Generation)
		}
		if n.unsure[a.Generation] {
			continue
		}
		service, _ := model.ServiceOf(a.Port)
		want := model.reason(a.Address, service.Name, a.began.Add(-unsure))
		if want != model.reason(a.Address, service.Name, a.ended.Add(unsure)) {
			continue
		}
		judged++
		n.reasons[want]++
		if a.Reason != want || (a.Verdict == "pass") != (want == policy.ReasonListed) {
			n.Fatalf("generation %d: %s to %s is %s, %s by %v; the model says %s", a.Generation, a.Address, a.Port, a.Verdict, a.Reason, a.Prefix, want)
		}
	}
	return judged
}
