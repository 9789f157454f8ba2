// An audit with an end ends by itself, though nobody writes and the daemon be dead: the
// break-glass that lets everyone in is not left open by mistake.
package maps_test

import (
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/google/go-cmp/cmp"

	"github.com/xdpallow/xdpallow/bpf"
	"github.com/xdpallow/xdpallow/maps"
	"github.com/xdpallow/xdpallow/maps/counters"
	"github.com/xdpallow/xdpallow/maps/mapstest"
)

// change is a question whose verdict goes from audit to drop at a time, or never at 0.
type change struct {
	name  string
	frame mapstest.Frame
	at    uint64
}

// watch asks all questions until the last has changed and a bit longer.
func watch(t *testing.T, gate, shadow mapstest.Program, changes []change) {
	t.Helper()
	const drop, pass = 1, 2
	var last uint64
	for _, c := range changes {
		last = max(last, c.at)
	}
	early, late := make([]int, len(changes)), make([]int, len(changes))
	for boottime(t) < last+50e6 {
		for i, c := range changes {
			start := boottime(t)
			answer, action := maps.AnswerOf(shadow.Run(t, c.frame.Bytes())), gate.Run(t, c.frame.Bytes())
			end := boottime(t)
			if c.at == 0 || end < c.at {
				if early[i]++; answer.Verdict != maps.Audit || action != pass {
					t.Errorf("%s, before its end: %v, action %d", c.name, answer.Verdict, action)
				}
			} else if start > c.at {
				if late[i]++; answer.Verdict != maps.Drop || action != drop {
					t.Errorf("%s, %v after its end: %v, action %d", c.name, time.Duration(start-c.at), answer.Verdict, action)
				}
			}
		}
		time.Sleep(2 * time.Millisecond)
	}
	for i, c := range changes {
		if early[i] == 0 || late[i] == 0 && c.at != 0 {
			t.Errorf("%s: asked %d times before its end and %d after", c.name, early[i], late[i])
		}
	}
}

// afterPublish is a time soon after a publish that starts now, however slow the machine.
func afterPublish(t *testing.T, tables *maps.Tables) uint64 {
	t.Helper()
	start := boottime(t)
	mapstest.Publish(t, tables, policyOf(2))
	now := boottime(t)
	return now + 3*(now-start) + 200e6
}

func TestAuditEndsByItself(t *testing.T) {
	tables := mapstest.Tables(t, policyOf(1))
	gate, shadow := mapstest.Load(t, tables, false), mapstest.Load(t, tables, true)
	first := afterPublish(t, tables)
	second := first + 200e6
	policy := policyOf(3, "192.0.2.0/24")
	policy.Services = []maps.Service{
		{TCP: []uint16{1001}, AuditUntil: second},
		{TCP: []uint16{1002}, UDP: []uint16{1002}, AuditUntil: first},
		{TCP: []uint16{1003}}, // a permanent one
	}
	mapstest.Publish(t, tables, policy)
	read := func() []byte {
		rows, err := tables.Replacements()[bpf.XdpallowMapPolicy].LookupBytes(uint32(1))
		if err != nil {
			t.Fatal(err)
		}
		return rows
	}
	before := read()
	unlisted := func(port uint16) mapstest.Frame { return mapstest.Opening(addr("198.51.100.1"), port) }
	six := mapstest.Opening(addr("2001:db8::1"), 1002)
	udp, fragment := unlisted(1002), unlisted(1003)
	udp.UDP, fragment.Fragment = true, 1
	watch(t, gate, shadow, []change{
		{"service 1", unlisted(1001), second},
		{"service 2", unlisted(1002), first},
		{"service 2, IPv6", six, first},
		{"service 2, UDP", udp, first},
		{"service 3, audited for good", unlisted(1003), 0},
		{"without a port, as the first that enforces", fragment, first},
	})
	for _, port := range []uint16{1001, 1002, 1003} {
		if got := maps.AnswerOf(shadow.Run(t, mapstest.Opening(addr("192.0.2.1"), port).Bytes())); got.Verdict != maps.Pass {
			t.Errorf("listed, port %d: %v", port, got.Verdict)
		}
	}
	if diff := cmp.Diff(before, read()); diff != "" {
		t.Errorf("somebody wrote the policy\n%s", diff)
	}
	if same, err := tables.SameServices(policy); !same || err != nil {
		t.Errorf("same services: %v, %v", same, err)
	}
}

// What an owner is charged with goes by the same verdict.
func TestChargesFollowTheEndOfAnAudit(t *testing.T) {
	tables := mapstest.Tables(t, policyOf(1))
	gate := mapstest.Load(t, tables, false)
	setOwner(t, tables, 1, maps.Owner{Suspended: true})
	end := afterPublish(t, tables)
	policy := policyOf(3)
	policy.Entries = []maps.Entry{owned("192.0.2.0/24", 1)}
	policy.Services[0].Enforce, policy.Services[0].AuditUntil = false, end
	mapstest.Publish(t, tables, policy)
	opening := mapstest.Opening(addr("192.0.2.1"), port).Bytes()
	gate.Run(t, opening)
	if boottime(t) >= end {
		t.Fatal("too slow to tell")
	}
	for boottime(t) <= end {
		time.Sleep(5 * time.Millisecond)
	}
	gate.Run(t, opening)
	once := map[maps.Reason]uint64{maps.Suspended: 1}
	want := map[uint16]maps.Openings{1: {Dropped: once, Audited: once}}
	if diff := cmp.Diff(want, charged(t, tables)); diff != "" {
		t.Errorf("openings (-want +got)\n%s", diff)
	}
}

// Each packet is judged once: what it was counted as is what its owner is charged with,
// also where an audit ends meanwhile.
func TestVerdictAndChargeAreOne(t *testing.T) {
	const packets = 1 << 21
	tables := mapstest.Tables(t, policyOf(1))
	gate := mapstest.Load(t, tables, false)
	setOwner(t, tables, 1, maps.Owner{Suspended: true})
	policy := policyOf(2)
	policy.Entries = []maps.Entry{owned("192.0.2.0/24", 1)}
	policy.Services[0].Enforce = false
	mapstest.Publish(t, tables, policy)
	done := make(chan error)
	go func() {
		frame := mapstest.Opening(addr("192.0.2.1"), port).Bytes()
		_, err := gate.Program.Run(&ebpf.RunOptions{Data: frame, Repeat: packets})
		done <- err
	}()
	audits := 0
	for running := true; running; audits++ {
		policy.Services[0].AuditUntil = boottime(t) + 500e3
		if err := tables.RestorePolicy(policy); err != nil {
			t.Error(err)
		}
		select {
		case err := <-done:
			if err != nil {
				t.Fatal(err)
			}
			running = false
		case <-time.After(time.Millisecond):
		}
	}
	_, charged := bucket(t, tables, 1)
	counted := gate.Counted(t)
	for verdict, owner := range map[maps.Verdict]uint64{maps.Audit: charged.Audited[maps.Suspended], maps.Drop: charged.Dropped[maps.Suspended]} {
		if owner == 0 {
			t.Errorf("none of %d packets met %v: this was no test", packets, verdict)
		}
		series := counters.Series{Verdict: verdict, Reason: maps.Suspended, Family: maps.IPv4}
		if n := counted[series].Packets; n != owner {
			t.Errorf("over the ends of %d audits %d packets were counted as %v, and their owner charged with %d", audits, n, verdict, owner)
		}
	}
}

// One service that enforces, or audits for good, says what becomes of packets without a
// port: drop as soon as any would.
func TestPortlessRowOfTimedAudits(t *testing.T) {
	const long = 3600e9
	now := boottime(t)
	fragment := mapstest.Opening(addr("198.51.100.1"), 1001)
	fragment.Fragment = 1
	tables := mapstest.Tables(t, policyOf(1))
	shadow := mapstest.Load(t, tables, true)
	for name, c := range map[string]struct {
		services []maps.Service
		want     maps.Verdict
	}{
		"ends later":                     {[]maps.Service{{AuditUntil: now + long}}, maps.Audit},
		"ended":                          {[]maps.Service{{AuditUntil: 1}}, maps.Drop},
		"one ended, one later":           {[]maps.Service{{AuditUntil: now + long}, {AuditUntil: 1}}, maps.Drop},
		"one ended, one for good":        {[]maps.Service{{}, {AuditUntil: 1}}, maps.Drop},
		"one ends later, one for good":   {[]maps.Service{{}, {AuditUntil: now + long}}, maps.Audit},
		"one ends later, one enforces":   {[]maps.Service{{AuditUntil: now + long}, {Enforce: true}}, maps.Drop},
		"one enforces, one for good":     {[]maps.Service{{Enforce: true}, {}}, maps.Drop},
		"for good":                       {[]maps.Service{{}, {}}, maps.Audit},
		"an end is nothing to enforcing": {[]maps.Service{{Enforce: true, AuditUntil: now + long}}, maps.Drop},
	} {
		policy := policyOf(tables.Generation() + 1)
		policy.Services = c.services
		for i := range policy.Services {
			policy.Services[i].TCP = []uint16{uint16(1001 + i)}
		}
		mapstest.Publish(t, tables, policy)
		if got := maps.AnswerOf(shadow.Run(t, fragment.Bytes())); got != (maps.Answer{Verdict: c.want, Reason: maps.Fragment}) {
			t.Errorf("%s: %v", name, got)
		}
	}
}
