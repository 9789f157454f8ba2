package control

// This file makes the socket: one daemon a path, and nobody but root and the
// reading group even gets to connect.

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/xdpallow/xdpallow/loader/policy"
)

// Listen makes the control socket at path, 0660 and of group xdpallow where that
// group exists, else for its owner only. Errors are those of Bind.
func Listen(path string) (net.Listener, error) { return ListenFor(path, ReadGroup) }

// ListenFor is Listen for another group.
func ListenFor(path, group string) (net.Listener, error) {
	listener, err := Bind(path)
	if err != nil {
		return nil, err
	}
	// Between bind and chmod the umask alone guards the path. That opens
	// nothing: every connection is judged by its credentials as well.
	if err := restrict(path, group); err != nil {
		return nil, errors.Join(err, listener.Close())
	}
	return listener, nil
}

// Bind makes a unix socket at path, with the mode that the umask leaves. What a
// dead daemon left there is replaced; a living one is a *policy.Refused that
// names its pid. Two daemons that start in the same instant both pass the dial:
// the lock of the state directory, which is taken first, keeps the second away.
func Bind(path string) (*net.UnixListener, error) {
	if err := makeRoom(path); err != nil {
		return nil, err
	}
	if err := makeParent(filepath.Dir(path)); err != nil {
		return nil, err
	}
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", path, err)
	}
	return listener, nil
}

// Free reports whether Listen could have path, and touches nothing: the error
// is a *policy.Refused that names the pid of a living daemon. It waits a second for a
// daemon that is about to end: a restart often overlaps with the daemon that it replaces.
func Free(path string) error {
	for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		_, err := remains(path)
		if err == nil || time.Now().After(deadline) {
			return err
		}
	}
}

const patience = time.Second

// makeRoom removes what a dead daemon left at path.
func makeRoom(path string) error {
	dead, err := remains(path)
	if err != nil || !dead {
		return err
	}
	if err := os.Remove(path); err != nil {
		return fmt.Errorf("remove the socket of a dead daemon: %w", err)
	}
	return nil
}

// remains tells the socket of a dead daemon from nothing at all, by dialling.
// All else at path is an error.
func remains(path string) (dead bool, err error) {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look at the control socket: %w", err)
	}
	if info.Mode()&fs.ModeSocket == 0 {
		return false, &policy.InputError{What: fmt.Sprintf("--socket %s: there is a file that is not a socket", path)}
	}
	conn, err := net.DialTimeout("unix", path, time.Second)
	if err == nil {
		defer conn.Close()
		return false, alive(path, conn)
	}
	// Only a refused connection proves that nobody listens: a full backlog
	// (EAGAIN) or a forbidden path is a living daemon whose socket must stay.
	if !errors.Is(err, unix.ECONNREFUSED) {
		return false, fmt.Errorf("ask who listens on %s: %w", path, err)
	}
	return true, nil
}

func alive(path string, conn net.Conn) error {
	who := "another process"
	if cred, err := credentials(conn); err == nil {
		who = "pid " + strconv.Itoa(int(cred.Pid))
	}
	return &policy.Refused{
		What: fmt.Sprintf("%s already listens on %s", who, path),
		Hint: "xdpallow status --socket " + path,
	}
}

// makeParent makes dir for everyone to enter: who may connect is the socket's
// own mode, and a tight umask would lock the reading group out.
func makeParent(dir string) error {
	if _, err := os.Stat(dir); err == nil {
		return nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("make the control socket's directory: %w", err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		return fmt.Errorf("make the control socket's directory: %w", err)
	}
	return nil
}

// restrict sets owner, group and mode. A group that cannot be given (no such
// group, no right to give it) leaves the socket to its owner: that costs the
// group its view, where stopping would cost the host its gate.
func restrict(path, group string) error {
	mode := fs.FileMode(0o600)
	if gid, ok := system.groupID(group); ok {
		n, err := strconv.Atoi(gid)
		if err == nil {
			err = os.Chown(path, -1, n)
		}
		if err == nil {
			mode = 0o660
		} else {
			slog.Warn("group "+group+" cannot use "+path, "error", err)
		}
	}
	if err := os.Chmod(path, mode); err != nil {
		return fmt.Errorf("restrict the control socket: %w", err)
	}
	return nil
}
