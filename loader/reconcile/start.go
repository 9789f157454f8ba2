package reconcile

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"strings"
	"time"

	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/attach"
	"github.com/xdpallow/xdpallow/loader/logtext"
	"github.com/xdpallow/xdpallow/loader/policy"
	"github.com/xdpallow/xdpallow/loader/query"
	"github.com/xdpallow/xdpallow/loader/repair"
)

// life is how far this daemon has come, from its start to its end.
type life struct {
	stood    bool          // a gate was up when we came
	up       bool          // Start has succeeded
	attached []string      // log lines of interfaces, until Announce
	later    []string      // log lines that follow these
	done     chan struct{} // closed when detach took the last interface
}

func (l *life) isDone() bool { return isClosed(l.done) }

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
		if e.life.stood {
			err = errors.Join(err, e.interfaces.TakeOff(fresh))
		}
		return err
	}
	if !good {
		if _, err := e.interfaces.All(e.attaching()); err != nil {
			return err
		}
	}
	if err := e.enforced.Gate.Retire(); err != nil {
		return err
	}
	e.life.up = true
	e.interfaces.Prepare()
	go debug.FreeOSMemory() // the garbage of a start is as large as what stays
	return ctx.Err()
}

// enforceList enforces what the list alone says. Where a gate is up already, it enforces,
// and nothing is done here.
func (e *Engine) enforceList() (fresh []string, err error) {
	if e.life.stood {
		return nil, nil
	}
	e.tear(e.disk.LoadList())
	good, err := e.recover()
	if err != nil { // the database may know better
		e.options.Log.Error(fmt.Sprintf("bring back the last good list: %v", err))
		return nil, nil
	}
	if !good {
		return nil, nil
	}
	return e.interfaces.All(e.attaching())
}

// tear notes what was wrong with the list; nil is nothing.
func (e *Engine) tear(err error) {
	if err != nil {
		e.problems.torn = err
		e.disk.list.Tear()
	}
}

// enforceDatabase opens the database, and enforces it where that was not done, or where
// it knows more than the list. It reports whether there is a last good policy.
func (e *Engine) enforceDatabase(fresh *[]string) (good bool, err error) {
	troubles, err := e.disk.OpenDatabase(true)
	if err != nil {
		return false, err
	}
	e.trouble(troubles...)
	if good = len(e.enforced.Policy.Services) > 0; !good || e.disk.Later() {
		if e.disk.Later() {
			e.disk.list.Tear()
		}
		if good, err = e.recover(); err != nil {
			return false, err
		}
		attached, err := []string(nil), error(nil)
		if good {
			attached, err = e.interfaces.All(e.attaching())
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
	// Before the gate is announced, so that nobody is refused unseen after that.
	if err := e.Observer.Begin(e.enforced.Gate, func() *query.View { return &e.current.Load().View }); err != nil {
		e.options.Log.Error(fmt.Sprintf("no events: %v", err))
		e.problems.Note(api.Problem{Code: "events", Text: fmt.Sprintf("refused packets are counted and not shown: %v", err), Hint: "systemctl restart xdpallow"})
	}
	for _, line := range e.life.attached {
		e.options.Log.Info(line + "; " + logtext.OpenTo(e.enforced.Policy))
	}
	for _, line := range append(logtext.OpenEach(e.enforced.Policy), e.life.later...) {
		e.options.Log.Info(line)
	}
	e.life.attached, e.life.later = nil, nil
	e.announce(h)
}

// say logs line, after the lines of interfaces while a start is under way.
func (e *Engine) say(line string) {
	if !e.life.up {
		e.life.later = append(e.life.later, line)
		return
	}
	e.options.Log.Info(line)
}

// attaching is what is to be guarded.
func (e *Engine) attaching() attach.Settings {
	return attach.Settings{Interfaces: e.options.Interfaces, Mode: e.options.Attach, Backstop: e.options.Backstop != "off"}
}

// sayAttached logs the line of an interface, at the end of a start where one is under way.
func (e *Engine) sayAttached(line string) {
	if !e.life.up {
		e.life.attached = append(e.life.attached, line)
		return
	}
	e.options.Log.Info(line + "; " + logtext.OpenTo(e.enforced.Policy))
}

// leaveNothing removes what a failed start left of a gate that was not up before; one
// that was stays up.
func (e *Engine) leaveNothing() error {
	linked, err := e.enforced.Gate.Linked()
	if err != nil || e.life.stood || len(linked) > 0 {
		return err
	}
	return errors.Join(e.enforced.Gate.DetachBackstop(), e.enforced.Gate.Remove())
}

// AwaitInterfaces returns when every named interface is there, at the latest after
// patience. It returns those that are missing then.
func (e *Engine) AwaitInterfaces(ctx context.Context, patience time.Duration) (missing []string) {
	ticks := time.NewTicker(20 * time.Millisecond)
	defer ticks.Stop()
	for deadline := time.Now().Add(patience); ; {
		missing = e.missing()
		if len(missing) == 0 || time.Now().After(deadline) {
			return missing
		}
		select {
		case <-ctx.Done():
			return missing
		case <-ticks.C:
		}
	}
}

func (e *Engine) missing() []string {
	e.mu.Lock()
	defer e.unlock()
	return e.interfaces.Missing()
}

// announce flies the canary and says what it proved.
func (e *Engine) announce(h repair.Host) {
	e.probe(e.observe(h))
	var audits []string
	how := e.options.HowTo(policy.Enforce)
	for _, s := range e.enforced.View().Services() {
		if s.Mode == policy.Audit {
			audits = append(audits, s.Name)
		}
		if s.Until != nil {
			how = "wait until " + s.Until.Format(time.RFC3339) + ", or: xdpallow mode enforce" + e.options.HintFlags
		}
	}
	for _, p := range e.problems.found {
		if p.Code != "audit" {
			e.options.Log.Error(p.String())
		}
	}
	switch {
	case len(audits) > 0:
		who := ""
		if len(audits) < len(e.enforced.Policy.Services) {
			who = " for " + strings.Join(audits, ", ")
		}
		e.options.Log.Info(fmt.Sprintf("audit: nothing is dropped%s, others are counted; to enforce, %s", who, how))
	case repair.Enforcing(e.problems.found):
		e.options.Log.Info("enforcing: the canary was dropped")
	}
}
