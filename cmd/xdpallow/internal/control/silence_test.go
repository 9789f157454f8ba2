package control

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/events"
	"github.com/xdpallow/xdpallow/loader/policy"
)

// talkative is an engine whose answers have no end.
type talkative struct{ Engine }

func (talkative) List(ctx context.Context, _ api.ListRequest, w io.Writer) (left api.LeftOut, err error) {
	for err == nil && ctx.Err() == nil {
		_, err = io.WriteString(w, "192.0.2.0/24\n")
	}
	return left, err
}

// Events has one event, and no other ever.
func (talkative) Events(ctx context.Context, _ int, _ bool, fn func(events.Event) error) error {
	err := fn(events.Event{Reason: "not_listed"})
	<-ctx.Done()
	return err
}

// serveEnv makes the test binary a daemon on that socket.
const serveEnv = "CONTROL_TEST_SERVE"

func serveForTest(socket string) {
	listener, err := Listen(socket)
	if err == nil {
		err = Serve(context.Background(), listener, talkative{})
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

// daemonProcess starts a daemon that the test may stop.
func daemonProcess(t *testing.T) (socket string, process *os.Process) {
	t.Helper()
	socket = filepath.Join(t.TempDir(), "s")
	daemon := exec.Command(os.Args[0])
	daemon.Env, daemon.Stderr = append(os.Environ(), serveEnv+"="+socket), os.Stderr
	if err := daemon.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = daemon.Process.Kill(), daemon.Wait() })
	for range 1000 {
		if conn, err := net.Dial("unix", socket); err == nil {
			conn.Close()
			return socket, daemon.Process
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal("the daemon does not listen")
	return "", nil
}

// reader counts what it was given, and says when that is something.
type reader struct {
	bytes atomic.Int64
	began chan struct{}
}

func (r *reader) Write(part []byte) (int, error) {
	if r.bytes.Add(int64(len(part))) == int64(len(part)) {
		close(r.began)
	}
	return len(part), nil
}

// Promise: a client does not wait for ever for a daemon that is stopped in the middle of an answer,
// be it a list or events; and a daemon that goes on, or has nothing to tell, is waited for.
func TestStoppedInTheMiddleOfAnAnswer(t *testing.T) {
	const silent = 3 * word
	for name, ask := range map[string]func(context.Context, *Client, *reader) error{
		"list": func(ctx context.Context, c *Client, r *reader) error {
			_, err := c.List(ctx, api.ListRequest{}, r)
			return err
		},
		"events": func(ctx context.Context, c *Client, r *reader) error {
			return c.Events(ctx, 1, true, func(events.Event) error { _, err := r.Write([]byte("event")); return err })
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			socket, process := daemonProcess(t)
			client := NewClient(socket)
			client.silence = silent
			r := &reader{began: make(chan struct{})}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			ended := make(chan error, 1)
			go func() { ended <- ask(ctx, client, r) }()
			<-r.began
			select { // it goes on for longer than a silent daemon is waited for
			case err := <-ended:
				t.Fatalf("given up: %v", err)
			case <-time.After(2 * silent):
			}
			if err := process.Signal(unix.SIGSTOP); err != nil {
				t.Fatal(err)
			}
			if err := <-ended; !errors.Is(err, errSilent) {
				t.Errorf("of a stopped daemon: %v", err)
			}
		})
	}
}

// Promise: silence ends an answer, and not its length, a slow daemon or a slow reader; a change that
// was not answered whole is told as such.
func TestSilenceEndsAnAnswer(t *testing.T) {
	const silent = 300 * time.Millisecond
	type outcome struct{ list, ask error }
	answered := func(body func(http.ResponseWriter, *http.Request), slow time.Duration) (o outcome) {
		socket := filepath.Join(t.TempDir(), "s")
		listener, err := net.Listen("unix", socket)
		if err != nil {
			t.Fatal(err)
		}
		server := &http.Server{Handler: http.HandlerFunc(body)}
		go func() { _ = server.Serve(listener) }()
		defer server.Close()
		client := NewClient(socket)
		client.silence = silent
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		_, o.list = client.List(ctx, api.ListRequest{}, slowly(slow))
		_, o.ask = Replace.Ask(ctx, client, api.ReplaceRequest{})
		return o
	}
	part := func(w http.ResponseWriter, text string) {
		_, _ = io.WriteString(w, text)
		_ = http.NewResponseController(w).Flush()
	}
	o := answered(func(w http.ResponseWriter, r *http.Request) {
		part(w, `{"generation": 7`)
		<-r.Context().Done()
	}, 0)
	var refused interface{ Hint() string }
	if !errors.Is(o.list, errSilent) || !errors.Is(o.ask, errSilent) || !errors.As(o.ask, &refused) || !strings.Contains(refused.Hint(), "history") {
		t.Errorf("silent: %+v", o)
	}
	o = answered(func(w http.ResponseWriter, _ *http.Request) {
		part(w, `{"generation": 7`)
		for range 10 {
			time.Sleep(silent / 4)
			part(w, " ")
		}
		part(w, `}`)
	}, 0)
	if o != (outcome{}) {
		t.Errorf("slow: %+v", o)
	}
	o = answered(func(w http.ResponseWriter, _ *http.Request) { part(w, `{"generation": 7}`) }, 2*silent)
	if o != (outcome{}) {
		t.Errorf("to a slow reader: %+v", o)
	}
}

// slowly takes so long to take something in.
type slowly time.Duration

func (s slowly) Write(part []byte) (int, error) {
	time.Sleep(time.Duration(s))
	return len(part), nil
}

// tardy is an engine that takes long to answer a question.
type tardy struct{ Engine }

func (tardy) History(context.Context, int) (api.History, error) {
	time.Sleep(3 * word)
	return api.History{}, nil
}

func (tardy) List(_ context.Context, _ api.ListRequest, w io.Writer) (left api.LeftOut, err error) {
	time.Sleep(3 * word)
	_, err = io.WriteString(w, "192.0.2.0/24\n")
	return left, err
}

func (tardy) Table(context.Context, string, string, io.Writer) error {
	time.Sleep(3 * word)
	return &policy.Refused{What: "there is no such service", Hint: "xdpallow status"}
}

// Promise: a daemon that works at the answer to a question says so, and is waited for; the answer
// and what it refuses arrive as ever.
func TestClientWaitsForAnAnswer(t *testing.T) {
	client := NewClient(served(t, tardy{}))
	client.silence = 2 * word
	if _, err := client.History(t.Context(), 1); err != nil {
		t.Errorf("history: %v", err)
	}
	var text strings.Builder
	if _, err := client.List(t.Context(), api.ListRequest{}, &text); err != nil || text.String() != "192.0.2.0/24\n" {
		t.Errorf("list: %q, %v", text.String(), err)
	}
	var refused *policy.Refused
	if err := client.Table(t.Context(), "nginx", "nope", io.Discard); !errors.As(err, &refused) || refused.Hint != "xdpallow status" {
		t.Errorf("a refusal: %v", err)
	}
}
