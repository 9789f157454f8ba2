package main

// This file is the world of the command tests: a daemon with a made-up engine
// behind a real control socket, and buffers for a terminal.

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/xdpallow/xdpallow/cmd/xdpallow/internal/control"
	"github.com/xdpallow/xdpallow/loader"
	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/doctor"
	"github.com/xdpallow/xdpallow/loader/events"
	"github.com/xdpallow/xdpallow/loader/policy"
	"github.com/xdpallow/xdpallow/loader/store"
)

// fakeEngine answers what its fields hold and remembers what it was asked.
type fakeEngine struct {
	lock     sync.Mutex
	asked    []any
	err      error // of every call
	status   api.Status
	stats    api.Stats
	listing  api.Listing
	exported string
	checks   []api.CheckResult
	plan     api.Plan
	waiting  api.Waiting
	detach   api.DetachResult
	owners   api.Owners
	stopped  api.SuspendResult
	limited  api.LimitResult
	cut      api.CutResult
	probe    api.ProbePlan
	history  api.History
	live     api.Live
	events   []events.Event
}

var _ control.Engine = (*fakeEngine)(nil)

func answer[A any](f *fakeEngine, question any, a A) (A, error) {
	f.lock.Lock()
	defer f.lock.Unlock()
	f.asked = append(f.asked, question)
	if f.err != nil {
		var none A
		return none, f.err
	}
	return a, nil
}

func (f *fakeEngine) Status(context.Context) (api.Status, error) {
	return answer(f, "status", f.status)
}

func (f *fakeEngine) Stats(context.Context) (api.Stats, error) {
	return answer(f, "stats", f.stats)
}

func (f *fakeEngine) History(_ context.Context, last int) (api.History, error) {
	return answer(f, fmt.Sprint("history ", last), f.history)
}

func (f *fakeEngine) Live(_ context.Context, rows int) (api.Live, error) {
	return answer(f, fmt.Sprint("live ", rows), f.live)
}

func (f *fakeEngine) Events(_ context.Context, n int, follow bool, fn func(events.Event) error) error {
	all, err := answer(f, fmt.Sprint("events ", n, " ", follow), f.events)
	for _, e := range all {
		err = errors.Join(err, fn(e))
	}
	return err
}

func (f *fakeEngine) List(_ context.Context, r api.ListRequest, w io.Writer) (api.LeftOut, error) {
	question := "list " + r.Owner
	if r.Unused != 0 {
		question += " unused " + r.Unused.String()
	}
	if r.Expiring != 0 {
		question += " expiring " + r.Expiring.String()
	}
	if r.Prefix.IsValid() {
		question += " prefix " + r.Prefix.String()
	}
	listing, err := answer(f, question, f.listing)
	if err != nil {
		return api.LeftOut{}, err
	}
	entries := slices.Clone(listing.Entries) // sorted, as the engine has them
	slices.SortStableFunc(entries, func(a, b api.Entry) int { return policy.ComparePrefix(a.Prefix, b.Prefix) })
	l := api.Listed{Generation: listing.Generation, Total: listing.Total, Connected: listing.Connected}
	l.Entries = func(func() bool) iter.Seq2[*api.Entry, error] { return each(entries) }
	l.Claims = func(yield func(policy.Claim, error) bool) {
		for _, e := range entries {
			claim := policy.Claim{Prefix: e.Prefix, Owner: e.Owner, Services: e.Services, Note: e.Note}
			if e.Until != nil {
				claim.Until = *e.Until
			}
			if !yield(claim, nil) {
				return
			}
		}
	}
	return l.LeftOut(), writeListed(w, r, l)
}

// Complete finds the entries as query.View does.
func (f *fakeEngine) Complete(_ context.Context, begin string, made bool) (found []string, err error) {
	listing, err := answer(f, "complete "+begin, f.listing)
	for _, e := range listing.Entries {
		if strings.HasPrefix(e.Prefix.String(), begin) && (!made || slices.Equal(e.Origins, []policy.Origin{policy.OriginCLI})) {
			found = append(found, e.Prefix.String())
		}
	}
	return found, err
}

func (f *fakeEngine) Check(_ context.Context, addrs []netip.Addr, port *policy.Port) ([]api.CheckResult, error) {
	question := "check"
	for _, addr := range addrs {
		question += " " + addr.String()
	}
	if port != nil {
		question += " " + port.String()
	}
	return answer(f, question, f.checks)
}

func (f *fakeEngine) Add(_ context.Context, _ api.Caller, r api.AddRequest) (api.Listing, error) {
	return answer(f, r, f.listing)
}

func (f *fakeEngine) Remove(_ context.Context, _ api.Caller, r api.RemoveRequest) (api.Listing, error) {
	return answer(f, r, f.listing)
}

func (f *fakeEngine) Replace(_ context.Context, _ api.Caller, r api.ReplaceRequest) (api.Plan, error) {
	return answer(f, r, f.plan)
}

func (f *fakeEngine) Import(_ context.Context, _ api.Caller, r api.ImportRequest) (api.Plan, error) {
	return answer(f, r, f.plan)
}

func (f *fakeEngine) Export(_ context.Context, all bool, w io.Writer) error {
	text, err := answer(f, fmt.Sprint("export ", all), f.exported)
	if err == nil {
		_, err = io.WriteString(w, text)
	}
	return err
}

func (f *fakeEngine) Table(_ context.Context, format, service string, w io.Writer) error {
	text, err := answer(f, fmt.Sprint("table ", format, " ", service), "192.0.2.0/24 acme\n")
	if err == nil {
		_, err = io.WriteString(w, text)
	}
	return err
}

func (f *fakeEngine) Reload(_ context.Context, _ api.Caller, r api.ReloadRequest) (api.Plan, error) {
	return answer(f, r, f.plan)
}

func (f *fakeEngine) Confirm(context.Context, api.Caller, api.ConfirmRequest) (api.Waiting, error) {
	return answer(f, "confirm", f.waiting)
}

func (f *fakeEngine) Rollback(_ context.Context, _ api.Caller, r api.RollbackRequest) (api.Plan, error) {
	return answer(f, r, f.plan)
}

func (f *fakeEngine) Mode(_ context.Context, _ api.Caller, r api.ModeRequest) (api.Modes, error) {
	return answer(f, r, api.Modes{Generation: f.status.Generation, Services: f.status.Services})
}

func (f *fakeEngine) Owners(context.Context) (api.Owners, error) {
	return answer(f, "owners", f.owners)
}

func (f *fakeEngine) Suspend(_ context.Context, _ api.Caller, r api.SuspendRequest) (api.SuspendResult, error) {
	return answer(f, r, f.stopped)
}

func (f *fakeEngine) Resume(_ context.Context, _ api.Caller, r api.SuspendRequest) (api.SuspendResult, error) {
	return answer(f, r, f.stopped)
}

func (f *fakeEngine) Limit(_ context.Context, _ api.Caller, r api.LimitRequest) (api.LimitResult, error) {
	return answer(f, r, f.limited)
}

func (f *fakeEngine) Cut(_ context.Context, _ api.Caller, r api.CutRequest) (api.CutResult, error) {
	return answer(f, r, f.cut)
}

func (f *fakeEngine) Probe(_ context.Context, _ api.Caller, r api.ProbeRequest) (api.ProbePlan, error) {
	return answer(f, r, f.probe)
}

func (f *fakeEngine) Openings(_ context.Context, owner string) (api.Openings, error) {
	return answer(f, "openings "+owner, api.Openings{})
}

func (f *fakeEngine) Detach(_ context.Context, _ api.Caller, r api.DetachRequest) (api.DetachResult, error) {
	return answer(f, r, f.detach)
}

// world is one host as the commands see it.
type world struct {
	*fakeEngine             // behind the socket, once serve was called
	pins        *fakeEngine // what is read without a daemon
	ran         []options   // what run handed to the daemon
	refuses     error       // what became of the daemon
	looked      []doctor.Options
	facts       doctor.Facts // what doctor finds
	socket      string
	stdin       string
	terminal    bool
	uid         int
	columns     int
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{socket: filepath.Join(t.TempDir(), "s"), pins: &fakeEngine{err: loader.ErrNoPins}}
	return w
}

// serve starts a daemon.
func (w *world) serve(t *testing.T, engine *fakeEngine) *world {
	t.Helper()
	w.fakeEngine = engine
	listener, err := control.Listen(w.socket)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- control.Serve(ctx, listener, engine) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return w
}

// run runs one command line; words is without the program.
func (w *world) run(words ...string) (code int, stdout, stderr string) {
	var out, errOut bytes.Buffer
	code = run(context.Background(), env{
		args:   append([]string{"xdpallow"}, words...),
		stdin:  strings.NewReader(w.stdin),
		stdout: &out, stderr: &errOut,
		terminal: w.terminal, uid: w.uid, columns: w.columns,
		sessions: func() []policy.Peer { return nil },
		logins:   func() []policy.Peer { return nil },
		offline:  func(string, string) offlineEngine { return w.pins },
		examine: func(o doctor.Options) doctor.Facts {
			w.looked = append(w.looked, o)
			w.facts.Options = o
			return w.facts
		},
		daemon: func(_ context.Context, _ *call, o options) error {
			w.ran = append(w.ran, o)
			return w.refuses
		},
	})
	return code, out.String(), errOut.String()
}

// sh is run at w's socket; it splits line at blanks.
func (w *world) sh(line string) (code int, stdout, stderr string) {
	return w.run(append(strings.Fields(line), "--socket", w.socket)...)
}

func entry(prefix, owner string, origins ...policy.Origin) api.Entry {
	return api.Entry{Prefix: netip.MustParsePrefix(prefix), Owner: owner, Services: []string{}, Origins: origins}
}

// sampleEngine is a small host in good health but for one interface.
func sampleEngine() *fakeEngine {
	since := time.Date(2026, 11, 21, 9, 0, 0, 0, time.UTC)
	until := time.Date(2027, 1, 31, 18, 0, 0, 0, time.UTC)
	office := entry("203.0.113.0/24", "acme", policy.OriginFlag, policy.FileOrigin("/etc/a.list"))
	office.Note, office.Until, office.LastSeen, office.Services = `main "office"`, &until, &since, []string{"api"}
	row := func(verdict, reason, family string, packets uint64) api.Counter {
		return api.Counter{Interface: "eth0", Layer: "xdp", Verdict: verdict, Reason: reason, Family: family, Packets: packets, Bytes: 74 * packets}
	}
	return &fakeEngine{
		exported: "suspend acme since=2026-11-21T09:00:00Z by=0 held=1 reason=\"OPS-1\"\nheld acme 198.51.100.0/28\nlimit globex 200/s burst=400\n198.51.100.0/28 owner=acme\n",
		history: api.History{Changes: []store.Record{
			{Sequence: 1, Time: since, PID: 7, Command: "run --interface eth0", After: 1, Added: []string{"203.0.113.0/24"}, Removed: []string{}, Changed: []string{}, AddedCount: 1},
			{
				Sequence: 2, Time: since.Add(time.Hour), UID: 1000, PID: 8, Command: "add 198.51.100.0/28 --owner acme " + strings.Repeat("x", 100), Reason: "OPS-1", Before: 1, After: 2,
				Added: []string{"198.51.100.0/28 owner=acme"}, Removed: []string{}, Changed: []string{}, AddedCount: 1,
			},
			{Sequence: 3, Time: since.Add(2 * time.Hour), Command: "detach --yes", Before: 2, After: 2, Added: []string{}, Removed: []string{}, Changed: []string{}},
		}},
		listing: api.Listing{Generation: 2, Total: 3, Entries: []api.Entry{
			entry("2001:db8:42::/48", "", policy.OriginCLI), entry("198.51.100.0/28", "acme", policy.OriginCLI), office,
		}},
		stats: api.Stats{Since: &since, Counters: []api.Counter{
			row("drop", "not_listed", "ipv4", 2), row("drop", "not_listed", "ipv6", 0),
			row("pass", "listed", "ipv4", 12), row("audit", "not_listed", "ipv4", 0),
		}},
		status: api.Status{
			Problems:   []api.Problem{{Code: "interface_missing", Subject: "eth1", Text: "is not there", Hint: "ip link show eth1"}},
			Interfaces: []api.Interface{{Name: "eth0", Attach: "generic", Reason: "driver has no XDP", LinkID: 3, ProgramID: 4, Attached: true}, {Name: "eth1"}},
			Backstop:   &api.Backstop{LinkID: 5, ProgramID: 6, Attached: true},
			Uncovered:  []string{"eth2"},
			Generation: 2, Entries: 3, Families: api.Families{IPv4: 2, IPv6: 1}, Owners: 1, Expiring: 1,
			Services:   []api.Service{{Service: policy.Service{Name: "api", Ports: []policy.Port{{Protocol: policy.TCP, Number: 443}, {Protocol: policy.UDP, Number: 443}}, Mode: policy.Enforce, Scope: policy.ScopeSYN}}},
			Origins:    []api.OriginStatus{{Name: "cli", Entries: 2}, {Name: "file:/etc/a.list", Entries: 1, Error: "/etc/a.list:3: 10.0.0.5/8 has host bits set"}},
			LastChange: &api.Change{Time: since, Generation: 2, Command: "add", UID: 0, PID: 7},
			Daemon:     &api.Daemon{PID: 42, Since: since}, Version: "v1",
		},
	}
}
