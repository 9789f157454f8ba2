package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Promise: what the demos tell happens, as far as they can see it themselves, and nothing of them is
// left: no namespace, no mount, no directory.
func TestDemos(t *testing.T) {
	t.Parallel()
	for name, want := range map[string][]string{
		"": {"Only detach opens it"},
		"--fleet": {
			"no list yet: everybody is dropped", "3 of 3 hosts have it", "on web1, web2, web3: 200 OK",
			"serial 2: fleet suspend acme (", ": OPS-1301)", "(played: its pins and its namespace are gone, its state is kept)",
		},
	} {
		t.Run("demo "+name, func(t *testing.T) {
			t.Parallel()
			cmd := exec.CommandContext(t.Context(), binary, strings.Fields("demo "+name)...)
			dir := t.TempDir()
			cmd.Env = append(os.Environ(), "TMPDIR="+dir)
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			for _, text := range append(want, "Everything went as told") {
				if !strings.Contains(string(out), text) {
					t.Errorf("it does not say %q:\n%s", text, out)
				}
			}
			left, err := filepath.Glob(fmt.Sprintf("/run/netns/demo-%d-*", cmd.Process.Pid))
			if files, read := os.ReadDir(dir); err != nil || read != nil || len(left)+len(files) > 0 {
				t.Errorf("left are %v and %v (%v, %v)", left, files, err, read)
			}
		})
	}
}
