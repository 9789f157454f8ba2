package layout

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/xdpallow/xdpallow/loader/fleet/layout/layouttest"
	"github.com/xdpallow/xdpallow/loader/policy"
)

const id = "0123456789abcdef0123456789abcdef"

func pfx(s string) netip.Prefix { return netip.MustParsePrefix(s) }

// manifestOf is a manifest of l that can be read.
func manifestOf(serial uint64, l List) *Manifest {
	return &Manifest{
		Version: 1, Fleet: id, Serial: serial, Time: time.Date(2026, 11, 29, 3, 0, 0, 0, time.UTC), By: "alice@bastion",
		Command: "fleet add", Entries: l.Entries(), Sum: SumOf(l.Chunks), Chunks: l.Chunks,
	}
}

// drawn is a sorted list of claims of few prefixes, so that lists have much in common.
func drawn(t *rapid.T, name string) (all []policy.Claim) {
	seen := map[netip.Prefix]bool{}
	for range rapid.IntRange(0, 60).Draw(t, name) {
		addr := netip.AddrFrom4([4]byte{198, 51, 100, rapid.ByteRange(0, 63).Draw(t, "last")})
		p, _ := addr.Prefix(rapid.IntRange(28, 32).Draw(t, "bits"))
		if !seen[p] {
			seen[p] = true
			all = append(all, policy.Claim{Prefix: p, Owner: rapid.SampledFrom([]string{"", "acme", "globex"}).Draw(t, "owner"), Note: rapid.SampledFrom([]string{"", `a "b" # c`}).Draw(t, "note")})
		}
	}
	slices.SortFunc(all, func(a, b policy.Claim) int { return policy.ComparePrefix(a.Prefix, b.Prefix) })
	return all
}

func sameClaims(a, b []policy.Claim) bool {
	return slices.EqualFunc(a, b, func(a, b policy.Claim) bool { return a.Prefix == b.Prefix && policy.SameWords(a, b) })
}

// Promise: whatever two lists are, a host comes from the one to the other, by the delta or by the
// chunks that it lacks, to exactly what was written.
func TestListsLeadToEachOther(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		before, after := drawn(t, "before"), drawn(t, "after")
		had, err := NewList(before, List{})
		if err != nil {
			t.Fatal(err)
		}
		like := had
		if rapid.Bool().Draw(t, "boundaries") { // in pieces of up to five, as if they had been long
			like.Chunks = nil
			for i := 0; i < len(before); i += 5 {
				like.Chunks = append(like.Chunks, Chunk{First: before[i].Prefix})
			}
			if had, err = NewList(before, like); err != nil {
				t.Fatal(err)
			}
		}
		written, err := NewList(after, had)
		if err != nil {
			t.Fatal(err)
		}
		m := manifestOf(2, written)
		m.Delta = NewDelta(1, before, after)
		m, err = Decode("list/main", m.Encode())
		if err != nil {
			t.Fatal(err)
		}
		byDelta, ok := had.Apply(m)
		if !ok {
			t.Fatalf("the delta does not lead there: %v", m.Delta.Lines)
		}
		byChunks, err := had.With(m, written.packed)
		if err != nil {
			t.Fatal(err)
		}
		edit, err := had.EditTo(byChunks, "etcd:prod")
		if err != nil {
			t.Fatal(err)
		}
		for what, l := range map[string]List{"delta": byDelta, "chunks": byChunks} {
			got, err := l.Claims("")
			if err != nil || !sameClaims(got, after) {
				t.Errorf("by %s: %v, %v, want %v", what, got, err, after)
			}
		}
		// The edits are the same, and as small as can be.
		fromDelta, err := m.Delta.Edit("etcd:prod")
		if err != nil || !slices.Equal(fromDelta.Remove, edit.Remove) || !sameClaims(fromDelta.Put, edit.Put) {
			t.Errorf("edit %v, by delta %v, %v", edit, fromDelta, err)
		}
		for _, c := range edit.Put {
			if i := slices.IndexFunc(before, func(b policy.Claim) bool { return b.Prefix == c.Prefix }); i >= 0 && policy.SameWords(before[i], c) {
				t.Errorf("%v is put and has not changed", c)
			}
		}
	})
}

// Promise: a change of one entry makes one new chunk of at most 4,096 lines, however long the
// list is.
func TestOneChangeMakesOneChunk(t *testing.T) {
	t.Parallel()
	all := layouttest.Many(20_000)
	had, err := NewList(all, List{})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range had.Chunks {
		if c.Entries > maxLines || len(had.packed[c.Sum]) > maxPacked {
			t.Errorf("a chunk of %d entries and %d bytes", c.Entries, len(had.packed[c.Sum]))
		}
	}
	after, err := NewList(slices.Delete(slices.Clone(all), 9_000, 9_001), had)
	if err != nil {
		t.Fatal(err)
	}
	if n := len(had.Lacks(manifestOf(2, after))); n != 1 {
		t.Errorf("%d new chunks, want 1 of %d", n, len(after.Chunks))
	}
	if _, err := NewList(layouttest.Claims(t, "203.0.113.0/24 note="+strings.Repeat("x", policy.MaxNote)), had); err != nil {
		t.Errorf("a long note: %v", err)
	}
}

// Promise: what somebody else could have put under a key is refused, with the key and what is
// wrong; nothing of it is taken over, and no memory is spent on it.
func TestRefusedManifests(t *testing.T) {
	t.Parallel()
	l, err := NewList(layouttest.Claims(t, "203.0.113.0/24 owner=acme", "198.51.100.0/24"), List{})
	if err != nil {
		t.Fatal(err)
	}
	good := manifestOf(58, l)
	good.Delta = NewDelta(57, layouttest.Claims(t, "203.0.113.0/24 owner=acme"), layouttest.Claims(t, "203.0.113.0/24 owner=acme", "198.51.100.0/24"))
	good.Suspended = []Suspension{{Subject: "globex"}, {Subject: "203.0.113.7/32"}}
	good.Limits = map[string]Limit{"acme": {PerSecond: 200, Burst: 400}}
	text := string(good.Encode())
	if m, err := Decode("k", []byte(text)); err != nil || !m.Same(good) {
		t.Fatalf("the good one: %v", err)
	}
	for _, c := range []struct{ from, to, want string }{
		{text, "", "is no manifest"},
		{text, "hello", "is no manifest"},
		{text, text + "{}", "there is more after its end"},
		{text, text + strings.Repeat(" ", MaxManifest), "are more than a manifest has"},
		{`"version":1`, `"version":2`, "is of a newer xdpallow"},
		{`"version":1,`, `"version":2,"signature":"x",`, "is of a newer xdpallow"},
		{`"version":1`, `"version":0`, "version 0 is not 1"},
		{`"serial":58`, `"serial":58,"serials":1`, "unknown field"},
		{`"serial":58`, `"serial":0`, "serial 0 is none"},
		{`"serial":58`, `"serial":-1`, "is no manifest"},
		{id, "prod", "is not an identity"},
		{`"entries":2,"sum`, `"entries":3,"sum`, "entries is 3, and the chunks have 2"},
		{l.Chunks[0].Sum, strings.Repeat("0", 64), "sum is not that of the chunks"},
		{l.Chunks[0].Sum, "../../id", "of a chunk is none"},
		{`"first":"198.51.100.0/24"`, `"first":"198.51.100.1/24"`, "is no prefix"},
		{`"+198.51.100.0/24"`, `"+198.51.100.1/24"`, "has host bits set"},
		{`"+198.51.100.0/24"`, `"+198.51.100.0/24  owner=acme"`, "is not a line as this program writes it"},
		{`"+198.51.100.0/24"`, `"*198.51.100.0/24"`, "neither added nor removed"},
		{`"+198.51.100.0/24"`, `""`, "empty line"},
		{`"+198.51.100.0/24"`, `"+198.51.100.0/24","-198.51.100.0/24"`, "comes after"},
		{`"globex"`, `"Globex!"`, "owner"},
		{`"globex"`, `"203.0.113.7/32"`, "suspended twice"},
		{`"203.0.113.7/32"`, `"203.0.113.7/24"`, "neither an owner nor a prefix"},
		{`"burst":400`, `"burst":0`, "lets nobody in"},
		{`"per_second":200`, `"per_second":-1`, "lets nobody in"},
		{`"alice@bastion"`, `"alice\u001b[2J"`, "control character"},
	} {
		bad := strings.Replace(text, c.from, c.to, 1)
		if bad == text {
			t.Fatalf("%s is not in %s", c.from, text)
		}
		m, err := Decode("/xdpallow/v1/prod/list/main", []byte(bad))
		if m != nil || err == nil || !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), "/xdpallow/v1/prod/list/main: ") {
			t.Errorf("%.40q in place of %.40q: %v, want %s", c.to, c.from, err, c.want)
		}
	}
}

// Promise: as TestRefusedManifests, of chunks.
func TestRefusedChunks(t *testing.T) {
	t.Parallel()
	good := "198.51.100.0/24\n203.0.113.0/24 owner=acme\n"
	chunk := func(text string, entries int) Chunk {
		return Chunk{Sum: textSum([]byte(text)), First: prefixOf([]byte(text)), Entries: entries}
	}
	var bomb bytes.Buffer
	w := gzip.NewWriter(&bomb)
	for range 64 {
		if _, err := w.Write(make([]byte, 1<<20)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		what   string
		chunk  Chunk
		packed []byte
		want   string
	}{
		{"missing", chunk(good, 2), nil, "is not there"},
		{"no gzip", chunk(good, 2), []byte(good), "cannot be unpacked"},
		{"cut short", chunk(good, 2), pack([]byte(good))[:20], "cannot be unpacked"},
		{"another text", chunk(good, 2), pack([]byte("198.51.100.0/24\n")), "its sum is another one"},
		{"a bomb", chunk(good, 2), bomb.Bytes(), "is over 4 MiB"},
		{"too long", chunk(good, 2), make([]byte, maxPacked+1), "are more than"},
		{"fewer lines", chunk(good, 3), pack([]byte(good)), "has not 3 lines"},
		{"another beginning", Chunk{Sum: textSum([]byte(good)), First: pfx("1.0.0.0/8"), Entries: 2}, pack([]byte(good)), "does not begin with 1.0.0.0/8"},
		{"a bad line", chunk(good+"203.0.113.300\n", 3), pack([]byte(good + "203.0.113.300\n")), ":3: "},
		{"an entry twice", chunk(good+"203.0.113.0/24\n", 3), pack([]byte(good + "203.0.113.0/24\n")), "203.0.113.0/24"},
		{"out of order", chunk(good+"203.0.112.0/24\n", 3), pack([]byte(good + "203.0.112.0/24\n")), "203.0.112.0/24 is not in order"},
	} {
		m := manifestOf(1, List{Chunks: []Chunk{c.chunk}})
		l, err := List{}.With(m, map[string][]byte{c.chunk.Sum: c.packed})
		var got []policy.Claim
		if err == nil {
			got, err = l.Claims("etcd:prod")
		}
		if err == nil || got != nil || !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), "chunk/"+c.chunk.Sum[:12]) {
			t.Errorf("%s: %v, want %s", c.what, err, c.want)
		}
		// Likewise where it is compared with a list that is whole.
		had, _ := NewList(layouttest.Claims(t, "198.51.100.0/25"), List{})
		if l, err = had.With(m, map[string][]byte{c.chunk.Sum: c.packed}); err == nil {
			_, err = had.EditTo(l, "etcd:prod")
		}
		if err == nil {
			t.Errorf("%s: is taken over as a change", c.what)
		}
	}
}

// Promise: what is not the next state of a host's own fleet is not taken over, and a group goes
// back from what was not confirmed.
func TestSucceeds(t *testing.T) {
	t.Parallel()
	at := func(serial uint64, sum string, over uint64) *Manifest {
		m := &Manifest{Fleet: id, Serial: serial, Sum: sum}
		if over > 0 {
			m.First = &First{Group: "canary", Over: over}
		}
		return m
	}
	other := at(70, "a", 0)
	other.Fleet = strings.Repeat("f", 32)
	for i, c := range []struct {
		have, m *Manifest
		want    error
	}{
		{nil, at(5, "a", 0), nil},
		{at(5, "a", 0), at(5, "a", 0), nil},
		{at(5, "a", 0), at(9, "b", 0), nil},
		{at(5, "a", 0), at(5, "b", 0), ErrOlder},
		{at(5, "a", 0), at(4, "a", 0), ErrOlder},
		{at(5, "a", 0), other, ErrChanged},
		{at(6, "b", 5), at(5, "a", 0), nil},      // not confirmed
		{at(6, "b", 5), at(6, "b", 0), nil},      // confirmed
		{at(6, "b", 5), at(6, "c", 0), nil},      // something else came
		{at(6, "b", 5), at(4, "c", 0), ErrOlder}, // a backup
		{at(6, "b", 5), at(6, "c", 5), ErrOlder},
	} {
		if err := c.m.Succeeds(c.have); err != c.want {
			t.Errorf("%d: %v, want %v", i, err, c.want)
		}
	}
}

// Promise: no bytes in etcd make a host fail, or take over what is not what it was meant to be.
func FuzzManifest(f *testing.F) {
	l, err := NewList(layouttest.Many(3), List{})
	if err != nil {
		f.Fatal(err)
	}
	m := manifestOf(3, l)
	f.Add(m.Encode())
	m.Delta, m.First = NewDelta(2, layouttest.Many(2), layouttest.Many(3)), &First{Group: "canary", Over: 2}
	m.Suspended, m.Limits = []Suspension{{Subject: "acme"}}, map[string]Limit{"acme": {1, 1}}
	f.Add(m.Encode())
	f.Fuzz(func(t *testing.T, text []byte) {
		m, err := Decode("k", text)
		if err != nil {
			return
		}
		if again, err := Decode("k", m.Encode()); err != nil || !again.Same(m) {
			t.Errorf("written and read again: %v", err)
		}
		if m.Why() == "" || strings.ContainsAny(m.Why(), "\n\x1b") {
			t.Errorf("says %q", m.Why())
		}
		for _, s := range m.Suspended {
			if _, err := ParseSubject(s.Subject); err != nil {
				t.Errorf("stops nobody: %v", err)
			}
		}
		if m.Delta != nil {
			if after, ok := l.Apply(m); ok && SumOf(after.Chunks) != m.Sum {
				t.Error("a delta led elsewhere")
			}
		}
	})
}

// Promise: as FuzzManifest, of deltas: one is applied as a whole or not at all.
func FuzzDelta(f *testing.F) {
	f.Add("-20.0.0.0/30")
	f.Add("+20.0.0.4/30 owner=acme\n+2001:db8::/32 note=\"x\"")
	had, err := NewList(layouttest.Many(5), List{})
	if err != nil {
		f.Fatal(err)
	}
	before, err := had.text(had.Chunks)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, lines string) {
		d := &Delta{From: 1, Lines: strings.Split(lines, "\n")}
		edit, err := d.Edit("")
		if err != nil {
			return
		}
		after, err := d.apply(before)
		if err != nil {
			return
		}
		got, _, err := policy.ParseStored("", "", bytes.NewReader(after))
		if err != nil || len(got) != bytes.Count(after, []byte("\n")) {
			t.Fatalf("%q: %v", after, err)
		}
		want := map[netip.Prefix]string{}
		for _, c := range layouttest.Many(5) {
			want[c.Prefix] = policy.FormatLine(c)
		}
		for _, key := range edit.Remove {
			delete(want, key.Prefix)
		}
		for _, c := range edit.Put {
			want[c.Prefix] = policy.FormatLine(c)
		}
		for i, c := range got {
			if want[c.Prefix] != policy.FormatLine(c) || i > 0 && policy.ComparePrefix(got[i-1].Prefix, c.Prefix) >= 0 {
				t.Errorf("%v is wrong after %q", c, lines)
			}
		}
		if len(got) != len(want) {
			t.Errorf("%d entries after %q, want %s", len(got), lines, fmt.Sprint(want))
		}
	})
}

// Promise: a list costs no more memory than its entries can need: a line that no list has is refused
// before it is kept.
func TestLongLine(t *testing.T) {
	t.Parallel()
	text := []byte("198.51.100.0/24 note=" + strings.Repeat("x", 2<<20) + "\n")
	bomb := Chunk{Sum: textSum(text), First: pfx("198.51.100.0/24"), Entries: 1}
	_, err := List{}.With(manifestOf(1, List{Chunks: []Chunk{bomb}}), map[string][]byte{bomb.Sum: pack(text)})
	if err == nil || !strings.HasPrefix(err.Error(), "chunk/"+bomb.Sum[:12]+": is over ") {
		t.Errorf("a line of two megabytes: %v", err)
	}
}
