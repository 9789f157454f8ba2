package effective_test

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/xdpallow/xdpallow/loader/effective"
	"github.com/xdpallow/xdpallow/loader/policy"
	"github.com/xdpallow/xdpallow/loader/store"
)

// daemon is one with a state directory and nothing else; it implements effective.Daemon.
type daemon struct {
	t   *testing.T
	dir string
	*store.Store
	list *effective.List

	sync.Mutex
	enforced store.Effective
	behind   error
}

func (d *daemon) Enforced() store.Effective { return d.enforced }

func (d *daemon) Behind(err error) { d.behind = err }

// start returns a daemon whose database and list have 192.0.2.1.
func start(t *testing.T) *daemon {
	t.Helper()
	d := &daemon{t: t, dir: t.TempDir()}
	var err error
	if d.Store, err = store.Open(d.dir); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Store.Close() })
	d.list = effective.New(d, d.Store, d.dir)
	d.Lock()
	d.change(1)
	d.Unlock()
	d.await("there is a list", func() bool { return d.list.Saved().Generation == 1 })
	return d
}

// change has the database say that 192.0.2.N is listed, as of generation N. The caller has the lock.
func (d *daemon) change(n byte) {
	d.t.Helper()
	claim := policy.Claim{Origin: policy.OriginCLI, Prefix: netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 0, 2, n}), 32)}
	d.enforced.Generation = uint64(n)
	d.enforced.Claims = append(d.enforced.Claims, &claim)
	change := store.Change{Put: []policy.Claim{claim}, Generation: uint64(n), List: d.Enforced}
	if err := d.Apply(change); err != nil {
		d.t.Fatal(err)
	}
	d.list.SaveSoon()
}

func (d *daemon) text() string {
	text, err := os.ReadFile(filepath.Join(d.dir, "effective.list"))
	if err != nil && !os.IsNotExist(err) {
		d.t.Fatal(err)
	}
	return string(text)
}

// await waits until done, which is called with the lock, and fails the test after a minute.
func (d *daemon) await(what string, done func() bool) {
	d.t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		d.Lock()
		ok := done()
		d.Unlock()
		if ok {
			return
		}
		if time.Now().After(deadline) {
			d.t.Fatalf("%s: not within a minute; the list is\n%s", what, d.text())
		}
	}
}

// Promise: a list that is older than the database is written soon by itself, with what is enforced
// then, and once for several changes.
func TestListFollows(t *testing.T) {
	t.Parallel()
	d := start(t)
	d.Lock() // so that nothing is written between
	d.change(2)
	d.change(3)
	if text := d.text(); strings.Contains(text, "192.0.2.2") || strings.Contains(text, "192.0.2.3") {
		t.Errorf("each change writes the list:\n%s", text)
	}
	d.Unlock()
	d.await("the list follows", func() bool { return d.list.Saved().Generation == 3 })
	for _, prefix := range []string{"192.0.2.1/32", "192.0.2.2/32", "192.0.2.3/32"} {
		if !strings.Contains(d.text(), prefix) {
			t.Errorf("%s is not in\n%s", prefix, d.text())
		}
	}
	if d.behind != nil {
		t.Errorf("behind: %v", d.behind)
	}
}

// Promise: a list that cannot be written is told, is tried again, and is told no more once it
// was written.
func TestListIsTriedAgain(t *testing.T) {
	t.Parallel()
	d := start(t)
	inTheWay := filepath.Join(d.dir, "effective.list")
	if err := os.RemoveAll(inTheWay); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(inTheWay, "full"), 0o700); err != nil { // no file can replace it
		t.Fatal(err)
	}
	d.Lock()
	d.change(2)
	d.Unlock()
	d.await("the daemon is told", func() bool { return d.behind != nil })
	if !strings.Contains(d.behind.Error(), d.dir) {
		t.Errorf("%q does not name %s", d.behind, d.dir)
	}
	if err := os.RemoveAll(inTheWay); err != nil {
		t.Fatal(err)
	}
	d.await("the list is written", func() bool { return d.behind == nil })
	if d.list.Saved().Generation != 2 || !strings.Contains(d.text(), "192.0.2.2/32") {
		t.Errorf("the list of generation %d is\n%s", d.list.Saved().Generation, d.text())
	}
}

// Promise: to end writes what is behind, and nothing is written after that: the next daemon
// may be writing the list.
func TestCloseIsTheEnd(t *testing.T) {
	t.Parallel()
	d := start(t)
	d.Lock()
	d.change(2)
	err := d.list.Close()
	before := d.text()
	if err != nil || !strings.Contains(before, "192.0.2.2/32") {
		t.Fatalf("closed: %v, and the list is\n%s", err, before)
	}
	d.change(3)
	d.Unlock()
	time.Sleep(1500 * time.Millisecond) // a list that is behind is written after one second
	if d.text() != before {
		t.Errorf("the list was written after Close:\n%s", d.text())
	}
}

// Promise: a change writes the list whole when there is none, when it could not be read, and when
// it says other settings; else it is appended.
func TestOutdated(t *testing.T) {
	saved := store.Effective{Generation: 3, Interfaces: []string{"eth0"}, Attach: "native", Backstop: "on"}
	for _, c := range []struct {
		name  string
		spoil func(*effective.List, *store.Effective)
		want  bool
	}{
		{"as it was", func(*effective.List, *store.Effective) {}, false},
		{"a later generation", func(_ *effective.List, want *store.Effective) { want.Generation = 4 }, false},
		{"never written", func(l *effective.List, _ *store.Effective) { l.Read(store.Effective{}) }, true},
		{"torn", func(l *effective.List, _ *store.Effective) { l.Tear() }, true},
		{"another interface", func(_ *effective.List, want *store.Effective) { want.Interfaces = []string{"eth1"} }, true},
		{"another mode", func(_ *effective.List, want *store.Effective) { want.Attach = "generic" }, true},
		{"no backstop", func(_ *effective.List, want *store.Effective) { want.Backstop = "off" }, true},
	} {
		list, want := effective.New(nil, nil, ""), saved
		list.Read(saved)
		c.spoil(list, &want)
		if got := list.Outdated(want); got != c.want {
			t.Errorf("%s: outdated %v, want %v", c.name, got, c.want)
		}
	}
}
