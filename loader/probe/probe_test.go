package probe

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"
)

var (
	seed = flag.Uint64("seed", 0, "of the simulated runs; 0 draws one")
	runs = flag.Int("runs", 5000, "how many runs are simulated")
)

// simulated is a customer with a clock of his own: nothing waits.
type simulated struct {
	tb     testing.TB
	random *rand.Rand
	now    time.Duration

	forwards map[netip.AddrPort]bool
	closed   map[netip.AddrPort]bool
	open     int             // connections of knocks
	knocks   []time.Duration // when
	knocked  map[netip.AddrPort]int
	fails    error // of Look

	// His own clients are silent and busy by turns, or come to a clock.
	opened         uint64
	busy           bool
	turns, next    time.Duration
	silence, burst time.Duration // the mean of each
	every          time.Duration // between two openings of a burst, the mean
	clock          time.Duration // of openings to a clock; 0 is none
	peers          []peer
}

type peer struct {
	at    netip.AddrPort
	until time.Duration
}

// customer draws how the clients of a customer behave.
func customer(tb testing.TB, random *rand.Rand) *simulated {
	between := func(least, most time.Duration) time.Duration { // as likely in each power of ten
		return time.Duration(float64(least) * math.Pow(float64(most)/float64(least), random.Float64()))
	}
	s := &simulated{
		tb: tb, random: random, forwards: map[netip.AddrPort]bool{}, closed: map[netip.AddrPort]bool{}, knocked: map[netip.AddrPort]int{},
		silence: between(time.Second, time.Hour), burst: between(time.Second, 10*time.Minute), every: between(100*time.Millisecond, 10*time.Second),
	}
	switch random.IntN(3) {
	case 0:
		s.clock = between(time.Second, time.Minute)
	case 1: // no bursts: openings in two windows of ten, or in nine
		s.silence, s.burst, s.every = time.Millisecond, time.Hour, between(time.Second, 10*time.Second)
	}
	s.turns = s.exp(s.silence)
	s.next = math.MaxInt64
	return s
}

func (s *simulated) exp(mean time.Duration) time.Duration {
	return time.Duration(s.random.ExpFloat64() * float64(mean))
}

// advance lets his clients do what they do until then.
func (s *simulated) advance(until time.Duration) {
	for s.turns <= until || s.next <= until {
		if s.turns <= s.next {
			s.now, s.busy = s.turns, !s.busy
			mean := s.silence
			if s.next = math.MaxInt64; s.busy {
				mean, s.next = s.burst, s.now+s.exp(s.every)
			}
			s.turns = s.now + s.exp(mean)
			continue
		}
		s.now = s.next
		s.next += s.exp(s.every)
		s.opens()
	}
	if s.clock > 0 {
		s.opened += uint64(until/s.clock - s.now/s.clock)
	}
	s.now = until
}

func (s *simulated) opens() {
	s.opened++
	at := netip.AddrPortFrom(netip.AddrFrom4([4]byte{203, 0, 113, 200}), uint16(s.opened))
	s.peers = append(s.peers, peer{at, s.now + s.exp(time.Second)})
}

func (s *simulated) Now() time.Time { return time.Unix(0, int64(s.now)) }

func (s *simulated) Wait(ctx context.Context, d time.Duration) error {
	s.advance(s.now + d)
	return ctx.Err()
}

func (s *simulated) Look(context.Context) (Look, error) {
	s.advance(s.now + time.Millisecond)
	s.peers = slices.DeleteFunc(s.peers, func(p peer) bool { return p.until < s.now })
	look := Look{Openings: s.opened}
	for _, p := range s.peers {
		look.Peers = append(look.Peers, p.at)
	}
	slices.SortFunc(look.Peers, netip.AddrPort.Compare)
	return look, s.fails
}

func (s *simulated) Knock(_ context.Context, at netip.AddrPort) (io.Closer, error) {
	if s.open > 0 {
		s.tb.Fatal("two connections at a time")
	}
	s.knocks = append(s.knocks, s.now)
	s.knocked[at]++
	if s.closed[at] {
		return nil, nil
	}
	s.advance(s.now + time.Duration(s.random.Int64N(int64(Hold/2))))
	if s.forwards[at] {
		s.opened++
	}
	s.open++
	return &connection{s: s}, nil
}

type connection struct {
	s    *simulated
	gone bool
}

func (c *connection) Close() error {
	if !c.gone {
		c.gone = true
		c.s.open--
	}
	return nil
}

func addresses(n int) (all []netip.AddrPort) {
	for i := range n {
		all = append(all, netip.AddrPortFrom(netip.AddrFrom4([4]byte{203, 0, 113, byte(i)}), 443))
	}
	return all
}

func seeded(t *testing.T) *rand.Rand {
	n := *seed
	if n == 0 {
		n = rand.Uint64()
	}
	t.Logf("-seed=%d", n)
	return rand.New(rand.NewPCG(n, 0))
}

// Promise: a customer who forwards nothing is accused in at most one of a thousand runs, however his
// clients come, with as many addresses as a run may have and with one, where nothing is shared.
func TestNobodyIsAccused(t *testing.T) {
	for _, targets := range []int{MostTargets, 1} {
		t.Run(fmt.Sprint(targets), func(t *testing.T) {
			t.Parallel()
			random := seeded(t)
			accused, inconclusive, busiest := 0, 0, 0.
			for range *runs {
				s := customer(t, random)
				out, err := Run(t.Context(), s, random, addresses(targets), DefaultKnocks)
				if err != nil {
					t.Fatal(err)
				}
				count := map[Answer]int{}
				for _, target := range out.Targets {
					count[target.Answer]++
				}
				accused += min(count[Forwards], 1)
				inconclusive += count[Inconclusive]
				busiest = max(busiest, float64(out.Busy)/float64(max(1, out.Quiet)))
			}
			t.Logf("%d of %d runs accused somebody; %d answers were inconclusive", accused, *runs, inconclusive)
			if accused > *runs/1000 {
				t.Errorf("%d of %d runs accused somebody who forwards nothing, at most %d may", accused, *runs, *runs/1000)
			}
			if inconclusive == 0 || busiest < 0.9 {
				t.Errorf("the customers were never busy: %d inconclusive answers, at most %.2f of the windows", inconclusive, busiest)
			}
		})
	}
}

// Promise: an address that forwards is never acquitted. It is found out where its owner is quiet,
// among others that forward nothing, are closed, or forward as well.
func TestForwardersAreFound(t *testing.T) {
	random := seeded(t)
	found, hidden := 0, 0
	for range *runs / 10 {
		s := customer(t, random)
		quiet := random.IntN(2) == 0
		if quiet { // an opening in forty seconds, on the average
			s.silence, s.burst, s.every, s.clock = time.Hour, time.Hour, 40*time.Second, 0
		}
		all := addresses(1 + random.IntN(20))
		for _, at := range all {
			s.forwards[at] = random.IntN(4) == 0
			s.closed[at] = !s.forwards[at] && random.IntN(2) == 0
		}
		s.forwards[all[0]], s.closed[all[0]] = true, false
		out, err := Run(t.Context(), s, random, all, 6)
		if err != nil {
			t.Fatal(err)
		}
		for _, target := range out.Targets {
			switch {
			case s.closed[target.At] != (target.Answer == Closed):
				t.Fatalf("%+v: closed is %v", target, s.closed[target.At])
			case !s.forwards[target.At]:
			case target.Answer == Forwards:
				found++
			case target.Answer == Inconclusive && (!quiet || out.Busy > out.Quiet/20):
				hidden++
			default:
				t.Fatalf("a forwarder is %+v, beside %d of %d windows", target, out.Busy, out.Quiet)
			}
		}
	}
	t.Logf("%d found, %d hidden by what their owners open", found, hidden)
	if found == 0 || hidden == 0 {
		t.Error("the customers were all quiet, or all busy")
	}
}

// Promise: one connection at a time, ten knocks a second at most, none at an address that is
// settled, and as many windows without a knock as with one.
func TestRunIsGentle(t *testing.T) {
	random := seeded(t)
	s := customer(t, random)
	s.silence, s.clock = math.MaxInt64/4, 0
	s.turns = s.silence
	all := addresses(40)
	for _, at := range all[20:] {
		s.closed[at] = true
	}
	s.forwards[all[0]] = true
	out, err := Run(t.Context(), s, random, all, DefaultKnocks)
	if err != nil {
		t.Fatal(err)
	}
	for i, at := range all {
		want := 1
		if i == 0 {
			want = DefaultKnocks
		}
		if s.knocked[at] != want {
			t.Errorf("%s was knocked at %d times, want %d", at, s.knocked[at], want)
		}
	}
	for i := 1; i < len(s.knocks); i++ {
		if s.knocks[i]-s.knocks[i-1] < leastPause {
			t.Errorf("two knocks within %v", s.knocks[i]-s.knocks[i-1])
		}
	}
	if s.open != 0 || out.Quiet != leastQuiet || s.now > Longest(len(all), DefaultKnocks) {
		t.Errorf("%d connections are open after %v; %+v", s.open, s.now, out)
	}
}

// Promise: an address that stops answering half way is not judged by the knocks that it had.
func TestLockedOut(t *testing.T) {
	s := customer(t, seeded(t))
	s.silence, s.clock = math.MaxInt64/4, 0
	s.turns = s.silence
	all := addresses(1)
	s.forwards[all[0]] = true
	out, err := Run(t.Context(), shy{s}, s.random, all, DefaultKnocks)
	if err != nil || out.Targets[0].Answer != Inconclusive || out.Targets[0].Knocks != 2 {
		t.Errorf("%+v, %v", out, err)
	}
}

// shy answers two knocks.
type shy struct{ *simulated }

func (s shy) Knock(ctx context.Context, at netip.AddrPort) (io.Closer, error) {
	if s.knocked[at] == 2 {
		s.closed[at] = true
	}
	return s.simulated.Knock(ctx, at)
}

// Promise: who is interrupted or cannot count judges nobody, and leaves nothing open.
func TestNoAnswerWithoutCounts(t *testing.T) {
	s := customer(t, seeded(t))
	s.fails = errors.New("no daemon")
	if out, err := Run(t.Context(), s, s.random, addresses(3), DefaultKnocks); !errors.Is(err, s.fails) || out.Targets != nil || s.open != 0 || len(s.knocks) != 0 {
		t.Errorf("%+v, %v", out, err)
	}
	s.fails = nil
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if out, err := Run(ctx, s, s.random, addresses(3), DefaultKnocks); !errors.Is(err, context.Canceled) || out.Targets != nil || s.open != 0 {
		t.Errorf("%+v, %v", out, err)
	}
}

// The figures that README and the hints speak of.
func TestChance(t *testing.T) {
	for _, c := range []struct {
		knocks, busy, quiet int
		want                string
	}{
		{4, 0, 4, "0.01429"},    // 1 / C(8, 4): too much for one address, hence leastQuiet
		{4, 0, 20, "9.411e-05"}, // 1 / C(24, 4)
		{4, 1, 20, "0.0004705"},
		{4, 2, 20, "0.001412"}, // a customer who is busy in a tenth of the windows needs more knocks
		{9, 2, 20, "5.492e-06"},
		{3, 0, 20, "0.0005647"}, // LeastKnocks are enough for one quiet address
		{4, 20, 20, "1"},
	} {
		if got := fmt.Sprintf("%.4g", chance(c.knocks, c.busy, c.quiet)); got != c.want {
			t.Errorf("chance(%d, %d, %d) is %s, want %s", c.knocks, c.busy, c.quiet, got, c.want)
		}
	}
}
