package enrol

// Promises guarded here: the daemon's socket has one use; each request is counted by what came of it, told where that
// is news, and never more often than somebody reads; who may not choose a name chooses no series.

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/enrol"
	"github.com/xdpallow/xdpallow/loader/events"
	"github.com/xdpallow/xdpallow/loader/netlab/labtest"
)

// list is an engine that answers by the owner's name.
type list struct {
	mu       sync.Mutex
	asked    []enrol.Request
	told     []events.Event
	problems []api.Problem
}

func (l *list) Enrol(_ context.Context, by api.Caller, r enrol.Request) (enrol.Decision, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.asked = append(l.asked, r)
	switch r.Owner {
	case "acme":
		return enrol.Decision{Result: enrol.Enrolled, Answer: enrol.Answer{Owner: "acme", Prefix: enrol.Prefix(r.Address), Left: 3}}, nil
	case "globex":
		return enrol.Decision{Result: enrol.Standing}, nil
	case "umbrella":
		return enrol.Decision{}, errors.New("disk full")
	}
	return enrol.Decision{}, &enrol.Refused{Result: enrol.UnknownOwner, What: "who?"}
}

func (l *list) Tell(e events.Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.told = append(l.told, e)
}

func (l *list) Note(p api.Problem) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.problems = append(l.problems, p)
}

func (l *list) Forget(string) {}

func newDesk(t *testing.T) (*Desk, *list, *http.Client) {
	t.Helper()
	l := new(list)
	d := NewDesk(l, enrol.Settings{"acme": {}, "globex": {}, "umbrella": {}})
	socket := filepath.Join(t.TempDir(), "enrol.sock")
	ctx, stop := context.WithCancel(t.Context())
	var serving sync.WaitGroup
	serving.Go(func() { d.Serve(ctx, socket) })
	t.Cleanup(func() { stop(); serving.Wait() })
	client := &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
				conn, err := new(net.Dialer).DialContext(ctx, "unix", socket)
				if err == nil || time.Now().After(deadline) {
					return conn, err
				}
			}
		},
	}}
	return d, l, client
}

func post(t *testing.T, client *http.Client, path, body string) (int, string) {
	t.Helper()
	response := labtest.Must(client.Post("http://x"+path, "application/json", strings.NewReader(body)))(t)
	defer response.Body.Close()
	return response.StatusCode, string(labtest.Must(io.ReadAll(response.Body))(t))
}

func request(owner string) string {
	return fmt.Sprintf(`{"owner":%q,"address":"203.0.113.7","certificate":"1 sha256:0102030405060708"}`, owner)
}

func TestDesk(t *testing.T) {
	d, l, client := newDesk(t)
	for _, c := range []struct {
		path, body string
		status     int
		says       string
	}{
		{path, request("acme"), 200, `"prefix":"203.0.113.7/32"`},
		{path, request("globex"), 200, `"left":0`},
		{path, request("umbrella"), 500, `"result":"failed"`},
		{path, request("hooli"), 403, `"result":"unknown_owner"`},
		{path, `{"owner":"acme","addres":"203.0.113.7"}`, 400, "unknown field"},
		{path, `{"owner":"acme","address":"no"}`, 400, "read the request"},
		{path, strings.Repeat(" ", 1<<20), 400, "read the request"},
		{"/v1/add", `{"prefixes":["0.0.0.0/0"]}`, 404, "nothing else"},
		{"/v1/status", "", 404, "nothing else"},
	} {
		if status, body := post(t, client, c.path, c.body); status != c.status || !strings.Contains(body, c.says) {
			t.Errorf("%s %.80s: %d %s, want %d and %s", c.path, c.body, status, body, c.status, c.says)
		}
	}
	response := labtest.Must(client.Get("http://x" + path))(t)
	response.Body.Close()
	if response.StatusCode != 404 || len(l.asked) != 4 {
		t.Errorf("GET: %s; the engine was asked %d times, want 4", response.Status, len(l.asked))
	}
	all := d.Counts()
	for count, there := range map[api.Enrolment]bool{
		{Owner: "acme", Result: enrol.Enrolled, Requests: 1}:   true,
		{Owner: "acme", Result: enrol.TooOften}:                true, // before the first
		{Owner: "globex", Result: enrol.Standing, Requests: 1}: true,
		{Owner: "umbrella", Result: enrol.Failed, Requests: 1}: true,
		{Owner: "-", Result: enrol.UnknownOwner, Requests: 1}:  true,
		{Owner: "hooli", Result: enrol.UnknownOwner}:           false,
	} {
		if slices.Contains(all, count) != there {
			t.Errorf("%+v is not among %+v, want %v", count, all, there)
		}
	}
	var told []string
	for _, e := range l.told {
		told = append(told, e.Verdict+" "+e.Reason+" "+e.Owner+" "+e.Source.String()+" "+e.Family)
	}
	want := []string{"pass enrolled acme 203.0.113.7 ipv4", "drop enrol_failed umbrella 203.0.113.7 ipv4", "drop enrol_unknown_owner - 203.0.113.7 ipv4"}
	if !slices.Equal(told, want) {
		t.Errorf("told are %q, want %q", told, want)
	}
}

// Promise: whoever breaks into the process writes nothing of his own into the log and the events: the zone of an address
// can be any text.
func TestZoneIsLeftOut(t *testing.T) {
	_, l, client := newDesk(t)
	for _, owner := range []string{"acme", "hooli"} {
		post(t, client, path, fmt.Sprintf(`{"owner":%q,"address":"2001:db8::7%%\n\u001b[2Jxdpallow: resumed acme","certificate":"1 sha256:0102030405060708"}`, owner))
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.asked) != 2 || len(l.told) != 2 {
		t.Fatalf("the engine was asked %v and told %v, want two each", l.asked, l.told)
	}
	want := netip.MustParseAddr("2001:db8::7")
	for i := range l.asked {
		if l.asked[i].Address != want || l.told[i].Source != want {
			t.Errorf("the engine was asked for %q and told of %q, want %s", l.asked[i].Address, l.told[i].Source, want)
		}
	}
}

func TestTooOften(t *testing.T) {
	d, l, client := newDesk(t)
	for i := range 3 * enrol.PerMinute {
		want := 200
		if i >= enrol.PerMinute {
			want = 429
		}
		if status, body := post(t, client, path, request("acme")); status != want {
			t.Fatalf("request %d in a minute: %d %s, want %d", i+1, status, body, want)
		}
		post(t, client, path, request(fmt.Sprintf("n%d", i))) // an authority makes them up
	}
	if status, _ := post(t, client, path, request("globex")); status != 200 {
		t.Errorf("another owner: %d", status)
	}
	if n := len(l.asked); n != 2*enrol.PerMinute+1 {
		t.Errorf("the engine was asked %d times", n)
	}
	if n := len(l.told); n != 2*(enrol.PerMinute+1) {
		t.Errorf("%d events, want one for what was asked and one more for each owner", n)
	}
	series := map[string]bool{}
	for _, c := range d.Counts() {
		series[c.Owner] = true
	}
	if len(series) != 4 || len(d.counts) > 20 {
		t.Errorf("owners in the metric: %v, %d counts", series, len(d.counts))
	}
}

// A socket that cannot be had is a problem, and is tried again.
func TestSocketIsTaken(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "enrol.sock")
	other := labtest.Must(net.Listen("unix", socket))(t)
	l := new(list)
	ctx, stop := context.WithCancel(t.Context())
	var serving sync.WaitGroup
	serving.Go(func() { NewDesk(l, nil).Serve(ctx, socket) })
	defer serving.Wait()
	defer stop()
	eventually := func(what string, happened func() bool) {
		t.Helper()
		for deadline := time.Now().Add(time.Minute); !happened(); time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatal(what)
			}
		}
	}
	eventually("no problem is noted", func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		return len(l.problems) > 0 && l.problems[0].Code == "enrol_socket" && l.problems[0].Subject == socket && l.problems[0].Hint != ""
	})
	other.Close()
	eventually("the socket is not taken when it is free", func() bool {
		conn, err := net.Dial("unix", socket)
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
}
