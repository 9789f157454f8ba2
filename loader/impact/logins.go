// This file finds who is logged in over TCP, whoever types a command: in tmux or screen no
// ancestor of the command holds the connection that the operator came in by.

package impact

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/xdpallow/xdpallow/loader/policy"
	"github.com/xdpallow/xdpallow/loader/sockets"
)

// Logins returns the far ends of the connections of this network namespace by which
// somebody is logged in: those that a process holds which has started another one on a
// terminal of its own, as sshd and telnetd do, and those of an SSH server that has started
// anything but itself. A client of an API is not logged in, nor is who is still trying
// passwords. What the caller may not read of /proc is not found. The error is that of a
// kernel that tells nobody who is connected.
func Logins() ([]policy.Peer, error) {
	conns, err := sockets.EstablishedAnywhere()
	if err != nil {
		return nil, fmt.Errorf("look for who is logged in, which is not guarded now: %w", err)
	}
	if len(conns) == 0 {
		return nil, nil
	}
	processes := readProcesses()
	children := map[int][]int{}
	for pid, p := range processes {
		children[p.parent] = append(children[p.parent], pid)
	}
	held := map[uint32]bool{}
	for pid := range processes {
		if len(children[pid]) > 0 && logsIn(pid, pid, processes, children) {
			holds(held, filepath.Join("/proc", strconv.Itoa(pid)))
		}
	}
	return sockets.Peers(slices.DeleteFunc(conns, func(c sockets.Conn) bool { return !held[c.Inode] })), nil
}

// readProcesses reads all processes that can be seen, by pid.
func readProcesses() map[int]process {
	processes := map[int]process{}
	entries, _ := os.ReadDir("/proc") // without it nobody is found
	for _, entry := range entries {
		if pid, err := strconv.Atoi(entry.Name()); err == nil {
			processes[pid] = readProcess(filepath.Join("/proc", entry.Name()))
		}
	}
	return processes
}

// logsIn reports whether server has started, below pid, what only a login starts.
func logsIn(server, pid int, processes map[int]process, children map[int][]int) bool {
	is := processes[server]
	return slices.ContainsFunc(children[pid], func(child int) bool {
		c := processes[child]
		ownTerminal := c.terminal != 0 && c.terminal != is.terminal
		return ownTerminal || isSSH(is.name) && !isSSH(c.name) || logsIn(server, child, processes, children)
	})
}

// isSSH knows the processes of OpenSSH (sshd, sshd-session, sshd-auth) and of dropbear.
func isSSH(name string) bool {
	return strings.HasPrefix(name, "sshd") || strings.HasPrefix(name, "dropbear")
}

// Guard refuses, as policy.GuardPeer and policy.GuardLogins do, a change from old to next that
// shuts out who makes it, unless he could not come in again before either, or who is logged in.
func Guard(old, next policy.State, peers, logins []policy.Peer, verb policy.Verb, now time.Time) error {
	if policy.GuardPeer(old, peers, verb, now) == nil {
		if err := policy.GuardPeer(next, peers, verb, now); err != nil {
			return err
		}
	}
	return policy.GuardLogins(old, next, logins, now)
}
