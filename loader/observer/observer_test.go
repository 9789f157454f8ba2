package observer

import (
	"testing"
	"time"

	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/store"
)

// Promise: near misses are counted on over restarts, for owners who are there, who are gone,
// and for entries without one.
func TestNearMissesAreKept(t *testing.T) {
	kept, err := store.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer kept.Close()
	if err := kept.Apply(store.Change{Meta: map[string][]byte{metaMisses: []byte(`{"": 1, "acme": 2, "gone": 3}`)}}); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		o := New(time.Now())
		if err := o.Load(kept); err != nil {
			t.Fatal(err)
		}
		owners := o.WithMisses([]api.Owner{{Owner: "acme"}, {Owner: "globex"}})
		misses := map[string]uint64{}
		for i, owner := range owners {
			if misses[owner.Owner] = owner.NearMisses; i > 0 && owners[i-1].Owner >= owner.Owner {
				t.Errorf("owners are not sorted: %+v", owners)
			}
		}
		if len(owners) != 4 || misses[""] != 1 || misses["acme"] != 2 || misses["gone"] != 3 || misses["globex"] != 0 {
			t.Errorf("near misses %v", misses)
		}
		if err := o.SaveDue(kept); err != nil {
			t.Fatal(err)
		}
	}
}
