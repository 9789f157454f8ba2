package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/xdpallow/xdpallow/loader/netlab"
	"github.com/xdpallow/xdpallow/loader/reconcile"
)

// Promise: a change log that cannot be written keeps nobody from letting a customer
// in; status says so, nothing of it is lost over a SIGKILL, and the file has it when
// it can be written again.
func TestHistoryOfAFullDisk(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.serve()
	d := h.run(allowed...)
	path := filepath.Join(h.state(), "changes.jsonl")
	for _, err := range []error{os.Rename(path, path+".old"), os.Mkdir(path, 0o700)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	h.must("add", netlab.UnlistedPrefix4.String(), "--reason", "on a full disk")
	if outcome, err := h.lab.Wire.Knock(netlab.Unlisted4, h.api4(), singleSYN); outcome != netlab.Connected {
		t.Errorf("the new customer: %s, %v", outcome, err)
	}
	s := h.status()
	if p, found := problem(s, "change_log", h.state()); !found || !s.Enforcing || !strings.Contains(p.Text, path) {
		t.Errorf("status %+v says nothing of the change log, or that nothing is enforced", s)
	}
	d.kill()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".old", path); err != nil {
		t.Fatal(err)
	}
	h.run(allowed...)
	h.healed()
	changes := ask[reconcile.History](h, "history").Changes
	if n := len(changes); n != 2 || changes[1].Reason != "on a full disk" || changes[1].Sequence != changes[0].Sequence+1 {
		t.Errorf("history: %+v", changes)
	}
	if text, err := os.ReadFile(path); err != nil || strings.Count(string(text), `"reason":"on a full disk"`) != 1 {
		t.Errorf("changes.jsonl: %v\n%s", err, text)
	}
}
