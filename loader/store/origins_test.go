// This file holds what followed origins say to "with its state or not at all", in both files.

package store

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/xdpallow/xdpallow/loader/policy"
)

// followed is a reading of origin that puts roundClaim 3 of each kind.
func followed(origin policy.Origin, kinds ...byte) Followed {
	f := Followed{Origin: origin, State: OriginState{Mark: fmt.Sprint(kinds), Sum: "5e", At: time.Unix(7, 0).UTC()}}
	for _, kind := range kinds {
		claim := roundClaim(3, kind)
		claim.Origin, claim.Owner = origin, "acme"
		f.Put = append(f.Put, claim)
	}
	return f
}

// keeps asserts that s has of origin what f puts, and its state.
func keeps(t *testing.T, s *Store, f Followed) {
	t.Helper()
	claims, err := s.Claims(f.Origin)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(f.Put, claims, sameClaims); diff != "" {
		t.Errorf("%s (-want +got):\n%s", f.Origin, diff)
	}
	origins, err := s.KeptOrigins()
	if diff := cmp.Diff(f.State, origins[f.Origin], samePrefixes); err != nil || diff != "" {
		t.Errorf("state of %s (-want +got):\n%s%v", f.Origin, diff, err)
	}
}

// Promise: what an origin says is kept with its state, beside what add makes and not in its
// place; to forget the origin leaves nothing of it. It is so before the database is opened.
func TestFollowed(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, dir)
	made := roundClaim(3, 1)
	url, dns := followed("url:a", 1, 2), followed("dns:b", 2)
	fleet := followed("etcd:prod", 1)
	fleet.State.Fleet, fleet.State.Manifest = "9c2f", bytes.Repeat([]byte("m"), 1<<20)
	held := []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24"), netip.MustParsePrefix("2001:db8::/32")}
	fleet.State.Suspended = []Suspension{
		{Subject: policy.Subject{Prefix: held[0]}, Reason: "stolen key", Time: time.Unix(9, 0).UTC()},
		{Subject: policy.Subject{Owner: "acme"}, Time: time.Unix(9, 0).UTC(), Nested: true, Held: held, Stays: []policy.Stay{{Prefix: held[1], Owner: "globex"}}},
	}
	fleet.State.Limits = []Limit{{Owner: "acme", PerSecond: 1.0 / 3, Burst: 7}}
	mustApply(t, s, Change{Put: []policy.Claim{made}, Generation: 1, List: declaredBy(1, made), Whole: true})
	mustApply(t, s, Change{Follow: []Followed{url, dns, fleet}, Generation: 2})
	for range 2 {
		keeps(t, s, fleet)
		keeps(t, s, url)
		keeps(t, s, dns)
		if claims, err := s.Claims(policy.OriginCLI); err != nil || !cmp.Equal(claims, []policy.Claim{made}, sameClaims) {
			t.Errorf("the command line's: %v, %v", claims, err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		var err error
		if s, err = Begin(dir); err != nil {
			t.Fatal(err)
		}
		if err := s.LoadList(); err != nil {
			t.Fatal(err)
		}
		keeps(t, s, url)
		keeps(t, s, dns)
		keeps(t, s, fleet)
		if troubles, err := s.OpenDatabase(false); err != nil || len(troubles) > 0 {
			t.Fatalf("%v, %v", troubles, err)
		}
	}
	defer s.Close()
	mustApply(t, s, Change{Forget: []policy.Origin{"dns:b"}, Generation: 3})
	keeps(t, s, url)
	if origins, err := s.KeptOrigins(); err != nil || len(origins) != 3 {
		t.Errorf("origins after one was forgotten: %v, %v", origins, err)
	}
	for _, bad := range []Change{
		{Follow: []Followed{{Origin: policy.OriginCLI}}},
		{Follow: []Followed{{Origin: "url:a", Put: dns.Put}}},
		{Forget: []policy.Origin{policy.OriginCLI}},
		{Put: url.Put},
	} {
		if err := s.Apply(bad); err == nil {
			t.Errorf("%+v was made", bad)
		}
	}
	keeps(t, s, url)
}

var samePrefixes = cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })

// Promise: the state of an origin that a release wrote which knew no fleet is read, and one of a
// newer release is not taken for less than it says.
func TestOriginStatesOfOtherReleases(t *testing.T) {
	state, err := decodeOrigin([]byte(`{"mark":"e","sum":"5e","at":"1970-01-01T00:00:07Z"}`))
	if want := (OriginState{Mark: "e", Sum: "5e", At: time.Unix(7, 0).UTC()}); err != nil || !reflect.DeepEqual(state, want) {
		t.Errorf("before fleets: %+v, %v", state, err)
	}
	newer := encodeSuspension(Suspension{Subject: policy.Subject{Owner: "acme"}, Time: time.Unix(9, 0)})
	newer[0] = 200
	record, err := json.Marshal([2][]byte{[]byte("acme"), newer})
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{`{"at":"1970-01-01T00:00:07Z","shut":true}`, `{"at":"1970-01-01T00:00:07Z","suspended":[` + string(record) + `]}`} {
		if state, err := decodeOrigin([]byte(text)); !errors.Is(err, ErrNewer) {
			t.Errorf("%s: %+v, %v", text, state, err)
		}
	}
}

// Promise: a rollback takes back what an operator did, also where it waited for confirmation,
// and leaves what was read from elsewhere meanwhile.
func TestFollowedIsNotRolledBack(t *testing.T) {
	for _, confirm := range []*Confirm{nil, {Command: "replace"}} {
		s := mustOpen(t, t.TempDir())
		mustApply(t, s, Change{Put: []policy.Claim{roundClaim(1, 1)}, Confirm: confirm})
		before, _, err := s.LoadUndo()
		if err != nil {
			t.Fatal(err)
		}
		f := followed("url:a", 1, 2)
		mustApply(t, s, Change{Follow: []Followed{f}})
		undo, found, err := s.LoadUndo()
		if diff := cmp.Diff(before, undo, sameClaims); err != nil || !found || diff != "" {
			t.Errorf("the undo (-before +after):\n%s%v", diff, err)
		}
		mustApply(t, s, rollback(undo))
		keeps(t, s, f)
		if claims, err := s.Claims(policy.OriginCLI); err != nil || len(claims) > 0 {
			t.Errorf("not taken back: %v, %v", claims, err)
		}
	}
}

// followedBy is what generation n leaves of an origin: two prefixes of its own.
func followedBy(n uint64) Followed {
	f := Followed{Origin: "etcd:a", State: OriginState{Mark: fmt.Sprint(n), At: time.Unix(int64(n), 0).UTC()}}
	f.State.Suspended = []Suspension{{Subject: policy.Subject{Owner: fmt.Sprint("acme", n)}, Time: time.Unix(int64(n), 0).UTC(), Held: []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24")}}}
	f.State.Limits = []Limit{{Owner: "globex", PerSecond: float64(n), Burst: 1}}
	for _, c := range numbered(n).Put {
		c.Origin = f.Origin
		f.Put = append(f.Put, c)
	}
	return f
}

func applyFollowed(s *Store, n uint64) error {
	f := followedBy(n)
	if n > 1 {
		for _, c := range followedBy(n - 1).Put {
			f.Delete = append(f.Delete, c.Prefix)
		}
	}
	return s.Apply(Change{Follow: []Followed{f}, Generation: n, Log: &Record{Command: fmt.Sprint(n)}})
}

// Promise: after a SIGKILL at any moment the origin has all of one reading, with its state and
// its generation: what was acknowledged or the one after.
func TestKillFollowed(t *testing.T) {
	dir := t.TempDir()
	last := uint64(0)
	for round := range 12 {
		c := startChildAs(t, followEnv, dir)
		acked := last
		for range round % 3 {
			acked = c.apply(t)
		}
		for range 8 { // not waited for
			if _, err := c.stdin.WriteString("\n"); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Duration(round) * 2 * time.Millisecond) // another moment each round
		if err := c.cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		acked = max(acked, c.acknowledged(t))
		s, err := Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		generation, err := s.Generation()
		if err != nil || generation < acked || generation > acked+1 {
			t.Fatalf("generation %d, %v; %d was acknowledged", generation, err, acked)
		}
		if generation > 0 {
			keeps(t, s, followedBy(generation))
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		state, err := LoadState(dir)
		for _, c := range state.Claims {
			if f := followedBy(generation); c.Prefix != f.Put[0].Prefix && c.Prefix != f.Put[1].Prefix {
				t.Errorf("the list of generation %d has %s", generation, c.Prefix)
			}
		}
		if err != nil || state.Serial > 0 && len(state.Claims) != 2 {
			t.Errorf("the list has %d entries, %v", len(state.Claims), err)
		}
		last = generation
	}
	if last == 0 {
		t.Error("no reading was ever taken over")
	}
}
