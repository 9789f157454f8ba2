package main

// This file shows what a command waits for: on a terminal once that takes over a second, in a pipe a
// line every ten. Silence looks like a hang, and an interrupt would not undo the change.

import (
	"cmp"
	"fmt"
	"io"
	"sync"
	"time"
)

// progress is stderr with a last line that is rewritten in place, and removed before anything
// else is written.
type progress struct {
	out    io.Writer
	piped  bool // no terminal: the line stays, and is written only of a daemon that works
	silent bool // nobody wants to know

	mu    sync.Mutex
	shown bool
	told  string // what the daemon says that it is at
}

func (c *call) progress() *progress {
	return &progress{out: c.stderr, piped: !c.watched, silent: c.quiet}
}

// tell has the line say what the daemon is at.
func (p *progress) tell(what string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.told = what
}

// waiting shows what the command waits for and how long already, until done is called.
func (p *progress) waiting(what string) (done func()) {
	if p.silent {
		return func() {}
	}
	var ended sync.WaitGroup
	end := make(chan struct{})
	ended.Go(func() {
		every := time.Second
		if p.piped {
			every *= 10
		}
		begin, ticks := time.Now(), time.NewTicker(every)
		defer ticks.Stop()
		for {
			select {
			case <-end:
				p.mu.Lock()
				defer p.mu.Unlock()
				p.clear()
				return
			case <-ticks.C:
				p.mu.Lock()
				p.show(what, time.Since(begin))
				p.mu.Unlock()
			}
		}
	})
	return func() {
		close(end)
		ended.Wait()
	}
}

// show writes the line. The caller holds the mutex.
func (p *progress) show(what string, since time.Duration) {
	switch line := fmt.Sprintf("xdpallow: %s, %d s", cmp.Or(p.told, what), int(since.Seconds())); {
	case !p.piped:
		p.clear()
		fmt.Fprint(p.out, line)
		p.shown = true
	case p.told != "":
		fmt.Fprintln(p.out, line)
	}
}

// clear removes the line: it goes back to its start and erases to its end.
func (p *progress) clear() {
	if p.shown {
		fmt.Fprint(p.out, "\r\x1b[K")
		p.shown = false
	}
}

func (p *progress) Write(text []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.clear()
	return p.out.Write(text)
}
