// This file measures the memory of the daemon: what it alone has, without the pages of files,
// which the kernel takes back whenever it needs them.
package main

import (
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// memory watches the anonymous memory of a process.
type memory struct {
	pid  int
	most atomic.Uint64 // bytes, since begin
	end  chan struct{}
	done sync.WaitGroup
}

func watchMemory(pid int) *memory {
	m := &memory{pid: pid, end: make(chan struct{})}
	m.done.Go(func() {
		for ticks := time.NewTicker(10 * time.Millisecond); ; {
			select {
			case <-m.end:
				ticks.Stop()
				return
			case <-ticks.C:
				m.most.Store(max(m.most.Load(), m.now()))
			}
		}
	})
	return m
}

func (m *memory) stop() {
	close(m.end)
	m.done.Wait()
}

// begin forgets what was seen so far.
func (m *memory) begin() { m.most.Store(0) }

// now is in bytes, 0 where the process is gone.
func (m *memory) now() uint64 {
	kilobytes, _, _ := strings.Cut(field(fmt.Sprintf("/proc/%d/status", m.pid), "RssAnon"), " ")
	n, _ := strconv.ParseUint(kilobytes, 10, 64)
	return n << 10
}

// settled waits until the process gives no more memory back, and returns what it keeps.
func (m *memory) settled() uint64 {
	const quiet = 130 * time.Second // Go looks every two minutes for what it can give back
	least, since := m.now(), time.Now()
	for begin := since; time.Since(since) < quiet && time.Since(begin) < 5*time.Minute; time.Sleep(200 * time.Millisecond) {
		if now := m.now(); now+(1<<20) < least {
			least, since = now, time.Now()
		}
	}
	return m.now()
}
