// A publish is never a mixture: two policies that contradict each
// other are published in turn under load, and every packet must be judged by one
// of them. The promise is 0 gaps through 1,000 generations.
package maps_test

import (
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/cilium/ebpf"

	"github.com/xdpallow/xdpallow/bpf"
	"github.com/xdpallow/xdpallow/maps"
	"github.com/xdpallow/xdpallow/maps/mapstest"
)

// contradicting gives port to service 1 or to service 2. The first pair of sources
// is listed for just the service that has the port, the second for just the other:
// under either policy the first are listed and the second are of the wrong service.
// The port of one policy with the entries of the other turns both round.
func contradicting(generation uint64, flipped bool) maps.Policy {
	has, other := 1, 2
	ports := [2][]uint16{{port}, {port + 1}}
	if flipped {
		has, other = other, has
		ports[0], ports[1] = ports[1], ports[0]
	}
	entries := entriesOf("192.0.2.0/24", "2001:db8:1::/48", "198.51.100.0/24", "2001:db8:2::/48")
	for i := range entries {
		entries[i].Services = maps.ServiceBit([]int{has, has, other, other}[i])
	}
	return maps.Policy{
		Generation: generation,
		Services:   []maps.Service{{TCP: ports[0], Enforce: true}, {TCP: ports[1], Enforce: true}},
		Entries:    entries,
	}
}

// witness runs packets of one pair of sources all the time, and in the end holds
// what was counted against the only reason that either policy has for them.
type witness struct {
	gate    mapstest.Program
	sources []string
	want    maps.Reason
	runs    uint64
}

// repeat is how often one system call runs the program. The kernel waits for a grace
// period before and after each call that repeats, so a small number is no load.
const repeat = 100_000

func (w *witness) run(t *testing.T, stop <-chan struct{}) {
	frames := make([][]byte, len(w.sources))
	for i, source := range w.sources {
		frames[i] = mapstest.Opening(addr(source), port).Bytes()
	}
	for {
		for _, frame := range frames {
			select {
			case <-stop:
				return
			default:
			}
			if _, err := w.gate.Program.Run(&ebpf.RunOptions{Data: frame, Repeat: repeat}); err != nil {
				t.Errorf("run program: %v", err)
				return
			}
			w.runs += repeat
		}
	}
}

// counted is how many packets were judged, and how many of them got a reason that
// neither policy has for them.
func (w *witness) counted(t *testing.T) (packets, mixed uint64) {
	t.Helper()
	for series, count := range w.gate.Counted(t) {
		packets += count.Packets
		if series.Reason != w.want {
			mixed += count.Packets
		}
	}
	// A signal makes the kernel break off and the library start again, so there
	// may be more than we know of, never less.
	if packets < w.runs || w.runs == 0 {
		t.Errorf("%d of %d packets counted", packets, w.runs)
	}
	return packets, mixed
}

// underLoad calls change while both witnesses run, and returns how many packets
// were judged and how many of them by a mixture.
func underLoad(t *testing.T, tables *maps.Tables, change func()) (packets, mixed uint64) {
	t.Helper()
	witnesses := []*witness{
		{sources: []string{"192.0.2.1", "2001:db8:1::1"}, want: maps.Listed},
		{sources: []string{"198.51.100.1", "2001:db8:2::1"}, want: maps.WrongService},
	}
	stop := make(chan struct{})
	var running sync.WaitGroup
	for _, w := range witnesses {
		w.gate = mapstest.Load(t, tables, false)
		running.Go(func() { w.run(t, stop) })
	}
	func() {
		defer running.Wait()
		defer close(stop)
		change()
	}()
	for _, w := range witnesses {
		n, m := w.counted(t)
		packets, mixed = packets+n, mixed+m
	}
	return packets, mixed
}

// Two tables at a time: a publish is mostly waiting, and more programs than CPUs
// get interrupted in the midst of their run, which is what the barrier is for.
func TestPublishIsNeverAMixture(t *testing.T) {
	const publishes = 1000
	for _, name := range []string{"one", "other"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			publishUnderLoad(t, publishes/2)
		})
	}
}

func publishUnderLoad(t *testing.T, publishes uint64) {
	tables := mapstest.Tables(t, contradicting(1, false))
	start, loaded := time.Now(), uint64(0)
	packets, mixed := underLoad(t, tables, func() {
		for i := range publishes {
			used, err := tables.Publish(contradicting(i+2, i%2 == 0))
			if err != nil {
				t.Fatalf("publish %d: %v", i, err)
			}
			if len(used) > 0 {
				loaded++
			}
		}
	})
	t.Logf("%d publishes in %v, %d with openings, %d packets", publishes, time.Since(start), loaded, packets)
	if loaded < publishes/4 {
		t.Errorf("only %d of %d generations judged a listed packet: too little load to tell", loaded, publishes)
	}
	if mixed != 0 {
		t.Errorf("%d of %d packets were judged by a mixture", mixed, packets)
	}
}

// The witnesses see it when pieces are changed one by one: without this, the test
// above might pass because nobody looks.
func TestWitnessesSeeAMixture(t *testing.T) {
	rows := make([][]byte, 2)
	tables := mapstest.Tables(t, contradicting(1, true))
	policy, current := tables.Replacements()[bpf.XdpallowMapPolicy], tables.Replacements()[bpf.XdpallowMapCurrent]
	live := func() uint32 {
		var c bpf.XdpallowCurrent
		if err := current.Lookup(uint32(0), &c); err != nil {
			t.Fatal(err)
		}
		return uint32(c.Slot)
	}
	read := func() []byte {
		row, err := policy.LookupBytes(live())
		if err != nil {
			t.Fatal(err)
		}
		return row
	}
	rows[1] = read()
	mapstest.Publish(t, tables, contradicting(2, false))
	rows[0] = read()

	packets, mixed := underLoad(t, tables, func() {
		for i := range uint64(20) {
			flipped := i%2 == 0
			next := contradicting(i+3, flipped)
			row := rows[0]
			if flipped {
				row = rows[1]
			}
			if err := policy.Put(live(), row); err != nil {
				t.Fatal(err)
			}
			time.Sleep(5 * time.Millisecond)
			if _, err := tables.Patch(next.Entries, []netip.Prefix{}, next.Generation); err != nil {
				t.Fatal(err)
			}
			time.Sleep(5 * time.Millisecond)
		}
	})
	t.Logf("%d of %d packets by a mixture", mixed, packets)
	if mixed == 0 || mixed == packets {
		t.Errorf("%d of %d packets by a mixture: the witnesses are blind", mixed, packets)
	}
}
