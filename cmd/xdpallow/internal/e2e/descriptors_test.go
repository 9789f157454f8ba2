package e2e

// This file plays the descriptor store of systemd: it takes the sockets that the daemon hands it,
// and gives them to the next daemon.

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/xdpallow/xdpallow/loader/netlab"
	"github.com/xdpallow/xdpallow/loader/netlab/labtest"
)

// descriptorStore keeps descriptors by name, in the order in which they came.
type descriptorStore struct {
	path string

	mu    sync.Mutex
	names []string
	files []*os.File
}

func newDescriptorStore(t *testing.T, path string) *descriptorStore {
	s := &descriptorStore{path: path}
	conn := labtest.Must(net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"}))(t)
	done := make(chan struct{})
	go func() {
		defer close(done)
		text, rights := make([]byte, 4096), make([]byte, 4096)
		for {
			n, m, _, _, err := conn.ReadMsgUnix(text, rights)
			if err != nil {
				return
			}
			s.take(string(text[:n]), rights[:m])
		}
	}()
	t.Cleanup(func() { conn.Close(); <-done; s.close() })
	return s
}

// take does what a message of the daemon says.
func (s *descriptorStore) take(text string, rights []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, name, _ := strings.Cut(text, "FDNAME=")
	switch {
	case strings.HasPrefix(text, "FDSTOREREMOVE=1\n"):
		for i := len(s.names) - 1; i >= 0; i-- {
			if s.names[i] == name {
				s.files[i].Close()
				s.names, s.files = append(s.names[:i], s.names[i+1:]...), append(s.files[:i], s.files[i+1:]...)
			}
		}
	case strings.HasPrefix(text, "FDSTORE=1\n"):
		messages, err := unix.ParseSocketControlMessage(rights)
		for _, m := range messages {
			fds, e := unix.ParseUnixRights(&m)
			err = errors.Join(err, e)
			for _, fd := range fds {
				s.names, s.files = append(s.names, name), append(s.files, os.NewFile(uintptr(fd), name))
			}
		}
		if err != nil {
			panic(err) // the kernel made it
		}
	}
}

func (s *descriptorStore) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range s.files {
		f.Close()
	}
	s.names, s.files = nil, nil
}

func (s *descriptorStore) kept() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(s.names, " ")
}

// restart starts the daemon as systemd does, with the descriptors that it keeps.
func (s *site) restart() {
	s.tb.Helper()
	args := s.where([]string{"run", "--config", filepath.Join(s.host.dir, "config.yaml")})
	d := &daemon{h: s.host, done: make(chan struct{})}
	d.cmd = exec.Command("sh", append([]string{"-c", `LISTEN_PID=$$ exec "$0" "$@"`, binary}, args...)...)
	s.store.mu.Lock()
	d.cmd.ExtraFiles = s.store.files
	d.cmd.Env = append(os.Environ(), "NOTIFY_SOCKET="+s.store.path,
		fmt.Sprintf("LISTEN_FDS=%d", len(s.store.files)), "LISTEN_FDNAMES="+strings.Join(s.store.names, ":"))
	err := s.lab.Host.Start(writing(d))
	s.store.mu.Unlock()
	if err != nil {
		s.tb.Fatal(err)
	}
	go func() {
		_ = d.cmd.Wait()
		close(d.done)
	}()
	s.tb.Cleanup(d.kill)
	s.d = d
	d.await("enforcing: the canary was dropped")
	s.eventually("the endpoint is there", func() bool { _, err := os.Stat(s.socket()); return err == nil })
}

func writing(d *daemon) *exec.Cmd {
	d.cmd.Stdout, d.cmd.Stderr = d, d
	return d.cmd
}

// survives kills the daemon and starts it again, while many ask who have asked before, and fails
// the test if one request does.
func (s *site) survives() {
	s.tb.Helper()
	s.eventually("both sockets are kept", func() bool {
		return s.store.kept() == "owner-unix owner-tcp" || s.store.kept() == "owner-tcp owner-unix"
	})
	var over atomic.Bool
	var asked, failed atomic.Int64
	var example atomic.Pointer[string]
	var asking sync.WaitGroup
	clients := make([]*client, 8)
	for i := range clients {
		clients[i] = s.client(netip.AddrFrom4([4]byte{203, 0, 113, byte(10 + i)}))
		clients[i].passes("acme", "/")
	}
	for _, c := range clients {
		asking.Go(func() {
			for !over.Load() {
				a, err := c.try("/")
				asked.Add(1)
				if err != nil || a.status != http.StatusOK {
					text := fmt.Sprintf("%d, %v", a.status, err)
					example.Store(&text)
					failed.Add(1)
				}
			}
		})
	}
	more := func(n int64) {
		s.tb.Helper()
		until := asked.Load() + n
		s.eventually("requests are answered", func() bool { return asked.Load() >= until })
	}
	for range 3 {
		more(200)
		s.d.kill()
		time.Sleep(100 * time.Millisecond) // as long as systemd waits, but shorter
		s.restart()
		more(200)
	}
	over.Store(true)
	asking.Wait()
	s.tb.Logf("%d requests over three restarts", asked.Load())
	if failed.Load() > 0 {
		s.tb.Errorf("%d of %d requests failed, one with %s", failed.Load(), asked.Load(), *example.Load())
	}
	before := s.answers("listed")
	s.client(netlab.Listed4).passes("acme", "/")
	s.eventually("the new daemon is asked", func() bool { s.client(netlab.Listed4).passes("acme", "/"); return s.answers("listed") > before })
}
