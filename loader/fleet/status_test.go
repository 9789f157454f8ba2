package fleet

import (
	"fmt"
	"testing"
	"time"
)

// Promise: of many owners a host tells the 500 that were seen last.
func TestLatestOwners(t *testing.T) {
	now := time.Now()
	seen := map[string]time.Time{}
	for i := range 600 {
		seen[fmt.Sprintf("owner-%03d", i)] = now.Add(-time.Duration(i) * time.Second)
	}
	latest := LatestOwners(seen)
	_, first := latest["owner-000"]
	_, last := latest["owner-499"]
	_, over := latest["owner-500"]
	if len(latest) != 500 || !first || !last || over || len(LatestOwners(latest)) != 500 {
		t.Errorf("%d owners, the first %v, the last %v, one over %v", len(latest), first, last, over)
	}
}
