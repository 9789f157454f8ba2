package compile

import (
	"fmt"
	"testing"

	kernel "github.com/xdpallow/xdpallow/maps"
)

// Owners get the lowest ids that are free, keep them, and who has gone gives his to the
// next; what was handed out before does not change by that.
func TestOwnerIDs(t *testing.T) {
	ids := NewOwnerIDs(map[string]uint16{"acme": 2, "nobody": 0, "beyond": uint16(kernel.MaxOwners + 1)})
	if ids.Len() != 1 || ids.Of("acme") != 2 || ids.Of("") != 0 {
		t.Fatalf("read as %v", ids)
	}
	missing := ids.Missing(map[string]bool{"acme": true, "globex": true, "": true})
	if fmt.Sprint(missing) != "[globex]" {
		t.Errorf("%v have no id", missing)
	}
	both := ids.With(missing)
	three := both.With([]string{"initech"})
	if both.Of("globex") != 1 || three.Of("initech") != 3 || !three.Unsaved || ids.Unsaved || ids.Of("globex") != 0 {
		t.Errorf("%v, then %v, then %v", ids, both, three)
	}
	left, gone := three.Without(map[string]bool{"acme": true, "initech": true})
	if fmt.Sprint(gone) != "[globex]" || left.Of("globex") != 0 || three.Of("globex") != 1 || left.With([]string{"umbrella"}).Of("umbrella") != 1 {
		t.Errorf("%v has left %v", gone, left)
	}
}

// There is room for as many owners as the kernel has, and each has an id of his own.
func TestOwnerIDsAreDistinct(t *testing.T) {
	var names []string
	for i := range kernel.MaxOwners {
		names = append(names, fmt.Sprint("o", i))
	}
	seen := map[uint16]bool{}
	for _, id := range (OwnerIDs{}).With(names).All() {
		if id == 0 || int(id) > kernel.MaxOwners || seen[id] {
			t.Fatalf("id %d", id)
		}
		seen[id] = true
	}
	if len(seen) != kernel.MaxOwners {
		t.Errorf("%d ids", len(seen))
	}
}
