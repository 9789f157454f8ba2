package control

// This file is the engine and the peers of the control tests.

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/policy"
)

// nobody is a uid and gid that is in no group of ours.
const nobody = 65534

// engine remembers who changed what; only what the tests need answers.
type engine struct {
	Engine
	lock    sync.Mutex
	adds    []api.AddRequest
	callers []api.Caller
	listing api.Listing
	left    api.LeftOut
	err     error
	failing error         // of List, behind what it wrote
	block   chan struct{} // Add waits for it to be closed
}

func (e *engine) Status(context.Context) (api.Status, error) {
	return api.Status{Generation: 7}, e.err
}

// List writes an entry a line, as JSON.
func (e *engine) List(_ context.Context, _ api.ListRequest, w io.Writer) (api.LeftOut, error) {
	if e.err != nil {
		return api.LeftOut{}, e.err
	}
	lines := json.NewEncoder(w)
	for _, one := range e.listing.Entries {
		if err := lines.Encode(one); err != nil {
			return api.LeftOut{}, err
		}
	}
	return e.left, e.failing
}

func (e *engine) Check(_ context.Context, addrs []netip.Addr, port *policy.Port) ([]api.CheckResult, error) {
	r := api.CheckResult{Address: addrs[0], Port: policy.Port{Protocol: policy.TCP, Number: 443}}
	if port != nil {
		r.Port = *port
	}
	return []api.CheckResult{r}, e.err
}

func (e *engine) Owners(context.Context) (api.Owners, error) {
	return api.Owners{}, nil
}

func (e *engine) Suspend(context.Context, api.Caller, api.SuspendRequest) (api.SuspendResult, error) {
	return api.SuspendResult{}, nil
}

func (e *engine) Resume(context.Context, api.Caller, api.SuspendRequest) (api.SuspendResult, error) {
	return api.SuspendResult{}, nil
}

func (e *engine) Limit(context.Context, api.Caller, api.LimitRequest) (api.LimitResult, error) {
	return api.LimitResult{}, nil
}

func (e *engine) Cut(context.Context, api.Caller, api.CutRequest) (api.CutResult, error) {
	return api.CutResult{}, nil
}

func (e *engine) History(context.Context, int) (api.History, error) {
	return api.History{}, nil
}

func (e *engine) Add(ctx context.Context, who api.Caller, req api.AddRequest) (api.Listing, error) {
	if err := ctx.Err(); err != nil { // asked once, before it begins
		return api.Listing{}, err
	}
	if e.block != nil {
		<-e.block
	}
	e.lock.Lock()
	defer e.lock.Unlock()
	e.adds, e.callers = append(e.adds, req), append(e.callers, who)
	return api.Listing{Generation: 8}, e.err
}

// openDir is a directory that other users can enter.
func openDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "control")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// start serves e to the users of who; end ends it and waits.
func start(t *testing.T, e Engine, who directory) (socket string, end func()) {
	t.Helper()
	socket = filepath.Join(openDir(t), "s")
	listener, err := Listen(socket)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- serve(ctx, listener, e, who) }()
	end = sync.OnceFunc(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(end)
	return socket, end
}

// groups is a directory with these groups.
func groups(gids map[string]string) directory {
	return directory{
		groupID: func(name string) (string, bool) { gid, ok := gids[name]; return gid, ok },
	}
}

// TestMain is also the other process: with its environment set, the test
// binary asks a daemon and prints what it was told.
func TestMain(m *testing.M) {
	if socket := os.Getenv(serveEnv); socket != "" {
		serveForTest(socket)
	}
	if socket := os.Getenv("CONTROL_TEST_SOCKET"); socket != "" {
		client := NewClient(socket)
		client.By.LoginUID = new(uint32(4711)) // of somebody else
		_, read := client.Status(context.Background())
		_, write := Add.Ask(context.Background(), client, api.AddRequest{Note: "from nobody"})
		fmt.Printf("%v %v\n", verdict(read), verdict(write))
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func verdict(err error) string {
	switch {
	case err == nil:
		return "yes"
	case errors.Is(err, ErrForbidden):
		return "forbidden"
	case errors.Is(err, ErrNoDaemon):
		return "nobody there"
	}
	return "failed:" + err.Error()
}

// askAsNobody asks from a process of uid and gid nobody and of more groups; the answer is
// what it could read and write.
func askAsNobody(t *testing.T, socket string, groups ...uint32) (answer string, pid int) {
	t.Helper()
	binary := filepath.Join(openDir(t), "ask") // go test's own directory is closed to others
	in, err := os.Open("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := os.OpenFile(binary, os.O_CREATE|os.O_WRONLY, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(out, in); err != nil {
		t.Fatal(err)
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(binary)
	cmd.Env = []string{"CONTROL_TEST_SOCKET=" + socket}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody, Groups: groups}}
	text, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("ask as nobody: %v\n%s", err, text)
	}
	return strings.TrimSpace(string(text)), cmd.Process.Pid
}

func prefixes(n int) []api.Entry {
	var entries []api.Entry
	for i := range n {
		addr := netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
		entries = append(entries, api.Entry{
			Prefix: netip.PrefixFrom(addr, 32), Services: []string{}, Origins: []policy.Origin{policy.OriginCLI}, Note: `<"é>`,
		})
	}
	return slices.Clip(entries)
}

func groupOf(info os.FileInfo) int { return int(info.Sys().(*syscall.Stat_t).Gid) }

// listenWithoutBacklog is a daemon that is too busy to accept.
func listenWithoutBacklog(t *testing.T, path string) *os.File {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(syscall.Bind(fd, &syscall.SockaddrUnix{Name: path}), syscall.Listen(fd, 0)); err != nil {
		t.Fatal(err)
	}
	return os.NewFile(uintptr(fd), path)
}
