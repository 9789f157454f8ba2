// The public packet cases: verdict, reason and complete counter delta of each
// frame. They guard the promise of 0 leaks, and the reasons that operators read.
package bpf_test

import (
	"bufio"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/google/go-cmp/cmp"

	"github.com/xdpallow/xdpallow/bpf"
	"github.com/xdpallow/xdpallow/maps"
	"github.com/xdpallow/xdpallow/maps/counters"
	"github.com/xdpallow/xdpallow/maps/mapstest"
)

// packetCase is one line of testdata/packets.jsonl: verdicts by a decider written
// from the rules of README.md, never recorded from a run of this program.
type packetCase struct {
	ID, Name string
	Source   netip.Addr `json:"src"`
	Frames   []string
	Reasons  map[string][]string // by scope, one a frame

	SYN, Stray, Strict string // one letter a frame: P or D
}

func (c packetCase) drops(scope maps.Scope, frame int) bool {
	return map[maps.Scope]string{maps.ScopeSYN: c.SYN, maps.ScopeStray: c.Stray, maps.ScopeStrict: c.Strict}[scope][frame] == 'D'
}

var scopes = map[maps.Scope]string{maps.ScopeSYN: "syn", maps.ScopeStray: "stray", maps.ScopeStrict: "strict"}

func readCases(t testing.TB) []packetCase {
	t.Helper()
	f, err := os.Open("../testdata/packets.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var cases []packetCase
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var c packetCase
		if err := json.Unmarshal(lines.Bytes(), &c); err != nil {
			t.Fatal(err)
		}
		cases = append(cases, c)
	}
	if len(cases) < 156 {
		t.Fatalf("%d cases, there are 156 at least", len(cases))
	}
	return cases
}

// casesPolicy is the policy that packets.jsonl was written for.
func casesPolicy(enforce bool, scope maps.Scope) maps.Policy {
	return maps.Policy{
		Generation: 1,
		Services:   []maps.Service{{TCP: []uint16{8443}, Enforce: enforce, Scope: scope}},
		Entries: []maps.Entry{
			{Prefix: netip.MustParsePrefix("198.18.5.0/24"), Services: maps.EveryService},
			{Prefix: netip.MustParsePrefix("fd00:18:0:5::/64"), Services: maps.EveryService},
		},
	}
}

func TestPublicCases(t *testing.T) {
	for scope, name := range scopes {
		for _, enforce := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s,enforce=%v", name, enforce), func(t *testing.T) {
				tables := mapstest.Tables(t, casesPolicy(enforce, scope))
				gate, shadow := mapstest.Load(t, tables, false), mapstest.Load(t, tables, true)
				for _, c := range readCases(t) {
					for i := range c.Frames {
						checkFrame(t, gate, shadow, c, i, scope, enforce)
					}
				}
			})
		}
	}
}

// checkFrame holds one frame of a case against both programs.
func checkFrame(t *testing.T, gate, shadow mapstest.Program, c packetCase, i int, scope maps.Scope, enforce bool) {
	t.Helper()
	const xdpDrop, xdpPass = 1, 2
	frame, err := hex.DecodeString(c.Frames[i])
	if err != nil {
		t.Fatal(err)
	}
	want, action := maps.Pass, uint32(xdpPass)
	if c.drops(scope, i) {
		want = maps.Audit
		if enforce {
			want, action = maps.Drop, xdpDrop
		}
	}
	before := gate.Counted(t)
	if got := gate.Run(t, frame); got != action {
		t.Errorf("%s %s, frame %d: action %d, want %d", c.ID, c.Name, i, got, action)
	}
	answer, reason := maps.AnswerOf(shadow.Run(t, frame)), c.Reasons[scopes[scope]][i]
	if answer.Reason.String() != reason || answer.Verdict != want {
		t.Errorf("%s %s, frame %d: %v, %v, want %v, %s", c.ID, c.Name, i, answer.Verdict, answer.Reason, want, reason)
	}
	// One series by one frame, and no other.
	series := counters.Series{Verdict: want, Reason: answer.Reason, Family: familyOf(frame)}
	count := before[series]
	before[series] = counters.Count{Packets: count.Packets + 1, Bytes: count.Bytes + uint64(len(frame))}
	if diff := cmp.Diff(before, gate.Counted(t)); diff != "" {
		t.Errorf("%s %s, frame %d: counters (-want +got)\n%s", c.ID, c.Name, i, diff)
	}
}

// familyOf is the family by the first ethertype that is not a tag, as far as the
// parser looks.
func familyOf(frame []byte) maps.Family {
	at := 12
	for tags := 0; at+2 <= len(frame); at += 4 {
		switch uint16(frame[at])<<8 | uint16(frame[at+1]) {
		case 0x0800:
			return maps.IPv4
		case 0x86dd:
			return maps.IPv6
		case 0x8100, 0x88a8:
			if tags++; tags > 4 {
				return maps.Other
			}
		default:
			return maps.Other
		}
	}
	return maps.Other
}

// A verifier that walks more than this on some kernel would refuse the program on
// another; 100,000 is a tenth of the limit.
func TestVerifiedInstructions(t *testing.T) {
	tables := mapstest.Tables(t, casesPolicy(true, maps.ScopeStrict))
	for name, program := range map[string]mapstest.Program{
		"program": mapstest.Load(t, tables, false), "shadow program": mapstest.Load(t, tables, true), "backstop": mapstest.LoadBackstop(t, tables),
		"shadow program without Ethernet": mapstest.LoadIPFirst(t, tables),
	} {
		info, err := program.Info()
		if err != nil {
			t.Fatal(err)
		}
		n, ok := info.VerifiedInstructions()
		t.Logf("%s: %d verified instructions", name, n)
		if !ok || n == 0 || n > 100_000 {
			t.Errorf("%s: %d verified instructions, the budget is 100,000", name, n)
		}
	}
}

// The Go names of reasons, verdicts and families are the C enumerators: counters,
// metrics and docs use one word, and an enumerator added in C alone fails here.
func TestWordsAreTheEnumerators(t *testing.T) {
	spec, err := bpf.LoadXdpallow()
	if err != nil {
		t.Fatal(err)
	}
	checkEnum(t, spec, "reason", func(n uint32) string { return maps.Reason(n).String() })
	checkEnum(t, spec, "verdict", func(n uint32) string { return maps.Verdict(n).String() })
	checkEnum(t, spec, "family", func(n uint32) string { return maps.Family(n).String() })
}

func checkEnum(t *testing.T, spec *ebpf.CollectionSpec, name string, word func(uint32) string) {
	t.Helper()
	var enum *btf.Enum
	if err := spec.Types.TypeByName(name, &enum); err != nil {
		t.Fatal(err)
	}
	for _, value := range enum.Values {
		prefix, rest, _ := strings.Cut(value.Name, "_")
		if rest == "COUNT" || rest == "ROOM" {
			continue
		}
		if got := word(uint32(value.Value)); strings.ToUpper(name) != prefix || got != strings.ToLower(rest) {
			t.Errorf("%s is %q in Go", value.Name, got)
		}
	}
}
