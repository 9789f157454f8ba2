package compile

import (
	"testing"
	"time"

	"github.com/xdpallow/xdpallow/loader/policy"
	"github.com/xdpallow/xdpallow/maps"
)

// Every scope that a policy may hold is one that the kernel knows, and another.
func TestScopesReachTheKernel(t *testing.T) {
	seen := map[maps.Scope]bool{}
	for _, scope := range policy.Scopes {
		compiled := Services([]policy.Service{{Name: "api", Mode: policy.Enforce, Scope: scope}}, nil)
		if _, known := scopes[scope]; !known || seen[compiled[0].Scope] {
			t.Errorf("scope %s is %d in the kernel", scope, compiled[0].Scope)
		}
		seen[compiled[0].Scope] = true
	}
}

// A deadline is made and judged by one clock, so that it is as far off as it says.
func TestClockNow(t *testing.T) {
	c := NewClock(time.Now(), Boottime())
	c.Offset += 3 * time.Hour // the wall clock was stepped since the start
	now := c.Time(Boottime())
	if off := time.Until(now) - 3*time.Hour; off.Abs() > time.Second {
		t.Errorf("now is %v off", off)
	}
	before := NewClock(time.Now(), Boottime()).Boot(time.Now())
	if at := c.Boot(now); at < before-uint64(time.Second) || at > before+uint64(time.Second) {
		t.Errorf("now is %d since boot, want about %d", at, before)
	}
}
