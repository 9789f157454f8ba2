// Alerts and scripts match the codes of problems, so a code may be added and never
// changed; and whether one ends `enforcing` is part of what it means.
package problems_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/repair"
)

func TestProblemCodes(t *testing.T) {
	files, err := filepath.Glob("../re*/*.go")
	here, _ := filepath.Glob("*.go")
	files = append(files, here...)
	var source strings.Builder
	for _, name := range files {
		text, readErr := os.ReadFile(name)
		if err = errors.Join(err, readErr); !strings.HasSuffix(name, "_test.go") {
			source.Write(text)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	for code, enforces := range map[string]bool{
		"audit": false, "canary": false, "detached": false, "interface_not_attached": false, "interface_taken": false,
		"interface_unreadable": false, "not_attached": false, "not_repaired": false, "not_run": false, "policy_changed": false, "program_replaced": false,
		"backstop": false, "backstop_detached": false, "backstop_replaced": false, "backstop_shared": false,

		"change_log": true, "clock_stepped": true, "events": true, "held": true, "interface_missing": true, "interface_not_named": true,
		"list_behind": true, "metrics": true, "mtu": true, "origin_failing": true, "origin_pending": true, "origin_stale": true, "claims_aside": true, "fleet_changed": true, "fleet_older": true, "program_kept": true, "repaired": true, "rollback_failed": true, "service_missing": true,
		"port_shared": true, "source_routes": true, "state_torn": true, "udp_unguarded": true, "use_behind": true,
	} {
		if got := repair.Enforcing([]api.Problem{{Code: code}}); got != enforces {
			t.Errorf("with the problem %s, enforcing is %v, want %v", code, got, enforces)
		}
		if !strings.Contains(source.String(), `"`+code+`"`) {
			t.Errorf("no problem has the code %s any more", code)
		}
	}
}
