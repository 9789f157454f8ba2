package reconcile_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/policy"
)

// heldLog is a log that keeps the engine in the middle of a change: until release is closed,
// the first line that begins with on does not return.
type heldLog struct {
	slog.Handler
	on      string
	reached chan struct{}
	release chan struct{}
	once    atomic.Bool
}

func (h *heldLog) Enabled(context.Context, slog.Level) bool { return true }

func (h *heldLog) Handle(_ context.Context, r slog.Record) error {
	if strings.HasPrefix(r.Message, h.on) && h.once.CompareAndSwap(false, true) {
		close(h.reached)
		<-h.release
	}
	return nil
}

// list collects what the engine lists.
func (g *gate) list(ctx context.Context, r api.ListRequest) (listing api.Listing, err error) {
	err = g.engine.List(ctx, r, func(l api.Listed) error {
		listing.Total = l.Total
		for e, err := range l.Entries(func() bool { return true }) {
			if err != nil {
				return err
			}
			listing.Entries = append(listing.Entries, *e)
		}
		return nil
	})
	return listing, err
}

// questions are all that can be asked of the engine, by name.
func (g *gate) questions() map[string]func(context.Context) error {
	listed := []netip.Addr{netip.MustParseAddr("10.0.0.0")}
	inHost := func(ask func() error) error { return g.lab.Host.Do(ask) }
	return map[string]func(context.Context) error{
		"status": func(ctx context.Context) error {
			return inHost(func() error { _, err := g.engine.Status(ctx); return err })
		},
		"snapshot": func(ctx context.Context) error {
			return inHost(func() error { _, err := g.engine.Snapshot(ctx); return err })
		},
		"check": func(ctx context.Context) error {
			return inHost(func() error { _, err := g.engine.Check(ctx, listed, nil); return err })
		},
		"list": func(ctx context.Context) error {
			listing, err := g.list(ctx, api.ListRequest{Prefix: netip.MustParsePrefix("10.0.0.0/16")})
			if err == nil && listing.Total < g.entries {
				err = fmt.Errorf("%d entries in all, want %d at least", listing.Total, g.entries)
			}
			return err
		},
		"live": func(ctx context.Context) error {
			return inHost(func() error { _, err := g.engine.Live(ctx, 10); return err })
		},
		"ownership": func(context.Context) error {
			if o, found := g.engine.Ownership(listed[0], "api", ""); !found || o.Owner != "acme-0" {
				return fmt.Errorf("%s is %+v", listed[0], o)
			}
			return nil
		},
		"stats":    func(ctx context.Context) error { _, err := g.engine.Stats(ctx); return err },
		"owners":   func(ctx context.Context) error { _, err := g.engine.Owners(ctx); return err },
		"history":  func(ctx context.Context) error { _, err := g.engine.History(ctx, 1); return err },
		"export":   func(ctx context.Context) error { return g.engine.Export(ctx, true, io.Discard) },
		"complete": func(ctx context.Context) error { _, err := g.engine.Complete(ctx, "10.", false); return err },
	}
}

// Promise (issue 16): who asks does not wait for a change. A change is kept from ending;
// every question is answered all the same, with the state before it or after it.
func TestQuestionsDoNotWaitForAChange(t *testing.T) {
	g := newGate(t, 1000)
	log := &heldLog{Handler: slog.DiscardHandler, on: "added ", reached: make(chan struct{}), release: make(chan struct{})}
	g.options.Log = slog.New(log)
	g.start()
	added := make(chan error, 1)
	go func() {
		_, err := g.engine.Add(context.Background(), api.Caller{}, api.AddRequest{Prefixes: []string{"203.0.113.1"}, Owner: "globex"})
		added <- err
	}()
	<-log.reached
	type answer struct {
		name string
		err  error
	}
	answers := make(chan answer)
	waiting := map[string]bool{}
	for name, ask := range g.questions() {
		waiting[name] = true
		go func() { answers <- answer{name, ask(context.Background())} }()
	}
	late := time.After(20 * time.Second) // nothing is waited for that long unless it waits for the change
	for timedOut := false; len(waiting) > 0 && !timedOut; {
		select {
		case a := <-answers:
			delete(waiting, a.name)
			if a.err != nil {
				t.Errorf("%s: %v", a.name, a.err)
			}
		case <-late:
			timedOut = true
		}
	}
	for name := range waiting {
		t.Errorf("%s waits for the change", name)
	}
	close(log.release)
	for range waiting {
		<-answers
	}
	if err := <-added; err != nil {
		t.Fatal(err)
	}
	status, err := g.engine.Snapshot(context.Background())
	if err != nil || status.Entries != g.entries+1 || status.LastChange == nil || status.LastChange.Command != "add" {
		t.Errorf("once the change is made: %+v, %v", status, err)
	}
	if _, err := g.engine.Remove(context.Background(), api.Caller{}, api.RemoveRequest{Prefixes: []string{"203.0.113.1"}}); err != nil {
		t.Fatal(err)
	}
}

// Promise (issue 16): who asks does not wait for a publish, and gets one state and never a
// mixture. Whole networks are suspended and resumed, which is published; meanwhile every
// question is asked again and again. Of a list, either every entry is suspended or none.
func TestQuestionsBesidePublishes(t *testing.T) {
	g := newGate(t, 20_000)
	g.start()
	ctx := context.Background()
	network := netip.MustParsePrefix("10.0.0.0/8")
	var stop atomic.Bool
	var publishing atomic.Int64 // the number of the publish under way; 0 is none
	type tally struct {
		name string
		most int // answers within one publish, of the best one
		err  error
	}
	tallies := make(chan tally)
	questions := g.questions()
	questions["list"] = func(ctx context.Context) error {
		listing, err := g.list(ctx, api.ListRequest{Prefix: netip.MustParsePrefix("10.0.0.0/12")})
		if err != nil {
			return err
		}
		for _, e := range listing.Entries {
			if e.Suspended != listing.Entries[0].Suspended {
				return fmt.Errorf("%s is suspended: %v, %s: %v", e.Prefix, e.Suspended, listing.Entries[0].Prefix, listing.Entries[0].Suspended)
			}
		}
		return nil
	}
	delete(questions, "export") // which is one of whole lists, and slower than a publish
	for name, ask := range questions {
		go func() {
			sum := tally{name: name}
			within, of := 0, int64(0)
			for !stop.Load() && sum.err == nil {
				time.Sleep(time.Millisecond) // so that the questions leave room for the change
				before := publishing.Load()
				sum.err = ask(ctx)
				if after := publishing.Load(); before != 0 && after == before {
					if of != before {
						within, of = 0, before
					}
					within++
					sum.most = max(sum.most, within)
				}
			}
			tallies <- sum
		}()
	}
	subject := api.SuspendRequest{Subject: policy.Subject{Prefix: network}}
	for round := range int64(6) {
		publishing.Store(2*round + 1)
		_, err := g.engine.Suspend(ctx, api.Caller{}, subject)
		publishing.Store(0)
		if err == nil {
			publishing.Store(2*round + 2)
			_, err = g.engine.Resume(ctx, api.Caller{}, subject)
			publishing.Store(0)
		}
		if err != nil {
			t.Error(err)
			break
		}
	}
	stop.Store(true)
	for range questions {
		sum := <-tallies
		t.Logf("%s: %d answers within one publish", sum.name, sum.most)
		switch {
		case sum.err != nil:
			t.Errorf("%s: %v", sum.name, sum.err)
		case sum.most < 3: // one may have come in before the publish had begun
			t.Errorf("%s: %d answers within one publish, want 3", sum.name, sum.most)
		}
	}
}
