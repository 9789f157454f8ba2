package transfer_test

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/desired"
	"github.com/xdpallow/xdpallow/loader/desired/desiredtest"
	"github.com/xdpallow/xdpallow/loader/policy"
	"github.com/xdpallow/xdpallow/loader/store"
	"github.com/xdpallow/xdpallow/loader/transfer"
)

// Promise: what commands made on one host is made so on another by an export and an import,
// whatever stood there before: claims, who is suspended, and limits. To import an export of
// what stands changes nothing, and lets in nobody.
func TestExportThenImport(t *testing.T) {
	now := time.Now().UTC().Truncate(time.Second)
	rapid.Check(t, func(t *rapid.T) {
		from, to := drawn(t, now), drawn(t, now)
		text := exported(t, from)
		x, err := transfer.Read("export", text)
		if err != nil {
			t.Fatalf("%v in\n%s", err, text)
		}
		is, agree := imported(t, to, x, now)
		if !agree { // what is declared or followed here has other owners: TestEditAgainstMerge has the words
			return
		}
		if diff := cmp.Diff(madeOf(from), madeOf(is)); diff != "" {
			t.Fatalf("claims (-exported +imported)\n%s", diff)
		}
		if want, got := slices.Collect(maps.Keys(from.Suspensions)), is.Suspensions; len(want) != len(got) || slices.ContainsFunc(want, func(s policy.Subject) bool { return got[s].Subject != s }) {
			t.Fatalf("suspended are %v, want %v", got, want)
		}
		if !maps.Equal(from.Limits, is.Limits) {
			t.Fatalf("limits are %v, want %v", is.Limits, from.Limits)
		}

		again, err := transfer.Read("export", exported(t, is))
		if err != nil {
			t.Fatal(err)
		}
		over, err := transfer.Import(is, again.Overrides, api.Caller{}, true, now)
		if loosened := transfer.Loosened(over, is.Overrides); err != nil || len(loosened) > 0 || !over.Empty() {
			t.Fatalf("an import of what stands does %v and loosens %v (%v)", over.Lines(is.Overrides), loosened, err)
		}
	})
}

// drawn is a state of both services after some edits.
func drawn(t *rapid.T, now time.Time) desired.State {
	is := desiredtest.Start()
	for range rapid.IntRange(1, 6).Draw(t, "steps") {
		edit := desiredtest.Edit(t, is, now)
		edit.Services = nil
		for i := range edit.Overrides.Suspend { // an export says when, to the second
			edit.Overrides.Suspend[i].Time = now
		}
		if next, _, err := is.Apply(edit, now, 0); err == nil {
			is = next
		}
	}
	return is
}

func exported(t *rapid.T, d desired.State) string {
	var text strings.Builder
	if err := transfer.Write(&text, d, false); err != nil {
		t.Fatal(err)
	}
	return text.String()
}

func imported(t *rapid.T, d desired.State, x transfer.Export, now time.Time) (is desired.State, agree bool) {
	over, err := transfer.Import(d, x.Overrides, api.Caller{}, true, now)
	if err != nil {
		t.Fatal(err)
	}
	claims, err := d.Replace(api.ReplaceRequest{Name: "export", AllowEmpty: true}, x.Claims)
	if takesFollowed(d, x.Claims) != (err != nil) {
		t.Fatalf("replace says %v", err)
	}
	if err != nil {
		return d, false
	}
	is, _, err = d.Apply(desired.Edit{Claims: claims, Overrides: over}, now, 0)
	return is, err == nil
}

// takesFollowed reports whether one of claims is of a prefix that a followed list says is another owner's.
func takesFollowed(d desired.State, claims []policy.Claim) bool {
	return slices.ContainsFunc(claims, func(c policy.Claim) bool {
		entry, found := d.Policy.Entries.Find(c.Prefix)
		if !found || c.Owner == "" {
			return false
		}
		by, held := entry.Holder()
		return held && by.Origin.Followed() && by.Owner != c.Owner
	})
}

// madeOf are the CLI's claims of d as lines.
func madeOf(d desired.State) (lines []string) {
	for claim := range d.Made() {
		lines = append(lines, policy.FormatLine(claim))
	}
	slices.Sort(lines)
	return lines
}

// Promise: an export is read again a part at a time as it is whole: what it has is counted, and what
// Read refuses is refused in the same words, of whatever line.
func TestLook(t *testing.T) {
	var b strings.Builder
	b.WriteString("# head\nsuspend acme since=2026-11-21T09:00:00Z by=0 held=1\nheld acme 198.51.100.0/28\nlimit globex 200/s burst=400\n")
	for i := range 40_000 {
		fmt.Fprintf(&b, "10.0.%d.%d/32 owner=acme\n", i>>8, i&0xff)
	}
	whole := b.String()
	want := transfer.Contents{Entries: 40_000, Suspensions: 1, Limits: 1}
	if got, refused, err := transfer.Look("x", strings.NewReader(whole)); got != want || refused != nil || err != nil {
		t.Errorf("%+v, %v, %v", got, refused, err)
	}
	for name, text := range map[string]string{
		"an entry":     strings.Replace(whole, "10.0.99.7/32 owner", "10.0.99.7/32 ownr", 1),
		"a suspension": strings.Replace(whole, "held=1", "held=2", 1),
		"the last":     whole + "10.0.0.300\n",
	} {
		_, bad := transfer.Read("x", text)
		got, refused, err := transfer.Look("x", strings.NewReader(text))
		if bad == nil || refused == nil || refused.Error() != bad.Error() || err != nil || got.Entries < want.Entries {
			t.Errorf("%s: %+v, refused as %v, want %v; %v", name, got, refused, bad, err)
		}
	}
	if got, refused, err := transfer.Look("x", strings.NewReader("")); got != (transfer.Contents{}) || refused != nil || err != nil {
		t.Errorf("nothing: %+v, %v, %v", got, refused, err)
	}
}

// Promise: an export tells whom a list of a fleet stops and limits, and no import makes that a command
// of this host, which would outlive it.
func TestExportOfWhatAFleetSays(t *testing.T) {
	list, now := policy.EtcdOrigin("prod", "main"), time.Date(2026, 11, 28, 14, 0, 0, 0, time.UTC)
	d := desiredtest.Start().WithFleets(map[policy.Origin]desired.Overrides{list: desired.Overrides{}.After(desired.OverridesEdit{
		Suspend: []store.Suspension{{Subject: policy.Subject{Owner: "acme"}, Time: now, Reason: "stolen key", Unnoted: true}},
		Limit:   []store.Limit{{Owner: "globex", PerSecond: 5, Burst: 9}},
	})})
	var made, all strings.Builder
	if err := errors.Join(transfer.Write(&made, d, false), transfer.Write(&all, d, true)); err != nil {
		t.Fatal(err)
	}
	const want = "# etcd:prod: suspend acme since=2026-11-28T14:00:00Z by=0 reason=\"stolen key\"\n# etcd:prod: limit globex 5/s burst=9\n"
	if !strings.HasSuffix(all.String(), want) || strings.Contains(made.String(), "acme") {
		t.Errorf("all is\n%s\nand what was made\n%s", all.String(), made.String())
	}
	if x, err := transfer.Read("export", all.String()); err != nil || !x.Empty() {
		t.Errorf("an import reads %+v, %v", x.Overrides, err)
	}
}
