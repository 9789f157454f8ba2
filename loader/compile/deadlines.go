// This file keeps, for as long as the host is up, what a daemon that comes after us cannot
// read off a wall clock: the deadlines that --for made.

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

// Deadlines are the ends that --for made, by prefix: so much time from then, whatever the
// wall clock does. After a reboot only the wall time is known.
type Deadlines map[netip.Prefix]deadline

type deadline struct {
	until time.Time
	boot  uint64 // CLOCK_BOOTTIME, ns
}

// metaDeadline and a prefix are the key of a deadline in the store's meta.
const metaDeadline = "for/"

type deadlineRecord struct {
	Boot     string    `json:"boot_id"`
	Until    time.Time `json:"until"`
	Boottime uint64    `json:"boottime"`
}

// of is the deadline of e, which ends with its own claim; found is false where the clock
// decides.
func (d Deadlines) of(e policy.Entry) (boot uint64, found bool) {
	at, found := d[e.Prefix]
	return at.boot, found && at.until.Equal(e.Until())
}

// Set gives claims, which --for made just now, deadlines that no step of a clock moves. The
// deadlines that stood before come back with undo, for a change that is not made.
func (d Deadlines) Set(claims []policy.Claim, clock Clock) (undo func()) {
	before := make(map[netip.Prefix]deadline, len(claims))
	for _, claim := range claims {
		before[claim.Prefix] = d[claim.Prefix] // zero: none, which no entry can have
		d[claim.Prefix] = deadline{claim.Until, clock.Boot(claim.Until)}
	}
	return func() {
		for prefix, was := range before {
			if d[prefix] = was; was.boot == 0 {
				delete(d, prefix)
			}
		}
	}
}

// Record adds to meta what edit changes of the deadlines. A claim that ends when its
// deadline does keeps it; of any other claim the deadline is forgotten. The error is that of
// store.BootID.
func (d Deadlines) Record(edit policy.Edit, meta map[string][]byte) error {
	boot, err := store.BootID()
	if err != nil {
		return err
	}
	for prefix := range edit.Prefixes() {
		if _, found := d[prefix]; found {
			meta[metaDeadline+prefix.String()] = nil
		}
	}
	for _, claim := range edit.Put {
		at, found := d[claim.Prefix]
		if !found || !at.until.Equal(claim.Until) {
			continue
		}
		text, err := json.Marshal(deadlineRecord{boot, at.until, at.boot})
		if err != nil {
			return fmt.Errorf("note the deadline of %s: %w", claim.Prefix, err)
		}
		meta[metaDeadline+claim.Prefix.String()] = text
	}
	return nil
}

// LoadDeadlines reads the deadlines of this boot. Those of others are over: forget is the
// change of meta that deletes them, or nil.
func LoadDeadlines(kept *store.Store) (d Deadlines, forget map[string][]byte, err error) {
	boot, err := store.BootID()
	if err != nil {
		return nil, nil, err
	}
	d = Deadlines{}
	err = kept.EachMeta(metaDeadline, func(key string, value []byte) {
		var r deadlineRecord
		prefix, err := netip.ParsePrefix(strings.TrimPrefix(key, metaDeadline))
		if err == nil {
			err = json.Unmarshal(value, &r)
		}
		if err == nil && r.Boot == boot {
			d[prefix] = deadline{r.Until, r.Boottime}
			return
		}
		if forget == nil {
			forget = map[string][]byte{}
		}
		forget[key] = nil
	})
	return d, forget, err
}
