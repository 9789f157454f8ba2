package desired

import (
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/policy"
)

// Promise: what add is told besides prefixes holds for lines that do not say
// it themselves, so that list -o text can be added again unchanged.
func TestAddedClaims(t *testing.T) {
	now := time.Date(2026, 11, 21, 12, 0, 0, 1_999_999, time.UTC)
	date := time.Date(2027, 2, 1, 0, 0, 0, 0, time.UTC)
	got, err := addedClaims(api.AddRequest{
		Prefixes: []string{"192.0.2.0/24", "198.51.100.7 owner=acme service=mail until=2027-01-31 note=x"},
		Owner:    "globex", Services: []string{"web", "api"}, For: "1w2d", Note: "n",
	}, now)
	want := []policy.Claim{
		{
			Prefix: netip.MustParsePrefix("192.0.2.0/24"), Owner: "globex", Services: []string{"api", "web"}, Note: "n", Origin: policy.OriginCLI,
			Until: time.Date(2026, 11, 30, 12, 0, 0, 1_000_000, time.UTC),
		},
		{Prefix: netip.MustParsePrefix("198.51.100.7/32"), Owner: "acme", Services: []string{"mail"}, Until: date, Note: "x", Origin: policy.OriginCLI},
	}
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
}

func TestDeadline(t *testing.T) {
	now := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		lasts, until string
		want         time.Time
		err          string
	}{
		{"", "", time.Time{}, ""},
		{"90s", "", now.Add(90 * time.Second), ""},
		{"", "2026-11-21", now.Add(12 * time.Hour), ""}, // today, to its end
		{"", "2026-11-21T12:00:01Z", now.Add(time.Second), ""},
		{"", "2026-11-21T12:00:00Z", time.Time{}, "--until 2026-11-21T12:00:00Z is in the past"},
		{"1d", "2027-01-01", time.Time{}, "an entry ends after --for or at --until, not both"},
		{"1y", "", time.Time{}, `"1y" is not a duration over 0 as 90d, 1w2d, 36h or 90s`},
		{"", "soon", time.Time{}, `until "soon" is not a date or an RFC 3339 time from 1970 to 9999, as 2027-01-31 or 2027-01-31T18:00:00Z`},
	} {
		got, err := deadline(api.AddRequest{For: c.lasts, Until: c.until}, now)
		if c.err != "" {
			if input, ok := errors.AsType[*policy.InputError](err); !ok || input.What != c.err {
				t.Errorf("%q %q: error %v, want %q", c.lasts, c.until, err, c.err)
			}
		} else if !got.Equal(c.want) || err != nil {
			t.Errorf("%q %q ends %v, %v, want %v", c.lasts, c.until, got, err, c.want)
		}
	}
}
