package control

// Promises guarded here: only root and the admin group change anything, and
// the reading group reads; a change is never cut in half; what
// crosses the socket arrives as it was.

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"golang.org/x/sys/unix"

	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/impact"
	"github.com/xdpallow/xdpallow/loader/policy"
)

func TestRights(t *testing.T) {
	own := strconv.Itoa(nobody)
	for _, test := range []struct {
		name   string
		who    directory
		member []uint32 // supplementary groups of the process, which no file knows
		mode   os.FileMode
		want   string // read, write
	}{
		{"by the socket's mode", groups(nil), nil, 0o600, "forbidden forbidden"},
		{"in no group", groups(nil), nil, 0o666, "forbidden forbidden"},
		{"in another group", groups(map[string]string{ReadGroup: "1", AdminGroup: "2"}), []uint32{3, 4}, 0o666, "forbidden forbidden"},
		{"reader", groups(map[string]string{ReadGroup: own}), nil, 0o666, "yes forbidden"},
		{"admin", groups(map[string]string{AdminGroup: own}), nil, 0o666, "yes yes"},
		{"reader by supplementary group", groups(map[string]string{ReadGroup: "1", AdminGroup: "2"}), []uint32{7, 1}, 0o666, "yes forbidden"},
		{"admin by supplementary group", groups(map[string]string{ReadGroup: "1", AdminGroup: "2"}), []uint32{7, 2}, 0o666, "yes yes"},
	} {
		t.Run(test.name, func(t *testing.T) {
			e := &engine{}
			socket, _ := start(t, e, test.who)
			if err := os.Chmod(socket, test.mode); err != nil {
				t.Fatal(err)
			}
			got, pid := askAsNobody(t, socket, test.member...)
			if got != test.want {
				t.Errorf("uid %d may read and write: %s, want %s", nobody, got, test.want)
			}
			var want []api.Caller
			if strings.HasSuffix(test.want, " yes") {
				// Who logged in is the kernel's word: nobody but root is believed.
				want = []api.Caller{{UID: nobody, PID: int32(pid), LoginUID: impact.LoginUID(os.Getpid())}}
			}
			if diff := cmp.Diff(want, e.callers); diff != "" {
				t.Errorf("changes that reached the engine (-want +got):\n%s", diff)
			}
		})
	}
}

// Root writes, whatever groups there are, and the engine learns who it was
// from the kernel, not from the client; only what was typed and why is his to say.
func TestRoot(t *testing.T) {
	e := &engine{}
	socket, _ := start(t, e, groups(nil))
	req := api.AddRequest{Prefixes: []string{"192.0.2.0/24"}, Owner: "acme", Note: "n", AllowAny: true}
	client := NewClient(socket)
	client.By = api.Caller{UID: 2, PID: 2, Command: "add 192.0.2.0/24 --note 'ü\n%'", Reason: "OPS-1: \"é\""}
	listing, err := Add.Ask(t.Context(), client, req)
	if err != nil || listing.Generation != 8 {
		t.Fatalf("add: %v, %v", listing, err)
	}
	if diff := cmp.Diff([]api.AddRequest{req}, e.adds); diff != "" {
		t.Error(diff)
	}
	if want := (api.Caller{PID: int32(os.Getpid()), Command: client.By.Command, Reason: client.By.Reason}); e.callers[0] != want {
		t.Errorf("caller %v, want %v", e.callers[0], want)
	}
}

// The groups of the host's own database.
func TestSystemDirectory(t *testing.T) {
	if gid, ok := system.groupID("root"); !ok || gid != "0" {
		t.Errorf("group root: %q, %v", gid, ok)
	}
	if _, ok := system.groupID("xdpallow-no-such-group"); ok {
		t.Error("a group that does not exist is somebody")
	}
	if read, write := system.rights(&unix.Ucred{Uid: 4294000001, Gid: 4294000001}, nil); read || write {
		t.Error("a user who is not there has rights")
	}
}

// listing asks for all entries, and takes them apart.
func listing(t *testing.T, client *Client) (entries []api.Entry, err error) {
	t.Helper()
	var text bytes.Buffer
	if _, err := client.List(t.Context(), api.ListRequest{}, &text); err != nil {
		return nil, err
	}
	for lines := json.NewDecoder(&text); lines.More(); {
		var e api.Entry
		if err := lines.Decode(&e); err != nil {
			t.Fatal(err)
		}
		entries = append(entries, e)
	}
	return entries, nil
}

// Promise: a listing arrives as the engine wrote it, with what it leaves out.
func TestListingCrosses(t *testing.T) {
	for _, n := range []int{0, 1, 20000} {
		e := &engine{listing: api.Listing{Entries: prefixes(n)}, left: api.LeftOut{Count: n, First: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}}
		socket, _ := start(t, e, system)
		got, err := listing(t, NewClient(socket))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(e.listing.Entries, got, cmpopts.EquateComparable(netip.Prefix{}), cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%d entries (-want +got):\n%.2000s", n, diff)
		}
		left, err := NewClient(socket).List(t.Context(), api.ListRequest{}, io.Discard)
		if diff := cmp.Diff(e.left, left, cmpopts.EquateComparable(netip.Prefix{})); diff != "" || err != nil {
			t.Errorf("%v; left out (-want +got):\n%s", err, diff)
		}
	}
}

// Promise: a daemon that dies while it lists, or fails, does not look like a shorter list.
func TestListingCutOff(t *testing.T) {
	e := &engine{listing: api.Listing{Entries: prefixes(3)}}
	socket, _ := start(t, e, system)
	conn, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: xdpallow\r\nConnection: close\r\n\r\n", pathEntries); err != nil {
		t.Fatal(err)
	}
	whole, err := io.ReadAll(conn)
	if err != nil {
		t.Fatal(err)
	}
	said := whole
	daemon, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	defer daemon.Close()
	go func() {
		for {
			conn, err := daemon.Accept()
			if err != nil {
				return
			}
			_, _ = http.ReadRequest(bufio.NewReader(conn))
			_, _ = conn.Write(said)
			conn.Close()
		}
	}()
	client := NewClient(daemon.Addr().String())
	if _, err := client.List(t.Context(), api.ListRequest{}, io.Discard); err != nil {
		t.Fatalf("a whole listing: %v", err)
	}
	for n := range len(whole) - 2 { // the last line is empty, and says nothing
		said = whole[:n]
		if _, err := client.List(t.Context(), api.ListRequest{}, io.Discard); err == nil {
			t.Errorf("%d of %d bytes were taken for a listing", n, len(whole))
		}
	}
	e.failing = errors.New("the use cannot be read")
	if _, err := NewClient(socket).List(t.Context(), api.ListRequest{}, io.Discard); err == nil || !strings.Contains(err.Error(), e.failing.Error()) {
		t.Errorf("a listing that failed at its end: %v", err)
	}
}

func TestErrorsCross(t *testing.T) {
	for _, want := range []error{
		&policy.InputError{Where: "a:1", What: "x", Hint: "h"},
		&policy.InputError{What: "x"},
		&policy.Refused{What: "x", Hint: "h"},
		forbiddenError("x"),
		errors.New("x"),
		errors.Join(&policy.InputError{Where: "a:1", What: "x", Hint: "h"}, errors.New("y")),
	} {
		socket, _ := start(t, &engine{err: want}, system)
		client := NewClient(socket)
		_, status := client.Status(t.Context())
		_, list := client.List(t.Context(), api.ListRequest{}, io.Discard)
		_, add := Add.Ask(t.Context(), client, api.AddRequest{})
		for _, got := range []error{status, list, add} {
			if fmt.Sprintf("%#v", toWire(got)) != fmt.Sprintf("%#v", toWire(want)) || errors.Is(got, ErrForbidden) != errors.Is(want, ErrForbidden) {
				t.Errorf("%#v came as %#v", want, got)
			}
		}
	}
}

func TestNobodyThere(t *testing.T) {
	socket, end := start(t, &engine{}, system)
	end()
	client := NewClient(socket)
	if _, err := client.Status(t.Context()); !errors.Is(err, ErrNoDaemon) || !strings.Contains(err.Error(), socket) {
		t.Errorf("status: %v", err)
	}
	if _, err := Add.Ask(t.Context(), client, api.AddRequest{}); !errors.Is(err, ErrNoDaemon) {
		t.Errorf("add: %v", err)
	}
}

// What the server does not understand it refuses.
func TestBadRequests(t *testing.T) {
	e := &engine{}
	socket, _ := start(t, e, system)
	client := NewClient(socket)
	for _, test := range []struct{ method, path, body, want string }{
		{"POST", Add.path, `{"prefixes":["192.0.2.0/24"],"for_ever":true}`, "400"}, // a later flag
		{"POST", Add.path, `{`, "400"},
		{"POST", Add.path, `{"note":"` + strings.Repeat("x", maxBody) + `"}`, "400"},
		{"GET", Add.path, ``, "405"},
		{"GET", "/v1/nonsense", ``, "404"},
		{"GET", pathCheck + "?address=x", ``, "400"},
		{"GET", pathCheck + "?address=192.0.2.1&port=x", ``, "400"},
		{"GET", pathCheck + "?address=192.0.2.1&port=tcp/1", ``, "200"},
		{"GET", pathCheck + "?address=192.0.2.1", ``, "200"},
	} {
		req, err := http.NewRequest(test.method, "http://xdpallow"+test.path, strings.NewReader(test.body))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := client.http.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || !strings.HasPrefix(resp.Status, test.want) {
			t.Errorf("%s %s %.60s: %s %s, want %s", test.method, test.path, test.body, resp.Status, text, test.want)
		}
	}
	if len(e.adds) > 0 {
		t.Errorf("a bad request reached the engine: %.200v", e.adds)
	}
}

// A daemon that is told to stop answers the change it has begun, and a caller
// who leaves does not stop his change.
func TestShutdownIsGraceful(t *testing.T) {
	e := &engine{block: make(chan struct{})}
	socket, end := start(t, e, system)
	answered, left := make(chan error, 1), make(chan error, 1)
	go func() {
		_, err := Add.Ask(context.Background(), NewClient(socket), api.AddRequest{Note: "stays"})
		answered <- err
	}()
	ctx, leave := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer leave()
	go func() {
		_, err := Add.Ask(ctx, NewClient(socket), api.AddRequest{Note: "leaves"})
		left <- err
	}()
	if err := <-left; !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the caller who left: %v", err)
	}
	go func() {
		time.Sleep(50 * time.Millisecond) // Shutdown has begun, or begins: both must answer
		close(e.block)
	}()
	end()
	if err := <-answered; err != nil {
		t.Errorf("the caller who stayed: %v", err)
	}
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(time.Millisecond) {
		e.lock.Lock()
		n := len(e.adds)
		e.lock.Unlock()
		if n == 2 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d changes were made, want 2", n)
		}
	}
}

// Promise: a daemon that is asked to list by what it does not know, of a newer command,
// refuses: everything would be the answer to another question.
func TestListByWhatIsNotKnown(t *testing.T) {
	var input *policy.InputError
	if _, err := listRequest(url.Values{"owner": {"acme"}, "colour": {"red"}}); !errors.As(err, &input) || !strings.Contains(input.What, "colour") {
		t.Errorf("a wish that is not known: %v", err)
	}
	req, err := listRequest(url.Values{"owner": {"-"}, "prefix": {"192.0.2.0/24"}})
	if err != nil || req.Owner != api.NoOwner || req.Prefix != netip.MustParsePrefix("192.0.2.0/24") {
		t.Errorf("%+v, %v", req, err)
	}
}
