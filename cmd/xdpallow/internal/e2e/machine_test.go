package e2e

// This file is a machine of one's own, for what is typed as it stands: with default
// paths, sudo, names and background jobs.

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// machine is a shell as root of a machine of its own: processes, mounts and network
// are the host's of the lab, and end with the shell. The defaults of the command
// (socket, state, pin root) are there and are nobody else's.
type machine struct {
	tb    testing.TB
	shell *exec.Cmd
	input io.WriteCloser
	ended int // commands

	mu     sync.Mutex
	output bytes.Buffer
}

func (m *machine) Write(p []byte) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.output.Write(p)
}

// lines are what was printed so far, without the marks.
func (m *machine) lines() (lines []string, ended int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for line := range strings.Lines(m.output.String()) {
		if strings.HasPrefix(line, mark) {
			ended++
		} else {
			lines = append(lines, strings.TrimSuffix(line, "\n"))
		}
	}
	return lines, ended
}

// mark is a line that follows each command.
const mark = "#ended#"

// boot makes the machine. Its file systems are empty where the command writes, and no
// BPF file system is mounted: that is for `run` to do.
const boot = `set -e
mount --make-rprivate /
mount -t proc proc /proc
mount --bind /run/netns/"$1" "$2"
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /var/lib
unset SUDO_UID
echo 4294967295 >/proc/self/loginuid || : # nobody has logged in, also where somebody runs this under sudo
while umount /sys/fs/bpf 2>/dev/null; do :; done
exec bash --norc
`

func newMachine(h *host, from string) *machine {
	h.tb.Helper()
	bin, wire := filepath.Join(h.dir, "bin"), filepath.Join(h.dir, "wire")
	if err := os.Mkdir(bin, 0o700); err != nil {
		h.tb.Fatal(err)
	}
	curl, err := exec.LookPath("curl")
	if err != nil {
		h.tb.Fatal(err)
	}
	write(h.tb, wire, "")
	script := func(name, text string) {
		h.tb.Helper()
		if err := os.WriteFile(filepath.Join(bin, name), []byte("#!/bin/sh\n"+text+"\n"), 0o700); err != nil {
			h.tb.Fatal(err)
		}
	}
	script("xdpallow", fmt.Sprintf(`exec %s "$@"`, binary))
	script("sudo", `exec "$@"`) // we are root, and sudo has a PATH of its own
	// From the other side, by the name that the transcript has for the host. -sS,
	// because without a terminal curl would draw its progress.
	script("curl", fmt.Sprintf(`exec nsenter --net=%s %s -sS --interface ${FROM:-%s} --connect-to api.example.net:443:%s:443 --connect-to enrol.example.net:8444:%[4]s:8444 "$@"`,
		wire, curl, from, h.link().Host4))

	m := &machine{tb: h.tb, shell: exec.Command("bash", "-c", boot, "boot", filepath.Base(h.lab.Wire.Path()), wire)}
	m.shell.Env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"), "LC_ALL=C")
	m.shell.SysProcAttr = &unix.SysProcAttr{Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWPID}
	m.shell.Stdout, m.shell.Stderr = m, m
	if m.input, err = m.shell.StdinPipe(); err != nil {
		h.tb.Fatal(err)
	}
	if err := h.lab.Host.Start(m.shell); err != nil {
		h.tb.Fatalf("boot: %v", err)
	}
	h.tb.Cleanup(func() { // the end of the first process is the end of all
		_ = m.shell.Process.Kill()
		_ = m.shell.Wait()
	})
	if _, err := io.WriteString(m.input, "set -m\n"); err != nil { // jobs, as at a terminal
		h.tb.Fatal(err)
	}
	return m
}
