package metrics

// Promises guarded here: every counter reaches Prometheus under the words of
// DESIGN 4.3, zero rows too; a scrape that fails says so; the names lint.

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/xdpallow/xdpallow/loader/reconcile"
)

type source struct {
	answer Snapshot
	err    error
}

func (s source) Snapshot(context.Context) (Snapshot, error) { return s.answer, s.err }

func sample() source {
	return source{answer: Snapshot{
		IPv4: 2, IPv6: 1,
		Status: reconcile.Status{
			Enforcing: true, Generation: 7, Version: "v1",
			Interfaces: []reconcile.Interface{
				{Name: "eth0", Attach: "native", Attached: true},
				{Name: "eth1", Attach: "native"}, // was native, is gone
			},
			Origins: []reconcile.OriginStatus{{Name: "cli", Entries: 1}, {Name: "file:a.list", Entries: 2, Error: "a.list:3: bad"}},
		},
		Stats: reconcile.Stats{Counters: []reconcile.Counter{
			{Interface: "eth0", Layer: "xdp", Verdict: "pass", Reason: "listed", Family: "ipv4", Packets: 12, Bytes: 888},
			{Interface: "eth0", Layer: "xdp", Verdict: "drop", Reason: "not_listed", Family: "ipv6"},
		}},
	}}
}

func TestCollect(t *testing.T) {
	want := `
# HELP xdpallow_bytes_total Bytes of the packets by what the gate decided and why.
# TYPE xdpallow_bytes_total counter
xdpallow_bytes_total{family="ipv4",interface="eth0",layer="xdp",reason="listed",verdict="pass"} 888
xdpallow_bytes_total{family="ipv6",interface="eth0",layer="xdp",reason="not_listed",verdict="drop"} 0
# HELP xdpallow_enforcing Whether a SYN from an unlisted source was found to be dropped on every attached interface (1) or not (0).
# TYPE xdpallow_enforcing gauge
xdpallow_enforcing 1
# HELP xdpallow_entries Prefixes in the policy that is enforced.
# TYPE xdpallow_entries gauge
xdpallow_entries{family="ipv4"} 2
xdpallow_entries{family="ipv6"} 1
# HELP xdpallow_generation Number of the policy that is enforced.
# TYPE xdpallow_generation gauge
xdpallow_generation 7
# HELP xdpallow_interface_info An interface of the gate and how the program is attached: native, generic or none.
# TYPE xdpallow_interface_info gauge
xdpallow_interface_info{attach="native",interface="eth0"} 1
xdpallow_interface_info{attach="none",interface="eth1"} 1
# HELP xdpallow_origin_entries Prefixes that an origin gives.
# TYPE xdpallow_origin_entries gauge
xdpallow_origin_entries{origin="cli"} 1
xdpallow_origin_entries{origin="file:a.list"} 2
# HELP xdpallow_origin_up Whether the last reading of an origin was taken over (1) or its last good content is kept (0).
# TYPE xdpallow_origin_up gauge
xdpallow_origin_up{origin="cli"} 1
xdpallow_origin_up{origin="file:a.list"} 0
# HELP xdpallow_packets_total Packets by what the gate decided and why.
# TYPE xdpallow_packets_total counter
xdpallow_packets_total{family="ipv4",interface="eth0",layer="xdp",reason="listed",verdict="pass"} 12
xdpallow_packets_total{family="ipv6",interface="eth0",layer="xdp",reason="not_listed",verdict="drop"} 0
`
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(NewCollector(sample()))
	if err := testutil.GatherAndCompare(registry, strings.NewReader(want),
		"xdpallow_bytes_total", "xdpallow_enforcing", "xdpallow_entries", "xdpallow_generation", "xdpallow_interface_info",
		"xdpallow_origin_entries", "xdpallow_origin_up", "xdpallow_packets_total"); err != nil {
		t.Error(err)
	}
	if n, err := testutil.GatherAndCount(registry, "xdpallow_build_info"); err != nil || n != 1 {
		t.Errorf("build info: %d series, %v", n, err)
	}
	problems, err := testutil.GatherAndLint(registry)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

func TestHandler(t *testing.T) {
	fetch := func(s Source) (int, string) {
		server := httptest.NewServer(Handler(s))
		defer server.Close()
		resp, err := http.Get(server.URL)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(body)
	}
	code, body := fetch(sample())
	if code != http.StatusOK || !strings.Contains(body, "xdpallow_generation 7\n") || !strings.Contains(body, "process_open_fds") {
		t.Errorf("scrape: %d\n%s", code, body)
	}
	broken := sample()
	broken.err = errors.New("read the counters: gone")
	code, body = fetch(broken)
	if code != http.StatusInternalServerError || strings.Contains(body, "xdpallow_packets_total{") {
		t.Errorf("scrape of a broken gate: %d\n%s", code, body)
	}
}
