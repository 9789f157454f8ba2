package policy

import (
	"strings"
	"testing"
	"time"
)

// Guards that durations know d and w, and what is no duration never becomes one.
func TestParseDuration(t *testing.T) {
	const day = 24 * time.Hour
	for text, want := range map[string]time.Duration{
		"90d": 90 * day, "1w2d": 9 * day, "36h": 36 * time.Hour, "90s": 90 * time.Second,
		"1w2d3h4m5s": 9*day + 3*time.Hour + 4*time.Minute + 5*time.Second, "1h0m": time.Hour, "007s": 7 * time.Second,
		"106751d": 106751 * day,
	} {
		if got, err := ParseDuration(text); err != nil || got != want {
			t.Errorf("%s is %v, %v, want %v", text, got, err, want)
		}
	}
	for _, text := range []string{
		"", "0", "0s", "0w0d", "90", "d", "-1d", "+1d", "1.5h", "1y", "1M", "1D", "1 d", " 1d", "1d ", "1d1w", "1d1d", "1ms",
		"106752d", "99999999999999999999s", "1dé", "٣d",
	} {
		got, err := ParseDuration(text)
		if got != 0 {
			t.Errorf("%q is %v beside an error", text, got)
		}
		wantInput(t, err, `"`+text+`" is not a duration over 0 as 90d, 1w2d, 36h or 90s`, "")
	}
}

func TestParseServices(t *testing.T) {
	got, err := ParseServices([]string{"web", "api", "web"})
	if strings.Join(got, " ") != "api web" || err != nil {
		t.Errorf("services are %q, %v", got, err)
	}
	if got, err := ParseServices(nil); got != nil || err != nil {
		t.Errorf("no service is %q, %v, want nil: every one", got, err)
	}
	_, err = ParseServices([]string{"api", "Web"})
	wantInput(t, err, `service "Web" is not 1 to 63 of a-z 0-9 . _ - that begin with a letter or digit`, "web")
	_, err = ParseServices([]string{""})
	wantInput(t, err, `service "" is not 1 to 63 of a-z 0-9 . _ - that begin with a letter or digit`, "")
}

// Guards that a line of the config file is a line of a list.
func TestParseLine(t *testing.T) {
	c, warning, err := ParseLine(`192.0.2.0/24 owner=acme service=web,api until=2027-01-31 # office`)
	want := Claim{
		Prefix: pfx("192.0.2.0/24"), Owner: "acme", Services: []string{"api", "web"},
		Until: time.Date(2027, 2, 1, 0, 0, 0, 0, time.UTC), Note: "office",
	}
	if d := diff(want, c); d != "" || warning != "" || err != nil {
		t.Errorf("%s%q, %v", d, warning, err)
	}
	_, _, err = ParseLine("10.0.0.5/8")
	wantInput(t, err, "10.0.0.5/8 has host bits set", "10.0.0.0/8")
}

// What FormatDuration writes, ParseDuration reads.
func TestDurationRoundTrips(t *testing.T) {
	for text, want := range map[string]string{"1w": "7d", "1w2d": "9d", "36h": "1d12h", "90s": "1m30s", "1s": "1s"} {
		lasts, err := ParseDuration(text)
		if got := FormatDuration(lasts); got != want || err != nil {
			t.Errorf("%s is written %s, %v, want %s", text, got, err, want)
		}
		if again, err := ParseDuration(want); again != lasts || err != nil {
			t.Errorf("%s is read as %v, %v", want, again, err)
		}
	}
}
