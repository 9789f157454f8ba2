package control

// Promise guarded here: one daemon a socket, and the socket is for root and
// the reading group only.

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/xdpallow/xdpallow/loader/policy"
)

// useGroup makes ReadGroup exist, or not, for the length of a test.
func useGroup(t *testing.T, gid string, there bool) {
	t.Helper()
	was := system
	system.groupID = func(string) (string, bool) { return gid, there }
	t.Cleanup(func() { system = was })
}

func TestListenModes(t *testing.T) {
	for _, test := range []struct {
		there bool
		want  os.FileMode
		group int
	}{{false, 0o600, os.Getegid()}, {true, 0o660, nobody}} {
		useGroup(t, strconv.Itoa(nobody), test.there)
		dir := filepath.Join(t.TempDir(), "run", "xdpallow")
		listener, err := Listen(filepath.Join(dir, "s"))
		if err != nil {
			t.Fatal(err)
		}
		defer listener.Close()
		info, err := os.Stat(filepath.Join(dir, "s"))
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode() != test.want|os.ModeSocket || groupOf(info) != test.group {
			t.Errorf("group there %v: socket is %v of group %d, want %v of %d", test.there, info.Mode(), groupOf(info), test.want, test.group)
		}
		parent, err := os.Stat(dir)
		if err != nil {
			t.Fatal(err)
		}
		if parent.Mode().Perm() != 0o755 {
			t.Errorf("directory is %v, want 0755", parent.Mode())
		}
	}
}

func TestListenTwice(t *testing.T) {
	socket, end := start(t, &engine{}, system)
	_, second := Listen(socket)
	for _, err := range []error{second, Free(socket)} {
		var refused *policy.Refused
		if !errors.As(err, &refused) || !strings.Contains(err.Error(), "pid "+strconv.Itoa(os.Getpid())) || !strings.Contains(err.Error(), socket) {
			t.Errorf("second daemon: %v, want a refusal that names pid and path", err)
		}
	}
	if _, err := NewClient(socket).Status(t.Context()); err != nil {
		t.Errorf("the first daemon: %v", err)
	}
	end()
	if _, err := os.Lstat(socket); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket outlives its daemon: %v", err)
	}
}

func TestListenOverRemains(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	dead, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
	if err != nil {
		t.Fatal(err)
	}
	dead.SetUnlinkOnClose(false)
	dead.Close()
	if err := Free(path); err != nil {
		t.Errorf("the socket of a dead daemon is not free: %v", err)
	}
	if _, err := os.Lstat(path); err != nil {
		t.Errorf("Free touched the socket: %v", err)
	}
	listener, err := Listen(path)
	if err != nil {
		t.Fatalf("over the socket of a dead daemon: %v", err)
	}
	listener.Close()

	if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	var input *policy.InputError
	if _, err := Listen(path); !errors.As(err, &input) {
		t.Errorf("over a file: %v, want an InputError", err)
	}
	if text, err := os.ReadFile(path); err != nil || string(text) != "precious" {
		t.Errorf("the file is now %q, %v", text, err)
	}
}

// A daemon whose backlog is full does not answer the dial, and lives.
func TestListenOverBusyDaemon(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	fd := listenWithoutBacklog(t, path)
	defer fd.Close()
	for range 64 { // fill the backlog; connect fails with EAGAIN when it is full
		if conn, err := net.Dial("unix", path); err == nil {
			defer conn.Close()
		}
	}
	if _, err := NewClient(path).Status(t.Context()); err == nil || errors.Is(err, ErrNoDaemon) {
		t.Errorf("the busy daemon is taken for dead: %v", err)
	}
	if listener, err := Listen(path); err == nil {
		listener.Close()
		t.Error("took the socket of a busy daemon")
	}
	if _, err := os.Lstat(path); err != nil {
		t.Errorf("the busy daemon lost its socket: %v", err)
	}
}
