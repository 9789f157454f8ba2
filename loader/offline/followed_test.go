// This file holds run --dry-run to telling of lists that are kept elsewhere.

package offline_test

import (
	"errors"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/xdpallow/xdpallow/loader/declared"
	"github.com/xdpallow/xdpallow/loader/offline"
	"github.com/xdpallow/xdpallow/loader/policy"
	"github.com/xdpallow/xdpallow/loader/store"
)

// Promise: run --dry-run names each list that is kept elsewhere, what is kept of it, and what would be
// forgotten of one that the config file names no longer; it forgets nothing.
func TestPreviewNamesFollowedLists(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "customers.list")
	path := filepath.Join(dir, "config.yaml")
	text := "origins:\n  branch: {dns: [vpn.branch.example], owner: acme}\n  partner: {url: \"https://partner.example/list\", owner: acme}\n"
	if err := errors.Join(os.WriteFile(file, []byte("198.51.100.0/24\n"), 0o600), os.WriteFile(path, []byte(text), 0o600)); err != nil {
		t.Fatal(err)
	}
	kept := state(t, file, false)
	db, err := store.Open(kept)
	if err != nil {
		t.Fatal(err)
	}
	follows := func(name, prefix string) store.Followed {
		origin := policy.URLOrigin(name)
		return store.Followed{
			Origin: origin, Put: []policy.Claim{{Prefix: netip.MustParsePrefix(prefix), Owner: "acme", Origin: origin}},
			State: store.OriginState{Mark: "first", At: time.Now()},
		}
	}
	change := store.Change{Follow: []store.Followed{follows("partner", "203.0.113.0/24"), follows("gone", "203.0.114.0/24")}}
	if err := errors.Join(db.Apply(change), db.Close()); err != nil {
		t.Fatal(err)
	}
	before := content(t, kept)
	plan, err := offline.Preview(declared.Sources{
		Services: []policy.Service{guarded}, Files: []string{file}, Config: path, Log: slog.New(slog.DiscardHandler), Backstop: "on",
	}, kept)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"dns:branch: nothing is kept: whom it would let in is dropped until it is read",
		"url:partner: 1 entry is kept, and enforced until it is read",
		"url:gone is no longer named: 1 entry would be forgotten",
	}
	if !slices.Equal(plan.Warnings, want) {
		t.Errorf("told %q, want %q", plan.Warnings, want)
	}
	if after := content(t, kept); after != before {
		t.Errorf("the state directory was %s and is %s", before, after)
	}
}
