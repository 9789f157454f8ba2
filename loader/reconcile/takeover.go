package reconcile

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/xdpallow/xdpallow/loader/compile"
	"github.com/xdpallow/xdpallow/loader/config"
	"github.com/xdpallow/xdpallow/loader/desired"
	"github.com/xdpallow/xdpallow/loader/impact"
	"github.com/xdpallow/xdpallow/loader/policy"
)

// files is what this daemon knows of the flags and files that declare the policy.
type files struct {
	reading  sync.Mutex              // held while files are read; taken before the engine's
	failing  map[policy.Origin]error // origins whose last reading was not taken over
	settings *config.Settings        // of the config file, as this daemon was started with
	kept     keptShut
}

// keptShut is what the config file would open, and this start did not.
type keptShut struct {
	openings []policy.Opening
	leftOut  []policy.Port // what it would audit beside that: not guarded meanwhile
	backstop bool          // it turns the backstop off
}

// String is for a problem; "" is nothing.
func (k keptShut) String() string {
	var kept []string
	if len(k.openings) > 0 {
		kept = append(kept, policy.JoinOpenings(k.openings))
	}
	if len(k.leftOut) > 0 {
		kept = append(kept, fmt.Sprintf("meanwhile %s is not guarded, nor audited", policy.JoinPorts(k.leftOut)))
	}
	if k.backstop {
		kept = append(kept, backstopGoes)
	}
	return strings.Join(kept, "; ")
}

// takeOver makes flags and files the declared state. A file that is bad or refused
// keeps its last good content, is a problem, and does not stop a gate that has a
// policy; the flags of this very start must be right.
func (e *Engine) takeOver(ctx context.Context, good bool) error {
	before, old := e.view.Declared(), e.view.Policy.Services
	read, err := e.read(ctx)
	if err != nil {
		return err
	}
	e.took(&read)
	if good {
		e.withhold(&read)
	}
	declared, failing, unread := read.declared, read.failing, maps.Clone(read.failing)
	if len(failing) > 0 && !good {
		return joined(failing)
	}
	for origin, claims := range before {
		if fails(failing, origin) || failing[policy.OriginConfig] != nil && e.unread(origin, read) {
			declared[origin] = claims
		}
	}
	asked := read.services
	shut, audits, ended := e.keepShut(&read, good)
	leftOut := policy.LeftOut(asked, read.services)
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
	c := change{
		by: by, command: "run", verb: policy.VerbRun,
		force: e.options.Force, peers: peers, logins: logins,
		edit: desired.Edit{Services: read.services, Declared: declared, Audits: audits},
	}
	if !good {
		next, _, err := e.view.Apply(c.edit, time.Now(), compile.Boottime())
		if err == nil {
			err = e.guardOlder(next, 0)
		}
		if err != nil {
			return blame(unread, err)
		}
	}
	o, err := e.make(c)
	if err != nil && good {
		// Was it the files? Without what changed in them, it must go.
		for origin, claims := range declared {
			old, found := before[origin]
			switch {
			case !isFile(origin) || found && sameClaims(old, claims):
			case found:
				declared[origin], failing[origin] = old, err
			default: // new, and with nothing to fall back on
				delete(declared, origin)
				failing[origin] = err
			}
		}
		for origin, old := range before {
			if _, found := declared[origin]; !found && e.stillNamed(origin, read) {
				declared[origin], failing[origin] = old, err
			}
		}
		if e.options.Services == nil && c.edit.Services != nil && !slices.EqualFunc(old, c.edit.Services, policy.Service.Equal) {
			c.edit.Services, c.edit.Audits, ended, failing[policy.OriginConfig] = nil, nil, nil, err
		}
		o, err = e.make(c)
	}
	if good && e.isUnwritable(err) {
		e.files.failing = failing
		return nil // the last good policy is enforced, and nothing else can be
	}
	if err != nil {
		return blame(unread, err)
	}
	e.files.failing = failing
	// A mistake in the config file is told first. One that guard rails refuse whole, as that
	// a service which stays has lost its prefixes, is taken over by the same reload.
	if bad := failing[policy.OriginConfig]; bad == nil || errors.As(bad, new(*policy.Refused)) {
		e.files.kept.openings, e.files.kept.leftOut = shut, leftOut
	}
	for _, line := range ended {
		e.say(line)
	}
	if good {
		e.logServices(old, o.plan)
	}
	return nil
}

// keepShut takes out of read what the config file would open, and returns it. Nobody
// watches a start that a boot or a restart makes; what is typed is meant. An audit of a
// service that is given a port which is shut is not among audits, and is told in ended.
func (e *Engine) keepShut(read *reading, good bool) (openings []policy.Opening, audits desired.Audits, ended []string) {
	if !good || read.services == nil || len(e.options.Services) > 0 || e.options.Force.AllowOpen {
		return nil, nil, nil
	}
	old := e.view.Policy.Services
	openings = policy.Openings(old, read.services)
	read.services = policy.KeptShut(old, read.services)
	audits, ended = e.view.WithoutOpening(read.services, compile.Boottime())
	return openings, audits, ended
}

// blame puts the files that could not be read before a refusal, and takes its hint away:
// the prefixes that a start misses are in those files, and a flag that lets the start go
// on without them would shut their owners out.
func blame(unread map[policy.Origin]error, err error) error {
	refused, ok := errors.AsType[*policy.Refused](err)
	if !ok || len(unread) == 0 {
		return err
	}
	return errors.Join(joined(unread), &policy.Refused{What: refused.What})
}

// fails reports whether origin failed, or a directory that it lies in: what is in a
// directory that cannot be read is not known to be gone.
func fails(failing map[policy.Origin]error, origin policy.Origin) bool {
	for failed := range failing {
		if origin == failed || strings.HasPrefix(string(origin), string(failed)+"/") {
			return true
		}
	}
	return false
}

// logServices says what a change did to ports, modes and scopes, and what it opened.
func (e *Engine) logServices(old []policy.Service, plan policy.Plan) {
	if plan.ServicesChanged {
		e.say(fmt.Sprintf("services changed: %s → %s", describe(old), describe(e.view.Policy.Services)))
	}
	if len(plan.Opens) > 0 {
		e.options.Log.Warn(policy.JoinOpenings(plan.Opens))
	}
}

func joined(failing map[policy.Origin]error) error {
	var errs []error
	for _, origin := range slices.Sorted(maps.Keys(failing)) {
		errs = append(errs, failing[origin])
	}
	return errors.Join(errs...)
}

// isFile reports whether origin is a file that somebody edits, not this start's flags.
func isFile(origin policy.Origin) bool {
	return origin == policy.OriginConfig || strings.HasPrefix(string(origin), "file:")
}

// stillNamed reports whether a file that is no longer found lies in a path that is
// still given: it was deleted, not unconfigured. A config file always is.
func (e *Engine) stillNamed(origin policy.Origin, read reading) bool {
	if origin == policy.OriginConfig {
		return e.options.Config != ""
	}
	path, _ := strings.CutPrefix(string(origin), "file:")
	return isFile(origin) && slices.ContainsFunc(read.files, func(named string) bool {
		return path == named || strings.HasPrefix(path, strings.TrimSuffix(named, "/")+"/")
	})
}

// unread reports whether origin may be a file that a config file names which cannot
// be read: then nobody knows that it was unconfigured.
func (e *Engine) unread(origin policy.Origin, read reading) bool {
	_, found := read.declared[origin]
	return !found && isFile(origin) && !e.stillNamed(origin, read)
}

func sameClaims(a, b []policy.Claim) bool {
	return slices.EqualFunc(a, b, func(a, b policy.Claim) bool {
		return policy.FormatLine(a) == policy.FormatLine(b)
	})
}
