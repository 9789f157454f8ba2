// This file holds followed lists to a model, and to the time that add takes.
package reconcile_test

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/netlab/labtest"
	"github.com/xdpallow/xdpallow/loader/policy"
	"github.com/xdpallow/xdpallow/loader/source"
)

// Promise: rollback takes back what the operator did, with or without a confirmation that did
// not come, and nothing of what was read, or stopped by a fleet, meanwhile; a restart in between
// changes nothing.
func TestRollbackBesideReadings(t *testing.T) {
	f := newFollower(t)
	f.config(partner, branch, prod)
	f.open()
	f.take(reading(branch, "always", "198.51.100.0/24")) // so that neither list is ever empty
	f.take(reading(partner, "always", "192.0.2.0/24"))
	ctx := context.Background()
	do := func(t *rapid.T, what string, change func() error) {
		t.Helper()
		if err := f.lab.Host.Do(change); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		made, read := map[string]bool{}, map[string]bool{} // what stands by add, and by the page
		var undo map[string]bool                           // made before the last change; nil: none
		waits, stopped, limit := false, false, 0           // by the fleet
		do(t, "begin anew", func() error {
			if err := f.engine.Take(stops(says(prod, "begin"))); err != nil {
				return err
			}
			if err := f.engine.Take(source.Reading{Origin: partner, Edit: &policy.Edit{}, Mark: "begin"}); err != nil {
				return err
			}
			_, err := f.engine.Replace(ctx, api.Caller{}, api.ReplaceRequest{Name: "list", Text: "", AllowEmpty: true, ForceShrink: true})
			return err
		})
		for _, c := range f.claims(partner) {
			if c.Prefix.String() == "192.0.2.0/24" {
				continue
			}
			f.take(source.Reading{Origin: partner, Edit: &policy.Edit{Remove: []policy.ClaimKey{c.Key()}}, Why: "begin"})
		}
		prefix := rapid.SampledFrom([]string{"203.0.113.1/32", "203.0.113.2/32", "203.0.113.3/32"})
		for range rapid.IntRange(1, 8).Draw(t, "steps") {
			switch rapid.IntRange(0, 6).Draw(t, "step") {
			case 0, 1: // the page changes
				p := prefix.Draw(t, "read")
				edit := &policy.Edit{}
				if one := reading(partner, p, p).Claims[0]; read[p] {
					edit.Remove = []policy.ClaimKey{one.Key()}
					delete(read, p)
				} else {
					edit.Put, read[p] = []policy.Claim{one}, true
				}
				do(t, "read", func() error { return f.engine.Take(source.Reading{Origin: partner, Edit: edit, Why: p}) })
			case 2, 3: // the operator replaces his list
				if waits {
					continue
				}
				p := prefix.Draw(t, "made")
				if made[p] && len(made) == 1 {
					continue
				}
				undo, waits = made, rapid.Bool().Draw(t, "waits")
				r := api.ReplaceRequest{Name: "list", Text: p + " owner=acme\n", ForceShrink: true}
				if waits {
					r.Confirm = "1h"
				}
				made = map[string]bool{p: true}
				do(t, "replace", func() error { _, err := f.engine.Replace(ctx, api.Caller{}, r); return err })
				waits = waits && f.waiting()
			case 4:
				if undo == nil {
					continue
				}
				made, undo, waits = undo, nil, false
				do(t, "rollback", func() error {
					_, err := f.engine.Rollback(ctx, api.Caller{}, api.RollbackRequest{Force: policy.Force{ForceShrink: true, AllowEmpty: true}})
					return err
				})
			case 6:
				r := stops(says(prod, "the fleet"))
				if stopped, limit = rapid.Bool().Draw(t, "stopped"), rapid.IntRange(0, 2).Draw(t, "limit"); stopped {
					r = stops(r, "acme")
				}
				if limit > 0 {
					r.Overrides.Limits = []source.Limit{{Owner: "acme", PerSecond: float64(limit), Burst: 1}}
				}
				do(t, "the fleet", func() error { return f.engine.Take(r) })
			case 5:
				if waits {
					do(t, "confirm", func() error { _, err := f.engine.Confirm(ctx, api.Caller{}, api.ConfirmRequest{}); return err })
					waits = false
				} else {
					f.close()
					f.open()
				}
			}
			want := map[string]string{"198.51.100.1": "pass"}
			if stopped {
				want["198.51.100.1"] = "drop"
			}
			for _, p := range []string{"203.0.113.1", "203.0.113.2", "203.0.113.3"} {
				want[p] = "drop"
				if (made[p+"/32"] || read[p+"/32"]) && !stopped {
					want[p] = "pass"
				}
			}
			f.expect(fmt.Sprintf("made %v, read %v, stopped %v", made, read, stopped), want)
			if l := f.owner("acme").Limit; limit == 0 && l != nil || limit > 0 && (l == nil || l.PerSecond != float64(limit)) {
				t.Fatalf("the limit is %+v, want %d", l, limit)
			}
			if f.Failed() {
				t.FailNow()
			}
		}
		if waits {
			do(t, "confirm", func() error { _, err := f.engine.Confirm(ctx, api.Caller{}, api.ConfirmRequest{}); return err })
		}
	})
	f.close()
}

// claims are those that the engine has of an origin.
func (f follower) claims(origin policy.Origin) []policy.Claim { return f.engine.Have(origin).Claims }

// waiting reports whether a change waits for its confirmation.
func (f follower) waiting() bool {
	_, status := f.status(partner)
	return status.Confirm != nil
}

// Promise: one change in a long list that is followed takes no longer than three times what add
// takes, and the first reading no longer than twice what replace takes. Medians of one run.
func TestFollowedSize(t *testing.T) {
	f := newFollower(t)
	f.open()
	all := source.Reading{Origin: partner, Why: "a long list"}
	entries := 100_000
	if text := os.Getenv("XDPALLOW_FOLLOWED_ENTRIES"); text != "" { // a million take minutes
		entries = labtest.Must(strconv.Atoi(text))(t)
	}
	var list strings.Builder
	for i := range uint32(entries) {
		n := i * 2654435761
		all.Claims = append(all.Claims, policy.Claim{
			Prefix: netip.PrefixFrom(netip.AddrFrom4([4]byte{10 + byte(n>>30), byte(n >> 16), byte(n >> 8), byte(n)}), 32),
			Owner:  fmt.Sprintf("acme-%d", i%1000), Origin: partner,
		})
		list.WriteString(policy.FormatLine(all.Claims[i]) + "\n")
	}
	before := resident(t)
	begin := time.Now()
	f.take(all)
	took := time.Since(begin)
	t.Logf("a first reading of %d: %v, %d MiB resident before and %d after", len(all.Claims), took, before, resident(t))
	other := newFollower(t)
	other.open()
	begin = time.Now()
	other.did(other.replace(list.String()))
	t.Logf("a replace of the same: %v", time.Since(begin))
	if took > 2*time.Since(begin) {
		t.Errorf("a first reading takes %v, a replace of the same %v", took, time.Since(begin))
	}
	other.close()
	var adds, takes []time.Duration
	for i := range 30 {
		prefix := fmt.Sprintf("203.0.113.%d", i)
		begin := time.Now()
		f.must(f.engine.Add(context.Background(), api.Caller{}, api.AddRequest{Prefixes: []string{prefix}, Owner: "globex"}))
		adds = append(adds, time.Since(begin))
		put := reading(partner, prefix, fmt.Sprintf("198.51.100.%d/32", i)).Claims
		begin = time.Now()
		f.take(source.Reading{Origin: partner, Edit: &policy.Edit{Put: put}, Why: prefix})
		takes = append(takes, time.Since(begin))
	}
	t.Logf("one of %d: add %v, reading %v, at most %v", len(all.Claims), median(adds), median(takes), slices.Max(takes))
	if median(takes) > 3*median(adds) {
		t.Errorf("a reading of one takes %v, an add %v", median(takes), median(adds))
	}
	f.expect("what was read", map[string]string{"198.51.100.3": "pass", "203.0.113.3": "pass", "192.0.2.1": "drop"})
	f.close()
}
