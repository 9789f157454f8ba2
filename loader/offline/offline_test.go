package offline_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/xdpallow/xdpallow/loader"
	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/declared"
	"github.com/xdpallow/xdpallow/loader/offline"
	"github.com/xdpallow/xdpallow/loader/policy"
	"github.com/xdpallow/xdpallow/loader/store"
	"github.com/xdpallow/xdpallow/loader/stored"
	"github.com/xdpallow/xdpallow/loader/undo"
)

var (
	guarded = policy.Service{Name: "api", Ports: []policy.Port{{Protocol: policy.TCP, Number: 443}}, Mode: policy.Enforce}
	other   = policy.Service{Name: "mail", Ports: []policy.Port{{Protocol: policy.TCP, Number: 25}}, Mode: policy.Enforce}
	added   = policy.Claim{Prefix: netip.MustParsePrefix("192.0.2.0/24"), Owner: "acme", Origin: policy.OriginCLI}
)

// state is a state directory that a daemon has left: it guarded api, with a backstop, for 192.0.2.0/24
// by a command and for 198.51.100.0/24 by the list file. held is whether that file was rolled back.
func state(t *testing.T, file string, held bool) string {
	t.Helper()
	dir := t.TempDir()
	kept, err := store.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	origin := policy.FileOrigin(file)
	listed := policy.Claim{Prefix: netip.MustParsePrefix("198.51.100.0/24"), Origin: origin, Where: file + ":1"}
	change := store.Change{
		Put: []policy.Claim{added}, Generation: 7, Whole: true, Meta: map[string][]byte{},
		List: func() store.Effective {
			return store.Effective{Generation: 7, Services: []policy.Service{guarded}, Backstop: "on", Claims: []*policy.Claim{&added, &listed}}
		},
		Log: &store.Record{Time: time.Now().UTC(), Command: "add 192.0.2.0/24", After: 7},
	}
	if held {
		change.Meta[stored.MetaHeld] = undo.Held{Generation: 7, Origins: []policy.Origin{origin}}.Marshal()
	}
	if err := errors.Join(kept.Apply(change), kept.Close()); err != nil {
		t.Fatal(err)
	}
	return dir
}

// Promise: run --dry-run says what a start would change of what was enforced last, and every mistake
// that the start would stop at; it changes nothing in the state directory.
func TestPreview(t *testing.T) {
	audit := guarded
	audit.Mode = policy.Audit
	for _, c := range []struct {
		name           string
		sources        declared.Sources
		list           string // what the list file says now; "" is what it said
		held           bool
		added, removed string // prefixes
		opens          bool   // what opens is named
		refused        string // a part of the error
	}{
		{name: "as it was", sources: declared.Sources{Services: []policy.Service{guarded}}},
		{name: "a flag more", sources: declared.Sources{Services: []policy.Service{guarded}, Allow: []string{"203.0.113.7"}}, added: "203.0.113.7/32"},
		{name: "a file that changed", sources: declared.Sources{Services: []policy.Service{guarded}}, list: "203.0.113.0/24\n", added: "203.0.113.0/24", removed: "198.51.100.0/24"},
		{name: "a file that is held", sources: declared.Sources{Services: []policy.Service{guarded}}, list: "203.0.113.0/24\n", held: true},
		{name: "a bad line", sources: declared.Sources{Services: []policy.Service{guarded}}, list: "203.0.113.0/24\nnonsense\n", refused: ":2"},
		{name: "a bad flag", sources: declared.Sources{Services: []policy.Service{guarded}, Allow: []string{"nonsense"}}, refused: "nonsense"},
		{name: "audit typed", sources: declared.Sources{Services: []policy.Service{audit}}, opens: true},
		{name: "another service", sources: declared.Sources{Services: []policy.Service{other}}, opens: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "customers.list")
			if c.list == "" {
				c.list = "198.51.100.0/24\n"
			}
			if err := os.WriteFile(file, []byte(c.list), 0o600); err != nil {
				t.Fatal(err)
			}
			dir := state(t, file, c.held)
			before := content(t, dir)
			c.sources.Files, c.sources.Log, c.sources.Backstop = []string{file}, slog.New(slog.DiscardHandler), "on"
			plan, err := offline.Preview(c.sources, dir)
			if after := content(t, dir); after != before {
				t.Errorf("the state directory was %s and is %s", before, after)
			}
			if c.refused != "" {
				if err == nil || !strings.Contains(err.Error(), c.refused) {
					t.Errorf("refused with %v, want %q", err, c.refused)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := prefixes(plan.Added); got != c.added {
				t.Errorf("added %q, want %q", got, c.added)
			}
			if got := prefixes(plan.Removed); got != c.removed {
				t.Errorf("removed %q, want %q", got, c.removed)
			}
			if opens := len(plan.Opens) > 0; opens != c.opens || plan.Generation != 7 {
				t.Errorf("opens %v of generation %d, want %v of 7", plan.Opens, plan.Generation, c.opens)
			}
		})
	}
}

func prefixes(entries []api.Entry) string {
	var all []string
	for _, e := range entries {
		all = append(all, e.Prefix.String())
	}
	return strings.Join(all, " ")
}

// content names the files of dir, with their length and time.
func content(t *testing.T, dir string) string {
	t.Helper()
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, file := range files {
		info, err := file.Info()
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, file.Name()+" "+info.ModTime().String())
	}
	return strings.Join(all, ", ")
}

// Promise: where no gate is up, each question says so and writes nothing; history is answered
// where there is a state directory, and detach makes none.
func TestWithoutAGate(t *testing.T) {
	ctx := context.Background()
	dir := state(t, "/customers.list", false)
	g := offline.New(filepath.Join(t.TempDir(), "pins"), dir, "v1")
	for name, ask := range map[string]func(io.Writer) error{
		"status": func(io.Writer) error { _, err := g.Status(ctx); return err },
		"owners": func(io.Writer) error { _, err := g.Owners(ctx); return err },
		"stats":  func(io.Writer) error { _, err := g.Stats(ctx); return err },
		"export": func(w io.Writer) error { return g.Export(ctx, true, w) },
		"table":  func(w io.Writer) error { return g.Table(ctx, "nginx", "", w) },
		"check": func(io.Writer) error {
			_, err := g.Check(ctx, []netip.Addr{netip.MustParseAddr("192.0.2.1")}, nil)
			return err
		},
		"list": func(io.Writer) error {
			return g.List(ctx, api.ListRequest{}, func(api.Listed) error { t.Error("list writes entries"); return nil })
		},
		"detach": func(io.Writer) error { _, err := g.Detach(ctx, api.Caller{}, api.DetachRequest{}); return err },
	} {
		var text strings.Builder
		if err := ask(&text); !errors.Is(err, loader.ErrNoPins) || text.Len() > 0 {
			t.Errorf("%s: %v, and wrote %q; want: %v", name, err, &text, loader.ErrNoPins)
		}
	}
	h, err := g.History(ctx, 0)
	if err != nil || len(h.Changes) != 1 || h.Changes[0].Command != "add 192.0.2.0/24" {
		t.Errorf("history %+v, %v", h, err)
	}
	none := filepath.Join(t.TempDir(), "none")
	if _, err := offline.New(filepath.Join(t.TempDir(), "pins"), none, "v1").Detach(ctx, api.Caller{}, api.DetachRequest{}); !errors.Is(err, loader.ErrNoPins) {
		t.Errorf("detach without anything: %v", err)
	}
	if _, err := os.Stat(none); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("detach has made a state directory: %v", err)
	}
}
