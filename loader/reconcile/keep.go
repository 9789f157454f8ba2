// This file says what is wrong with the files of the state: what was found and put right,
// and whether changes can be kept.

package reconcile

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"

	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/store"
)

// noteUnwritable notes that a change was refused because it could not be kept. Other
// errors are of the change itself.
func (e *Engine) noteUnwritable(err error) {
	if !e.isUnwritable(err) {
		return
	}
	if _, known := e.problems.noted[api.Unwritable]; !known {
		e.options.Log.Error(fmt.Sprintf("a change was refused: %v", err), "problem", api.Unwritable)
	}
	e.problems.note(e.unwritableProblem(err))
}

// isUnwritable reports whether err says that nothing can be kept.
func (e *Engine) isUnwritable(err error) bool {
	var errno syscall.Errno
	return errors.As(err, new(*store.UnwritableError)) || errors.As(err, &errno) && strings.Contains(err.Error(), e.options.State)
}

func (e *Engine) unwritableProblem(err error) api.Problem {
	return api.Problem{
		Code: api.Unwritable, Subject: e.options.State,
		Text: fmt.Sprintf("the last good list is enforced, and changes are refused: %v", err), Hint: "df " + e.options.State,
	}
}

// keepState looks after the files of the state, and whether there is room for changes.
func (e *Engine) keepState() {
	if e.life.isDone() || !e.life.up {
		return
	}
	if !e.disk.Writable() {
		if troubles, err := e.disk.Retry(); err == nil {
			e.trouble(troubles...)
			e.saveSoon()
		} else {
			e.problems.note(e.unwritableProblem(err))
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
		if err := e.save(); err != nil {
			e.noteUnwritable(err)
			return
		}
	}
	if err := store.Room(e.options.State); err != nil {
		e.problems.note(NoRoom(e.options.State, err))
		return
	}
	if _, known := e.problems.noted[api.Unwritable]; known && e.disk.Apply(store.Change{Meta: map[string][]byte{metaTried: nil}}) == nil {
		e.problems.forget(api.Unwritable)
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

// stateProblems are what was found wrong with the files of the state since the start, and
// who else may write to them.
func (e *Engine) stateProblems() (problems []api.Problem) {
	if who := store.Others(e.options.State); who != "" {
		problems = append(problems, StateOfOthers(e.options.State, who, os.Geteuid()))
	}
	for _, t := range e.problems.troubles {
		problems = append(problems, api.Problem{Code: "state_damaged", Subject: t.Path, Text: t.Text, Hint: t.Hint})
	}
	return problems
}

// StateOfOthers is the problem of a state directory to which others than uid may write, by
// what store.Others says of it.
func StateOfOthers(dir, who string, uid int) api.Problem {
	return api.Problem{
		Code: "state_open", Subject: dir,
		Text: who + ": who writes there decides who may connect after the next boot",
		Hint: fmt.Sprintf("chown %d %s; chmod 700 %s", uid, dir, dir),
	}
}

// NoRoom is the problem of a state directory where store.Room has found none.
func NoRoom(dir string, err error) api.Problem {
	return api.Problem{
		Code: api.Unwritable, Subject: dir,
		Text: fmt.Sprintf("there is no room for changes, which may be refused: %v", err), Hint: "df " + dir,
	}
}

// bookkeep records what only we read. Where it cannot be kept the gate goes on without.
func (e *Engine) bookkeep(meta map[string][]byte) {
	if err := e.disk.Apply(store.Change{Meta: meta}); err != nil {
		e.noteUnwritable(err)
	}
}
