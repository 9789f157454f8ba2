package attach

import (
	"log/slog"
	"slices"
	"testing"

	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/netdev"
	"github.com/xdpallow/xdpallow/loader/netlab/labtest"
)

// Promise: a named interface that is there is guarded once, however often it is named; one that is
// not there is a problem until it comes; one that was detached is left alone; so is loopback, by which nobody comes from elsewhere.
func TestTargets(t *testing.T) {
	var links netdev.Interfaces
	err := labtest.New(t).Host.Do(func() (err error) {
		links, err = netdev.Read()
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name             string
		named, released  []string
		targets, missing []string
		unguardable      int // named, there, and cannot be guarded
	}{
		{name: "none"},
		{name: "there", named: []string{"eth0"}, targets: []string{"eth0"}},
		{name: "twice", named: []string{"eth0", "eth0"}, targets: []string{"eth0"}},
		{name: "not there", named: []string{"eth0", "none1", "none0"}, targets: []string{"eth0"}, missing: []string{"none0", "none1"}},
		{name: "detached", named: []string{"eth0"}, released: []string{"eth0"}},
		{name: "loopback", named: []string{"lo"}, unguardable: 1},
	} {
		i := New(nil, nil, slog.New(slog.DiscardHandler), nil)
		i.wanted["of before"] = api.Problem{Code: "interface_missing"}
		for _, name := range c.released {
			i.released[name] = true
		}
		if got := i.targets(links, c.named); !slices.Equal(got, c.targets) {
			t.Errorf("%s: guards %q, want %q", c.name, got, c.targets)
		}
		if got := i.Missing(); !slices.Equal(got, c.missing) {
			t.Errorf("%s: misses %q, want %q", c.name, got, c.missing)
		}
		if got := i.Problems(); len(got) != len(c.missing)+c.unguardable {
			t.Errorf("%s: problems %+v, want one for each of %q, and %d", c.name, got, c.missing, c.unguardable)
		}
	}
}

// Promise: an interface that is guarded though nobody names it is a problem, with the command that ends
// it; whoever waits for interfaces does not wait for it, nor for one that is there and cannot be guarded.
func TestProblems(t *testing.T) {
	i := New(nil, nil, slog.New(slog.DiscardHandler), nil)
	i.unnamed["eth1"] = true
	i.wanted["eth2"] = api.Problem{Code: "interface_not_attached", Subject: "eth2"}
	if missing := i.Missing(); len(missing) > 0 {
		t.Errorf("misses %q", missing)
	}
	all := i.Problems()
	at := slices.IndexFunc(all, func(p api.Problem) bool { return p.Code == "interface_not_named" })
	if len(all) != 2 || at < 0 || all[at].Subject != "eth1" || all[at].Hint != "xdpallow detach --interface eth1" {
		t.Errorf("problems %+v", all)
	}
}
