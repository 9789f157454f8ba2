// The program and the oracle agree on verdict and reason of every packet that anybody
// can think of: the promises of 0 leaks and 0 false drops, without trust in the C.
package bpf_test

import (
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"

	"github.com/xdpallow/xdpallow/bpf/bpftest/oracle"
	"github.com/xdpallow/xdpallow/maps"
	"github.com/xdpallow/xdpallow/maps/mapstest"
)

// oracleScopes are the oracle's words for the program's.
var oracleScopes = map[oracle.Scope]maps.Scope{
	oracle.SYN:        maps.ScopeSYN,
	oracle.StrayScope: maps.ScopeStray,
	oracle.Strict:     maps.ScopeStrict,
}

// judged is a shadow program and the policy that it and the oracle judge by.
type judged struct {
	policy oracle.Policy
	shadow mapstest.Program
}

func newJudged(tb testing.TB, policy oracle.Policy) judged {
	tb.Helper()
	return judged{policy, mapstest.Load(tb, tablesOf(tb, policy), true)}
}

// tablesOf are tables that hold the oracle's policy.
func tablesOf(tb testing.TB, policy oracle.Policy) *maps.Tables {
	tb.Helper()
	tables := mapstest.Tables(tb, kernelPolicy(policy))
	if err := tables.SetBackstop(policy.Backstop); err != nil {
		tb.Fatal(err)
	}
	return tables
}

// kernelPolicy is the oracle's policy as the kernel is told it.
func kernelPolicy(policy oracle.Policy) maps.Policy {
	same := maps.Policy{Generation: 1}
	for _, s := range policy.Services {
		same.Services = append(same.Services, maps.Service{
			TCP: s.TCP, UDP: s.UDP, Enforce: s.Enforce, Scope: oracleScopes[s.Scope],
		})
	}
	for _, e := range policy.Entries {
		entry := maps.Entry{Prefix: e.Prefix, Services: maps.EveryService, Suspended: e.Suspended}
		if e.Services != nil {
			entry.Services = 0
		}
		for _, n := range e.Services {
			entry.Services |= maps.ServiceBit(n)
		}
		if e.Expired {
			entry.Expires = 1
		}
		same.Entries = append(same.Entries, entry)
	}
	return same
}

// agree holds the program against the oracle; what says which policy it is.
func (j judged) agree(tb testing.TB, what string, frame []byte) bool {
	tb.Helper()
	want := oracle.Decide(frame, j.policy)
	got := maps.AnswerOf(j.shadow.Run(tb, frame))
	if got.Reason.String() != string(want.Reason) || got.Verdict.String() != string(want.Verdict) {
		tb.Errorf("%s: the program says %v, %v, the oracle %+v\n%x", what, got.Verdict, got.Reason, want, frame)
		return false
	}
	return true
}

// samples are the policies to judge by: each scope alone, and modes and scopes mixed,
// where a packet without a port gets the widest scope and any service's enforcement.
func samples(tb testing.TB) map[string]judged {
	tb.Helper()
	all := map[string]judged{}
	for scope, name := range map[oracle.Scope]string{oracle.SYN: "syn", oracle.StrayScope: "stray", oracle.Strict: "strict"} {
		all[name] = newJudged(tb, oracle.Sample(scope))
	}
	mixed := oracle.Sample(oracle.SYN)
	mixed.Services[0].Enforce, mixed.Services[2].Enforce = false, false
	mixed.Services[0].Scope, mixed.Services[1].Scope = oracle.StrayScope, oracle.Strict
	mixed.Backstop = true
	all["audit of mixed scopes"] = newJudged(tb, mixed)
	return all
}

func testSeed(tb testing.TB) uint64 {
	tb.Helper()
	seed, err := strconv.ParseUint(os.Getenv("TEST_SEED"), 10, 64)
	if err != nil {
		seed = rand.Uint64()
	}
	tb.Logf("TEST_SEED=%d", seed)
	return seed
}

func TestProgramAgreesWithOracle(t *testing.T) {
	const packets = 40_000
	seed := testSeed(t)
	for name, j := range samples(t) {
		t.Run(name, func(t *testing.T) {
			g := oracle.NewGenerator(seed, j.policy)
			for differ, n := 0, 0; n < packets && differ < 10; n++ {
				frame := g.Generate()
				if n%2 == 0 {
					frame = g.Mutate(frame)
				}
				if !j.agree(t, name, frame) {
					differ++
				}
			}
		})
	}
}

// Where frames have no Ethernet header the program reads the same packets the same way,
// and nothing of what begins otherwise.
func TestProgramAgreesWithOracleOnTunnels(t *testing.T) {
	const packets, shortest = 20_000, 14 // a test run takes no less
	seed := testSeed(t)
	for _, scope := range []oracle.Scope{oracle.SYN, oracle.StrayScope, oracle.Strict} {
		policy := oracle.Sample(scope)
		policy.IPFirst = true
		j := judged{policy, mapstest.LoadIPFirst(t, tablesOf(t, policy))}
		g := oracle.NewGenerator(seed, policy)
		for differ, n := 0, 0; n < packets && differ < 10; n++ {
			frame := g.Generate()
			if n%2 == 0 {
				frame = g.Mutate(frame)
			}
			// Behind the header that other devices have, tags and all, and now and then it.
			if n%8 != 0 {
				frame = frame[14:]
			}
			if len(frame) >= shortest && !j.agree(t, fmt.Sprintf("scope %d", scope), frame) {
				differ++
			}
		}
	}
}

// FuzzDecide looks for a packet on which they differ, guided by the oracle's branches.
func FuzzDecide(f *testing.F) {
	for _, c := range readCases(f) {
		for _, text := range c.Frames {
			frame, err := hex.DecodeString(text)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(frame)
		}
	}
	all := samples(f)
	f.Fuzz(func(t *testing.T, frame []byte) {
		// A test run takes no less than an Ethernet header; from 3520 bytes on it
		// splits the frame, and a header behind the first part is malformed.
		if len(frame) < 14 || len(frame) > 3000 {
			return
		}
		for name, j := range all {
			j.agree(t, name, frame)
		}
	})
}
