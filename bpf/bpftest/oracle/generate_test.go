// A generator that never reaches a reason would let a property hold by luck.
package oracle_test

import (
	"math/rand/v2"
	"os"
	"strconv"
	"testing"

	"github.com/xdpallow/xdpallow/bpf/bpftest/oracle"
)

func seed(t *testing.T) uint64 {
	t.Helper()
	n, err := strconv.ParseUint(os.Getenv("TEST_SEED"), 10, 64)
	if err != nil {
		n = rand.Uint64()
	}
	t.Logf("TEST_SEED=%d", n)
	return n
}

func TestEveryReasonIsGenerated(t *testing.T) {
	const packets = 20_000
	from := seed(t)
	always := []oracle.Reason{
		oracle.NotIP, oracle.OtherProtocol, oracle.OtherPort, oracle.NotOpening, oracle.Listed,
		oracle.Malformed, oracle.TooDeep, oracle.SourceRoute, oracle.Fragment, oracle.SourcePortZero,
		oracle.NotListed, oracle.Expired, oracle.WrongService, oracle.Suspended, oracle.Tunnel,
	}
	for scope, wider := range [][]oracle.Reason{{}, {oracle.Stray}, {oracle.Unknown}} {
		policy := oracle.Sample(oracle.Scope(scope))
		g := oracle.NewGenerator(from, policy)
		counts := map[oracle.Reason]int{}
		for n := range packets {
			frame := g.Generate()
			if n%2 == 0 {
				frame = g.Mutate(frame)
			}
			counts[oracle.Decide(frame, policy).Reason]++
		}
		t.Logf("scope %d: %v", scope, counts)
		for _, reason := range append(wider, always...) {
			if counts[reason] < packets/500 {
				t.Errorf("scope %d: %d of %d are %s", scope, counts[reason], packets, reason)
			}
		}
	}
}
