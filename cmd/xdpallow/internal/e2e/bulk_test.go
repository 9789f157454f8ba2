package e2e

import (
	"fmt"
	"strings"
	"testing"

	"github.com/xdpallow/xdpallow/loader/api"
)

// Promise: of a bulk change a command names the first thousand and counts the rest, while -o json
// names all; thousands that are added in place are listed, and a rollback takes just them out.
func TestBulk(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.run(allowed...)
	lines := func(second, n int) string {
		var list strings.Builder
		for i := range n {
			fmt.Fprintf(&list, "10.%d.%d.%d owner=acme\n", second, i>>8, i&255)
		}
		return list.String()
	}
	out := h.fed(lines(1, 12_000), "replace", "-")
	if n := strings.Count(out, "added 10.1."); n != 1000 || !strings.Contains(out, "added 11000 more (-o json names all)\n") {
		t.Errorf("%d lines of added prefixes, and %q", n, out[max(0, len(out)-200):])
	}
	before := h.status()
	h.fed(lines(2, 1200), "add", "-") // less than an eighth: in place
	if got := len(ask[api.Listing](h, "list", "--owner", "acme").Entries); got != 13_200 {
		t.Errorf("%d entries of acme", got)
	}
	out = h.must("rollback")
	if !strings.Contains(out, "removed 200 more (-o json names all)\n") || h.status().Entries != before.Entries {
		t.Errorf("rolled back to %d entries of %d: %q", h.status().Entries, before.Entries, out[max(0, len(out)-200):])
	}
	if got := len(ask[api.Plan](h, "rollback").Added); got != 1200 { // forward again
		t.Errorf("-o json names %d of 1200", got)
	}
}
