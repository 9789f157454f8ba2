// This file keeps that a change waits for its confirmation, in the transaction of
// that change: a daemon that is killed, or a host that is rebooted, before it
// comes, still knows that and until when.

package store

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"time"
)

// ErrUnconfirmed is the answer to a change that asks for a confirmation while
// another one waits for its own.
var ErrUnconfirmed = errors.New("a change waits for its confirmation already")

// Confirm is a change that is taken back unless somebody confirms it.
type Confirm struct {
	Time       time.Time     `json:"time"`       // UTC; when it was made
	Deadline   time.Time     `json:"deadline"`   // UTC
	BootID     string        `json:"boot_id"`    // see BootID
	Boottime   time.Duration `json:"boottime"`   // the deadline by CLOCK_BOOTTIME of that boot
	Generation uint64        `json:"generation"` // of the change; set by Apply
	Command    string        `json:"command"`
}

// Left is how long a confirmation may still come, and not over 0 when it is too
// late. In the boot of the change only boottime counts, which nobody steps. After
// a reboot it is the wall clock; when that stands before the change it is wrong,
// and nobody is kept locked out for as long as it is.
func (c Confirm) Left(now time.Time, bootID string, boottime time.Duration) time.Duration {
	if bootID != "" && bootID == c.BootID {
		return c.Boottime - boottime
	}
	if now.Before(c.Time) {
		return 0
	}
	return c.Deadline.Sub(now)
}

// BootID names this boot of the host.
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

// bootID is what was read once: it outlives us, and a daemon that can open no more files
// must not take its boot for another one.
var bootID atomic.Pointer[string]

// Pending returns the change that waits for its confirmation; false if none does.
func (s *Store) Pending() (confirm Confirm, found bool, err error) {
	found, err = s.fact(keyConfirm, &confirm)
	return confirm, found, err
}

// putConfirm notes what waits after change, and returns whether something waited
// before it that change does not settle.
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
