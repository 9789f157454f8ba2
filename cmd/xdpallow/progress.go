package main

// This file shows on a terminal what a command waits for, once that takes over a second:
// silence looks like a hang, and an interrupt would not undo the change.

import (
	"fmt"
	"io"
	"sync"
	"time"
)

// progress is stderr with a last line that is rewritten in place, and removed before anything
// else is written.
type progress struct {
	out    io.Writer
	silent bool // nobody watches

	mu    sync.Mutex
	shown bool
}

func (c *call) progress() *progress {
	return &progress{out: c.stderr, silent: !c.watched || c.quiet}
}

// waiting shows every second what the command waits for and how long already, until done is
// called.
func (p *progress) waiting(what string) (done func()) {
	if p.silent {
		return func() {}
	}
	var ended sync.WaitGroup
	end := make(chan struct{})
	ended.Go(func() {
		begin, ticks := time.Now(), time.NewTicker(time.Second)
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
				p.clear()
				fmt.Fprintf(p.out, "xdpallow: %s, %d s", what, int(time.Since(begin).Seconds()))
				p.shown = true
				p.mu.Unlock()
			}
		}
	})
	return func() {
		close(end)
		ended.Wait()
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
