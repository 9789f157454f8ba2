// This file keeps, for as long as the host is up, by which clock deadlines are set: a daemon
// that comes after us cannot read that off a wall clock.

package stored

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/xdpallow/xdpallow/loader/compile"
	"github.com/xdpallow/xdpallow/loader/store"
)

// HugeStep is a step of the wall clock that changes no deadline until a reload says so: a clock
// that moved by more is more often broken than mended.
const HugeStep = time.Hour

// metaClock is the key of the store's meta that says by which clock deadlines are set.
const metaClock = "clock"

type clockRecord struct {
	Boot   string        `json:"boot_id"`
	Offset time.Duration `json:"offset"`
}

// ClockMeta is what is to be written to the meta so that the next daemon sets deadlines by c.
func ClockMeta(c compile.Clock) (map[string][]byte, error) {
	boot, err := store.BootID()
	if err != nil {
		return nil, err
	}
	text, err := json.Marshal(clockRecord{boot, c.Offset})
	if err != nil {
		return nil, fmt.Errorf("note the clock: %w", err)
	}
	return map[string][]byte{metaClock: text}, nil
}

// clock is the one by which deadlines are to be set; now is that of the host. A huge step that
// came while no daemon ran changes none of them either.
func clock(kept *store.Store, now compile.Clock) (compile.Clock, error) {
	boot, err := store.BootID()
	if err != nil {
		return now, err
	}
	var r clockRecord
	if err := Value(kept, metaClock, &r); err != nil {
		return now, err
	}
	if before := (compile.Clock{Offset: r.Offset}); r.Boot == boot && before.Step(now).Abs() > HugeStep {
		return before, nil
	}
	return now, nil
}
