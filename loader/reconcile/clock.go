// This file reads the clocks, and keeps for as long as the host is up by which clock
// deadlines are set: a daemon that comes after us cannot read that off a wall clock.

package reconcile

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/xdpallow/xdpallow/loader/compile"
	"github.com/xdpallow/xdpallow/loader/store"
)

// metaClock is the key of the store's meta that says by which clock deadlines are set.
const metaClock = "clock"

type clockRecord struct {
	Boot   string        `json:"boot_id"`
	Offset time.Duration `json:"offset"`
}

// keepClock notes that deadlines are set by c.
func keepClock(kept *store.Store, c compile.Clock) error {
	boot, err := store.BootID()
	if err != nil {
		return err
	}
	text, err := json.Marshal(clockRecord{boot, c.Offset})
	if err != nil {
		return fmt.Errorf("note the clock: %w", err)
	}
	return kept.Apply(store.Change{Meta: map[string][]byte{metaClock: text}})
}

// recallClock is the clock by which deadlines are to be set. A huge step that came
// while no daemon ran changes none of them either, until reload says so.
func recallClock(kept *store.Store) (compile.Clock, error) {
	now := readClock()
	boot, err := store.BootID()
	if err != nil {
		return now, err
	}
	text, err := kept.Meta(metaClock)
	if err != nil || text == nil {
		return now, err
	}
	var r clockRecord
	if err := json.Unmarshal(text, &r); err != nil {
		return now, fmt.Errorf("read the clock: %w", err)
	}
	if before := (compile.Clock{Offset: r.Offset}); r.Boot == boot && before.Step(now).Abs() > hugeStep {
		return before, nil
	}
	return now, nil
}

// wallNow is a variable so that tests can step the wall clock, which belongs to
// everybody on the host.
var wallNow = time.Now

func readClock() compile.Clock { return compile.NewClock(wallNow(), compile.Boottime()) }

// now is the present on the clock by which deadlines are set.
func (v *view) now() time.Time { return v.compiler.Clock.Time(compile.Boottime()) }
