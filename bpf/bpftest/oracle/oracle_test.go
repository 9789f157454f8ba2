// The oracle is right about every public packet case, in every scope: else it is no
// judge of the program. It guards the promises of 0 leaks and 0 false drops.
package oracle_test

import (
	"bufio"
	"encoding/hex"
	"encoding/json"
	"net/netip"
	"os"
	"testing"

	"github.com/xdpallow/xdpallow/bpf/bpftest/oracle"
)

type packetCase struct {
	ID, Name           string
	Frames             []string
	SYN, Stray, Strict string // one letter a frame: P or D
	Reasons            struct{ SYN, Stray, Strict []string }
}

func readCases(t *testing.T) []packetCase {
	t.Helper()
	f, err := os.Open("../../../testdata/packets.jsonl")
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
func casesPolicy(scope oracle.Scope, enforce bool) oracle.Policy {
	return oracle.Policy{
		Services: []oracle.Service{{TCP: []uint16{8443}, Enforce: enforce, Scope: scope}},
		Entries: []oracle.Entry{
			{Prefix: netip.MustParsePrefix("198.18.5.0/24")},
			{Prefix: netip.MustParsePrefix("fd00:18:0:5::/64")},
		},
	}
}

func TestPublicCases(t *testing.T) {
	for _, c := range readCases(t) {
		for scope, want := range map[oracle.Scope]struct {
			letters string
			reasons []string
		}{
			oracle.SYN:        {c.SYN, c.Reasons.SYN},
			oracle.StrayScope: {c.Stray, c.Reasons.Stray},
			oracle.Strict:     {c.Strict, c.Reasons.Strict},
		} {
			for i, text := range c.Frames {
				frame, err := hex.DecodeString(text)
				if err != nil {
					t.Fatal(err)
				}
				enforced, audited := oracle.Drop, oracle.Audit
				if want.letters[i] == 'P' {
					enforced, audited = oracle.Pass, oracle.Pass
				}
				got := oracle.Decide(frame, casesPolicy(scope, true))
				if string(got.Reason) != want.reasons[i] || got.Verdict != enforced {
					t.Errorf("%s %s, frame %d, scope %d: %+v, want %s, %s",
						c.ID, c.Name, i, scope, got, enforced, want.reasons[i])
				}
				if got := oracle.Decide(frame, casesPolicy(scope, false)); got.Verdict != audited {
					t.Errorf("%s %s, frame %d, scope %d, audit: %+v", c.ID, c.Name, i, scope, got)
				}
			}
		}
	}
}

// Only stray asks for a socket, and only for an unlisted source's segment that opens
// nothing: with one, a handshake that began before a removal ends normally.
func TestSocketCountsInStrayOnly(t *testing.T) {
	cases := map[string]string{}
	for _, c := range readCases(t) {
		cases[c.ID] = c.Frames[0]
	}
	for _, c := range []struct {
		id    string // B01: SYN; T13: ACK
		scope oracle.Scope
		want  oracle.Reason
		asked bool
	}{
		{"B01", oracle.StrayScope, oracle.NotListed, false},
		{"T13", oracle.SYN, oracle.NotOpening, false},
		{"T13", oracle.StrayScope, oracle.NotOpening, true},
		{"T13", oracle.Strict, oracle.NotListed, false},
	} {
		frame, err := hex.DecodeString(cases[c.id])
		if err != nil {
			t.Fatal(err)
		}
		asked := false
		p := casesPolicy(c.scope, true)
		p.Socket = func(remote, local netip.AddrPort) bool {
			asked = true
			return remote == netip.MustParseAddrPort("198.18.7.21:20020") && local == netip.MustParseAddrPort("198.18.0.2:8443")
		}
		if got := oracle.Decide(frame, p); got.Reason != c.want || asked != c.asked {
			t.Errorf("%s in scope %d: %+v, asked %v", c.id, c.scope, got, asked)
		}
	}
}
