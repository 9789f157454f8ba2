package metrics

// Promises guarded here: every counter reaches Prometheus under its words
// in the kernel, zero rows too; a scrape that fails says so; the names lint; a
// text file says what a scrape says; thousands of owners are no burden.

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/xdpallow/xdpallow/loader/api"
)

type source struct {
	answer Snapshot
	err    error
}

func (s source) Snapshot(context.Context) (Snapshot, error) { return s.answer, s.err }

func sample() source {
	seen := time.Unix(1700000000, 0)
	return source{answer: Snapshot{
		Status: api.Status{
			Enforcing: true, Families: api.Families{IPv4: 2, IPv6: 1}, Generation: 7, Expiring: 2, Version: "v1",
			Interfaces: []api.Interface{
				{Name: "eth0", Attach: "native", Attached: true},
				{Name: "eth1", Attach: "native"}, // was native, is gone
			},
			Origins: []api.OriginStatus{{Name: "cli", Entries: 1}, {Name: "file:a.list", Entries: 2, Error: "a.list:3: bad"}, {Name: "etcd:prod", Mark: "58"}, {Name: "url:b", Mark: "7", LastSuccess: &seen}},
		},
		Stats: api.Stats{Counters: []api.Counter{
			{Interface: "eth0", Layer: "xdp", Verdict: "pass", Reason: "listed", Family: "ipv4", Packets: 12, Bytes: 888},
			{Interface: "eth0", Layer: "xdp", Verdict: "drop", Reason: "not_listed", Family: "ipv6"},
		}, EventsLost: 9, Repairs: map[string]uint64{"entry": 3, "new_word": 1}, Owners: []api.Owner{
			{Owner: "acme", Passed: 12, Audited: 1, NearMisses: 5}, {Dropped: map[string]uint64{"expired": 1, "suspended": 3}},
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
# HELP xdpallow_entries_expiring Prefixes in the policy that end within 14 days.
# TYPE xdpallow_entries_expiring gauge
xdpallow_entries_expiring 2
# HELP xdpallow_events_lost_total Sampled drops that were lost before anybody read them.
# TYPE xdpallow_events_lost_total counter
xdpallow_events_lost_total 9
# HELP xdpallow_generation Number of the policy that is enforced.
# TYPE xdpallow_generation gauge
xdpallow_generation 7
# HELP xdpallow_interface_info An interface of the gate and how the program is attached: native, generic or none.
# TYPE xdpallow_interface_info gauge
xdpallow_interface_info{attach="native",interface="eth0"} 1
xdpallow_interface_info{attach="none",interface="eth1"} 1
# HELP xdpallow_near_misses_total Dropped openings from unlisted sources in the same /24 or /48 as a prefix of the owner.
# TYPE xdpallow_near_misses_total counter
xdpallow_near_misses_total{owner="-"} 0
xdpallow_near_misses_total{owner="acme"} 5
# HELP xdpallow_origin_entries Prefixes that an origin gives.
# TYPE xdpallow_origin_entries gauge
xdpallow_origin_entries{origin="cli"} 1
xdpallow_origin_entries{origin="file:a.list"} 2
xdpallow_origin_entries{origin="etcd:prod"} 0
xdpallow_origin_entries{origin="url:b"} 0
# HELP xdpallow_origin_last_success_timestamp_seconds When a list that is kept elsewhere was last reached and taken over, in Unix time.
# TYPE xdpallow_origin_last_success_timestamp_seconds gauge
xdpallow_origin_last_success_timestamp_seconds{origin="url:b"} 1.7e+09
# HELP xdpallow_origin_serial Serial number of the fleet's list that is enforced.
# TYPE xdpallow_origin_serial gauge
xdpallow_origin_serial{origin="etcd:prod"} 58
# HELP xdpallow_origin_up Whether the last reading of an origin was taken over (1) or its last good content is kept (0).
# TYPE xdpallow_origin_up gauge
xdpallow_origin_up{origin="cli"} 1
xdpallow_origin_up{origin="etcd:prod"} 1
xdpallow_origin_up{origin="file:a.list"} 0
xdpallow_origin_up{origin="url:b"} 1
# HELP xdpallow_owner_openings_total TCP openings from the prefixes of an owner by what the gate decided.
# TYPE xdpallow_owner_openings_total counter
xdpallow_owner_openings_total{owner="-",verdict="audit"} 0
xdpallow_owner_openings_total{owner="-",verdict="drop"} 4
xdpallow_owner_openings_total{owner="-",verdict="pass"} 0
xdpallow_owner_openings_total{owner="acme",verdict="audit"} 1
xdpallow_owner_openings_total{owner="acme",verdict="drop"} 0
xdpallow_owner_openings_total{owner="acme",verdict="pass"} 12
# HELP xdpallow_packets_total Packets by what the gate decided and why.
# TYPE xdpallow_packets_total counter
xdpallow_packets_total{family="ipv4",interface="eth0",layer="xdp",reason="listed",verdict="pass"} 12
xdpallow_packets_total{family="ipv6",interface="eth0",layer="xdp",reason="not_listed",verdict="drop"} 0
# HELP xdpallow_repairs_total What somebody else changed in the kernel and the daemon put right.
# TYPE xdpallow_repairs_total counter
xdpallow_repairs_total{what="backstop"} 0
xdpallow_repairs_total{what="current"} 0
xdpallow_repairs_total{what="driver"} 0
xdpallow_repairs_total{what="entry"} 3
xdpallow_repairs_total{what="link"} 0
xdpallow_repairs_total{what="map"} 0
xdpallow_repairs_total{what="new_word"} 1
xdpallow_repairs_total{what="prefilter"} 0
xdpallow_repairs_total{what="program"} 0
xdpallow_repairs_total{what="services"} 0
`
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(NewCollector(sample()))
	if err := testutil.GatherAndCompare(registry, strings.NewReader(want),
		"xdpallow_bytes_total", "xdpallow_enforcing", "xdpallow_entries", "xdpallow_entries_expiring", "xdpallow_events_lost_total",
		"xdpallow_generation", "xdpallow_interface_info", "xdpallow_near_misses_total", "xdpallow_origin_entries", "xdpallow_origin_up",
		"xdpallow_owner_openings_total", "xdpallow_packets_total", "xdpallow_repairs_total"); err != nil {
		t.Error(err)
	}
	if n, err := testutil.GatherAndCount(registry, "xdpallow_build_info"); err != nil || n != 1 {
		t.Errorf("build info: %d series, %v", n, err)
	}
	problems, err := testutil.CollectAndLint(NewCollector(sample()))
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

func TestWrite(t *testing.T) {
	var text strings.Builder
	if err := Write(&text, sample().answer); err != nil {
		t.Fatal(err)
	}
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(NewCollector(sample()))
	if err := testutil.GatherAndCompare(registry, strings.NewReader(text.String())); err != nil {
		t.Error(err)
	}
	broken := sample().answer
	broken.Stats.Owners = append(broken.Stats.Owners, broken.Stats.Owners[0]) // a reading that contradicts itself
	text.Reset()
	if err := Write(&text, broken); err == nil || text.Len() > 0 {
		t.Errorf("a broken reading was written: %v\n%s", err, text.String())
	}
}

// A daemon has at most 4,096 owners: eight times as many must not cost many times
// that.
func TestOwnersScale(t *testing.T) {
	scrape := func(owners int) (fastest time.Duration) {
		s := Snapshot{}
		for i := range owners {
			s.Stats.Owners = append(s.Stats.Owners, api.Owner{Owner: fmt.Sprintf("owner-%d", i)})
		}
		registry := prometheus.NewRegistry()
		registry.MustRegister(NewCollector(taken(s)))
		for range 5 {
			start := time.Now()
			got, err := testutil.GatherAndCount(registry, "xdpallow_owner_openings_total", "xdpallow_near_misses_total")
			if elapsed := time.Since(start); fastest == 0 || elapsed < fastest {
				fastest = elapsed
			}
			if err != nil || got != 4*owners {
				t.Fatalf("%d owners: %d series, %v", owners, got, err)
			}
		}
		return fastest
	}
	few, many := scrape(512), scrape(4096)
	t.Logf("512 owners: %v, 4,096 owners: %v", few, many)
	if many > 8*4*few {
		t.Errorf("a scrape of 512 owners takes %v, of 4,096 %v", few, many)
	}
}

// Promise: that changes cannot be kept, because the disk is full or read-only, is a series:
// nobody looks at status before he needs a change.
func TestStateWritable(t *testing.T) {
	for code, want := range map[string]string{"state_unwritable": "0", "state_damaged": "1"} {
		source := sample()
		source.answer.Status.Problems = []api.Problem{{Code: code}}
		registry := prometheus.NewPedanticRegistry()
		registry.MustRegister(NewCollector(source))
		text := "# HELP xdpallow_state_writable Whether changes can be kept in the state directory (1) or are refused (0).\n# TYPE xdpallow_state_writable gauge\nxdpallow_state_writable " + want + "\n"
		if err := testutil.GatherAndCompare(registry, strings.NewReader(text), "xdpallow_state_writable"); err != nil {
			t.Errorf("%s: %v", code, err)
		}
	}
}
