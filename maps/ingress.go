package maps

// This file counts what the backstop refused by the interface that it came in by.

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
)

// SetIngress makes the backstop count refusals for the interfaces with these indexes, and
// for no others. Those that it counts for already go on from what they have.
func (t *Tables) SetIngress(indexes []int) error {
	want := map[uint32]bool{}
	for _, index := range indexes {
		want[uint32(index)] = true
		err := t.ingress.Update(uint32(index), uint64(0), ebpf.UpdateNoExist)
		if err != nil && !errors.Is(err, ebpf.ErrKeyExist) {
			return fmt.Errorf("count what comes in by interface %d: %w", index, err)
		}
	}
	if err := deleteOthers[uint32, uint64](t.ingress, want); err != nil {
		return fmt.Errorf("count no more what comes in by other interfaces: %w", err)
	}
	return nil
}

// RefusedFrom is how many packets that came in by the interface with this index the
// backstop has refused; 0 for one that SetIngress did not name. What it let by in audit
// is not among them: in audit the program lets the same packets by.
func (t *Tables) RefusedFrom(index int) (refused uint64, err error) {
	err = t.ingress.Lookup(uint32(index), &refused)
	if errors.Is(err, ebpf.ErrKeyNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("read what came in by interface %d: %w", index, err)
	}
	return refused, nil
}
