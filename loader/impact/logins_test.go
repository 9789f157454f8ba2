package impact

import "testing"

// Who is logged in is told by what a server has started: something on a terminal of its
// own, or, of an SSH server, anything but itself.
func TestLogsIn(t *testing.T) {
	processes := map[int]process{
		1: {name: "init"},
		// an SSH session on a terminal, with tmux's server elsewhere
		10: {name: "sshd", parent: 1}, 11: {name: "sshd", parent: 10}, 12: {name: "bash", parent: 11, terminal: 5}, 13: {name: "tmux: client", parent: 12, terminal: 5},
		20: {name: "tmux: server", parent: 1}, 21: {name: "bash", parent: 20, terminal: 6},
		// an SSH session without one, and somebody who is still trying passwords
		30: {name: "sshd-session", parent: 1}, 31: {name: "sh", parent: 30},
		40: {name: "sshd-session", parent: 1}, 41: {name: "sshd-auth", parent: 40},
		// an API with workers, as a service and started from a terminal
		50: {name: "nginx", parent: 1}, 51: {name: "nginx", parent: 50},
		60: {name: "python3", parent: 12, terminal: 5}, 61: {name: "python3", parent: 60, terminal: 5},
		70: {name: "in.telnetd", parent: 1}, 71: {name: "login", parent: 70, terminal: 7},
	}
	children := map[int][]int{}
	for pid, p := range processes {
		children[p.parent] = append(children[p.parent], pid)
	}
	for pid, want := range map[int]bool{10: true, 11: true, 30: true, 40: false, 50: false, 60: false, 70: true} {
		if got := logsIn(pid, pid, processes, children); got != want {
			t.Errorf("%s (%d) is a login: %v, want %v", processes[pid].name, pid, got, want)
		}
	}
}
