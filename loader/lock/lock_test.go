package lock

import (
	"errors"
	"os"
	"strings"
	"testing"
)

// Promise: one daemon a pin root. The second is told who the first is, and the
// first's end frees the place.
func TestTake(t *testing.T) {
	dir := t.TempDir()
	if pid := Holder(dir); pid != 0 {
		t.Fatalf("pid %d holds a directory that nobody took", pid)
	}
	first, err := Take(dir)
	if err != nil {
		t.Fatal(err)
	}
	var held *HeldError
	if _, err := Take(dir); !errors.As(err, &held) || held.PID != os.Getpid() || held.Path != dir {
		t.Errorf("the second got %v, want %s held by pid %d", err, dir, os.Getpid())
	}
	first.Close()
	second, err := Take(dir)
	if err != nil {
		t.Fatalf("after the first let go: %v", err)
	}
	second.Close()
}

func TestFindHolder(t *testing.T) {
	const locks = `1: FLOCK  ADVISORY  WRITE 10 fe:00:77 0 EOF
2: -> FLOCK  ADVISORY  WRITE 11 fe:00:78 0 EOF
3: POSIX  ADVISORY  WRITE 12 fe:00:78 0 EOF
4: FLOCK  ADVISORY  WRITE 13 00:2a:78 0 EOF
5: FLOCK  ADVISORY  WRITE 14 fe:00:78 0 EOF
6: FLOCK  ADVISORY  WRITE 15 00:2a:79 0 EOF
`
	for _, c := range []struct {
		name, device, inode string
		want                int
	}{
		{"device and inode", "fe:00", "78", 14},
		{"another device shown", "00:31", "79", 15},
		{"another device shown, two inodes", "00:31", "78", 0},
		{"end of a longer inode", "fe:00", "7", 0},
		{"none", "fe:00", "80", 0},
	} {
		if got := findHolder(locks, c.device, c.inode, true); got != c.want {
			t.Errorf("%s: pid %d, want %d", c.name, got, c.want)
		}
		got := findHolder(locks, c.device, c.inode, false)
		if stranger := !strings.Contains(locks, " "+c.device+":"+c.inode+" "); stranger && got != 0 || !stranger && got != c.want {
			t.Errorf("%s, on a file system that shows its device: pid %d", c.name, got)
		}
	}
}
