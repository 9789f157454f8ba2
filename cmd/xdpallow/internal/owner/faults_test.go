package owner

// Promises guarded here: what is wrong with the endpoint, or with a proxy that asks it, is told in
// the log once and not for each request; a socket that is as it should be is left alone.

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/xdpallow/xdpallow/loader/api"
)

// journal collects what is logged.
type journal struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(p)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.String()
}

// logged collects what is logged until the test ends.
func logged(t *testing.T) *journal {
	j, before := new(journal), slog.Default()
	slog.SetDefault(slog.New(slog.NewTextHandler(j, nil)))
	t.Cleanup(func() { slog.SetDefault(before) })
	return j
}

func TestProxysMistakesAreToldOnce(t *testing.T) {
	j := logged(t)
	_, _, url := endpoint(t)
	for range 30 {
		ask(t, "GET", url+"/v1/owner/api", http.Header{})
		ask(t, "GET", url+"/v1/owner/nope", from("203.0.113.9"))
		ask(t, "GET", url+"/v1/owner/api", from("198.51.100.9"))
	}
	for _, reason := range []string{api.ReasonNoAddress, api.ReasonNoService} {
		if n := strings.Count(j.String(), reason); n != 1 {
			t.Errorf("%s is told %d times, want once:\n%s", reason, n, j)
		}
	}
	if n := strings.Count(j.String(), "\n"); n != 2 {
		t.Errorf("%d lines, want 2:\n%s", n, j)
	}
}

// broken fails at each request.
type broken struct{ list }

func (*broken) Ownership(netip.Addr, string, string) (api.Ownership, bool) { panic("boom") }

func TestFaultsAreToldOnce(t *testing.T) {
	j := logged(t)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		answerOn(ctx, listener, NewHandler(new(broken)))
	}()
	for range 20 {
		if r, err := http.Get("http://" + listener.Addr().String() + "/v1/owner/api"); err == nil {
			r.Body.Close()
			t.Error("a handler that panics has answered")
		}
	}
	stop()
	<-done
	if n := strings.Count(j.String(), "boom"); n != 1 {
		t.Errorf("a panic is told %d times, want once:\n%s", n, j)
	}
}

func TestPassedUnderAuditIsSaid(t *testing.T) {
	j := logged(t)
	_, _, url := endpoint(t)
	header := from("203.0.113.9")
	header.Set(headerExpect, "globex")
	ask(t, "GET", url+"/v1/owner/api", header)
	ask(t, "GET", url+"/v1/owner/off", header)
	refused, passed, _ := strings.Cut(j.String(), "for service off")
	if !strings.Contains(refused, "for service api") || strings.Contains(refused, "passed") || !strings.Contains(passed, " (passed: audit)") {
		t.Errorf("told is\n%s", j)
	}
}

// problemsOf are what status would tell.
type problemsOf struct{ noted chan api.Problem }

func (p problemsOf) Note(problem api.Problem) { p.noted <- problem }
func (problemsOf) Forget(string)              {}

func TestGroupThatIsNotThere(t *testing.T) {
	notes := problemsOf{make(chan api.Problem, 9)}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	socket := filepath.Join(t.TempDir(), "s")
	p := place{"owner-unix", "unix", "no-such-group", api.Problem{Code: "owner_socket", Subject: socket, Hint: "ss -lxp"}}
	go func() {
		defer close(done)
		p.serve(ctx, nil, http.NotFoundHandler(), notes)
	}()
	if got := <-notes.noted; got.Hint != "getent group no-such-group" || !strings.Contains(got.Text, "no-such-group") {
		t.Errorf("noted is %+v", got)
	}
	stop()
	<-done
}

// A proxy that connects while the daemon starts must not find the socket shut for a moment.
func TestPermitLeavesAloneWhatIsRight(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("needs root")
	}
	socket := filepath.Join(t.TempDir(), "s")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	stat := func() (mode os.FileMode, gid uint32, changed syscall.Timespec) {
		info, err := os.Stat(socket)
		if err != nil {
			t.Fatal(err)
		}
		of := info.Sys().(*syscall.Stat_t)
		return info.Mode().Perm(), of.Gid, of.Ctim
	}
	permit := func(group string) {
		t.Helper()
		if err := (place{network: "unix", group: group, trouble: api.Problem{Subject: socket}}).permit(); err != nil {
			t.Fatal(err)
		}
	}
	permit("daemon")
	mode, gid, before := stat()
	if mode != 0o660 || gid == 0 {
		t.Fatalf("mode %v, group %d", mode, gid)
	}
	time.Sleep(20 * time.Millisecond) // a tick of the clock of files
	permit("daemon")
	if _, _, after := stat(); after != before {
		t.Error("a socket that was right is changed")
	}
	permit("")
	if mode, _, _ := stat(); mode != 0o600 {
		t.Errorf("without a group the mode is %v", mode)
	}
	permit("root")
	if mode, gid, _ := stat(); mode != 0o660 || gid != 0 {
		t.Errorf("with another group: mode %v, group %d", mode, gid)
	}
}

// accepting tells of each connection that it has accepted.
type accepting struct {
	net.Listener
	accepted chan struct{}
}

func (l accepting) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err == nil {
		l.accepted <- struct{}{}
	}
	return conn, err
}

// Promise: a question that was accepted when the daemon is told to stop is answered: the API has
// asked, and a restart must not cost a request.
func TestAcceptedIsAnswered(t *testing.T) {
	t.Parallel()
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	listener, done := accepting{inner, make(chan struct{}, 10)}, make(chan struct{})
	go func() {
		defer close(done)
		answerOn(ctx, listener, NewHandler(new(list)))
	}()
	address := inner.Addr().String()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	<-listener.accepted
	stop()
	for { // until it accepts nobody else
		other, err := net.Dial("tcp", address)
		if err != nil {
			break
		}
		other.Close()
	}
	fmt.Fprintf(conn, "GET /v1/owner/api HTTP/1.1\r\nHost: owner\r\nX-Forwarded-For: 203.0.113.9\r\n\r\n")
	answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatalf("accepted, and not answered: %v", err)
	}
	if answer.StatusCode != http.StatusOK || !answer.Close {
		t.Errorf("status %d, and goes on: %v", answer.StatusCode, !answer.Close)
	}
	<-done
}
