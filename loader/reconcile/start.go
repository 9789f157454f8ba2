package reconcile

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
)

// Start puts the gate up. After a reboot the last good list is published and attached
// before anything else is opened, read or believed: neither a database that is damaged
// nor a broken file leaves the host open. Then comes the database, and where it knows
// more than the list, that; only then flags and files are taken over. Without a last good
// policy they must be right: the error then is theirs, and nothing was attached.
func (e *Engine) Start(ctx context.Context) error {
	e.mu.Lock()
	defer e.unlock()
	fresh, err := e.enforceList()
	if err != nil {
		return err
	}
	good, err := e.enforceDatabase(&fresh)
	if err != nil {
		return err
	}
	e.rollBackIfDue()
	if err := e.takeOver(ctx, good); err != nil {
		// After a reboot the last good policy stays up, whatever the flags say now;
		// beside a gate that was up, this start leaves nothing of its own.
		if e.stood {
			err = errors.Join(err, e.takeOff(fresh))
		}
		return err
	}
	if !good {
		if _, err := e.attachAll(); err != nil {
			return err
		}
	}
	if err := e.view.gate.Retire(); err != nil {
		return err
	}
	e.up = true
	e.prepare()
	go debug.FreeOSMemory() // a start leaves behind as much again as it needs
	return ctx.Err()
}

// enforceList enforces what the list alone says. Where a gate is up already, it enforces,
// and nothing is done here.
func (e *Engine) enforceList() (fresh []string, err error) {
	if e.stood {
		return nil, nil
	}
	e.tear(e.store.LoadList())
	good, err := e.recover()
	if err != nil { // the database may know better
		e.options.Log.Error(fmt.Sprintf("bring back the last good list: %v", err))
		return nil, nil
	}
	if !good {
		return nil, nil
	}
	return e.attachAll()
}

// tear notes what was wrong with the list; nil is nothing.
func (e *Engine) tear(err error) {
	if err != nil {
		e.torn, e.list.torn = err, true
	}
}

// enforceDatabase opens the database, and enforces it where that was not done, or where
// it knows more than the list. It reports whether there is a last good policy.
func (e *Engine) enforceDatabase(fresh *[]string) (good bool, err error) {
	troubles, err := e.store.OpenDatabase(true)
	if err != nil {
		return false, err
	}
	e.trouble(troubles...)
	if good = len(e.view.Policy.Services) > 0; !good || e.store.Later() {
		e.list.torn = e.list.torn || e.store.Later()
		if good, err = e.recover(); err != nil {
			return false, err
		}
		attached, err := []string(nil), error(nil)
		if good {
			attached, err = e.attachAll()
		}
		if *fresh = append(*fresh, attached...); err != nil {
			return false, err
		}
	}
	return good, e.recallCounts()
}

// Announce flies the canary and says what was put up, and what the canary proved.
func (e *Engine) Announce() {
	h := e.host()
	e.mu.Lock()
	defer e.unlock()
	e.beginEvents()
	for _, line := range e.attached {
		e.options.Log.Info(line + "; " + e.openTo())
	}
	for _, line := range append(e.openEach(), e.later...) {
		e.options.Log.Info(line)
	}
	e.attached, e.later = nil, nil
	e.announce(h)
}

// say logs line, after the lines of interfaces while a start is under way.
func (e *Engine) say(line string) {
	if !e.up {
		e.later = append(e.later, line)
		return
	}
	e.options.Log.Info(line)
}
