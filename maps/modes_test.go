// Modes that change in place: whoever is let in or dropped is so by the old modes or by the new
// ones, and nothing else about the live policy changes.
package maps_test

import (
	"errors"
	"testing"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/google/go-cmp/cmp"

	"github.com/xdpallow/xdpallow/bpf"
	"github.com/xdpallow/xdpallow/maps"
	"github.com/xdpallow/xdpallow/maps/mapstest"
)

// twoServices have a port each; the second has a wider scope.
func twoServices(first, second maps.Service) []maps.Service {
	first.TCP = []uint16{1001}
	second.TCP, second.UDP, second.Scope = []uint16{1002}, []uint16{1002}, maps.ScopeStrict
	return []maps.Service{first, second}
}

// Promise: a mode that changes in place is that of its service and of no other, for listed and
// unlisted, suspended and portless packets; entries stay with what they have counted, and the
// generation is the new one. With the end of an audit it enforces by itself.
func TestModesChangeInPlace(t *testing.T) {
	enforced, audited := maps.Service{Enforce: true}, maps.Service{}
	tables := mapstest.Tables(t, maps.Policy{
		Generation: 1, Services: twoServices(enforced, enforced),
		Entries: append(entriesOf("192.0.2.0/24"), maps.Entry{Prefix: entriesOf("198.51.100.0/24")[0].Prefix, Services: maps.EveryService, Suspended: true}),
	})
	gate, shadow := mapstest.Load(t, tables, false), mapstest.Load(t, tables, true)
	tries := must(tables.Tries())(t)
	ends := boottime(t) + 2e9
	timed, over := maps.Service{AuditUntil: ends}, maps.Service{AuditUntil: 1}
	used := uint32(0)
	for i, c := range []struct {
		name                    string
		services                []maps.Service
		first, second, portless maps.Verdict
	}{
		{"the first audits for a while", twoServices(timed, enforced), maps.Audit, maps.Drop, maps.Drop},
		{"both do", twoServices(timed, timed), maps.Audit, maps.Audit, maps.Audit},
		{"the first enforces again", twoServices(enforced, timed), maps.Drop, maps.Audit, maps.Drop},
		{"both enforce", twoServices(enforced, enforced), maps.Drop, maps.Drop, maps.Drop},
		{"audits that are over", twoServices(over, over), maps.Drop, maps.Drop, maps.Drop},
		{"both enforce, again", twoServices(enforced, enforced), maps.Drop, maps.Drop, maps.Drop},
		{"the second audits for good", twoServices(enforced, audited), maps.Drop, maps.Audit, maps.Drop},
		{"both audit, the first for a while", twoServices(timed, audited), maps.Audit, maps.Audit, maps.Audit},
	} {
		generation := uint64(i + 2)
		if err := tables.SetModes(c.services, generation); err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		for source, reason := range map[string]maps.Reason{"203.0.113.1": maps.NotListed, "198.51.100.1": maps.Suspended} {
			for port, want := range map[uint16]maps.Verdict{1001: c.first, 1002: c.second} {
				frame := mapstest.Opening(addr(source), port)
				got, action := maps.AnswerOf(shadow.Run(t, frame.Bytes())), gate.Run(t, frame.Bytes())
				if got.Verdict != want || got.Reason != reason || (action == 1) != (want == maps.Drop) {
					t.Errorf("%s: %s to %d: %v, action %d, want %v %v", c.name, source, port, got, action, want, reason)
				}
			}
		}
		fragment := mapstest.Opening(addr("203.0.113.1"), 1001)
		fragment.Fragment = 1
		if got := maps.AnswerOf(shadow.Run(t, fragment.Bytes())); got.Verdict != c.portless || got.Reason != maps.Fragment {
			t.Errorf("%s: a fragment: %v, want %v", c.name, got, c.portless)
		}
		listed := mapstest.Opening(addr("192.0.2.1"), 1001).Bytes()
		if got := maps.AnswerOf(shadow.Run(t, listed)); got != (maps.Answer{Verdict: maps.Pass, Reason: maps.Listed}) {
			t.Errorf("%s: listed: %v", c.name, got)
		}
		gate.Run(t, listed)
		used++
		if got := hits(t, liveEntries(t, tables))["192.0.2.0/24"]; got != used {
			t.Errorf("%s: the entry has %d hits, want %d", c.name, got, used)
		}
		if now := must(tables.Tries())(t); now != tries || tables.Generation() != generation {
			t.Errorf("%s: tries %v, generation %d, want %v and %d", c.name, now, tables.Generation(), tries, generation)
		}
		for what, same := range map[string]bool{"services": must(tables.SameServices(maps.Policy{Services: c.services}))(t), "current": must(tables.SameCurrent())(t)} {
			if !same {
				t.Errorf("%s: the kernel has other %s", c.name, what)
			}
		}
	}
	watch(t, gate, shadow, []change{
		{"the first", mapstest.Opening(addr("203.0.113.1"), 1001), ends},
		{"the second", mapstest.Opening(addr("203.0.113.1"), 1002), 0},
	})
}

// Promise: what is more than modes is not taken in place, and changes nothing.
func TestOnlyModesChangeInPlace(t *testing.T) {
	enforced := maps.Service{Enforce: true}
	services := twoServices(enforced, enforced)
	tables := mapstest.Tables(t, maps.Policy{Generation: 1, Services: services, Entries: entriesOf("192.0.2.0/24")})
	read := func() []byte {
		return must(tables.Replacements()[bpf.XdpallowMapPolicy].LookupBytes(uint32(1)))(t)
	}
	before := read()
	for name, change := range map[string]func([]maps.Service) []maps.Service{
		"a port more":     func(s []maps.Service) []maps.Service { s[0].TCP = []uint16{1001, 1003}; return s },
		"another port":    func(s []maps.Service) []maps.Service { s[1].UDP = []uint16{1003}; return s },
		"a wider scope":   func(s []maps.Service) []maps.Service { s[0].Scope = maps.ScopeStray; return s },
		"a service less":  func(s []maps.Service) []maps.Service { return s[:1] },
		"the other order": func(s []maps.Service) []maps.Service { return []maps.Service{s[1], s[0]} },
	} {
		next := change(twoServices(maps.Service{}, maps.Service{}))
		if err := tables.SetModes(next, 2); !errors.Is(err, maps.ErrPatch) {
			t.Errorf("%s: %v, want %v", name, err, maps.ErrPatch)
		}
		if diff := cmp.Diff(before, read()); diff != "" || tables.Generation() != 1 {
			t.Errorf("%s: generation %d, and the kernel has something else", name, tables.Generation())
		}
	}
	stale, err := maps.OpenTables(mapstest.Pins{})
	if err != nil {
		t.Fatal(err)
	}
	defer stale.Close()
	if err := stale.SetModes(services, 2); !errors.Is(err, maps.ErrPatch) {
		t.Errorf("before the first publish: %v, want %v", err, maps.ErrPatch)
	}
}

const rowShut, rowOpen = 1, 2

// slowJudge reads the mode of the first service as the gate does, and then the end of its audit. In
// between it dawdles for some ms: it meets nearly every write.
func slowJudge(t *testing.T, tables *maps.Tables) *ebpf.Program {
	t.Helper()
	var policy bpf.XdpallowPolicy
	row, end := int16(unsafe.Sizeof(policy.Services[0])), int16(unsafe.Offsetof(policy.Services[0].AuditUntil))
	program := asm.Instructions{
		asm.StoreImm(asm.RFP, -4, 1, asm.Word), // the slot of the first publish
		asm.LoadMapPtr(asm.R1, tables.Replacements()[bpf.XdpallowMapPolicy].FD()),
		asm.Mov.Reg(asm.R2, asm.RFP),
		asm.Add.Imm(asm.R2, -4),
		asm.FnMapLookupElem.Call(),
		asm.JEq.Imm(asm.R0, 0, "shut"),
		asm.Mov.Reg(asm.R7, asm.R0),
		asm.LoadMem(asm.R8, asm.R7, row, asm.Word), // its refusal
	}
	program = append(program, dawdle()...)
	program = append(program,
		asm.JNE.Imm(asm.R8, int32(bpf.XdpallowVerdictVERDICT_AUDIT), "shut"),
		asm.LoadMem(asm.R8, asm.R7, row+end, asm.DWord),
		asm.JNE.Imm(asm.R8, 0, "shut"), // it was over long ago
		asm.Mov.Imm(asm.R0, rowOpen),
		asm.Return(),
		asm.Mov.Imm(asm.R0, rowShut).WithSymbol("shut"),
		asm.Return(),
	)
	return loadSlow(t, program)
}

// endSlowly has a slow judge look while end makes services enforce of which one is in an audit that
// was over long ago, again and again. It returns how often it looked, and let a packet in.
func endSlowly(t *testing.T, end func(*maps.Tables, []maps.Service) error, enough func(rounds, let int) bool) (looks, let int) {
	t.Helper()
	enforced, over := maps.Service{Enforce: true}, maps.Service{AuditUntil: 1}
	was := maps.Policy{Generation: 1, Services: twoServices(over, enforced)}
	tables := mapstest.Tables(t, was)
	return runSlowly(t, slowJudge(t, tables), rowShut, func(let func() int) {
		for round := 0; !enough(round, let()); round++ {
			if err := tables.RestorePolicy(was); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Duration(round%4) * time.Millisecond)
			if err := end(tables, twoServices(enforced, enforced)); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// Promise: an audit that is over lets nobody in while it is ended, however slow a packet is.
func TestEndOfAnAuditWaitsForSlowPackets(t *testing.T) {
	end := func(tables *maps.Tables, services []maps.Service) error { return tables.SetModes(services, 2) }
	looks, let := endSlowly(t, end, func(rounds, _ int) bool { return rounds == 50 })
	if t.Logf("%d looks", looks); looks < 50 || let != 0 {
		t.Errorf("%d of %d packets were let in", let, looks)
	}
}

// The slow judge sees it when mode and end are written at once.
func TestSlowJudgeSeesOneWrite(t *testing.T) {
	end := func(tables *maps.Tables, services []maps.Service) error {
		return tables.RestorePolicy(maps.Policy{Services: services})
	}
	looks, let := endSlowly(t, end, func(rounds, let int) bool { return let > 0 || rounds == 20_000 })
	if t.Logf("%d looks", looks); let == 0 {
		t.Error("the slow judge is blind")
	}
}
