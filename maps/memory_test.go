// How much of the kernel's memory a list takes. What maps say of themselves is a quarter
// of it (a trie leaves out its inner nodes and what slabs round up), so the kernel is
// asked what it charges to a cgroup of our own.
package maps_test

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// meter reads the kernel memory, in bytes, that this process has had charged since it
// was made.
type meter struct {
	file, field string // field is "" where the file is one number
}

// newMeter moves this process to a cgroup of its own until the test ends.
func newMeter(t *testing.T) meter {
	t.Helper()
	root, m := "/sys/fs/cgroup", meter{"memory.stat", "kernel"}
	if _, err := os.Stat(filepath.Join(root, "memory/memory.kmem.usage_in_bytes")); err == nil {
		root, m = filepath.Join(root, "memory"), meter{"memory.kmem.usage_in_bytes", ""}
	} else if err := os.WriteFile(filepath.Join(root, "cgroup.subtree_control"), []byte("+memory"), 0); err != nil {
		t.Fatalf("let cgroups count memory: %v", err)
	}
	home := filepath.Join(root, ownCgroup(t, m.field == ""), "cgroup.procs")
	dir := filepath.Join(root, fmt.Sprintf("xdpallow-test-%d", os.Getpid()))
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	move := func(to string) error { return os.WriteFile(to, fmt.Append(nil, os.Getpid()), 0) }
	t.Cleanup(func() {
		if err := move(home); err != nil {
			t.Error(err)
		}
		if err := os.Remove(dir); err != nil {
			t.Error(err)
		}
	})
	if err := move(filepath.Join(dir, "cgroup.procs")); err != nil {
		t.Fatal(err)
	}
	m.file = filepath.Join(dir, m.file)
	return m
}

// ownCgroup is the path of this process's cgroup in the hierarchy that counts memory.
func ownCgroup(t *testing.T, v1 bool) string {
	t.Helper()
	text, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		fields := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if v1 && fields[1] == "memory" || !v1 && fields[0] == "0" {
			return fields[2]
		}
	}
	t.Fatalf("no cgroup in %q", text)
	return ""
}

// read may be called from any goroutine; it is 0 when the meter is gone.
func (m meter) read() (bytes uint64) {
	f, err := os.Open(m.file)
	if err != nil {
		return 0
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		name := ""
		if m.field == "" {
			fmt.Sscan(lines.Text(), &bytes)
		} else if fmt.Sscan(lines.Text(), &name, &bytes); name != m.field {
			continue
		}
		return bytes
	}
	return 0
}

// settled waits until what is freed in the background is freed.
func (m meter) settled(t *testing.T) uint64 {
	t.Helper()
	last, same := m.read(), 0
	for range 200 {
		time.Sleep(20 * time.Millisecond)
		now := m.read()
		if same++; now+1<<18 < last || now > last+1<<18 {
			same = 0
		}
		if last = now; same == 8 {
			return now
		}
	}
	t.Fatalf("kernel memory does not settle: %d", last)
	return 0
}
