package impact

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/xdpallow/xdpallow/loader/policy"
	"github.com/xdpallow/xdpallow/loader/sockets"
)

// Sessions returns the far ends of the TCP connections that the ancestors of pid
// hold in this network namespace: the operator's own way in, through sshd. sudo
// hides SSH_CONNECTION, the process tree does not lie. What cannot be read is not
// found, so it is the command that looks, with the operator's rights, and not the
// daemon with its three capabilities. The error is that of a kernel that tells nobody who
// is connected.
func Sessions(pid int) ([]policy.Peer, error) {
	own, _ := os.Readlink("/proc/self/ns/net")
	held := map[uint32]bool{}
	for depth := 0; pid > 1 && depth < 64; depth++ {
		proc := filepath.Join("/proc", strconv.Itoa(pid))
		if ns, err := os.Readlink(filepath.Join(proc, "ns", "net")); err == nil && ns == own {
			holds(held, proc)
		}
		pid = parent(proc)
	}
	if len(held) == 0 {
		return nil, nil
	}
	conns, err := sockets.EstablishedAnywhere()
	if err != nil {
		return nil, fmt.Errorf("look for your own session, which is not guarded now: %w", err)
	}
	return sockets.Peers(slices.DeleteFunc(conns, func(c sockets.Conn) bool { return !held[c.Inode] })), nil
}

// parent is the parent of a process; 0 when it cannot be read.
func parent(proc string) int { return readProcess(proc).parent }

// process is what /proc/PID/stat says of one.
type process struct {
	name     string // at most 15 bytes
	parent   int
	terminal int // that controls it; 0 is none
}

// readProcess reads a process; what cannot be read is zero. The name stands in
// parentheses, and may contain anything.
func readProcess(proc string) process {
	read, err := os.ReadFile(filepath.Join(proc, "stat"))
	text := string(read)
	open, end := strings.IndexByte(text, '('), strings.LastIndexByte(text, ')')
	if err != nil || open < 0 || end < open {
		return process{}
	}
	p := process{name: text[open+1 : end]}
	fields := strings.Fields(text[end+1:]) // state, parent, group, session, terminal
	if len(fields) < 5 {
		return process{}
	}
	p.parent, _ = strconv.Atoi(fields[1])
	p.terminal, _ = strconv.Atoi(fields[4])
	return p
}

// holds notes the inodes of the sockets that a process has open.
func holds(held map[uint32]bool, proc string) {
	fds, _ := os.ReadDir(filepath.Join(proc, "fd"))
	for _, fd := range fds {
		target, _ := os.Readlink(filepath.Join(proc, "fd", fd.Name()))
		text, found := strings.CutPrefix(target, "socket:[")
		if inode, err := strconv.ParseUint(strings.TrimSuffix(text, "]"), 10, 32); found && err == nil {
			held[uint32(inode)] = true
		}
	}
}
