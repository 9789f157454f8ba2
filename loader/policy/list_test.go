package policy

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"pgregory.net/rapid"
)

const file = Origin("file:a.list")

func parse(text string) ([]Claim, []string, error) {
	return ParseList("a.list", file, strings.NewReader(text))
}

func TestParseList(t *testing.T) {
	claims, warnings, err := parse("\ufeff# the owners\r\n" +
		"\r\n" +
		"  10.0.0.0/8\r\n" +
		"10.1.0.1 owner=acme service=mail,api service=api until=2027-01-31 # their VPN \t\n" +
		"2001:db8::/32 note=\"a \\\"b\\\" \\\\ # c\" owner=\"acme\"#note wins\n" +
		"10.2.0.0/16# new\n" +
		"::ffff:10.3.0.0/112 note=\"\" # not a note\n" +
		"10.0.0.0/8\t#\n" +
		"10.4.0.0/16 note=plain")
	if err != nil {
		t.Fatal(err)
	}
	want := []Claim{
		{Prefix: pfx("10.0.0.0/8"), Where: "a.list:3"},
		{
			Prefix: pfx("10.1.0.1/32"), Owner: "acme", Services: []string{"api", "mail"},
			Until: time.Date(2027, 2, 1, 0, 0, 0, 0, time.UTC), Note: "their VPN", Where: "a.list:4",
		},
		{Prefix: pfx("2001:db8::/32"), Owner: "acme", Note: `a "b" \ # c`, Where: "a.list:5"},
		{Prefix: pfx("10.2.0.0/16"), Note: "new", Where: "a.list:6"},
		{Prefix: pfx("10.3.0.0/16"), Where: "a.list:7"},
		{Prefix: pfx("10.4.0.0/16"), Note: "plain", Where: "a.list:9"},
	}
	for i := range want {
		want[i].Origin = file
	}
	if d := diff(want, claims); d != "" {
		t.Error(d)
	}
	mapped := []string{"a.list:7: ::ffff:10.3.0.0/112 is IPv4-mapped: read as 10.3.0.0/16"}
	if !slices.Equal(warnings, mapped) {
		t.Errorf("warnings %q", warnings)
	}
}

func TestParseListEmpty(t *testing.T) {
	for _, text := range []string{"", "\n", "\ufeff", "# nobody\n\n  # yet"} {
		if claims, warnings, err := parse(text); len(claims)+len(warnings) > 0 || err != nil {
			t.Errorf("%q is %v, %v, %v; want nothing", text, claims, warnings, err)
		}
	}
}

func TestParseListRefuses(t *testing.T) {
	for _, c := range []struct{ line, what, hint string }{
		{"10.0.0.5/8 owner=acme", "10.0.0.5/8 has host bits set", "10.0.0.0/8"},
		{"\ufeff10.0.0.0/8", `"\ufeff10.0.0.0/8" is not a prefix or an address`, ""},
		{"owner=acme 10.0.0.0/8", `"owner=acme" is not a prefix or an address`, ""},
		{"10.0.0.0/8 10.1.0.0/16", `"10.1.0.0/16" is not key=value (one prefix a line)`, ""},
		{"10.0.0.0/8 acme\t# x", `"acme" is not key=value (one prefix a line)`, ""},
		{"10.0.0.0/8 ownr=acme", `unknown key "ownr": the keys are owner, service, until, note`, ""},
		{"10.0.0.0/8 =acme", `unknown key "": the keys are owner, service, until, note`, ""},
		{"10.0.0.0/8 owner=a owner=a", "owner is given twice", ""},
		{"10.0.0.0/8 until=2027-01-01 until=2027-01-01", "until is given twice", ""},
		{`10.0.0.0/8 note="" note=x`, "note is given twice", ""},
		{"10.0.0.0/8 owner=", `owner "" is not 1 to 63 of a-z 0-9 . _ - that begin with a letter or digit`, ""},
		{"10.0.0.0/8 service=api,", `service "" is not 1 to 63 of a-z 0-9 . _ - that begin with a letter or digit`, ""},
		{
			"10.0.0.0/8 until=soon", `until "soon" is not a date or an RFC 3339 time from 1970 to 9999, as 2027-01-31 or 2027-01-31T18:00:00Z`,
			"",
		},
		{"10.0.0.0/8 note=bug#12", `note holds " or # and is not quoted`, `note="bug#12"`},
		{`10.0.0.0/8 note=5"`, `note holds " or # and is not quoted`, `note="5\""`},
		{`10.0.0.0/8 note="a`, "note: no closing quote", ""},
		{`10.0.0.0/8 note="a\`, `note: only \" and \\ are escapes`, ""},
		{`10.0.0.0/8 note="a\n"`, `note: only \" and \\ are escapes`, ""},
		{`10.0.0.0/8 note="a"owner=b`, "note: no blank after the closing quote", ""},
		{"10.0.0.0/8 # \xff\x01", "invalid UTF-8", ""},
		{"10.0.0.5 - 10.0.0.9 owner=acme", `"10.0.0.5-10.0.0.9" is a range: list its prefixes`, "10.0.0.5/32 10.0.0.6/31 10.0.0.8/31"},
		{"10.0.0.1 10.0.0.2", `"10.0.0.2" is not key=value (one prefix a line)`, ""},
		{"10.0.0.0 255.255.255.0 owner=acme", `"10.0.0.0/255.255.255.0" has a netmask: write its length`, "10.0.0.0/24"},
		{"# \x00", "control character U+0000", ""},
		{"10.0.0.0/8 # a\rb", "control character U+000D", ""},
		{"#" + strings.Repeat("x", MaxLine), "line is longer than 4096 bytes", ""},
		{"#" + strings.Repeat("x", 200_000), "line is longer than 4096 bytes", ""},
		{"10.0.0.0/8 #" + strings.Repeat("x", MaxNote+1), "a note of 513 bytes is longer than 512", ""},
		{"10.9.0.0/16 owner=b", "10.9.0.0/16 is also in a.list:1, with other words", ""},
		{"10.9.0.0/16", "10.9.0.0/16 is also in a.list:1, with other words", ""},
	} {
		t.Run(c.what, func(t *testing.T) {
			claims, _, err := parse("10.9.0.0/16 owner=a\n" + c.line + "\n10.8.0.0/16\n")
			wantInput(t, err, "a.list:2: "+c.what, c.hint)
			if claims != nil {
				t.Errorf("an error came with %v: half a list is an outage", claims)
			}
		})
	}
	if _, _, err := parse("#" + strings.Repeat("x", MaxLine-1) + "\r\n"); err != nil {
		t.Errorf("a line of just %d bytes: %v", MaxLine, err)
	}
}

// Promise: the same prefix twice with the same words is one entry, whatever the comments; the
// first comment is its note. A note= is a word.
func TestParseListComments(t *testing.T) {
	claims, _, err := parse("10.0.0.0/8 owner=acme # office\n10.1.0.0/16\n10.0.0.0/8 owner=acme # from the old list\n10.1.0.0/16 # lab\n10.0.0.0/8 owner=acme")
	want := []Claim{
		{Prefix: pfx("10.0.0.0/8"), Owner: "acme", Note: "office", Origin: file, Where: "a.list:1"},
		{Prefix: pfx("10.1.0.0/16"), Note: "lab", Origin: file, Where: "a.list:2"},
	}
	if d := diff(want, claims); d != "" || err != nil {
		t.Error(d, err)
	}
	for _, text := range []string{
		"10.0.0.0/8 note=a\n10.0.0.0/8 note=b", "10.0.0.0/8 note=a\n10.0.0.0/8 # b", "10.0.0.0/8 # a\n10.0.0.0/8 note=b",
		"10.0.0.0/8 owner=a # x\n10.0.0.0/8 owner=b # x",
	} {
		_, _, err := parse(text)
		wantInput(t, err, "a.list:2: 10.0.0.0/8 is also in a.list:1, with other words", "")
	}
}

// Guards that every bad line is told in one go, and a wrong file stays readable.
func TestParseListTellsAll(t *testing.T) {
	_, _, err := parse("bad\n10.0.0.0/8\nworse\n")
	want := []string{
		`a.list:1: "bad" is not a prefix or an address`,
		`a.list:3: "worse" is not a prefix or an address`,
	}
	if got := flatten(err); !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
	_, _, err = parse(strings.Repeat("bad\n", 25))
	got := flatten(err)
	if len(got) != 21 || got[20] != "a.list: and 5 more" {
		t.Errorf("25 bad lines make %q", got)
	}
	_, warnings, err := parse(strings.Repeat("::ffff:10.0.0.1\n", 25))
	if err != nil || len(warnings) != 21 || warnings[20] != "a.list: and 5 more" {
		t.Errorf("25 warnings make %q, %v", warnings, err)
	}
}

// Guards that mistakes of every kind are told in the order of the file, and that the first twenty are:
// who mends them goes through it from the top.
func TestParseListTellsInOrder(t *testing.T) {
	_, _, err := parse("10.0.0.0/8\n10.0.0.0/8 owner=a\nbad\n9.0.0.0/8\n9.0.0.0/8 owner=a\n")
	want := []string{
		"a.list:2: 10.0.0.0/8 is also in a.list:1, with other words",
		`a.list:3: "bad" is not a prefix or an address`,
		"a.list:5: 9.0.0.0/8 is also in a.list:4, with other words",
	}
	if got := flatten(err); !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
	_, _, err = parse("9.0.0.0/8\n9.0.0.0/8 owner=a\n" + strings.Repeat("bad\n", 25))
	if got := flatten(err); len(got) != 21 || got[0] != "a.list:2: 9.0.0.0/8 is also in a.list:1, with other words" || got[20] != "a.list: and 6 more" {
		t.Errorf("26 mistakes make %q", got)
	}
	var long strings.Builder // read in parts
	for i := range 100_000 {
		fmt.Fprintf(&long, "10.%d.%d.%d\n", i>>16, i>>8&0xff, i&0xff)
	}
	for i := range 25 {
		fmt.Fprintf(&long, "10.0.0.%d owner=a\n", 50-i)
	}
	_, _, err = parse("10.0.0.1\nbad\n" + long.String() + "worse\n")
	got := flatten(err)
	if len(got) != 21 || !strings.HasPrefix(got[0], "a.list:2: ") || !strings.HasPrefix(got[1], "a.list:100003: ") || !strings.HasPrefix(got[19], "a.list:100021: ") || got[20] != "a.list: and 7 more" {
		t.Errorf("27 mistakes in a long list make %q", got)
	}
}

// Guards that a file that cannot be read to its end is not a shorter list.
func TestParseListReadError(t *testing.T) {
	broken := errors.New("disk on fire")
	r := io.MultiReader(strings.NewReader("10.0.0.0/8\n"), iotest.ErrReader(broken))
	claims, _, err := ParseList("a.list", file, r)
	if claims != nil || !errors.Is(err, broken) {
		t.Errorf("got %v, %v", claims, err)
	}
	if _, input := errors.AsType[*InputError](err); input {
		t.Error("a failing disk is not the operator's mistake")
	}
}

// Guards that `list -o text` round-trips through `add -`.
func TestFormatRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := Claim{
			Prefix:   nestedPrefix().Draw(t, "prefix"),
			Owner:    rapid.SampledFrom([]string{"", "acme", "a-b.c_d"}).Draw(t, "owner"),
			Services: someServices().Draw(t, "services"),
			Note: rapid.OneOf(rapid.StringMatching(`[ "\\#a=\t]{0,8}`), rapid.String()).
				Filter(func(s string) bool { return ParseNote(s) == nil }).Draw(t, "note"),
			Origin: file,
			Where:  "a.list:1",
		}
		if seconds := rapid.Int64Range(-1, 1<<37).Draw(t, "until"); seconds >= 0 {
			want.Until = time.Unix(seconds, rapid.Int64Range(0, 999_999_999).Draw(t, "ns")).UTC()
		}
		line := FormatLine(want)
		got, _, err := parse(line)
		if err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		if d := diff([]Claim{want}, got); d != "" {
			t.Fatalf("%s: %s", line, d)
		}
	})
}

// The longest claim there can be still fits a line.
func TestFormatLongest(t *testing.T) {
	want := Claim{
		Prefix: pfx("2001:1111:2222:3333:4444:5555:6666:7777/128"),
		Owner:  strings.Repeat("o", 63), Until: now.Add(1), Note: strings.Repeat(`"`, MaxNote),
		Origin: file, Where: "a.list:1",
	}
	for i := range MaxServices {
		want.Services = append(want.Services, fmt.Sprintf("%02d%061d", i, 0))
	}
	got, _, err := parse(FormatLine(want))
	if err != nil {
		t.Fatal(err)
	}
	if d := diff([]Claim{want}, got); d != "" {
		t.Error(d)
	}
	if _, _, err := parse(FormatLine(want) + " service=more"); err == nil {
		t.Error("a claim of 32 services was taken")
	}
}

func TestWriteLines(t *testing.T) {
	var out bytes.Buffer
	claims := slices.Values([]Claim{{Prefix: pfx("10.0.0.0/8"), Owner: "acme"}, {Prefix: pfx("10.0.0.1/32"), Services: []string{"api", "mail"}}})
	if err := WriteLines(&out, claims); err != nil {
		t.Fatal(err)
	}
	want := "10.0.0.0/8 owner=acme\n10.0.0.1/32 service=api,mail\n"
	if out.String() != want {
		t.Errorf("got %q, want %q", out.String(), want)
	}
	broken := errors.New("pipe closed")
	if err := WriteLines(failingWriter{broken}, claims); !errors.Is(err, broken) {
		t.Errorf("a failed write gave %v", err)
	}
}

type failingWriter struct{ err error }

func (w failingWriter) Write([]byte) (int, error) { return 0, w.err }

// Whatever a file holds, it is refused in full or its claims are canonical and
// survive being written and read again.
func FuzzParseList(f *testing.F) {
	for _, seed := range []string{
		"", "\ufeff10.0.0.0/8\r\n10.0.0.1 # x\n", "10.0.0.5/8\n", "::ffff:10.0.0.0/104 owner=acme\n",
		"2001:db8::/32 service=b,a,b until=2027-01-31 note=\"a\\\"b\\\\\"#c\n", "fe80::1%eth0", "10.0.0.1-10.0.0.2",
		"10.0.0.0/8 until=9999-12-31T23:59:59.999999999-23:59", "10.0.0.0/8\n10.0.0.0/8 owner=a\n", "\xff\x00\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		claims, warnings, err := ParseList("a.list", file, bytes.NewReader(text))
		if err != nil {
			if _, input := errors.AsType[*InputError](err); !input || claims != nil || warnings != nil {
				t.Fatalf("refused with %v, %v, %v", err, claims, warnings)
			}
			return
		}
		for _, c := range claims {
			if p, warning, err := ParsePrefix(c.Prefix.String()); p != c.Prefix || warning != "" || err != nil {
				t.Fatalf("%s is not canonical: %s, %s, %v", c.Prefix, p, warning, err)
			}
			if !slices.IsSorted(c.Services) || len(slices.Compact(slices.Clone(c.Services))) != len(c.Services) {
				t.Fatalf("services %q", c.Services)
			}
		}
		var lines bytes.Buffer
		if err := WriteLines(&lines, slices.Values(claims)); err != nil {
			t.Fatal(err)
		}
		again, warnings, err := ParseList("a.list", file, bytes.NewReader(lines.Bytes()))
		if err != nil || len(warnings) > 0 || !slices.EqualFunc(claims, again, func(a, b Claim) bool {
			return a.Prefix == b.Prefix && SameWords(a, b)
		}) {
			t.Fatalf("%q was written as %q and read as %v, %v, %v", text, &lines, again, warnings, err)
		}
	})
}

// million is a list as a big operator has it, in no order.
func million() []byte {
	var out bytes.Buffer
	for i := range uint32(1_000_000) {
		n := i * 2654435761 // spreads over the bits, and never repeats
		addr := netip.AddrFrom4([4]byte{10 + byte(n>>30), byte(n >> 16), byte(n >> 8), byte(n)})
		fmt.Fprintf(&out, "%s owner=acme-%d service=api # customer %d\n", addr, i%1000, i)
	}
	return out.Bytes()
}

func BenchmarkParseList(b *testing.B) {
	text := million()
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := ParseList("a.list", file, bytes.NewReader(text)); err != nil {
			b.Fatal(err)
		}
	}
}
