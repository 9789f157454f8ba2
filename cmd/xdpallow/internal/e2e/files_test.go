package e2e

import (
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// Promise (0 gaps): a daemon that can open no more files leaves its pins alone, since what
// it cannot look at may well be there: a kill at that moment must not open the gate. Nobody
// is accused of having changed it.
func TestPinsStayWithoutFiles(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.serve()
	d := h.run(allowed...)
	pinned := func() (inode uint64) {
		t.Helper()
		var stat unix.Stat_t
		h.check(unix.Stat(filepath.Join(h.bpffs(), "links", "eth0"), &stat))
		return stat.Ino
	}
	before := pinned()
	limit := h.limitFiles(d, 3) // those that are open stay open
	h.eventually("a probe without files", func() bool {
		return strings.Contains(d.logged(), "too many open files") || strings.Contains(d.logged(), "somebody else")
	})
	h.limitFiles(d, limit)
	if now := pinned(); now != before {
		t.Errorf("the link was unpinned and pinned again: inode %d, then %d", before, now)
	}
	h.healed()
	if strings.Contains(d.logged(), "somebody else changed the gate") {
		t.Errorf("somebody is accused:\n%s", d.logged())
	}
	h.shut()
}

// limitFiles sets how many files the daemon may open, and returns how many that were.
func (h *host) limitFiles(d *daemon, n uint64) (before uint64) {
	h.tb.Helper()
	var was unix.Rlimit
	h.check(unix.Prlimit(d.cmd.Process.Pid, unix.RLIMIT_NOFILE, nil, &was))
	h.check(unix.Prlimit(d.cmd.Process.Pid, unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: n, Max: was.Max}, nil))
	return was.Cur
}

func openFiles(t *testing.T, d *daemon) uint64 {
	t.Helper()
	files, err := os.ReadDir(filepath.Join("/proc", strconv.Itoa(d.cmd.Process.Pid), "fd"))
	if err != nil {
		t.Fatal(err)
	}
	return uint64(len(files))
}

// Promise: no one user takes all of the daemon's files by connections that ask nothing;
// those over a limit are turned away, and all is well when they end.
func TestConnectionsAreLimited(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	d := h.run(allowed...)
	before := openFiles(t, d)
	const many = 1000
	held := make([]net.Conn, many)
	most := before
	for i := range held {
		c, err := net.Dial("unix", h.socket())
		h.check(err)
		defer c.Close()
		held[i] = c
		if i%10 == 9 {
			most = max(most, openFiles(t, d))
		}
	}
	if most > before+many/2 {
		t.Errorf("%d files were open during %d connections, %d before", most, many, before)
	}
	for _, c := range held {
		c.Close()
	}
	h.eventually("an answer", func() bool { return h.cli("status").code == 0 })
}
