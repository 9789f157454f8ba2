package fleet

import (
	"testing"
)

// Promise: what an operator writes is on every host at once, whether it came before the host did,
// while it followed, or while it was away; a host that was away fetches nothing that it holds.
func TestHostsFollow(t *testing.T) {
	t.Parallel()
	c, operator := cluster(t, 1)
	all := many(10_000)
	first := set(t, operator, all)
	s := settings(c, "web1")
	h := follows(t, s, "web1")
	h.has(first.Serial, all)

	all = append(claims(t, "1.0.0.0/30 owner=acme"), all[2:]...)
	second := set(t, operator, all)
	if second.Delta == nil || len(second.Delta.Lines) != 3 {
		t.Errorf("the delta of three lines is %+v", second.Delta)
	}
	h.has(second.Serial, all)
	h.stop()

	all = append(claims(t, "1.0.0.0/30 owner=globex"), all[3000:]...) // more than stands in a manifest
	third := set(t, operator, all)
	if third.Delta != nil {
		t.Error("3,000 lines stand in the manifest")
	}
	h.start(s, "web1")
	h.has(third.Serial, all)
	h.stop()
	h.start(s, "web1")
	h.until("a look", func() bool { return h.have.Mark == third.Mark() })
	if h.wholes != 1 {
		t.Errorf("read everything %d times, want once", h.wholes)
	}
	if why := h.why[len(h.why)-1]; why != "serial 3: fleet replace list (alice@bastion: OPS-1)" {
		t.Errorf("history says %q", why)
	}
}
