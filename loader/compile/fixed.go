package compile

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/xdpallow/xdpallow/loader/policy"
	"github.com/xdpallow/xdpallow/loader/store"
)

// This file keeps, for as long as the host is up, what a daemon that comes after us
// cannot read off a wall clock: the deadlines that --for made.

// fixed is a deadline that --for made: so much time from then, whatever the wall clock
// does. After a reboot only the wall time is known.
type Deadline struct {
	until time.Time
	boot  uint64 // CLOCK_BOOTTIME, ns
}

// metaFixed and a prefix are the key of a deadline in the store's meta.
const metaFixed = "for/"

type fixedRecord struct {
	Boot     string    `json:"boot_id"`
	Until    time.Time `json:"until"`
	Boottime uint64    `json:"boottime"`
}

// fix gives claims, which --for made just now, deadlines that no step of a clock moves.
// The deadlines that stood before come back with undo, for a change that is not made.
func (c *Compiler) Fix(claims []policy.Claim) (undo func()) {
	before := make(map[netip.Prefix]Deadline, len(claims))
	for _, claim := range claims {
		before[claim.Prefix] = c.Deadlines[claim.Prefix] // zero: none, which no entry can have
		c.Deadlines[claim.Prefix] = Deadline{claim.Until, c.Clock.Boot(claim.Until)}
	}
	return func() {
		for prefix, was := range before {
			if c.Deadlines[prefix] = was; was.boot == 0 {
				delete(c.Deadlines, prefix)
			}
		}
	}
}

// keepFixed adds to meta what edit changes of the deadlines. A claim that ends when its
// fixed deadline does keeps it; of any other claim the deadline is forgotten.
func (c *Compiler) KeepFixed(edit policy.Edit, meta map[string][]byte) error {
	boot, err := store.BootID()
	if err != nil {
		return err
	}
	for prefix := range edit.Prefixes() {
		if _, found := c.Deadlines[prefix]; found {
			meta[metaFixed+prefix.String()] = nil
		}
	}
	for _, claim := range edit.Put {
		prefix := claim.Prefix
		f, found := c.Deadlines[prefix]
		if !found || !f.until.Equal(claim.Until) {
			continue
		}
		text, err := json.Marshal(fixedRecord{boot, f.until, f.boot})
		if err != nil {
			return fmt.Errorf("note the deadline of %s: %w", prefix, err)
		}
		meta[metaFixed+prefix.String()] = text
	}
	return nil
}

// recallFixed takes over the deadlines of this boot, and forgets those of others.
func (c *Compiler) RecallFixed(kept *store.Store, forget func(map[string][]byte)) error {
	boot, err := store.BootID()
	if err != nil {
		return err
	}
	over := map[string][]byte{}
	err = kept.EachMeta(metaFixed, func(key string, value []byte) {
		var r fixedRecord
		prefix, err := netip.ParsePrefix(strings.TrimPrefix(key, metaFixed))
		if err == nil {
			err = json.Unmarshal(value, &r)
		}
		if err != nil || r.Boot != boot {
			over[key] = nil
			return
		}
		c.Deadlines[prefix] = Deadline{r.Until, r.Boottime}
	})
	if err == nil && len(over) > 0 {
		forget(over)
	}
	return err
}
