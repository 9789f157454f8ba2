package policy

import (
	"strings"
	"testing"
	"time"
)

// Promise: what is listed is what was meant, in its one canonical form.
func TestParsePrefix(t *testing.T) {
	for _, c := range []struct{ in, want, warning string }{
		{"10.0.0.0/8", "10.0.0.0/8", ""},
		{"203.0.113.7", "203.0.113.7/32", ""},
		{"2001:DB8::", "2001:db8::/128", ""},
		{"2001:db8::/32", "2001:db8::/32", ""},
		{"0.0.0.0/0", "0.0.0.0/0", ""},
		{"::/0", "::/0", ""},
		{"128.0.0.0/1", "128.0.0.0/1", ""}, // holds multicast, and more
		{"fe80::/10", "fe80::/10", ""},
		{"::ffff:10.1.2.3", "10.1.2.3/32", "::ffff:10.1.2.3 is IPv4-mapped: read as 10.1.2.3/32"},
		{"::ffff:10.0.0.0/104", "10.0.0.0/8", "::ffff:10.0.0.0/104 is IPv4-mapped: read as 10.0.0.0/8"},
		{"::ffff:0:0/96", "0.0.0.0/0", "::ffff:0:0/96 is IPv4-mapped: read as 0.0.0.0/0"},
	} {
		got, warning, err := ParsePrefix(c.in)
		if err != nil || got != pfx(c.want) || warning != c.warning {
			t.Errorf("ParsePrefix(%q) = %v, %q, %v; want %s, %q", c.in, got, warning, err, c.want, c.warning)
		}
	}
}

func TestParsePrefixRefuses(t *testing.T) {
	never := func(s string) string { return s + " can never be the source of a connection" }
	local := func(s string) string {
		return s + " is this host itself: its own clients always connect and need no entry"
	}
	for _, c := range []struct{ in, message, hint string }{
		{"", `"" is not a prefix or an address`, ""},
		{"acme.example", `"acme.example" is not a prefix or an address`, ""},
		{"my-host", `"my-host" is not a prefix or an address`, ""},
		{"10.0.0.0/33", `"10.0.0.0/33" is not a prefix or an address`, ""},
		{"10.0.0.0/08", `"10.0.0.0/08" is not a prefix or an address`, ""},
		{"010.0.0.1", `"010.0.0.1" is not a prefix or an address`, ""},
		{"\x1b[2J", `"\x1b[2J" is not a prefix or an address`, ""},
		{"10.0.0.5/8", "10.0.0.5/8 has host bits set", "10.0.0.0/8"},
		{"2001:db8::1/64", "2001:db8::1/64 has host bits set", "2001:db8::/64"},
		{"::ffff:10.0.0.5/104", "::ffff:10.0.0.5/104 has host bits set", "10.0.0.0/8"},
		{"::ffff:10.0.0.0/8", "::ffff:10.0.0.0/8 is IPv4-mapped, and its length is under 96", "10.0.0.0/8"},
		{"::ffff:0:0/90", "::ffff:0.0.0.0/90 is IPv4-mapped, and its length is under 96", ""},
		{"fe80::1%eth0", `"fe80::1%eth0" has a zone`, "fe80::1"},
		{"fe80::%eth0/64", `"fe80::%eth0/64" has a zone`, "fe80::/64"},
		{"10.0.0.1-10.0.0.9", `"10.0.0.1-10.0.0.9" is a range: list its prefixes`, "10.0.0.1/32 10.0.0.2/31 10.0.0.4/30 10.0.0.8/31"},
		{"10.0.0.1-9", `"10.0.0.1-9" is a range: list its prefixes`, "10.0.0.1/32 10.0.0.2/31 10.0.0.4/30 10.0.0.8/31"},
		{"255.255.255.255", never("255.255.255.255"), ""},
		{"240.0.0.0/4", never("240.0.0.0/4"), ""},
		{"224.0.0.0/4", never("224.0.0.0/4"), ""},
		{"0.0.0.0/8", never("0.0.0.0/8"), ""},
		{"0.0.0.0", never("0.0.0.0"), ""},
		{"127.0.0.1", local("127.0.0.1"), ""},
		{"::ffff:127.0.0.1", local("::ffff:127.0.0.1"), ""},
		{"::", never("::"), ""},
		{"::1", local("::1"), ""},
		{"ff02::1", never("ff02::1"), ""},
		{"ff00::/8", never("ff00::/8"), ""},
	} {
		t.Run(c.in, func(t *testing.T) {
			p, _, err := ParsePrefix(c.in)
			wantInput(t, err, c.message, c.hint)
			if p.IsValid() {
				t.Errorf("an error came with %s", p)
			}
		})
	}
}

// Guards that a bare date lasts to its end in UTC; zero stays for ever.
func TestParseUntil(t *testing.T) {
	for in, want := range map[string]time.Time{
		"2027-01-31":                time.Date(2027, 2, 1, 0, 0, 0, 0, time.UTC),
		"2027-01-31T18:00:00+02:00": time.Date(2027, 1, 31, 16, 0, 0, 0, time.UTC),
		"2027-01-31T18:00:00.5Z":    time.Date(2027, 1, 31, 18, 0, 0, 5e8, time.UTC),
	} {
		if got, err := ParseUntil(in); err != nil || got != want {
			t.Errorf("ParseUntil(%q) = %v, %v; want %v", in, got, err, want)
		}
	}
	for _, in := range []string{
		"", "tomorrow", "2027-02-30", "2027-01-31 18:00", "2027-01-31T18:00:00",
		"0001-01-01T00:00:00Z", "9999-12-31", "9999-12-31T23:00:00-02:00",
	} {
		if got, err := ParseUntil(in); err == nil || !got.IsZero() {
			t.Errorf("ParseUntil(%q) = %v, %v; want an error", in, got, err)
		}
	}
}

func TestParseName(t *testing.T) {
	long := strings.Repeat("a", 63)
	for _, s := range []string{"a", "0", "acme", "acme-2.eu_x", long} {
		if err := ParseName("owner", s); err != nil {
			t.Errorf("ParseName(%q): %v", s, err)
		}
	}
	rule := " is not 1 to 63 of a-z 0-9 . _ - that begin with a letter or digit"
	for s, hint := range map[string]string{"": "", "ACME": "acme", "-": "", ".a": "", "a b": "", "é": ""} {
		t.Run(s, func(t *testing.T) {
			wantInput(t, ParseName("owner", s), `owner "`+s+`"`+rule, hint)
		})
	}
	if ParseName("owner", long+"a") == nil {
		t.Error("a name of 64 bytes was taken")
	}
}

// Guards the terminals of those who list, and the line grammar: a note is one line.
func TestParseNote(t *testing.T) {
	for _, s := range []string{"", "VPN \"west\" \\ é\tx", strings.Repeat("x", MaxNote)} {
		if err := ParseNote(s); err != nil {
			t.Errorf("ParseNote(%q): %v", s, err)
		}
	}
	for _, s := range []string{"a\nb", "\x7f", "\x1b[2J", "\u009b2J", "\x00", "\xff", strings.Repeat("x", MaxNote+1)} {
		if ParseNote(s) == nil {
			t.Errorf("ParseNote(%q) took it", s)
		}
	}
}
