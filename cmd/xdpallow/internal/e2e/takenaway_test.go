package e2e

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Promise: whoever deletes or replaces the files of the state under a running daemon, or
// takes the directory away, loses no change that was acknowledged, before or after: they
// are written anew, and a problem names the file and a command.
func TestStateIsTakenAway(t *testing.T) {
	for name, take := range map[string]func(dir string) error{
		"the database": func(dir string) error { return os.Remove(filepath.Join(dir, "state.db")) },
		"a database in its place": func(dir string) error {
			return errors.Join(os.Rename(filepath.Join(dir, "state.db"), dir+".old"), os.WriteFile(filepath.Join(dir, "state.db"), make([]byte, 32<<10), 0o600))
		},
		"the list":      func(dir string) error { return os.Remove(filepath.Join(dir, "effective.list")) },
		"the directory": os.RemoveAll,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHost(t)
			d := h.run(allowed...)
			h.must("add", "192.0.2.1", "--owner", "acme")
			h.must("suspend", "acme")
			h.followed()
			if err := take(h.state()); err != nil {
				t.Fatal(err)
			}
			h.must("add", "192.0.2.2")
			h.eventually("somebody is told", func() bool {
				for _, p := range h.status().Problems {
					if strings.HasPrefix(p.Subject, h.state()) && p.Code == "state_damaged" && p.Hint != "" {
						return true
					}
				}
				return false
			})
			if text := h.must("status"); strings.Contains(text, "changes are made and kept") {
				t.Errorf("status claims what is not so:\n%s", text)
			}
			h.must("add", "192.0.2.3")
			d.kill()
			h.reboot()
			h.run(allowed...)
			for address, want := range map[string]int{"192.0.2.1": 1, "192.0.2.2": 0, "192.0.2.3": 0} {
				if r := h.cli("check", address); r.code != want {
					t.Errorf("check %s after a reboot: %+v, want exit %d", address, r, want)
				}
			}
		})
	}
}
