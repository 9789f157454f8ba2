// This file stores that a change waits for its confirmation, in the transaction of the change:
// after a kill or a reboot the next daemon knows that it waits, and until when.

package store

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"time"
)

// ErrUnconfirmed refuses a change that asks for a confirmation while an earlier one waits.
var ErrUnconfirmed = errors.New("a change waits for its confirmation already")

// Confirm is a change that is rolled back unless somebody confirms it.
type Confirm struct {
	Time       time.Time     `json:"time"`       // UTC; when it was made
	Deadline   time.Time     `json:"deadline"`   // UTC
	BootID     string        `json:"boot_id"`    // see BootID
	Boottime   time.Duration `json:"boottime"`   // the deadline by CLOCK_BOOTTIME of that boot
	Generation uint64        `json:"generation"` // of the change; set by Apply
	Command    string        `json:"command"`
}

// Left returns how long a confirmation may still come; 0 or less means that it is too late. In
// the boot of the change only boottime counts, which nobody can set. After a reboot the wall
// clock counts. Where that shows a time before the change it is wrong, and the time is up:
// nobody may stay locked out because of a wrong clock.
func (c Confirm) Left(now time.Time, bootID string, boottime time.Duration) time.Duration {
	if bootID != "" && bootID == c.BootID {
		return c.Boottime - boottime
	}
	if now.Before(c.Time) {
		return 0
	}
	return c.Deadline.Sub(now)
}

// BootID returns the kernel's id of this boot. It fails only where /proc cannot be read.
func BootID() (string, error) {
	if id := bootID.Load(); id != nil {
		return *id, nil
	}
	text, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", fmt.Errorf("read the boot id: %w", err)
	}
	id := strings.TrimSpace(string(text))
	bootID.Store(&id)
	return id, nil
}

// bootID is the id once it was read. It does not change while we run, and a daemon that can open
// no more files must not believe that the host was rebooted.
var bootID atomic.Pointer[string]

// Pending returns the change that waits for its confirmation; false where none does. Errors are
// those of Claims.
func (s *Store) Pending() (confirm Confirm, found bool, err error) {
	found, err = s.fact(keyConfirm, &confirm)
	return confirm, found, err
}

// putConfirm stores what waits after change, and returns whether an earlier change waits that
// this one does not settle.
func putConfirm(t *txn, change Change) (waiting bool, err error) {
	was, err := t.get(bucketFacts, keyConfirm)
	if err != nil {
		return false, err
	}
	waiting = was != nil
	if change.Settle {
		if err := t.put(bucketFacts, keyConfirm, nil); err != nil {
			return false, err
		}
		waiting = false
	}
	if change.Confirm == nil {
		return waiting, nil
	}
	if waiting {
		return true, ErrUnconfirmed
	}
	confirm := *change.Confirm
	if confirm.Generation, err = readNumber(reader{t.Tx}, keyGeneration); err != nil {
		return false, err
	}
	return false, putJSON(t, bucketFacts, keyConfirm, confirm)
}
