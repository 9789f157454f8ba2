package e2e

import (
	"fmt"
	"io"
	gomaps "maps"
	"net/http"
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/google/go-cmp/cmp"

	"github.com/xdpallow/xdpallow/bpf"
	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/netlab"
	"github.com/xdpallow/xdpallow/loader/pins"
	"github.com/xdpallow/xdpallow/maps"
)

// pinnedLink loads the pinned link of an interface.
func (h *host) pinnedLink(name string) link.Link {
	h.tb.Helper()
	pinned, err := link.LoadPinnedLink(filepath.Join(h.bpffs(), "links", name), nil)
	if err != nil {
		h.tb.Fatal(err)
	}
	h.tb.Cleanup(func() { pinned.Close() })
	return pinned
}

// A damage is what somebody does to a gate behind the daemon's back. The unlisted
// client that then gets in is the control: the gate was open indeed.
type damage struct {
	name          string
	do            func(h *host)
	code, subject string
	hint, text    string // in the problem line
	mend          func(h *host, d *daemon)
}

func restart(h *host, d *daemon) {
	d.stop()
	h.run(allowed...)
}

func damages() []damage {
	return []damage{
		{
			name: "program replaced",
			do: func(h *host) {
				if err := h.pinnedLink("eth0").Update(pass(h.tb)); err != nil {
					h.tb.Fatal(err)
				}
			},
			code: "program_replaced", subject: "eth0", hint: "systemctl restart xdpallow", text: "not ours", mend: restart,
		},
		{
			name: "link detached",
			do: func(h *host) {
				if err := h.pinnedLink("eth0").Detach(); err != nil {
					h.tb.Fatal(err)
				}
			},
			code: "detached", subject: "eth0", hint: "bpftool net show dev eth0", text: "everything passes",
			mend: func(_ *host, d *daemon) { d.await("eth0: attached (native)") }, // by itself
		},
		{
			name: "port table emptied", do: emptyPorts,
			code: "policy_changed", hint: "systemctl restart xdpallow", text: "map policy", mend: restart,
		},
		{
			name: "port table emptied, seen by the canary", do: emptyPorts,
			code: "canary", subject: "eth0", hint: "systemctl restart xdpallow", text: "255.255.255.255", mend: restart,
		},
		{
			name: "everybody listed",
			do:   func(h *host) { h.must("add", "0.0.0.0/0", "--allow-any") },
			code: "canary", subject: "eth0", hint: "xdpallow remove 0.0.0.0/0", text: "255.255.255.255",
			mend: func(h *host, _ *daemon) { h.must("remove", "0.0.0.0/0") },
		},
	}
}

func emptyPorts(h *host) {
	table, err := ebpf.LoadPinnedMap(filepath.Join(h.bpffs(), pins.Schema, "policy"), nil)
	if err != nil {
		h.tb.Fatal(err)
	}
	defer table.Close()
	for slot := range uint32(2) {
		if err := table.Put(slot, new(bpf.XdpallowPolicy)); err != nil {
			h.tb.Fatal(err)
		}
	}
}

// Promise: `enforcing` is a result, not a setting. Whoever opens the gate behind the
// daemon's back is found out by the next status, with a problem that names the damage
// and a hint that mends it.
func TestEnforcingIsAResult(t *testing.T) {
	t.Parallel()
	for _, c := range damages() {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			h := newHost(t)
			h.serve()
			d := h.run(alone...)
			h.healed()
			h.shut()
			d.forget()
			c.do(h)
			s := h.status() // one question, at once
			h.knock(netlab.Connected, netlab.Connected)
			if p, found := problem(s, c.code, c.subject); !found || s.Enforcing || strings.TrimSuffix(p.Hint, " --socket "+h.socket()) != c.hint || !strings.Contains(p.Text, c.text) {
				t.Errorf("enforcing %v with problems %+v, want %s of %q with the hint %q", s.Enforcing, s.Problems, c.code, c.subject, c.hint)
			}
			c.mend(h, d)
			h.healed()
			h.shut()
		})
	}
}

// Promise: what was declared open is not called enforcing either, and the hint says
// where it stands.
func TestDeclaredOpenIsNotEnforcing(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.serve()
	d := h.start(binary, append(allowed, "--allow", "::/0", "--allow-any")...)
	d.await("which nobody may send, would pass (listed)")
	if p := h.broken("canary", "eth0"); p.Hint != "take it out of --allow ::/0, then: systemctl restart xdpallow" {
		t.Errorf("a hint that cannot mend what a flag declares: %+v", p)
	}
	d.stop()
	d = h.run(append(allowed, "--mode", "audit")...)
	h.knock(netlab.Connected, netlab.Connected)
	if p := h.broken("audit", "api"); p.Hint != "restart without --mode audit" || h.status().Enforcing {
		t.Errorf("enforcing in audit: %+v", p)
	}
	if h.packets("audit", "not_listed") == 0 {
		t.Error("audit did not count whom it would have dropped")
	}
	d.stop()
	h.run(allowed...)
	h.healed()
	h.shut()
}

// Promise: the canary and `check` disturb nothing: 50 of each leave counters, hits
// and last_seen as they were, and a control shows that a real client does not.
func TestQuestionsLeaveNoTrace(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.serve()
	h.run(allowed...)
	h.shut()
	traces := func() (used []uint64, entries []api.Entry) {
		for _, words := range [][]string{{"listed"}, {"drop"}, {"audit"}, {"not_opening"}} {
			used = append(used, h.packets(words...))
		}
		return used, ask[api.Listing](h, "list").Entries
	}
	// Whatever the first clients left behind must have come in.
	used, entries := traces()
	h.eventually("a quiet wire", func() bool {
		before := used
		time.Sleep(100 * time.Millisecond)
		used, entries = traces()
		return slices.Equal(before, used)
	})
	addresses := []netip.Addr{netlab.Listed4, netlab.Unlisted4, netlab.Listed6, netlab.Unlisted6, netip.MustParseAddr("255.255.255.255")}
	for i := range 50 {
		want := []int{0, 1, 0, 1, 1}[i%5]
		if r := h.cli("check", addresses[i%5].String(), "--port", fmt.Sprint(port)); r.code != want {
			t.Fatalf("check %s: exit %d, want %d", addresses[i%5], r.code, want)
		}
		h.status()
	}
	usedNow, entriesNow := traces()
	if diff := cmp.Diff(used, usedNow) + cmp.Diff(entries, entriesNow, cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" {
		t.Errorf("questions were counted (-before +after):\n%s", diff)
	}
	h.shut()
	if now, _ := traces(); slices.Equal(now, used) {
		t.Error("a real client left no trace either: this test proves nothing")
	}
}

// series reads the samples of one metric, by their labels.
func series(text, name string) map[string]float64 {
	samples := map[string]float64{}
	for line := range strings.Lines(text) {
		if labels, found := strings.CutPrefix(line, name); found && (labels[0] == '{' || labels[0] == ' ') {
			at := strings.LastIndexByte(labels, ' ')
			value, err := strconv.ParseFloat(strings.TrimSpace(labels[at:]), 64)
			if err == nil {
				samples[strings.TrimSpace(labels[:at])] = value
			}
		}
	}
	return samples
}

func (h *host) scrape(at string) string {
	h.tb.Helper()
	var response *http.Response
	h.eventually("metrics answer", func() (ok bool) {
		var err error
		response, err = h.lab.Host.HTTPClient(netip.Addr{}, 5*time.Second).Get("http://" + at + "/metrics")
		return err == nil
	})
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != 200 {
		h.tb.Fatalf("scrape: %s %v", response.Status, err)
	}
	return string(text)
}

// Promise: /metrics has every series from the start, agrees with stats, and its
// enforcing is that of status.
func TestMetrics(t *testing.T) {
	t.Parallel()
	const at = "127.0.0.1:9100" // free: the namespace is ours alone
	h := newHost(t)
	h.serve()
	h.run(append(allowed, "--metrics", at)...)

	first := series(h.scrape(at), "xdpallow_packets_total")
	if want := len(maps.Reasons()); len(first) < want {
		t.Errorf("%d series from the start, there are %d reasons", len(first), want)
	}
	for _, reason := range maps.Reasons() {
		if !slices.ContainsFunc(slices.Collect(gomaps.Keys(first)), func(labels string) bool {
			return strings.Contains(labels, fmt.Sprintf("reason=%q", reason)) && strings.Contains(labels, `interface="eth0"`)
		}) {
			t.Errorf("no series of %s", reason)
		}
	}
	h.shut()
	h.eventually("metrics and stats that agree", func() bool {
		text := h.scrape(at)
		stats := ask[api.Stats](h, "stats")
		packets, bytes := series(text, "xdpallow_packets_total"), series(text, "xdpallow_bytes_total")
		for _, c := range stats.Counters {
			labels := fmt.Sprintf(`{family=%q,interface=%q,layer=%q,reason=%q,verdict=%q}`, c.Family, c.Interface, c.Layer, c.Reason, c.Verdict)
			if value, found := packets[labels]; !found || uint64(value) != c.Packets || uint64(bytes[labels]) != c.Bytes {
				return false
			}
		}
		return len(packets) == len(stats.Counters) && len(bytes) == len(packets) && len(packets) == len(first)
	})

	enforcing := func() float64 { h.status(); return series(h.scrape(at), "xdpallow_enforcing")[""] }
	if enforcing() != 1 {
		t.Error("xdpallow_enforcing is not 1")
	}
	if err := h.pinnedLink("eth0").Update(pass(t)); err != nil {
		t.Fatal(err)
	}
	if enforcing() != 0 {
		t.Error("xdpallow_enforcing is not 0 under a program that passes everything")
	}
}
