package reconcile

import (
	"bufio"
	"encoding/hex"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/xdpallow/xdpallow/loader/policy"
)

// Sessions returns the far ends of the TCP connections that the ancestors of pid
// hold in this network namespace: the operator's own way in, through sshd. sudo
// hides SSH_CONNECTION, the process tree does not lie. What cannot be read is not
// found, so it is the command that looks, with the operator's rights, and not the
// daemon with its three capabilities.
func Sessions(pid int) []policy.Peer {
	own, _ := os.Readlink("/proc/self/ns/net")
	var peers []policy.Peer
	for depth := 0; pid > 1 && depth < 64; depth++ {
		proc := filepath.Join("/proc", strconv.Itoa(pid))
		if ns, err := os.Readlink(filepath.Join(proc, "ns", "net")); err != nil || ns != own {
			pid = parent(proc)
			continue
		}
		if sockets := socketInodes(proc); len(sockets) > 0 {
			for _, table := range []string{"tcp", "tcp6"} {
				peers = append(peers, established(filepath.Join(proc, "net", table), sockets)...)
			}
		}
		pid = parent(proc)
	}
	return peers
}

// parent is the ppid in /proc/PID/stat, whose second field may contain anything in
// parentheses; 0 when it cannot be read.
func parent(proc string) int {
	text, err := os.ReadFile(filepath.Join(proc, "stat"))
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(text[strings.LastIndexByte(string(text), ')'):]), " ")
	fields := strings.Fields(rest)
	if len(fields) < 2 {
		return 0
	}
	pid, _ := strconv.Atoi(fields[1])
	return pid
}

func socketInodes(proc string) []string {
	fds, _ := os.ReadDir(filepath.Join(proc, "fd"))
	var inodes []string
	for _, fd := range fds {
		target, _ := os.Readlink(filepath.Join(proc, "fd", fd.Name()))
		if inode, found := strings.CutPrefix(target, "socket:["); found {
			inodes = append(inodes, strings.TrimSuffix(inode, "]"))
		}
	}
	return inodes
}

// established reads a table as of /proc/net/tcp:
// "sl local_address rem_address st tx:rx tr:tm retrnsmt uid timeout inode".
func established(table string, inodes []string) []policy.Peer {
	f, err := os.Open(table)
	if err != nil {
		return nil
	}
	defer f.Close()
	var peers []policy.Peer
	for lines := bufio.NewScanner(f); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if len(fields) < 10 || fields[3] != "01" || !slices.Contains(inodes, fields[9]) {
			continue
		}
		local, err1 := parseProcAddr(fields[1])
		remote, err2 := parseProcAddr(fields[2])
		if err1 == nil && err2 == nil {
			peers = append(peers, policy.Peer{Addr: remote.Addr(), Port: local.Port()})
		}
	}
	return peers
}

// parseProcAddr reads "0100007F:1F90": 32-bit words in host byte order, which is
// little-endian on all that we build for.
func parseProcAddr(s string) (netip.AddrPort, error) {
	address, port, _ := strings.Cut(s, ":")
	bytes, err := hex.DecodeString(address)
	number, err2 := strconv.ParseUint(port, 16, 16)
	if err != nil || err2 != nil {
		return netip.AddrPort{}, fmt.Errorf("address %q is not hexadecimal", s)
	}
	for i := 0; i+4 <= len(bytes); i += 4 {
		slices.Reverse(bytes[i : i+4])
	}
	addr, ok := netip.AddrFromSlice(bytes)
	if !ok {
		return netip.AddrPort{}, fmt.Errorf("address %q has %d bytes", s, len(bytes))
	}
	return netip.AddrPortFrom(addr.Unmap(), uint16(number)), nil
}
