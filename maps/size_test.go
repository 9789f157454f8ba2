// Size: what a big list costs, and that its publish disturbs nobody. XDPALLOW_SIZE is
// the number of entries, for `make bench`.
package maps_test

import (
	"errors"
	"math/rand/v2"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/xdpallow/xdpallow/maps"
	"github.com/xdpallow/xdpallow/maps/mapstest"
)

const fixedMemory = 16 << 20 // bytes that do not grow with the list

func sizeOr(t *testing.T, n int) int {
	t.Helper()
	if text := os.Getenv("XDPALLOW_SIZE"); text != "" {
		var err error
		if n, err = strconv.Atoi(text); err != nil {
			t.Fatal(err)
		}
	}
	return n
}

// bigPolicy lists n prefixes of one family, hosts and networks. Its IPv4 lies below
// 128.0.0.0 and its IPv6 in 2000::/4, so that nothing above is ever listed.
func bigPolicy(r *rand.Rand, generation uint64, n int, ipv4 bool) maps.Policy {
	policy, there := policyOf(generation), map[netip.Prefix]bool{}
	for len(policy.Entries) < n {
		a := randomAddr(r, ipv4)
		b := a.AsSlice()
		bits := 24 + r.IntN(2)*8
		if b[0] &= 0x7f; !ipv4 {
			b[1], b[2] = b[1]&1, b[2]&7 // a few thousand providers, each with many customers
			bits = []int{48, 56, 64, 128}[r.IntN(4)]
		}
		a, _ = netip.AddrFromSlice(b)
		if p := netip.PrefixFrom(a, bits).Masked(); !there[p] {
			there[p] = true
			policy.Entries = append(policy.Entries, maps.Entry{Prefix: p, Services: maps.EveryService})
		}
	}
	return policy
}

// during calls do every millisecond while change runs.
func during(change, do func()) {
	stop := make(chan struct{})
	var running sync.WaitGroup
	running.Go(func() {
		for {
			do()
			select {
			case <-stop:
				return
			case <-time.After(time.Millisecond):
			}
		}
	})
	defer running.Wait()
	defer close(stop)
	change()
}

// Promise: an entry costs 240 bytes of the kernel's at most, of IPv4 180, and a publish no
// more than twice what is there after it.
func TestKernelMemory(t *testing.T) {
	for name, most := range map[string]float64{"ipv4": 180, "ipv6": 240} {
		t.Run(name, func(t *testing.T) {
			n, m := sizeOr(t, 100_000), newMeter(t)
			start := m.settled(t)
			policy := bigPolicy(newRand(t), 2, n, name == "ipv4")
			tables := mapstest.Tables(t, policyOf(1))
			mapstest.Publish(t, tables, policy)
			first := m.settled(t) - start

			// A replacement of the whole list has the old and the new one at once.
			var peak atomic.Uint64
			during(func() {
				policy.Generation++
				mapstest.Publish(t, tables, policy)
			}, func() { peak.Store(max(peak.Load(), m.read()-start)) })
			after := m.settled(t) - start

			entry := (float64(after) - fixedMemory) / float64(n)
			t.Logf("%d entries: %.1f MiB, %.1f during a publish: %.0f bytes an entry above 16 MiB",
				n, float64(after)/(1<<20), float64(peak.Load())/(1<<20), entry)
			if entry > most {
				t.Errorf("%.0f bytes an entry above 16 MiB, promised are %.0f", entry, most)
			}
			if peak.Load() > 2*after+fixedMemory {
				t.Errorf("%d bytes during a publish, %d after it", peak.Load(), after)
			}
			if after > first+first/10+1<<20 {
				t.Errorf("%d bytes after the second publish, %d after the first", after, first)
			}
			// Else the meter is blind: 64 bytes of a node for each, and twice that at once.
			if after < uint64(n)*64 || peak.Load() < after+uint64(n)*64 {
				t.Errorf("%d entries in %d bytes, %d during a publish", n, after, peak.Load())
			}
		})
	}
}

// crowdOf are sources and what must become of each.
type crowdOf struct {
	frames [][]byte
	listed []bool
}

func (c *crowdOf) add(source netip.Addr, listed bool) {
	c.frames = append(c.frames, mapstest.Opening(source, port).Bytes())
	c.listed = append(c.listed, listed)
}

// judging runs the crowd through the gate until stop, and returns how many packets it
// judged in each window and how many of them wrongly. It calls warm after some windows.
func (c *crowdOf) judging(t *testing.T, gate mapstest.Program, warm func(), stop <-chan struct{}) (windows []int, wrong int) {
	const pass = 2
	runtime.LockOSThread() // whose clock it is
	defer runtime.UnlockOSThread()
	defer warm()
	for start, i := threadTime(t), 0; ; i = (i + 1) % len(c.frames) {
		select {
		case <-stop:
			return windows[:max(len(windows)-1, 0)], wrong
		default:
		}
		action, err := gate.Program.Run(&ebpf.RunOptions{Data: c.frames[i]})
		if err != nil {
			t.Errorf("run program: %v", err)
			return nil, 0
		}
		if c.listed[i] != (action == pass) {
			wrong++
		}
		at := int((threadTime(t) - start) / window)
		for len(windows) <= at {
			if windows = append(windows, 0); len(windows) > before {
				warm()
			}
		}
		windows[at]++
	}
}

// A window is of time on the CPU: a program cannot sleep, so what holds it up is spent
// there, and what else runs on the machine is not.
const (
	window = 20 * time.Millisecond
	before = 8 // windows before the publish
)

func threadTime(t *testing.T) time.Duration {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &now); err != nil {
		t.Error(err)
	}
	return time.Duration(now.Nano())
}

// Promise: no pause of the packet path and no wrong verdict while a big list is replaced:
// who is listed before and after passes all the while, who is neither never does, and
// no part of a publish makes packets wait.
func TestBigPublishDisturbsNobody(t *testing.T) {
	n, r := sizeOr(t, 200_000), newRand(t)
	old, next := bigPolicy(r, 2, n/2, true), bigPolicy(r, 3, n/2, true)
	six := bigPolicy(r, 0, n/2, false)
	old.Entries = append(old.Entries, six.Entries...)
	stay := old.Entries[:1000]
	next.Entries = eachOnce(slices.Concat(next.Entries, stay, six.Entries[:n/4]))
	var crowd crowdOf
	for i := range 500 {
		above := randomAddr(r, i%2 == 0).AsSlice()
		above[0] |= 0x80
		stranger, _ := netip.AddrFromSlice(above)
		crowd.add(stay[i].Prefix.Addr(), true)
		crowd.add(six.Entries[i].Prefix.Addr(), true)
		crowd.add(stranger, false)
	}
	tables := mapstest.Tables(t, policyOf(1))
	mapstest.Publish(t, tables, old)
	gate, warm, stop := mapstest.Load(t, tables, false), make(chan struct{}), make(chan struct{})

	var windows []int
	var wrong int
	var running sync.WaitGroup
	running.Go(func() { windows, wrong = crowd.judging(t, gate, sync.OnceFunc(func() { close(warm) }), stop) })
	<-warm
	start := time.Now()
	mapstest.Publish(t, tables, next)
	took := time.Since(start)
	close(stop)
	running.Wait()

	if len(windows) < before+2 {
		t.Fatalf("%d windows: the publish was too short to tell", len(windows))
	}
	usual, slowest := slices.Sorted(slices.Values(windows[:before]))[before/2], slices.Min(windows[before:])
	t.Logf("%d entries in %v; %d verdicts in %v as usual, %d in the slowest", len(next.Entries), took, usual, window, slowest)
	if wrong != 0 {
		t.Errorf("%d wrong verdicts", wrong)
	}
	if slowest*20 < usual {
		t.Errorf("%d verdicts in %v, %d as usual", slowest, window, usual)
	}
}

func eachOnce(entries []maps.Entry) []maps.Entry {
	there := map[netip.Prefix]bool{}
	return slices.DeleteFunc(entries, func(e maps.Entry) bool {
		seen := there[e.Prefix]
		there[e.Prefix] = true
		return seen
	})
}

// However much of its batches the kernel takes, and whatever it says, a publish gets there
// one by one or leaves the old policy.
func TestPublishArrivesOrChangesNothing(t *testing.T) {
	r := newRand(t)
	tables := mapstest.Tables(t, policyOf(1))
	shadow := mapstest.Load(t, tables, true)
	live := policyOf(1)
	var arrived, stayed int
	var lies bool
	maps.WithBatchUpdate(t, func(kernel func(*ebpf.Map, any, any) (int, error), m *ebpf.Map, keys, values any) (int, error) {
		took := r.IntN(400)
		said := took - r.IntN(2)*r.IntN(took+1)
		if lies {
			said = took + 1 + r.IntN(50)
		}
		_, err := kernel(m, part(keys, took), part(values, took))
		return said, errors.Join(err, []error{unix.ENOMEM, unix.ENOSPC, unix.EINTR}[r.IntN(3)])
	})
	for generation := range uint64(16) {
		next := bigPolicy(r, generation+2, 500, true)
		next.Entries = append(next.Entries, bigPolicy(r, 0, 500, false).Entries...)
		lies = generation%4 == 3
		_, err := tables.Publish(next)
		if (err != nil) != lies {
			t.Fatalf("publish: %v", err)
		}
		if err == nil {
			live = next
			arrived++
		} else {
			stayed++
		}
		if got := len(liveEntries(t, tables)); got != len(live.Entries) || tables.Generation() != live.Generation {
			t.Fatalf("%d entries of %d, generation %d", got, len(live.Entries), tables.Generation())
		}
		for _, e := range live.Entries {
			if got := ask(t, shadow, e.Prefix.Addr().String()); got != maps.Listed {
				t.Errorf("%v: %v", e.Prefix, got)
			}
		}
	}
	if arrived == 0 || stayed == 0 {
		t.Errorf("%d arrived, %d stayed", arrived, stayed)
	}
}
