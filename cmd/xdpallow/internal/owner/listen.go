package owner

// This file makes the sockets of the endpoint. systemd keeps them while the daemon is restarted:
// who asks meanwhile waits for an answer, and no request to the API fails.

import (
	"context"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/user"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/activation"
	"github.com/coreos/go-systemd/v22/daemon"
	"golang.org/x/sys/unix"

	"github.com/xdpallow/xdpallow/cmd/xdpallow/internal/control"
	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/config"
)

// Noter takes problems for status.
type Noter interface {
	Note(api.Problem)
	Forget(code string)
}

// again is how long after a failure the next attempt is.
const again = 2 * time.Second

// place is one address that the endpoint listens on.
type place struct {
	name, network string // by name systemd keeps it
	group         string
	trouble       api.Problem // of this place; its Subject is the address
}

// Serve listens where o says, and answers until ctx ends. At boot an address may not exist yet,
// so it tries again; until then status has a problem. What systemd kept for a place that is not
// configured any longer is closed.
func Serve(ctx context.Context, o config.Owner, h http.Handler, notes Noter) {
	kept, err := activation.ListenersWithNames()
	if err != nil {
		slog.Warn(fmt.Sprintf("owner endpoint: what systemd kept cannot be used: %v", err))
	}
	var serving sync.WaitGroup
	defer serving.Wait()
	for _, p := range []place{
		{"owner-unix", "unix", o.Group, api.Problem{Code: "owner_socket", Subject: o.Socket, Hint: "ss -lxp"}},
		{"owner-tcp", "tcp", "", api.Problem{Code: "owner_address", Subject: o.Listen, Hint: "ss -ltnp"}},
	} {
		listener := p.adopt(kept[p.name])
		if p.address() != "" {
			serving.Go(func() { p.serve(ctx, listener, h, notes) })
		}
	}
}

func (p place) address() string { return p.trouble.Subject }

// serve answers on listener, or on a new one where that is nil, until ctx ends.
func (p place) serve(ctx context.Context, listener net.Listener, h http.Handler, notes Noter) {
	for listener == nil {
		var err error
		if listener, err = p.listen(); err == nil {
			break
		}
		p.trouble.Text = fmt.Sprintf("nobody can ask whose an address is: %v", err)
		notes.Note(p.trouble)
		select {
		case <-ctx.Done():
			return
		case <-time.After(again):
		}
	}
	if err := p.permit(); err != nil {
		p.trouble.Text = fmt.Sprintf("only the daemon's user can ask whose an address is: %v", err)
		if errors.As(err, new(user.UnknownGroupError)) {
			p.trouble.Hint = "getent group " + p.group
		}
		notes.Note(p.trouble)
	} else {
		notes.Forget(p.trouble.Code)
	}
	answerOn(ctx, listener, h)
}

// answerOn answers on listener until ctx ends, and then who was accepted; the others ask the next daemon.
// It does not leave that to Shutdown, after which net/http drops what an accepted connection asks.
func answerOn(ctx context.Context, listener net.Listener, h http.Handler) {
	asking := &connections{open: map[net.Conn]bool{}}
	server := &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       5 * time.Minute, // longer than a proxy keeps a connection, so that it is not cut under a request
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          log.New(&faults{alarm{most: 1}}, "", 0),
		ConnState:         asking.note,
	}
	defer server.Close()
	stop := context.AfterFunc(ctx, func() { _ = listener.Close() })
	defer stop()
	_ = server.Serve(listener) // ends with ctx
	<-ctx.Done()
	server.SetKeepAlivesEnabled(false)
	for deadline := time.Now().Add(grace); asking.any() && time.Now().Before(deadline); time.Sleep(time.Millisecond) {
	}
}

// grace is how long somebody who was accepted may take to ask.
const grace = 3 * time.Second

// connections are those of which a question is awaited or answered.
type connections struct {
	mu   sync.Mutex
	open map[net.Conn]bool
}

func (c *connections) note(conn net.Conn, state http.ConnState) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if state == http.StateNew || state == http.StateActive {
		c.open[conn] = true
	} else {
		delete(c.open, conn)
	}
}

func (c *connections) any() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.open) > 0
}

// adopt takes the one among kept that is still configured, and closes the others, also in
// systemd. It returns nil if there is none.
func (p place) adopt(kept []net.Listener) (adopted net.Listener) {
	for _, listener := range kept {
		there := listener.Addr().String() == p.address()
		if p.network == "unix" { // somebody may have deleted its path
			_, err := os.Lstat(p.address())
			there = there && err == nil
		}
		if adopted == nil && there {
			adopted = listener
		} else {
			listener.Close()
		}
	}
	if len(kept) > 0 && adopted == nil {
		_, _ = daemon.SdNotify(false, "FDSTOREREMOVE=1\nFDNAME="+p.name)
	}
	return adopted
}

// listen makes a new socket, and hands a copy of it to systemd.
func (p place) listen() (net.Listener, error) {
	if p.network == "tcp" {
		listener, err := net.Listen("tcp", p.address())
		if err == nil {
			store(p.name, listener.(*net.TCPListener))
		}
		return listener, err
	}
	listener, err := control.Bind(p.address())
	if err != nil {
		return nil, err
	}
	kept := store(p.name, listener)
	listener.SetUnlinkOnClose(!kept) // the next daemon is asked by the same path
	return listener, nil
}

// permit gives a unix socket to its group. Whoever may connect to it can learn who the customers
// are, so without a group nobody else may. It leaves alone what is right: proxies ask while a daemon
// starts.
func (p place) permit() error {
	if p.network != "unix" {
		return nil
	}
	var info unix.Stat_t
	if err := unix.Stat(p.address(), &info); err != nil {
		return err
	}
	mode, gid := uint32(0o600), info.Gid
	if p.group != "" {
		group, err := user.LookupGroup(p.group)
		var id uint64
		if err == nil {
			id, err = strconv.ParseUint(group.Gid, 10, 32)
		}
		if err != nil {
			return errors.Join(err, os.Chmod(p.address(), 0o600))
		}
		mode, gid = 0o660, uint32(id)
	}
	if info.Mode&0o777 == mode && info.Gid == gid {
		return nil
	}
	err := os.Chmod(p.address(), 0o600) // before another group gets it
	if err == nil && info.Gid != gid {
		err = os.Chown(p.address(), -1, int(gid))
	}
	if err == nil {
		err = os.Chmod(p.address(), os.FileMode(mode))
	}
	return err
}

// store hands a copy of listener to systemd, which keeps it until the unit is stopped. It
// returns false if nobody keeps it.
func store(name string, listener syscall.Conn) bool {
	path := os.Getenv("NOTIFY_SOCKET")
	if path == "" {
		return false
	}
	var sent error
	raw, err := listener.SyscallConn()
	if err == nil {
		err = raw.Control(func(fd uintptr) { sent = notify(path, "FDSTORE=1\nFDNAME="+name, int(fd)) })
	}
	err = errors.Join(err, sent)
	if err != nil {
		slog.Warn(fmt.Sprintf("owner endpoint: systemd does not keep its socket over a restart: %v", err))
	}
	return err == nil
}

// notify sends state to the service manager at path with a descriptor. Package daemon can send
// none, and a UnixConn sends none to a socket that it is connected to.
func notify(path, state string, descriptor int) error {
	socket, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	defer unix.Close(socket)
	return os.NewSyscallError("sendmsg", unix.Sendmsg(socket, []byte(state), unix.UnixRights(descriptor), &unix.SockaddrUnix{Name: path}, 0))
}
