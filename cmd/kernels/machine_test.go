package main

// This file is a machine: QEMU with a disk and two NICs, and a root shell in it.

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/xdpallow/xdpallow/loader/netlab/labtest"
)

// Deadlines are for an emulated processor on a machine that has ten other things to do.
const (
	bootLimit    = 15 * time.Minute
	commandLimit = 5 * time.Minute
)

// booted is what the machine's shell says first.
const booted = "machine-booted"

// machine is a running one.
type machine struct {
	t       *testing.T
	row     *row // of the table
	outside *outside
	serial  net.Conn
	next    int // command

	mu      sync.Mutex
	output  []byte        // of the serial port, what nobody has taken
	arrived chan struct{} // something was added to output, or it has ended
	ended   bool
}

// hardware is what machines differ in. Zero is one CPU and two virtio NICs of one queue.
type hardware struct {
	qemu   []string // the program, and where it finds its files; nil is the one in PATH
	model  string   // of the NICs, with properties
	ports  bool     // each NIC needs a PCI Express port of its own
	queues int      // of a NIC; more than one are for several CPUs
}

// nics are QEMU's arguments for the two NICs, which end in the outside's taps.
func (hw hardware) nics() (args []string) {
	for i, segment := range segments {
		netdev := fmt.Sprintf("tap,id=n%d,ifname=%s,script=no,downscript=no,vhost=off", i, segment.tap)
		device := fmt.Sprintf("%s,netdev=n%d,mac=%s", cmp.Or(hw.model, "virtio-net-pci"), i, segment.mac)
		if hw.queues > 1 {
			netdev += fmt.Sprintf(",queues=%d", hw.queues)
			device += fmt.Sprintf(",mq=on,vectors=%d", 2*hw.queues+2)
		}
		if hw.ports {
			args = append(args, "-device", fmt.Sprintf("pcie-root-port,id=port%d,chassis=%d,slot=%d", i, i+1, i+1))
			device += fmt.Sprintf(",bus=port%d", i)
		}
		args = append(args, "-netdev", netdev, "-device", device)
	}
	return args
}

// newMachine switches a machine on that forgets at its end what it wrote to its disk, and
// strangers begin to knock.
func newMachine(t *testing.T, k *kernel, disk string, hw hardware, row *row) *machine {
	t.Helper()
	hw.queues = max(hw.queues, 1)
	m := &machine{t: t, row: row, outside: newOutside(t, hw.queues), arrived: make(chan struct{}, 1)}
	dir := logs(t)
	initrd := filepath.Join(t.TempDir(), "initrd")
	out, err := os.Create(initrd)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	opts := &options{disk: "/dev/vda", modules: []string{"virtio_pci", "virtio_blk", "ext4", "crc32c_generic"}}
	if err := writeInitramfs(t.Context(), out, k, opts); err != nil {
		t.Fatal(err)
	}
	// A name of 108 bytes is the longest that a socket may have.
	sockets, err := os.MkdirTemp("", "machine-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(sockets) })
	socket := filepath.Join(sockets, "shell")
	argv := []string{"nice", "-n", "5"}
	if hw.qemu == nil {
		hw.qemu = []string{"qemu-system-x86_64"}
	}
	argv = append(argv, hw.qemu...)
	argv = append(argv, "-accel", "tcg", "-M", "q35", "-cpu", "max", "-smp", strconv.Itoa(hw.queues), "-m", "768",
		"-nodefaults", "-no-user-config", "-display", "none",
		"-serial", "file:"+filepath.Join(dir, "console.log"),
		"-serial", "unix:"+socket+",server=on,wait=off",
		"-kernel", k.image, "-initrd", initrd,
		"-append", "console=ttyS0 panic=5 net.ifnames=0 nokaslr tsc=reliable no_timer_check cryptomgr.notests systemd.log_color=0",
		"-drive", "file="+disk+",if=none,id=disk,format=raw,snapshot=on,cache=unsafe", "-device", "virtio-blk-pci,drive=disk",
		"-object", "rng-random,id=random,filename=/dev/urandom", "-device", "virtio-rng-pci,rng=random")
	m.start(append(argv, hw.nics()...))
	m.connect(socket)
	m.waitBoot()
	return m
}

// start starts QEMU in the outside's namespace. It dies with us, whatever kills us: the
// kernel means the thread that started it, so that one waits for its end.
func (m *machine) start(argv []string) {
	m.t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	cmd := labtest.Command(ctx, m.outside.lab.Wire, argv...)
	var problems bytes.Buffer
	cmd.Stdout, cmd.Stderr = &problems, &problems
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	started, done := make(chan error), make(chan struct{})
	go func() {
		runtime.LockOSThread()
		defer close(done)
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // killed
		}
	}()
	if err := <-started; err != nil {
		m.t.Fatalf("start QEMU: %v", err)
	}
	m.t.Cleanup(func() {
		if m.t.Failed() {
			m.t.Logf("strangers: %v SYNs, answers %v; QEMU: %s", m.outside.knocked(), m.outside.answers, problems.Bytes())
			m.keepJournal()
		}
		stop()
		<-done
	})
}

// keepJournal writes the machine's journal beside its console.
func (m *machine) keepJournal() {
	if m.ended {
		return
	}
	out, _, err := m.try("journalctl -b -o short-monotonic --no-pager | tail -n 500", commandLimit)
	if err == nil {
		err = os.WriteFile(filepath.Join(logs(m.t), "journal.log"), []byte(out), 0o644)
	}
	if err != nil {
		m.t.Logf("keep the journal: %v", err)
	}
}

// connect joins the serial port.
func (m *machine) connect(socket string) {
	m.t.Helper()
	var err error
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		if m.serial, err = net.Dial("unix", socket); err == nil {
			break
		}
		if time.Now().After(deadline) {
			m.t.Fatalf("join the machine's serial port: %v", err)
		}
	}
	m.t.Cleanup(func() { m.serial.Close() })
	go func() {
		buffer := make([]byte, 1<<16)
		for {
			n, err := m.serial.Read(buffer)
			m.mu.Lock()
			m.output = append(m.output, buffer[:n]...)
			m.ended = err != nil
			m.mu.Unlock()
			select {
			case m.arrived <- struct{}{}:
			default:
			}
			if err != nil {
				return
			}
		}
	}()
}

// await waits for what the pattern says, and returns what came before it and its groups.
func (m *machine) await(pattern *regexp.Regexp, limit time.Duration) (before string, groups []string, err error) {
	deadline := time.After(limit)
	for {
		m.mu.Lock()
		output, ended := m.output, m.ended
		if at := pattern.FindSubmatchIndex(output); at != nil {
			before = string(output[:at[0]])
			for i := 0; i < len(at); i += 2 {
				groups = append(groups, string(output[at[i]:at[i+1]]))
			}
			m.output = output[at[1]:]
			m.mu.Unlock()
			return before, groups, nil
		}
		m.mu.Unlock()
		if ended {
			return "", nil, errors.New("the machine went off")
		}
		select {
		case <-m.arrived:
		case <-deadline:
			return "", nil, fmt.Errorf("no %q within %v, but %q", pattern, limit, output[max(0, len(output)-1500):])
		}
	}
}

// waitBoot waits for the shell.
func (m *machine) waitBoot() {
	m.t.Helper()
	start := time.Now()
	if _, _, err := m.await(regexp.MustCompile(booted+`\r?\n`), bootLimit); err != nil {
		m.t.Fatalf("boot: %v", err)
	}
	m.t.Logf("booted in %.0fs", time.Since(start).Seconds())
}

// try runs a command line as root to its end. The error is a machine that does not answer.
func (m *machine) try(line string, limit time.Duration) (out string, status int, err error) {
	m.next++
	// In two parts, so that an echo of the command is not its end.
	_, err = fmt.Fprintf(m.serial, "%s\necho \"<\"ended %d $status'>'\n", line, m.next)
	if err != nil {
		return "", 0, err
	}
	before, groups, err := m.await(regexp.MustCompile(fmt.Sprintf(`<ended %d (\d+)>\r?\n`, m.next)), limit)
	if err != nil {
		return "", 0, fmt.Errorf("%s: %w", line, err)
	}
	status, err = strconv.Atoi(groups[1])
	return strings.ReplaceAll(before, "\r", ""), status, err
}

// sh is try for a machine that answers.
func (m *machine) sh(t *testing.T, line string) (out string, status int) {
	t.Helper()
	out, status, err := m.try(line, commandLimit)
	if err != nil {
		t.Fatal(err)
	}
	return out, status
}

// must is sh for a command that succeeds.
func (m *machine) must(t *testing.T, line string) string {
	t.Helper()
	out, status := m.sh(t, line)
	if status != 0 {
		t.Fatalf("%s: exit %d\n%s", line, status, out)
	}
	return out
}

// eventually repeats a command until it succeeds.
func (m *machine) eventually(t *testing.T, line string) {
	t.Helper()
	for deadline := time.Now().Add(commandLimit); ; time.Sleep(500 * time.Millisecond) {
		out, status := m.sh(t, line)
		if status == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: still exit %d after %v\n%s", line, status, commandLimit, out)
		}
	}
}

// reboot restarts the machine as an operator does.
func (m *machine) reboot(t *testing.T) {
	t.Helper()
	if _, err := fmt.Fprintln(m.serial, "systemctl reboot"); err != nil {
		t.Fatal(err)
	}
	m.waitBoot()
}
