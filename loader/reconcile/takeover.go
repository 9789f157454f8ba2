package reconcile

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"sync"
	"time"

	"github.com/xdpallow/xdpallow/loader/compile"
	"github.com/xdpallow/xdpallow/loader/config"
	"github.com/xdpallow/xdpallow/loader/declared"
	"github.com/xdpallow/xdpallow/loader/desired"
	"github.com/xdpallow/xdpallow/loader/enrol"
	"github.com/xdpallow/xdpallow/loader/impact"
	"github.com/xdpallow/xdpallow/loader/logtext"
	"github.com/xdpallow/xdpallow/loader/policy"
)

// files is what this daemon knows of where claims come from: flags, files and followed origins.
type files struct {
	reading  sync.Mutex // held while files are read; taken before the engine's
	failing  declared.Failing
	settings *config.Settings // of the config file, as this daemon was started with
	kept     declared.Kept
	followed followed // origins that are kept elsewhere
	enrolled enrol.Book
	probe    config.Probe
}

// began notes the settings of the config file at the first reading.
func (f *files) began(read declared.Reading) {
	if f.settings == nil {
		f.settings = read.Settings
	}
}

// takeOver makes flags and files the declared state. A file that is bad or refused
// keeps its last good content, is a problem, and does not stop a gate that has a
// policy; the flags of this very start must be right.
func (e *Engine) takeOver(ctx context.Context, good bool) error {
	before, old := e.enforced.Declared(), e.enforced.Policy.Services
	read, err := e.options.Read(ctx)
	if err != nil {
		return err
	}
	e.files.began(read)
	e.files.probe = read.Probe
	if good {
		read.Withhold(e.unsettled.holds, before)
	}
	failing, unread := read.Failing, maps.Clone(read.Failing)
	if len(failing) > 0 && !good {
		return failing.Err()
	}
	read.KeepUnread(before)
	var kept declared.Kept
	var audits desired.Audits
	var ended []string
	// Nobody watches a start that a boot or a restart makes; what is typed is meant.
	if good && read.Services != nil && len(e.options.Services) == 0 && !e.options.Force.AllowOpen {
		kept = read.KeepShut(old)
		// An audit of a service that is given a port which is shut is not among audits.
		audits, ended = e.enforced.WithoutOpening(read.Services, compile.Boottime())
	}
	by := self()
	by.Command = e.options.Command
	peers, unknown := impact.Sessions(os.Getpid())
	if unknown != nil {
		e.options.Log.Warn(unknown.Error())
	}
	logins, unknown := impact.Logins()
	if unknown != nil {
		e.options.Log.Warn(unknown.Error())
	}
	force := e.options.Force
	if !good && len(read.Origins)+len(e.options.Enrol) > 0 {
		force.AllowEmpty = true // until lists are there, or customers enrol, it is no mistake that everybody is dropped
	}
	c := change{
		by: by, command: "run", verb: policy.VerbRun,
		force: force, peers: peers, logins: logins,
		edit: desired.Edit{Services: read.Services, Declared: read.Claims, Audits: audits}, names: read.Origins,
	}
	if !good {
		next, _, err := e.enforced.Apply(c.edit, time.Now(), compile.Boottime())
		if err == nil {
			err = e.guardOlder(next, 0)
		}
		if err != nil {
			return unread.Blame(err)
		}
	}
	o, err := e.make(c)
	if err != nil && good {
		// Was it the files? Without what changed in them, it must go.
		if read.TakeBack(before, old, err) {
			c.edit.Services, c.edit.Audits, ended = nil, nil, nil
		}
		if failing[policy.OriginConfig] != nil {
			c.names = nil
		}
		o, err = e.make(c)
	}
	if good && e.isUnwritable(err) {
		e.files.failing = failing
		if read.Origins == nil {
			read.Origins = e.files.followed.settings
		}
		e.followNamed(read.Origins, policy.Force{}) // else those whose entries last a day are gone after it
		return nil                                  // the last good policy is enforced, and nothing else can be
	}
	if err != nil {
		return unread.Blame(err)
	}
	e.files.failing = failing
	if c.names != nil {
		e.followNamed(read.Origins, policy.Force{})
		e.forgetUnnamed(change{by: self(), command: "run", verb: policy.VerbRun, force: e.options.Force})
	} else {
		e.followNamed(e.files.followed.settings, policy.Force{})
	}
	// A mistake in the config file is told first. One that guard rails refuse whole, as that
	// a service which stays has lost its prefixes, is taken over by the same reload.
	if bad := failing[policy.OriginConfig]; bad == nil || errors.As(bad, new(*policy.Refused)) {
		kept.Backstop = e.files.kept.Backstop
		e.files.kept = kept
	}
	for _, line := range ended {
		e.say(line)
	}
	if good {
		e.logServices(old, o.Plan)
	}
	return nil
}

// logServices says what a change did to ports, modes and scopes, and what it opened.
func (e *Engine) logServices(old []policy.Service, plan policy.Plan) {
	if plan.ServicesChanged {
		e.say(fmt.Sprintf("services changed: %s → %s", logtext.Services(old), logtext.Services(e.enforced.Policy.Services)))
	}
	if len(plan.Opens) > 0 {
		e.options.Log.Warn(policy.JoinOpenings(plan.Opens))
	}
}
