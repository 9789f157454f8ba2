package e2e

// This file kills a daemon at its n-th step: a call that changes something in the
// kernel or on disk. The binary is the shipped one and knows nothing of it: a second
// process traces it, and must be one of its own, because it waits for all it traces.

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// tracerEnv makes the test binary the tracer of a process, to its n-th step.
const tracerEnv = "XDPALLOW_E2E_TRACE"

// killAt has do done by a daemon that is killed at its n-th step, and reports false
// when it came to do's end before.
func (d *daemon) killAt(n int, do func()) bool {
	d.h.tb.Helper()
	tracer := exec.Command(os.Args[0])
	tracer.Env = append(os.Environ(), fmt.Sprintf("%s=%d %d", tracerEnv, d.cmd.Process.Pid, n))
	tracer.Stderr = os.Stderr
	out, err := tracer.StdoutPipe()
	if err == nil {
		err = tracer.Start()
	}
	if err != nil {
		d.h.tb.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	if lines.Scan(); lines.Text() != "traces" {
		_ = tracer.Wait()
		d.h.tb.Fatalf("the tracer says %q", lines.Text())
	}
	do()
	_ = tracer.Process.Kill() // what it traces goes on
	killed := lines.Scan() && lines.Text() == "killed"
	_ = tracer.Wait()
	if killed {
		d.kill()
	}
	return killed
}

// trace is the life of the tracer.
func trace(order string) error {
	runtime.LockOSThread()
	var pid, n int
	if _, err := fmt.Sscan(order, &pid, &n); err != nil {
		return err
	}
	if err := seize(pid); err != nil {
		return err
	}
	fmt.Println("traces")
	for steps := 0; ; {
		var status unix.WaitStatus
		tid, err := unix.Wait4(-1, &status, unix.WALL, nil)
		if err != nil {
			return nil // nothing is left to trace
		}
		signal := 0
		switch {
		case !status.Stopped():
			continue
		case status.StopSignal() == unix.SIGTRAP|0x80:
			if isStep(tid) {
				if steps++; steps == n {
					fmt.Println("killed") // before, or who waits for do would not know it
					_ = unix.Kill(pid, unix.SIGKILL)
					return nil
				}
			}
		case int(status)>>16 == 0: // a signal of its own
			signal = int(status.StopSignal())
		}
		_ = unix.PtraceSyscall(tid, signal)
	}
}

// seize takes hold of every thread there is and will be.
func seize(pid int) error {
	seized := map[int]bool{}
	for {
		tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*", pid))
		if err != nil || len(tasks) == 0 {
			return fmt.Errorf("there is no process %d", pid)
		}
		before := len(seized)
		for _, task := range tasks {
			tid, _ := strconv.Atoi(filepath.Base(task))
			if seized[tid] {
				continue
			}
			seized[tid] = true
			const options = unix.PTRACE_O_TRACESYSGOOD | unix.PTRACE_O_TRACECLONE
			// One that a seized thread has made meanwhile is ours already.
			_, _, errno := unix.RawSyscall6(unix.SYS_PTRACE, unix.PTRACE_SEIZE, uintptr(tid), 0, options, 0, 0)
			if errno != 0 && errno != unix.ESRCH && errno != unix.EPERM {
				return fmt.Errorf("trace thread %d: %w", tid, errno)
			}
			if errno == 0 {
				_ = unix.PtraceInterrupt(tid)
			}
		}
		if len(seized) == before {
			return nil
		}
	}
}

// changing are the calls that are steps; of bpf, those commands.
var (
	changing     = []uint64{unix.SYS_RENAMEAT, unix.SYS_RENAMEAT2, unix.SYS_LINKAT, unix.SYS_UNLINKAT, unix.SYS_PWRITE64, unix.SYS_FDATASYNC, unix.SYS_FSYNC, unix.SYS_FTRUNCATE}
	changingMaps = []uint64{unix.BPF_MAP_UPDATE_ELEM, unix.BPF_MAP_DELETE_ELEM, unix.BPF_MAP_UPDATE_BATCH, unix.BPF_OBJ_PIN}
)

// isStep reports whether the thread is about to make a call that changes something.
func isStep(tid int) bool {
	const getSyscallInfo, entry = 0x420e, 1
	var info struct { // struct ptrace_syscall_info
		op   uint8
		_    [3]uint8
		arch uint32
		_    [2]uint64
		nr   uint64
		args [6]uint64
		_    [8]uint64
	}
	_, _, errno := unix.RawSyscall6(unix.SYS_PTRACE, getSyscallInfo, uintptr(tid), unsafe.Sizeof(info), uintptr(unsafe.Pointer(&info)), 0, 0)
	if errno != 0 || info.op != entry {
		return false
	}
	return slices.Contains(changing, info.nr) || info.nr == unix.SYS_BPF && slices.Contains(changingMaps, info.args[0])
}

// steps calls once for n from 1 on until it reports that nothing was killed.
func steps(t *testing.T, once func(n int) (killed bool)) {
	t.Helper()
	n := 1
	for once(n) {
		n++
	}
	if n < 3 {
		t.Fatalf("the daemon came to the end in %d steps: it was not traced", n-1)
	}
	t.Logf("killed at each of %d steps", n-1)
}
