package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	asked "github.com/xdpallow/xdpallow/cmd/xdpallow/internal/control"
	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/events"
	"github.com/xdpallow/xdpallow/loader/netlab"
	"github.com/xdpallow/xdpallow/loader/talkers"
)

const (
	planted   = 20 // /24s that send more than others
	share     = 0.02
	customers = 10 // who moved, and knock once
)

// plantedPrefix is the i-th of the /24s that a talker list must find.
func plantedPrefix(i int) netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{198, 18, byte(7 * i), 0}), 24)
}

// moved is a source beside the prefix of the i-th customer.
func moved(i int) netip.Addr { return netip.AddrFrom4([4]byte{192, 0, byte(10 + i), 77}) }

// Promise: in a flood from random sources there are at most 1,000 events a
// second; who sends 2 % of it is found, with the right rate; customers who knock once
// from beside their prefix are all named; and the daemon does not grow. `make soak`
// floods with a million a second for ten minutes.
func TestSoakAttackIsSeen(t *testing.T) {
	seed := seed(t)
	soak := os.Getenv("XDPALLOW_SOAK") != ""
	length, settled := 12*time.Second, 4*time.Second
	if soak {
		length, settled = 10*time.Minute, time.Minute
	}
	h := newHost(t)
	var list strings.Builder
	for i := range customers {
		fmt.Fprintf(&list, "%v/29 owner=customer-%d\n", netip.AddrFrom4([4]byte{192, 0, byte(10 + i), 64}), i)
	}
	h.listFile(list.String())
	d := h.run("--allow-file", filepath.Join(h.dir, "a.list"), "--backstop=off")
	client := asked.NewClient(h.socket())
	seen := h.watch(client)

	flood, halfway := h.mixed, settled
	if soak {
		flood, halfway = h.million, 30*time.Second
	}
	begin := time.Now()
	rate := flood(length, seed)
	h.knockBeside(length, seed)
	time.Sleep(halfway)
	if soak { // found after half a minute
		h.found(client, rate(), 0.15)
	}
	time.Sleep(settled - halfway)
	early := d.memory("VmRSS")
	if soak { // talkers tell of the last minute, and a flood is not the same all the time
		time.Sleep(length - 70*time.Second - time.Since(begin))
		rate = h.rate()
	}
	time.Sleep(length - 2*time.Second - time.Since(begin))
	live := h.found(client, rate(), 0.15)
	late := d.memory("VmRSS")

	if total, second := seen(); total > uint64(length.Seconds())*events.Budget || second > events.Budget || total < uint64(length.Seconds())*events.Budget/4 {
		t.Errorf("%d events in %v, %d in one second", total, length, second)
	}
	misses := map[netip.Addr]talkers.NearMiss{}
	for _, m := range live.Talkers.NearMisses {
		misses[m.Source] = m
	}
	for i := range customers {
		m, found := misses[moved(i)]
		if want := fmt.Sprintf("customer-%d", i); !found || m.Owner != want || m.Tries != 1 || m.Distance == nil || *m.Distance != 13 {
			t.Errorf("near miss of %s: found %v, %+v", want, found, m)
		}
	}
	if len(misses) != customers {
		t.Errorf("%d near misses, %d customers moved: %v", len(misses), customers, misses)
	}
	t.Logf("RSS %d KiB after %v, %d KiB at the end; %d events lost", early, settled, late, live.EventsLost)
	if limit := map[bool]float64{true: 1.1, false: 1.5}[soak]; float64(late) > limit*float64(early) {
		t.Errorf("RSS grew from %d KiB to %d KiB", early, late)
	}
}

// found asks who sends, and compares with what was sent a second.
func (h *host) found(client *asked.Client, rate float64, tolerance float64) api.Live {
	h.tb.Helper()
	live, err := client.Live(context.Background(), 50)
	h.check(err)
	rates := map[netip.Prefix]talkers.Talker{}
	for _, p := range live.Talkers.Prefixes {
		rates[p.Prefix] = p.Talker
	}
	worst := 0.0
	for i := range planted {
		talker, found := rates[plantedPrefix(i)]
		off := talker.PacketsPerSecond/(share*rate) - 1
		worst = max(worst, off, -off)
		if !found || max(off, -off) > tolerance+noise(talker.Samples) {
			h.tb.Errorf("%v: found %v, %.0f/s of %.0f/s by %d samples", plantedPrefix(i), found, talker.PacketsPerSecond, share*rate, talker.Samples)
		}
	}
	h.tb.Logf("%.0f frames a second, %.0f samples in %.0f s; the worst rate is %.0f %% off", rate, float64(live.Talkers.Samples), live.Talkers.WindowSeconds, 100*worst)
	return live
}

// noise is how far off so few samples may be by chance, over the tolerance: with the
// 540 of half a minute none.
func noise(samples uint64) float64 {
	if samples >= 500 || samples == 0 {
		return 0
	}
	return 0.15
}

// watch follows events until the test ends. It tells how many there were, and in the
// fullest second.
func (h *host) watch(client *asked.Client) func() (total uint64, second int) {
	ctx, stop := context.WithCancel(context.Background())
	var mu sync.Mutex
	var total uint64
	var second int
	var recent []time.Time
	var following sync.WaitGroup
	following.Go(func() {
		// Ends with ctx; what went wrong shows in the numbers.
		_ = client.Events(ctx, 0, true, func(e events.Event) error {
			mu.Lock()
			defer mu.Unlock()
			// An event was passed on after its packet came and before it is here: what came
			// less than a second ago was passed on within that second, however long it
			// travelled.
			now := time.Now()
			for len(recent) > 0 && now.Sub(recent[0]) >= time.Second {
				recent = recent[1:]
			}
			recent = append(recent, e.Time)
			total, second = total+1, max(second, len(recent))
			return nil
		})
	})
	h.tb.Cleanup(func() { stop(); following.Wait() })
	return func() (uint64, int) {
		mu.Lock()
		defer mu.Unlock()
		return total, second
	}
}

// mixed floods from random sources and the planted /24s with what packet sockets can
// send. It tells the rate so far.
func (h *host) mixed(length time.Duration, seed uint64) func() float64 {
	const rate = 30_000
	flood := func(sources netip.Prefix, part float64) (*netlab.Flooded, <-chan error) {
		result, done := new(netlab.Flooded), make(chan error, 1)
		ctx, stop := context.WithTimeout(context.Background(), length)
		go func() {
			defer stop()
			var err error
			*result, err = h.link().Flood(ctx, netlab.Flood{Sources: sources, Target: h.api4(), Rate: int(part * rate), Seed: seed})
			done <- err
		}()
		return result, done
	}
	var running []<-chan error
	_, done := flood(netip.MustParsePrefix("16.0.0.0/4"), 1-planted*share)
	running = append(running, done)
	for i := range planted {
		_, done := flood(plantedPrefix(i), share)
		running = append(running, done)
	}
	h.tb.Cleanup(func() {
		for _, done := range running {
			if err := <-done; err != nil {
				h.tb.Error(err)
			}
		}
	})
	return h.rate()
}

// rate tells how many packets a second were dropped since it was called.
func (h *host) rate() func() float64 {
	begin, before := time.Now(), h.packets("drop")
	return func() float64 {
		h.tb.Helper()
		return float64(h.packets("drop")-before) / time.Since(begin).Seconds()
	}
}

// knockBeside sends one SYN of each customer who moved, at random times.
func (h *host) knockBeside(length time.Duration, seed uint64) {
	random := rand.New(rand.NewPCG(seed, 1))
	var running sync.WaitGroup
	for i := range customers {
		wait := time.Duration(random.Int64N(int64(length - 4*time.Second)))
		running.Go(func() {
			time.Sleep(wait)
			if _, err := h.link().Flood(context.Background(), netlab.Flood{
				Sources: netip.PrefixFrom(moved(i), 32), Target: h.api4(), Count: 1, Seed: seed + uint64(i),
			}); err != nil {
				h.tb.Error(err)
			}
		})
	}
	h.tb.Cleanup(running.Wait)
}

// memory is what of the daemon the kernel has under that name, in KiB.
func (d *daemon) memory(name string) int {
	d.h.tb.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", d.cmd.Process.Pid))
	d.h.check(err)
	for line := range strings.Lines(string(text)) {
		if fields := strings.Fields(line); len(fields) > 1 && fields[0] == name+":" {
			n, err := strconv.Atoi(fields[1])
			d.h.check(err)
			return n
		}
	}
	d.h.tb.Fatal("no " + name)
	return 0
}
