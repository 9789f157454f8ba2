// This file holds confirmations to "the old state or the new one, never another",
// whenever the daemon is killed or another change comes between.

package store

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	bolt "go.etcd.io/bbolt"

	"github.com/xdpallow/xdpallow/loader/policy"
)

// applyConfirmed goes through rounds of three generations: a replace that waits
// for its confirmation, an add meanwhile, and then the confirmation or, in every
// second round, the rollback.
func applyConfirmed(s *Store, generation uint64) error {
	round := (generation - 1) / 3
	var change Change
	switch step := (generation - 1) % 3; {
	case step == 0:
		change = replacement(round)
	case step == 1:
		change = Change{Put: []policy.Claim{roundClaim(round, 9)}}
	case confirmed(round):
		change = Change{Settle: true}
	default:
		undo, found, err := s.LoadUndo()
		if err != nil || !found {
			return fmt.Errorf("nothing to take back: %w", err)
		}
		change = rollback(undo)
		change.Settle = true
	}
	change.Generation, change.Log = generation, &Record{Time: time.Unix(int64(generation), 0), Command: fmt.Sprint(generation)}
	return s.Apply(change)
}

func confirmed(round uint64) bool { return round%2 == 0 }

// replacement leads from the state of the last round that was confirmed to that of
// this one, in every bucket.
func replacement(round uint64) Change {
	change := Change{
		Put:     []policy.Claim{roundClaim(round, 1), roundClaim(round, 2)},
		Suspend: []Suspension{{Subject: policy.Subject{Owner: fmt.Sprint("o", round)}, Reason: "unpaid", Time: time.Unix(1, 0).UTC()}},
		Limit:   []Limit{{Owner: "acme", PerSecond: float64(round) + 1, Burst: 4}},
		Confirm: &Confirm{Command: fmt.Sprint(round)},
	}
	if last := round - 2 + round%2; round > 0 {
		change.Delete = []netip.Prefix{roundClaim(last, 1).Prefix, roundClaim(last, 2).Prefix, roundClaim(last, 9).Prefix}
		change.Resume = []policy.Subject{{Owner: fmt.Sprint("o", last)}}
	}
	return change
}

func roundClaim(round uint64, kind byte) policy.Claim {
	addr := netip.AddrFrom4([4]byte{10, byte(round >> 8), byte(round), kind})
	return policy.Claim{Prefix: netip.PrefixFrom(addr, 32), Origin: policy.OriginCLI}
}

// confirmedState is what generation n leaves: the round whose entries stand, and
// whether the add of that round is there.
func confirmedState(n uint64) (round uint64, filled, added, waiting bool) {
	if n == 0 {
		return 0, false, false, false
	}
	round, step := (n-1)/3, (n-1)%3
	if step < 2 {
		return round, true, step == 1, true
	}
	if !confirmed(round) {
		round--
	}
	return round, true, true, false
}

// Promise: SIGKILL at random moments of confirmed and rolled back changes leaves
// entries, suspensions, limits, what waits, and the change log of one generation.
func TestConfirmSurvivesSIGKILL(t *testing.T) {
	random := testRand(t)
	dir := t.TempDir()
	var before uint64
	for round := range 12 {
		c := startChildAs(t, confirmEnv, dir)
		acked := max(before, c.apply(t))
		if _, err := c.stdin.WriteString(strings.Repeat("\n", 4000)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(random.IntN(30_000)) * time.Microsecond)
		if err := c.cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		acked = max(acked, c.acknowledged(t))
		c.kill()
		t.Logf("round %d: generations %d to %d acknowledged", round, before+1, acked)
		before = checkConfirmed(t, dir, acked)
	}
}

func checkConfirmed(t *testing.T, dir string, acked uint64) uint64 {
	t.Helper()
	s, err := Open(dir)
	if err != nil {
		t.Fatalf("open after SIGKILL: %v", err)
	}
	defer s.Close()
	generation, err := s.Generation()
	if err != nil || generation < acked || generation > acked+1 {
		t.Fatalf("generation %d, %v; %d was acknowledged", generation, err, acked)
	}
	checkLogged(t, s, generation)
	checkRound(t, s, generation)
	confirm, found, err := s.Pending()
	if _, _, _, waiting := confirmedState(generation); err != nil || found != waiting {
		t.Fatalf("at generation %d: waits %v, %v; want %v", generation, found, err, waiting)
	}
	if !found {
		return generation
	}
	first := (generation-1)/3*3 + 1 // of this round
	if confirm.Generation != first || confirm.Command != fmt.Sprint((first-1)/3) {
		t.Fatalf("at generation %d: %+v waits, want generation %d", generation, confirm, first)
	}
	undo, found, err := s.LoadUndo()
	if err != nil || !found || undo.Before != first-1 || undo.After != generation {
		t.Fatalf("at generation %d: %+v takes back, %v; want %d to %d", generation, undo, err, generation, first-1)
	}
	return generation
}

func checkRound(t *testing.T, s *Store, generation uint64) {
	t.Helper()
	round, filled, added, _ := confirmedState(generation)
	var want []policy.Claim
	var suspended []Suspension
	var limits []Limit
	if filled {
		change := replacement(round)
		want, suspended, limits = change.Put, change.Suspend, change.Limit
	}
	if added {
		want = append(want, roundClaim(round, 9))
	}
	claims, err := s.Claims(policy.OriginCLI)
	gotSuspended, suspendedErr := s.Suspensions()
	gotLimits, limitsErr := s.Limits()
	if err := errors.Join(err, suspendedErr, limitsErr); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, claims, sameClaims) + cmp.Diff(suspended, gotSuspended, sameClaims) + cmp.Diff(limits, gotLimits, sameClaims); diff != "" {
		t.Fatalf("state at generation %d (-want +got):\n%s", generation, diff)
	}
}

// Every generation of two rounds, one confirmed and one rolled back, as above but
// with each step looked at.
func TestConfirmStepByStep(t *testing.T) {
	s := mustOpen(t, t.TempDir())
	for generation := range uint64(12) {
		if err := applyConfirmed(s, generation+1); err != nil {
			t.Fatal(err)
		}
		checkRound(t, s, generation+1)
		_, waits, err := s.Pending()
		if _, _, _, want := confirmedState(generation + 1); waits != want || err != nil {
			t.Fatalf("generation %d: waits %v, %v; want %v", generation+1, waits, err, want)
		}
	}
}

// A second change that asks for a confirmation would lose the way back of the
// first; it is refused, and is made when it settles the first.
func TestSecondConfirmIsRefused(t *testing.T) {
	s := mustOpen(t, t.TempDir())
	mustApply(t, s, Change{Put: []policy.Claim{roundClaim(1, 1)}, Confirm: &Confirm{Command: "first"}, Generation: 1, UndoData: []byte("held")})
	second := Change{Put: []policy.Claim{roundClaim(2, 1)}, Confirm: &Confirm{Command: "second"}, Generation: 2}
	before := dump(t, s)
	if err := s.Apply(second); !errors.Is(err, ErrUnconfirmed) {
		t.Fatalf("error %v, want %v", err, ErrUnconfirmed)
	}
	if diff := cmp.Diff(before, dump(t, s)); diff != "" {
		t.Errorf("the refused change left:\n%s", diff)
	}
	again := []netip.Prefix{roundClaim(1, 1).Prefix} // was not there before the first: that is what counts
	mustApply(t, s, Change{Delete: again, Limit: []Limit{{Owner: "acme", PerSecond: 1}}, Generation: 2, UndoData: []byte("later")})
	undo, _, err := s.LoadUndo()
	if err != nil || string(undo.Data) != "held" || undo.Before != 0 || undo.After != 2 || len(undo.Put) != 0 || len(undo.Delete) != 1 || len(undo.Unlimit) != 1 {
		t.Errorf("with a change between: %+v, %v; want all of both, and what the first held", undo, err)
	}
	second.Settle, second.Generation = true, 3
	mustApply(t, s, second)
	confirm, found, err := s.Pending()
	if err != nil || !found || confirm.Command != "second" || confirm.Generation != 3 {
		t.Errorf("%+v, %v, %v waits; want the second", confirm, found, err)
	}
}

func TestConfirmKeepsEveryField(t *testing.T) {
	s := mustOpen(t, t.TempDir())
	if _, found, err := s.Pending(); found || err != nil {
		t.Fatalf("before any: %v, %v", found, err)
	}
	bootID, err := BootID()
	if err != nil || len(bootID) != 36 {
		t.Fatalf("boot id %q, %v", bootID, err)
	}
	at := time.Date(2026, 11, 22, 3, 0, 0, 5, time.UTC)
	want := Confirm{Time: at, Deadline: at.Add(time.Minute), BootID: bootID, Boottime: 77 * time.Second, Command: "reload"}
	mustApply(t, s, Change{Confirm: &want, Generation: 5})
	want.Generation = 5
	got, found, err := s.Pending()
	if diff := cmp.Diff(want, got); !found || err != nil || diff != "" {
		t.Errorf("%v, %v (-want +got):\n%s", found, err, diff)
	}
}

// Promise: who is locked out waits no longer than he said, whatever the clocks do.
func TestConfirmLeft(t *testing.T) {
	at := time.Date(2026, 11, 22, 3, 0, 0, 0, time.UTC)
	c := Confirm{Time: at, Deadline: at.Add(time.Minute), BootID: "a", Boottime: 100 * time.Second}
	for name, test := range map[string]struct {
		now      time.Time
		bootID   string
		boottime time.Duration
		want     time.Duration
	}{
		"same boot":                    {at.Add(10 * time.Second), "a", 50 * time.Second, 50 * time.Second},
		"same boot, too late":          {at.Add(70 * time.Second), "a", 110 * time.Second, -10 * time.Second},
		"same boot, clock set back":    {at.Add(-time.Hour), "a", 50 * time.Second, 50 * time.Second},
		"same boot, clock set forward": {at.Add(time.Hour), "a", 50 * time.Second, 50 * time.Second},
		"rebooted":                     {at.Add(20 * time.Second), "b", time.Second, 40 * time.Second},
		"rebooted, too late":           {at.Add(2 * time.Minute), "b", time.Second, -time.Minute},
		"rebooted into 1970":           {time.Unix(5, 0), "b", time.Second, 0},
		"no boot id":                   {at.Add(20 * time.Second), "", 50 * time.Second, 40 * time.Second},
	} {
		if got := c.Left(test.now, test.bootID, test.boottime); got != test.want {
			t.Errorf("%s: %v, want %v", name, got, test.want)
		}
	}
}

// dump is everything in the database, or in the named buckets.
func dump(tb testing.TB, s *Store, only ...[]byte) map[string]string {
	tb.Helper()
	all := make(map[string]string)
	err := s.db.View(func(tx *bolt.Tx) error {
		for _, name := range only {
			if err := (reader{tx}).each(name, nil, func(key, record []byte) error {
				all[fmt.Sprintf("%s %x", name, key)] = string(record)
				return nil
			}); err != nil {
				return err
			}
		}
		if len(only) > 0 {
			return nil
		}
		return tx.ForEach(func(name []byte, bucket *bolt.Bucket) error {
			return bucket.ForEach(func(key, value []byte) error {
				all[fmt.Sprintf("%s %x", name, key)] = string(value)
				return nil
			})
		})
	})
	if err != nil {
		tb.Fatal(err)
	}
	return all
}

// rollback is the change that takes back what undo is of.
func rollback(u Undo) Change {
	return Change{Delete: u.Delete, Put: u.Put, Resume: u.Resume, Suspend: u.Suspend, Unlimit: u.Unlimit, Limit: u.Limit}
}
