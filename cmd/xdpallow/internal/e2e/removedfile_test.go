package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Promise: a list file that failed and was removed is no problem any longer, though the
// reload that found it gone failed on another; one whose entries are still enforced is
// said to be gone.
func TestRemovedListFile(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	dir := h.listDirectory()
	h.file("allow.d/old.list", "192.0.2.0/24\n")
	h.run("--allow-file", dir)
	one, two := h.file("allow.d/one.list", "x\n"), h.file("allow.d/two.list", "x\n")
	failing := func(path string) string {
		p, _ := problem(h.status(), "origin_failing", "file:"+path)
		return p.Text
	}
	if r := h.cli("reload"); r.code != 2 || failing(one) == "" || failing(two) == "" {
		t.Fatalf("reload: %+v, %+v", r, h.status().Problems)
	}
	for _, path := range []string{one, filepath.Join(dir, "old.list")} {
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
	if r := h.cli("reload"); r.code != 2 {
		t.Fatalf("reload: %+v", r)
	}
	if failing(one) != "" || failing(two) == "" || !strings.Contains(failing(filepath.Join(dir, "old.list")), "is gone") {
		t.Errorf("after one was removed: %+v", h.status().Problems)
	}
	if err := os.Remove(two); err != nil {
		t.Fatal(err)
	}
	h.must("reload")
	h.healed()
}
