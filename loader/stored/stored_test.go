package stored

import (
	"net/netip"
	"testing"
	"time"

	"github.com/xdpallow/xdpallow/loader/compile"
	"github.com/xdpallow/xdpallow/loader/desired"
	"github.com/xdpallow/xdpallow/loader/policy"
	"github.com/xdpallow/xdpallow/loader/store"
	"github.com/xdpallow/xdpallow/loader/undo"
)

var (
	services = []policy.Service{{Name: "api", Ports: []policy.Port{{Protocol: policy.TCP, Number: 443}}, Mode: policy.Enforce}}
	made     = policy.Claim{Prefix: netip.MustParsePrefix("192.0.2.0/24"), Owner: "acme", Origin: policy.OriginCLI}
	fileOne  = policy.Claim{Prefix: netip.MustParsePrefix("198.51.100.0/24"), Origin: policy.FileOrigin("/a.list"), Where: "/a.list:1"}
	host     = compile.NewClock(time.Now(), compile.Boottime())
)

// written is a state directory that a daemon has left.
func written(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	kept, err := store.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	meta, err := ClockMeta(host)
	if err != nil {
		t.Fatal(err)
	}
	meta[MetaHeld] = undo.Held{Generation: 6, Origins: []policy.Origin{fileOne.Origin}}.Marshal()
	meta[MetaOwners] = compile.NewOwnerIDs(map[string]uint16{"acme": 9}).Marshal()
	meta[MetaAudits] = desired.Audits{"api": {BootID: "an earlier boot"}}.Marshal()
	list := func() store.Effective {
		return store.Effective{Generation: 7, Services: services, Interfaces: []string{"eth0"}, Backstop: "on", Claims: []*policy.Claim{&made, &fileOne}}
	}
	err = kept.Apply(store.Change{
		Put: []policy.Claim{made}, Generation: 7, Meta: meta, List: list, Whole: true,
		Suspend: []store.Suspension{{Subject: policy.Subject{Owner: "acme"}, Time: time.Now()}},
		Confirm: &store.Confirm{Command: "reload", Deadline: time.Now().Add(time.Minute)},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := kept.Close(); err != nil {
		t.Fatal(err)
	}
	return dir
}

// Promise: a start, a command without a daemon and a preview find what the last daemon
// enforced, what it held, and what it waited for.
func TestRead(t *testing.T) {
	dir := written(t)
	s, err := Look(dir, host)
	if err != nil {
		t.Fatal(err)
	}
	state, err := s.State(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if !s.Good() || s.Last.Generation != 7 || s.Last.Backstop != "on" || state.Policy.Entries.Len() != 2 || len(state.Declared()[fileOne.Origin]) != 1 {
		t.Errorf("read %+v", s.Last)
	}
	if _, found := state.Suspensions[policy.Subject{Owner: "acme"}]; !found {
		t.Error("the suspension is not laid over the state")
	}
	if s.Owners.Of("acme") != 9 || s.Held.Generation != 6 || s.Pending == nil || s.Pending.Command != "reload" || len(state.Audits) != 1 {
		t.Errorf("owner id %d, held %+v, pending %+v, audits %v", s.Owners.Of("acme"), s.Held, s.Pending, state.Audits)
	}
	if !Recoverable(dir) || !HadBackstop(dir) {
		t.Error("the directory is not seen to hold a policy with a backstop")
	}
}

// Promise: a preview works beside the daemon that has the database open, from the list.
func TestLookBesideADaemon(t *testing.T) {
	dir := written(t)
	daemon, err := store.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer daemon.Close()
	s, err := Look(dir, host)
	if err != nil || !s.Good() || len(s.Kept) != 1 || s.Kept[0].Prefix != made.Prefix || len(s.Last.Declared()[fileOne.Origin]) != 1 {
		t.Errorf("read %+v, %v", s, err)
	}
}

// Promise: deadlines follow a wall clock that moved while no daemon ran, but for a huge step.
func TestClockAfterAStep(t *testing.T) {
	dir := written(t)
	for step, follows := range map[time.Duration]bool{
		0: true, 30 * time.Minute: true, -30 * time.Minute: true, HugeStep + time.Second: false, -HugeStep - time.Second: false,
	} {
		now := compile.Clock{Offset: host.Offset + step}
		if s, err := Look(dir, now); err != nil || (s.Clock == now) != follows || !follows && s.Clock != host {
			t.Errorf("a step of %v: clock %v, %v, want that of now: %v", step, s.Clock, err, follows)
		}
	}
}

// A state directory that is empty is nothing to fall back on, and no error either.
func TestRecoverable(t *testing.T) {
	for _, dir := range []string{t.TempDir(), "/nowhere/at/all"} {
		if Recoverable(dir) || HadBackstop(dir) {
			t.Errorf("%s holds a policy", dir)
		}
		s, err := Look(dir, host)
		if state, stateErr := s.State(time.Now()); err != nil || stateErr != nil || s.Good() || state.Policy.Entries.Len() != 0 {
			t.Errorf("%s: read %+v, %v, %v", dir, s, err, stateErr)
		}
	}
}
