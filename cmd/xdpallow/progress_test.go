package main

import (
	"bytes"
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

// Promise: what takes over a second says on a terminal what it waits for, in
// one line that is gone at the end; what does not, and -q and a pipe, say nothing.
func TestProgress(t *testing.T) {
	for _, c := range []struct {
		watched, quiet bool
		takes          time.Duration
		want           string
	}{
		{true, false, 900 * time.Millisecond, ""},
		{true, false, 2500 * time.Millisecond, "xdpallow: reading, 1 s\r\x1b[Kxdpallow: reading, 2 s\r\x1b[K"},
		{true, true, 2500 * time.Millisecond, ""},
		{false, false, 2500 * time.Millisecond, ""},
	} {
		synctest.Test(t, func(t *testing.T) {
			var out bytes.Buffer
			cmd := &call{env: env{stderr: &out, watched: c.watched}, quiet: c.quiet}
			done := cmd.progress().waiting("reading")
			time.Sleep(c.takes)
			done()
			if out.String() != c.want {
				t.Errorf("%+v: %q", c, out.String())
			}
		})
	}
	// A line of the log takes its place.
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		p := &progress{out: &out}
		done := p.waiting("reading")
		time.Sleep(1500 * time.Millisecond)
		fmt.Fprintln(p, "logged")
		done()
		if want := "xdpallow: reading, 1 s\r\x1b[Klogged\n"; out.String() != want {
			t.Errorf("%q, want %q", out.String(), want)
		}
	})
}

// Promise: in a pipe a daemon that works is told of by a line each ten seconds; not with -q, and
// nothing is said of a command that waits for no work.
func TestProgressInAPipe(t *testing.T) {
	for _, c := range []struct {
		told  string
		quiet bool
		want  string
	}{
		{"publishing 3 prefixes", false, "xdpallow: publishing 3 prefixes, 10 s\nxdpallow: publishing 3 prefixes, 20 s\n"},
		{"publishing 3 prefixes", true, ""},
		{"", false, ""},
	} {
		synctest.Test(t, func(t *testing.T) {
			var out bytes.Buffer
			p := (&call{env: env{stderr: &out}, quiet: c.quiet}).progress()
			done := p.waiting("waiting for the daemon")
			p.tell(c.told)
			time.Sleep(25 * time.Second)
			done()
			if out.String() != c.want {
				t.Errorf("%+v: %q", c, out.String())
			}
		})
	}
}
