package reconcile

import (
	"fmt"

	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/declared"
	"github.com/xdpallow/xdpallow/loader/store"
)

// keepBackstop has this start keep a backstop that stands, or that the last good policy
// had, where only the config file turns it off: nobody watches a start that a boot or a
// restart makes. What is typed is meant.
func (e *Engine) keepBackstop(last store.Effective) {
	if e.options.LosesBackstop() && (last.Backstop == "on" || e.enforced.Gate.BackstopStands()) {
		e.options.Backstop, e.files.kept.Backstop = "on", true
	}
}

// dropsBackstop reports whether a reload turns the backstop off. One that waits for its
// confirmation does not: the rollback could not bring the backstop back.
func (e *Engine) dropsBackstop(read declared.Reading, r api.ReloadRequest) bool {
	return e.options.EndsBackstop(read) && r.AllowOpen && r.Confirm == "" && !r.DryRun
}

// reloadBackstop turns the backstop off, where drop says so; the change that was made has
// recorded it.
func (e *Engine) reloadBackstop(read declared.Reading, r api.ReloadRequest, drop bool) error {
	if r.DryRun {
		return nil
	}
	if !drop {
		e.files.kept.Backstop = e.options.EndsBackstop(read) || e.files.kept.Backstop && read.Settings == nil
		return nil
	}
	if err := e.enforced.Gate.DetachBackstop(); err != nil {
		return fmt.Errorf("the list was reloaded, and the backstop is still on: %w", err)
	}
	e.files.kept.Backstop = false
	e.options.Log.Warn("the backstop is off: what comes in beside the guarded interfaces is not judged")
	return e.enforced.Gate.NoteBackstop()
}

// backstopLine is what the change log says of a change that turns the backstop on or off;
// "" is of one that does not.
func (e *Engine) backstopLine() string {
	was, is := e.disk.list.Saved().Backstop, e.options.Backstop
	switch {
	case was == is || was == "" || is == "":
		return ""
	case is == "off":
		return "! backstop: on → off: what comes in beside the guarded interfaces is not judged"
	}
	return "~ backstop: off → on"
}

// backstopStays is what a start kept on, and what turns it off.
func (e *Engine) backstopStays() string {
	return fmt.Sprintf("%s: the backstop stays on; to turn it off: %s", e.options.Config, e.command("reload --allow-open"))
}

// command is an xdpallow command that reaches this daemon.
func (e *Engine) command(words string) string { return "xdpallow " + words + e.options.HintFlags }
