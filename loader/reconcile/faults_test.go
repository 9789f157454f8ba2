// This file damages what is kept on disk, file by file and page by page, and boots the
// host again: whoever was listed is listed, whoever was stopped is stopped.
package reconcile_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/netlab/labtest"
	"github.com/xdpallow/xdpallow/loader/policy"
	"github.com/xdpallow/xdpallow/loader/verbs"
)

// verdicts are what the gate of these tests says of its customers, in every state that
// it was left in. 192.0.2.9 was removed, acme and 198.51.100.7 are suspended.
var verdicts = map[string]string{
	"203.0.113.7": "pass", "192.0.2.1": "pass", "192.0.2.2": "pass",
	"192.0.2.9": "drop", "198.51.100.7": "drop", "198.18.0.1": "drop", "8.8.8.8": "drop",
}

// faulty is a gate whose state directory is damaged.
type faulty struct {
	*gate
	whole, older map[string][]byte // the files of the state directory, of the last state and of one before
}

// newFaulty makes a gate, some changes, and copies of what they left on disk.
func newFaulty(t *testing.T) *faulty {
	t.Helper()
	f := &faulty{gate: newGate(t, 1)}
	if err := os.RemoveAll(f.options.State); err != nil {
		t.Fatal(err)
	}
	list := filepath.Join(t.TempDir(), "a.list")
	if err := os.WriteFile(list, []byte("203.0.113.0/24 owner=initech\n198.51.100.0/24 owner=umbrella\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	f.options.Files = []string{list}
	f.open()
	f.must(f.engine.Add(context.Background(), api.Caller{}, api.AddRequest{Prefixes: []string{"192.0.2.1", "192.0.2.9"}, Owner: "globex"}))
	f.must(f.engine.Add(context.Background(), api.Caller{}, api.AddRequest{Prefixes: []string{"198.18.0.0/24"}, Owner: "acme"}))
	f.close()
	f.older = f.files()
	f.open()
	f.must(f.engine.Suspend(context.Background(), api.Caller{}, api.SuspendRequest{Subject: policy.Subject{Owner: "acme"}}))
	f.must(f.engine.Suspend(context.Background(), api.Caller{}, api.SuspendRequest{Subject: policy.Subject{Prefix: netip.MustParsePrefix("198.51.100.7/32")}}))
	f.must(f.engine.Limit(context.Background(), api.Caller{}, api.LimitRequest{Owner: "globex", Limit: api.Limit{PerSecond: 7}}))
	f.must(f.engine.Add(context.Background(), api.Caller{}, api.AddRequest{Prefixes: []string{"192.0.2.2"}, Owner: "globex"}))
	f.must(f.engine.Remove(context.Background(), api.Caller{}, api.RemoveRequest{Prefixes: []string{"192.0.2.9"}}))
	f.close()
	f.whole = f.files()
	return f
}

func (f *faulty) must(_ any, err error) {
	f.Helper()
	if err != nil {
		f.Fatal(err)
	}
}

// open starts an engine.
func (f *faulty) open() {
	f.Helper()
	if err := f.up(); err != nil {
		f.Fatal(err)
	}
}

// up opens an engine in the namespace of the host and starts it.
func (f *faulty) up() error {
	return f.lab.Host.Do(func() (err error) {
		if f.engine, err = verbs.Open(f.options); err != nil {
			return err
		}
		if err = f.engine.Start(context.Background()); err != nil {
			_ = f.engine.Close()
		}
		return err
	})
}

func (f *faulty) close() {
	f.Helper()
	if err := f.engine.Close(); err != nil {
		f.Fatal(err)
	}
	f.engine = nil
}

// files are the files of the state directory.
func (f *faulty) files() map[string][]byte {
	f.Helper()
	files := map[string][]byte{}
	for _, entry := range labtest.Must(os.ReadDir(f.options.State))(f.T) {
		files[entry.Name()] = labtest.Must(os.ReadFile(filepath.Join(f.options.State, entry.Name())))(f.T)
	}
	return files
}

// reboot leaves what a reboot leaves: the files, and no pins.
func (f *faulty) reboot(files map[string][]byte) {
	f.Helper()
	mount := filepath.Dir(f.options.Root)
	// A process that another test is just starting may still hold it.
	busy := unix.EBUSY
	for deadline := time.Now().Add(time.Minute); errors.Is(busy, unix.EBUSY) && time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		busy, _ = unix.Unmount(mount, 0).(unix.Errno)
	}
	if busy != 0 {
		f.Fatalf("unmount %s: %v", mount, busy)
	}
	if err := unix.Mount("bpf", mount, "bpf", 0, "mode=0755"); err != nil {
		f.Fatal(err)
	}
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		link, err := f.lab.Host.Netlink().LinkByName("eth0")
		if err == nil && (link.Attrs().Xdp == nil || !link.Attrs().Xdp.Attached) {
			break // the program has gone with the pins
		}
		if time.Now().After(deadline) {
			f.Fatalf("the program stays without its pins: %v", err)
		}
	}
	f.put(files)
}

// put makes the state directory hold these files and no others.
func (f *faulty) put(files map[string][]byte) {
	f.Helper()
	entries, err := os.ReadDir(f.options.State)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		f.Fatal(err)
	}
	for _, entry := range entries {
		if err := os.RemoveAll(filepath.Join(f.options.State, entry.Name())); err != nil {
			f.Fatal(err)
		}
	}
	if err := os.MkdirAll(f.options.State, 0o700); err != nil {
		f.Fatal(err)
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(f.options.State, name), content, 0o600); err != nil {
			f.Fatal(err)
		}
	}
}

// boots starts the daemon of a host that was just booted and expects the last good list
// with its suspensions and limits, and every problem with a path and a command.
func (f *faulty) boots(what string) []api.Problem {
	f.Helper()
	if err := f.up(); err != nil {
		f.engine = nil
		f.Errorf("%s: the host stays open: %v", what, err)
		return nil
	}
	f.expect(what, verdicts)
	owners := labtest.Must(f.engine.Owners(context.Background()))(f.T)
	limited := slices.ContainsFunc(owners.Owners, func(o api.Owner) bool {
		return o.Owner == "globex" && o.Limit != nil && o.Limit.PerSecond == 7
	})
	if !limited {
		f.Errorf("%s: globex has no limit: %+v", what, owners.Owners)
	}
	var problems []api.Problem
	for _, p := range labtest.Must(f.engine.Status(context.Background()))(f.T).Problems {
		if strings.HasPrefix(p.Code, "state_") {
			problems = append(problems, p)
			if p.Hint == "" || !strings.Contains(p.Subject+p.Text, f.options.State) {
				f.Errorf("%s: the problem names no file or no command: %+v", what, p)
			}
		}
	}
	return problems
}

func (f *faulty) expect(what string, want map[string]string) {
	f.Helper()
	var addrs []netip.Addr
	for text := range want {
		addrs = append(addrs, netip.MustParseAddr(text))
	}
	var got []api.CheckResult
	if err := f.lab.Host.Do(func() (err error) {
		got, err = f.engine.Check(context.Background(), addrs, nil)
		return err
	}); err != nil {
		f.Fatal(err)
	}
	for _, r := range got {
		if r.Verdict != want[r.Address.String()] {
			f.Errorf("%s: %s: %s (%s), want %s", what, r.Address, r.Verdict, r.Reason, want[r.Address.String()])
		}
	}
}

// goesOn makes changes and expects them after another reboot.
func (f *faulty) goesOn(what string) {
	f.Helper()
	if f.engine == nil {
		return
	}
	changes := []func() error{
		func() error {
			_, err := f.engine.Add(context.Background(), api.Caller{}, api.AddRequest{Prefixes: []string{"192.0.2.77"}})
			return err
		},
		func() error {
			_, err := f.engine.Suspend(context.Background(), api.Caller{}, api.SuspendRequest{Subject: policy.Subject{Owner: "globex"}})
			return err
		},
	}
	for _, change := range changes {
		if err := change(); err != nil {
			f.Errorf("%s: changes do not go on: %v", what, err)
		}
	}
	f.close()
	f.reboot(f.files())
	f.open()
	f.expect(what+", and rebooted again", map[string]string{"192.0.2.77": "pass", "192.0.2.1": "drop", "203.0.113.7": "pass", "198.18.0.1": "drop"})
	f.close()
}

// without is a copy of files without some.
func without(files map[string][]byte, names ...string) map[string][]byte {
	left := map[string][]byte{}
	for name, content := range files {
		if !slices.Contains(names, name) {
			left[name] = content
		}
	}
	return left
}

// with is a copy of files in which one is another.
func with(files map[string][]byte, name string, content []byte) map[string][]byte {
	all := without(files, name)
	all[name] = content
	return all
}

// Promise: whatever page of the database is damaged while the host is down, the last
// good list is enforced, with its suspensions and limits, the problem names file and
// command, and changes go on.
func TestDamagedPages(t *testing.T) {
	f := newFaulty(t)
	const page = 4096
	database := f.whole["state.db"]
	for at := 0; at < len(database); at += page {
		for name, damage := range map[string]func([]byte){
			"zeroed":  func(b []byte) { clear(b) },
			"garbage": func(b []byte) { copy(b, strings.Repeat("garbage ", page/8)) },
		} {
			damaged := slices.Clone(database)
			damage(damaged[at:min(at+page, len(damaged))])
			what := fmt.Sprintf("page %d is %s", at/page, name)
			f.reboot(with(f.whole, "state.db", damaged))
			f.boots(what)
			f.goesOn(what)
		}
	}
}

// Promise: as above, of a file that is gone, cut off, or of an earlier day, and of a
// state directory that cannot be written.
func TestDamagedFiles(t *testing.T) {
	f := newFaulty(t)
	half := func(name string) map[string][]byte {
		return with(f.whole, name, f.whole[name][:len(f.whole[name])/2])
	}
	older := func(names ...string) map[string][]byte {
		all := f.whole
		for _, name := range names {
			if all = without(all, name); f.older[name] != nil {
				all = with(all, name, f.older[name])
			}
		}
		return all
	}
	garbage := []byte(strings.Repeat("garbage ", 1024))
	for what, files := range map[string]map[string][]byte{
		"no database":             without(f.whole, "state.db"),
		"a piece of a database":   with(f.whole, "state.db", f.whole["state.db"][:2*4096+100]),
		"an empty database":       with(f.whole, "state.db", nil),
		"no list":                 without(f.whole, "effective.list"),
		"half a list":             half("effective.list"),
		"no list at all":          without(f.whole, "effective.list", "effective.list.prev"),
		"garbage in both lists":   with(with(f.whole, "effective.list", garbage), "effective.list.prev", garbage),
		"an older database":       with(f.whole, "state.db", f.older["state.db"]),
		"an older list":           older("effective.list", "effective.list.prev", "effective.changes"),
		"no change log":           without(f.whole, "changes.jsonl"),
		"garbage as a change log": with(f.whole, "changes.jsonl", garbage),
	} {
		f.reboot(files)
		problems := f.boots(what)
		if len(problems) == 0 && !strings.Contains(what, "change log") {
			t.Errorf("%s: nobody is told", what)
		}
		f.goesOn(what)
	}
}

// Promise: a list that is damaged or gone beside a gate that is up is told of and written anew,
// though the list before it and the changes since have it all: they are the last copy.
func TestDamagedListBesideAGate(t *testing.T) {
	for what, damaged := range map[string]func(f *faulty) map[string][]byte{
		"garbage at the end": func(f *faulty) map[string][]byte {
			return with(f.whole, "effective.list", append(slices.Clone(f.whole["effective.list"]), "garbage\n"...))
		},
		"no list": func(f *faulty) map[string][]byte { return without(f.whole, "effective.list") },
	} {
		t.Run(what, func(t *testing.T) {
			f := newFaulty(t)
			f.put(damaged(f))
			f.open()
			f.expect(what, verdicts)
			told := slices.ContainsFunc(f.stateDamaged(), func(p api.Problem) bool {
				return p.Subject == filepath.Join(f.options.State, "effective.list") && strings.Contains(p.Text, "damaged or missing") && p.Hint != ""
			})
			if !told {
				t.Errorf("nobody is told: %+v", f.stateDamaged())
			}
			f.close()
			f.open()
			if problems := f.stateDamaged(); len(problems) > 0 {
				t.Errorf("it was not written anew: %+v", problems)
			}
			f.goesOn(what)
		})
	}
}

// Promise: on a state directory that is read-only or full the gate enforces the last good
// list; changes are refused with the reason and a command, and go on when it is mended.
func TestStateThatCannotBeWritten(t *testing.T) {
	f := newFaulty(t)
	for what, c := range map[string]struct{ close, open func() error }{
		"read-only": {
			func() error {
				return errors.Join(unix.Mount(f.options.State, f.options.State, "", unix.MS_BIND, ""),
					unix.Mount("", f.options.State, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY, ""))
			},
			func() error { return unix.Unmount(f.options.State, unix.MNT_DETACH) },
		},
		"full": {
			func() error {
				if err := unix.Mount("tmpfs", f.options.State, "tmpfs", 0, "size=512k,mode=0700"); err != nil {
					return err
				}
				for name, content := range f.whole {
					if err := os.WriteFile(filepath.Join(f.options.State, name), content, 0o600); err != nil {
						return err
					}
				}
				room := make([]byte, 4096)
				big := labtest.Must(os.Create(filepath.Join(f.options.State, "big")))(t)
				for {
					if _, err := big.Write(room); errors.Is(err, unix.ENOSPC) {
						return big.Close()
					}
				}
			},
			func() error { return unix.Unmount(f.options.State, unix.MNT_DETACH) },
		},
	} {
		for _, damage := range []string{"", "state.db"} {
			what := what + ", without " + damage
			files := f.whole
			if damage != "" {
				files = without(f.whole, damage)
			}
			f.reboot(files)
			before := f.whole
			f.whole = files
			err := c.close()
			f.whole = before
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = c.open() })
			f.boots(what)
			if f.engine == nil {
				_ = c.open()
				continue
			}
			want := maps.Clone(verdicts)
			for n := 0; n < 200 && err == nil; n++ { // what is left of a block may hold some changes
				address := fmt.Sprintf("100.64.0.%d", n)
				_, err = f.engine.Add(context.Background(), api.Caller{}, api.AddRequest{Prefixes: []string{address}, Note: strings.Repeat("x", 500)})
				want[address] = map[bool]string{true: "pass", false: "drop"}[err == nil]
			}
			if err == nil || !strings.Contains(err.Error(), f.options.State) {
				t.Errorf("%s: add: %v", what, err)
			}
			f.expect(what+", after a change that was refused", want)
			problems := labtest.Must(f.engine.Status(context.Background()))(t).Problems
			if !slices.ContainsFunc(problems, func(p api.Problem) bool { return p.Code == "state_unwritable" }) {
				t.Errorf("%s: no problem says so: %+v", what, problems)
			}
			_ = f.engine.Close()
			f.engine = nil
			if err := c.open(); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// Promise: a state directory that others may write to, or that is another's, is a problem:
// who writes there decides who may connect after the next boot.
func TestStateOfOthers(t *testing.T) {
	f := newFaulty(t)
	for what, c := range map[string]struct{ spoil, mend func() error }{
		"mode 0777":       {func() error { return os.Chmod(f.options.State, 0o777) }, func() error { return os.Chmod(f.options.State, 0o700) }},
		"a foreign owner": {func() error { return os.Chown(f.options.State, 65534, 65534) }, func() error { return os.Chown(f.options.State, os.Getuid(), os.Getgid()) }},
	} {
		if err := c.spoil(); err != nil {
			t.Fatal(err)
		}
		f.open()
		said := func() bool {
			status := labtest.Must(f.engine.Status(context.Background()))(t)
			return slices.ContainsFunc(status.Problems, func(p api.Problem) bool {
				return p.Code == "state_open" && p.Subject == f.options.State && strings.Contains(p.Hint, f.options.State)
			})
		}
		if !said() {
			t.Errorf("%s: nobody is told", what)
		}
		if err := c.mend(); err != nil {
			t.Fatal(err)
		}
		if said() {
			t.Errorf("%s: still a problem when it is mended", what)
		}
		f.close()
	}
}
