package e2e

// This file holds the books against the driver: each frame that came in is in exactly
// one counter.

import (
	"context"
	"io"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/xdpallow/xdpallow/bpf/bpftest/oracle"
	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/netlab"
	"github.com/xdpallow/xdpallow/loader/netlab/labtest"
)

// ethernetHeader is in bytes. A veth counts a frame's bytes without it.
const ethernetHeader = 14

// books are what the driver says came in, and what is counted of it.
type books struct {
	frames, bytes   uint64 // of the driver
	counted, sum    uint64 // frames and bytes in layer xdp
	verdict, reason map[string]uint64
}

// reading waits until nothing comes in any more, so that driver and counters are read
// of the same moment. The driver counts a frame before it runs the program, by itself:
// what the program does to it cannot change that.
func (h *host) reading() (b books) {
	h.tb.Helper()
	h.eventually("a quiet wire", func() bool {
		before := labtest.Must(h.lab.Host.Statistics("eth0"))(h.tb)
		b = books{frames: before.RxPackets, bytes: before.RxBytes, verdict: map[string]uint64{}, reason: map[string]uint64{}}
		for _, c := range ask[api.Stats](h, "stats").Counters {
			if c.Layer != "xdp" || c.Interface != "eth0" {
				continue
			}
			b.counted += c.Packets
			b.sum += c.Bytes
			b.verdict[c.Verdict] += c.Packets
			b.reason[c.Reason] += c.Packets
		}
		after := labtest.Must(h.lab.Host.Statistics("eth0"))(h.tb)
		return after.RxPackets == before.RxPackets
	})
	return b
}

// sender sends until the context ends, and returns how many frames or requests.
type sender struct {
	name string
	send func(ctx context.Context) (sent uint64, err error)
}

// enough is how many frames or requests each sender sends at least.
const enough = 20

// again repeats f every pause until ctx ends. Who has not sent enough by then, on a busy
// machine, goes on.
func again(ctx context.Context, pause time.Duration, f func() (uint64, error)) (sent uint64, err error) {
	for {
		select {
		case <-ctx.Done():
			if sent >= enough {
				return sent, nil
			}
		case <-time.After(pause):
		}
		n, err := f()
		sent += n
		if err != nil {
			return sent, err
		}
	}
}

// senders are four kinds that send at once.
func (s *scene) senders(seed uint64, scope oracle.Scope) []sender {
	s.tb.Helper()
	generator := oracle.NewGenerator(seed, oracle.Policy{
		Services: []oracle.Service{{TCP: []uint16{port, rawPort}, UDP: []uint16{port}, Enforce: true, Scope: scope}},
		Entries:  []oracle.Entry{{Prefix: netlab.ListedPrefix4}, {Prefix: netlab.ListedPrefix6}},
	})
	clients := []netip.Addr{netlab.Listed4, netlab.Listed6}
	background := s.sayings()
	out := labtest.Must(openTap(s.lab.Wire, "eth0"))(s.tb)
	s.tb.Cleanup(out.close)
	return []sender{
		{"flood", func(ctx context.Context) (uint64, error) {
			flooded, err := s.link().Flood(ctx, netlab.Flood{Sources: attackers, Target: s.api4(), Rate: floodRate, Seed: seed})
			return flooded.Sent, err
		}},
		{"listed HTTPS clients", func(ctx context.Context) (uint64, error) {
			return again(ctx, time.Millisecond, func() (n uint64, err error) {
				for _, client := range clients {
					browser := s.browser(s.lab.Wire, client, true, nil)
					response, err := browser.Get("https://" + s.apiOf(client).String() + "/")
					if err != nil {
						return n, err
					}
					_, _ = io.Copy(io.Discard, response.Body)
					response.Body.Close()
					browser.CloseIdleConnections()
					n++
				}
				return n, nil
			})
		}},
		{"junk", func(ctx context.Context) (uint64, error) {
			return again(ctx, 100*time.Microsecond, func() (uint64, error) {
				frame := generator.Generate()
				if generator.IntN(2) == 0 {
					frame = generator.Mutate(frame)
				}
				if generator.IntN(4) > 0 { // else it is for somebody else on the link
					copy(frame, s.link().HostMAC)
				}
				return 1, out.send(frame)
			})
		}},
		{"neighbours", func(ctx context.Context) (uint64, error) {
			return again(ctx, 5*time.Millisecond, func() (n uint64, err error) {
				for _, said := range background {
					if err := out.send(said.frame); err != nil {
						return n, err
					}
					n++
				}
				return n, nil
			})
		}},
	}
}

// Promise: nothing goes uncounted and nothing twice. Under a mixed load of four
// kinds of senders, the frames and bytes that the driver took in are the sum of pass,
// drop and audit in layer xdp, to the frame and to the byte.
func TestAccountability(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, mode string
		scope      oracle.Scope
	}{{"syn", "enforce", oracle.SYN}, {"strict", "enforce", oracle.Strict}, {"strict", "audit", oracle.Strict}} {
		t.Run(c.name+" "+c.mode, func(t *testing.T) {
			s := newScene(t)
			random := seed(t)
			s.run("--attach", "native", "--mode", c.mode, "--drop", c.name, "--port", "8443,8444,udp/8443",
				"--allow", netlab.ListedPrefix4.String(), "--allow", netlab.ListedPrefix6.String())
			before := s.reading()
			sent := s.load(random, c.scope)
			after := s.reading()

			frames, counted := after.frames-before.frames, after.counted-before.counted
			if frames != counted {
				t.Errorf("the driver took in %d frames, %d are counted", frames, counted)
			}
			if bytes, sum := after.bytes-before.bytes+ethernetHeader*frames, after.sum-before.sum; bytes != sum {
				t.Errorf("the driver took in %d bytes, %d are counted", bytes, sum)
			}
			if frames < sent {
				t.Errorf("the driver took in %d frames of at least %d: it is no witness", frames, sent)
			}
			refused := "drop"
			if c.mode == "audit" {
				refused = "audit"
			}
			if after.verdict["pass"] == before.verdict["pass"] || after.verdict[refused] == before.verdict[refused] {
				t.Errorf("no mixed load: %v", after.verdict)
			}
			var reasons int
			for reason, n := range after.reason {
				if n > before.reason[reason] {
					reasons++
				}
			}
			if reasons < 10 {
				t.Errorf("only %d reasons occurred: %v", reasons, after.reason)
			}
			t.Logf("%d frames: %v %v", frames, after.verdict, after.reason)
		})
	}
}

// load lets all send at once for a while, and returns how many frames at least.
func (s *scene) load(random uint64, scope oracle.Scope) (sent uint64) {
	s.tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 1500*time.Millisecond)
	defer cancel()
	var running sync.WaitGroup
	var mu sync.Mutex
	for _, sender := range s.senders(random, scope) {
		running.Go(func() {
			n, err := sender.send(ctx)
			mu.Lock()
			defer mu.Unlock()
			sent += n
			if err != nil || n < enough {
				s.tb.Errorf("%s: %d sent, %v", sender.name, n, err)
			}
			s.tb.Logf("%s: %d", sender.name, n)
		})
	}
	running.Wait()
	return sent
}
