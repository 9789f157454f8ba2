// This file holds starts, rollbacks and confirmations to the lists that are kept elsewhere: a list
// goes when somebody says for good that it is no longer named, and not before.
package reconcile_test

import (
	"context"
	"errors"
	"os"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/policy"
)

// both let their customers in; a stranger is dropped.
var both = map[string]string{"203.0.113.7": "pass", "198.51.100.7": "pass", "192.0.2.99": "drop"}

// newFollowerOfTwo is a gate that has taken over a list of each origin.
func newFollowerOfTwo(t *testing.T) follower {
	t.Helper()
	f := newFollower(t)
	f.open()
	f.take(reading(partner, "first", "203.0.113.0/24"))
	f.take(reading(branch, "first", "198.51.100.7/32"))
	return f
}

// write appends to the config file.
func (f follower) write(text string) {
	f.Helper()
	old, err := os.ReadFile(f.options.Config)
	if err == nil {
		err = os.WriteFile(f.options.Config, append(old, text...), 0o600)
	}
	if err != nil {
		f.Fatal(err)
	}
}

// follows expects that these origins are followed.
func (f follower) follows(when string, origins ...policy.Origin) {
	f.Helper()
	got := f.engine.Followed()
	slices.Sort(got)
	slices.Sort(origins)
	if !slices.Equal(got, origins) {
		f.Errorf("%s: follows %q, want %q", when, got, origins)
	}
}

func (f follower) restart() {
	f.Helper()
	f.close()
	f.open()
}

func (f follower) did(err error) {
	f.Helper()
	if err != nil {
		f.Fatal(err)
	}
}

func (f follower) confirm() {
	f.Helper()
	f.did(f.lab.Host.Do(func() error {
		_, err := f.engine.Confirm(context.Background(), api.Caller{}, api.ConfirmRequest{})
		return err
	}))
}

func (f follower) rollback() {
	f.Helper()
	f.did(f.lab.Host.Do(func() error {
		_, err := f.engine.Rollback(context.Background(), api.Caller{}, api.RollbackRequest{})
		return err
	}))
}

// Promise: a start cuts nobody off whose list the config file does not name, while that file cannot
// be read, or while it waits for a confirmation; it goes on following what was followed.
func TestStartForgetsNothingUnconfirmed(t *testing.T) {
	f := newFollowerOfTwo(t)
	f.write("nonsense: [\n")
	f.restart()
	f.expect("a config file that cannot be read", both)
	f.follows("a config file that cannot be read", partner, branch)

	f.config(branch)
	f.write("allow: [192.0.2.1]\n")
	f.reload(api.ReloadRequest{Confirm: "1h"})
	f.expect("a reload that waits", both)
	f.told("origin_failing", partner, "not followed")
	f.restart()
	f.expect("a start while it waits", both)
	f.write("nonsense: [\n")
	f.restart()
	f.expect("a start while it waits, with a file that cannot be read", both)
	f.told("origin_failing", partner, "not followed")

	f.rollback()
	f.expect("rolled back", both)
	f.follows("rolled back", partner, branch)
	f.restart()
	f.expect("a start with what was rolled back, which cannot be read", both)
	f.follows("a start with what was rolled back", partner, branch)
	f.quiet("a start with what was rolled back")
	f.close()
}

// Promise: confirm forgets what a reload that waited names no longer.
func TestConfirmForgets(t *testing.T) {
	f := newFollowerOfTwo(t)
	f.config(branch)
	f.write("allow: [192.0.2.1]\n")
	f.reload(api.ReloadRequest{Confirm: "1h"})
	f.expect("a reload that waits", both)
	f.confirm()
	f.expect("confirmed", map[string]string{"203.0.113.7": "drop", "198.51.100.7": "pass", "192.0.2.1": "pass"})
	if one, _ := f.status(partner); one.Name != "" {
		t.Errorf("still told of: %+v", one)
	}
	f.close()
}

// Promise: whom an origin let in that only a rolled back reload named is dropped again, also after
// a restart; a reload that names a new origin waits for its confirmation, whatever else it changes.
func TestRollbackForgetsWhatItNamed(t *testing.T) {
	for _, more := range []string{"allow: [192.0.2.1]\n", ""} {
		f := newFollower(t)
		f.config(branch)
		f.open()
		f.take(reading(branch, "first", "198.51.100.7/32"))
		f.config(partner, branch)
		f.write(more)
		if plan := f.reload(api.ReloadRequest{Confirm: "1h"}); plan.Confirm == nil {
			t.Errorf("with %q: the reload does not wait", more)
		}
		f.take(reading(partner, "first", "203.0.113.0/24"))
		f.expect("a reload that waits", both)
		f.restart()
		f.expect("a start while it waits", both)
		f.rollback()
		for _, when := range []string{"rolled back", "a start after it"} {
			f.expect(when, map[string]string{"203.0.113.7": "drop", "198.51.100.7": "pass", "192.0.2.1": "drop"})
			f.follows(when, branch)
			f.restart()
		}
		f.reload(api.ReloadRequest{})
		f.follows("a reload takes the file over", partner, branch)
		f.close()
	}
}

// Promise: a start on a state directory that cannot be written follows what is named.
func TestStartThatCannotWriteFollows(t *testing.T) {
	f := newFollowerOfTwo(t)
	f.close()
	f.did(errors.Join(unix.Mount(f.options.State, f.options.State, "", unix.MS_BIND, ""),
		unix.Mount("", f.options.State, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY, "")))
	t.Cleanup(func() { _ = unix.Unmount(f.options.State, unix.MNT_DETACH) })
	f.open()
	f.expect("read-only", both)
	f.follows("read-only", partner, branch)
	f.quiet("read-only")
	_ = f.engine.Close() // it says that it cannot write
	f.engine = nil
}
