// This file says what is wrong with the files of the state: what was found and put right,
// and whether changes can be kept.

package reconcile

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"

	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/problems"
	"github.com/xdpallow/xdpallow/loader/store"
)

// noteUnwritable notes that a change was refused because it could not be kept. Other
// errors are of the change itself.
func (e *Engine) noteUnwritable(err error) {
	if !e.isUnwritable(err) {
		return
	}
	if !e.problems.Has(api.Unwritable) {
		e.options.Log.Error(fmt.Sprintf("a change was refused: %v", err), "problem", api.Unwritable)
	}
	e.problems.Note(problems.Unwritable(e.options.State, err))
}

// isUnwritable reports whether err says that nothing can be kept.
func (e *Engine) isUnwritable(err error) bool {
	var errno syscall.Errno
	return errors.As(err, new(*store.UnwritableError)) || errors.As(err, &errno) && strings.Contains(err.Error(), e.options.State)
}

// keepState looks after the files of the state, and whether there is room for changes.
func (e *Engine) keepState() {
	if e.life.isDone() || !e.life.up {
		return
	}
	if !e.disk.Writable() {
		if troubles, err := e.disk.Retry(); err == nil {
			e.trouble(troubles...)
			e.disk.list.SaveSoon()
		} else {
			e.problems.Note(problems.Unwritable(e.options.State, err))
			return
		}
	}
	troubles, rewrite, err := e.disk.Watch()
	e.trouble(troubles...)
	if err != nil {
		e.noteUnwritable(err)
		return
	}
	if rewrite {
		if err := e.disk.list.Save(); err != nil {
			e.noteUnwritable(err)
			return
		}
	}
	if err := store.Room(e.options.State); err != nil {
		e.problems.Note(problems.NoRoom(e.options.State, err))
		return
	}
	if e.problems.Has(api.Unwritable) && e.disk.Apply(store.Change{Meta: map[string][]byte{metaTried: nil}}) == nil {
		e.problems.Forget(api.Unwritable)
	}
}

// metaTried is the key of the store's meta that is written to find out whether it can be.
const metaTried = "tried"

// trouble notes what was wrong with files, and says so once.
func (e *Engine) trouble(troubles ...store.Trouble) {
	for _, t := range troubles {
		if !slices.Contains(e.problems.troubles, t) {
			e.options.Log.Error(t.String(), "problem", "state_damaged")
			e.problems.troubles = append(e.problems.troubles, t)
		}
	}
}

// bookkeep records what only we read. Where it cannot be kept the gate goes on without.
func (e *Engine) bookkeep(meta map[string][]byte) {
	if err := e.disk.Apply(store.Change{Meta: meta}); err != nil {
		e.noteUnwritable(err)
	}
}
