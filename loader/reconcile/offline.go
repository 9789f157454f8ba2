package reconcile

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"time"

	"github.com/xdpallow/xdpallow/loader"
	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/compile"
	"github.com/xdpallow/xdpallow/loader/desired"
	"github.com/xdpallow/xdpallow/loader/policy"
	"github.com/xdpallow/xdpallow/loader/query"
	"github.com/xdpallow/xdpallow/loader/repair"
	"github.com/xdpallow/xdpallow/loader/store"
)

// ErrNoPins says that no gate is up: there is nothing to look at.
var ErrNoPins = loader.ErrNoPins

// Offline answers from pins and state when no daemon does. The gate is in the kernel
// and its list on disk, and an operator whose daemon died must still see both.
type Offline struct{ root, state, version string }

// NewOffline looks at the pin root and the state directory when it is asked.
func NewOffline(root, state, version string) Offline { return Offline{root, state, version} }

// look opens what there is. The caller closes the gate.
func (o Offline) look() (view, *api.Change, error) {
	gate, err := loader.OpenReader(o.root)
	if err != nil {
		return view{}, nil, err
	}
	known := map[netip.Prefix]store.Use{} // the database is closed before anybody asks
	v := newView(gate, func([]netip.Prefix) (map[netip.Prefix]store.Use, error) { return known, nil })
	change, err := o.recall(&v, known)
	if err != nil {
		gate.Close()
	}
	return v, change, err
}

// recall reads what is declared from the list, and what the CLI made from the
// database: it was acknowledged there, and the list may be a moment older.
func (o Offline) recall(v *view, known map[netip.Prefix]store.Use) (*api.Change, error) {
	kept, err := store.OpenReadOnly(o.state)
	if err != nil {
		return nil, err
	}
	defer kept.Close()
	last, err := kept.Declared()
	var torn *store.TornError
	if err != nil && !errors.As(err, &torn) {
		return nil, err
	}
	claims, err := kept.Claims()
	if err != nil {
		return nil, err
	}
	var change *api.Change
	if last, found, err := kept.LastRecord(); err != nil {
		return nil, err
	} else if found {
		change = query.ChangeOf(last)
	}
	audits, given := desired.Audits{}, map[string]uint16{}
	for key, into := range map[string]any{store.MetaSince: &v.since, metaAudits: &audits, metaOwners: &given} {
		text, err := kept.Meta(key)
		if err == nil && text != nil {
			err = json.Unmarshal(text, into)
		}
		if err != nil {
			return nil, err
		}
	}
	if len(last.Services) == 0 {
		return nil, &policy.Refused{
			What: fmt.Sprintf("a gate is up under %s, but %s holds no list of it", o.root, o.state), Hint: "--state DIR",
		}
	}
	overrides, err := overridesOf(kept)
	if err != nil {
		return nil, err
	}
	if v.compiler.Clock, err = recallClock(kept); err != nil {
		return nil, err
	}
	v.compiler.Owners = compile.NewOwnerIDs(given)
	if _, err := v.usage.BeginOwners(kept); err != nil {
		return nil, err
	}
	v.State, err = desired.New(last.Services, declared(last.Claims), claims, time.Now())
	v.State = v.State.With(overrides)
	v.Audits = audits
	if pending, found, e := kept.Pending(); err == nil && found {
		bootID, _ := store.BootID()
		v.waits = query.WaitingOf(pending, pending.Left(time.Now(), bootID, compile.Boottime()))
	} else {
		err = errors.Join(err, e)
	}
	return change, errors.Join(err, v.usage.Begin(kept), kept.EachUse(func(prefix netip.Prefix, use store.Use) { known[prefix] = use }))
}

// Status implements the question.
func (offline Offline) Status(context.Context) (api.Status, error) {
	v, change, err := offline.look()
	if err != nil {
		return api.Status{}, err
	}
	defer v.gate.Close()
	o := repair.Observe(v.gate, repair.ReadHost(v.Policy.Services), v.want())
	problems := repair.Problems(repair.Diagnose(o, v.want()))
	uncovered, routed := o.Links.Uncovered(v.gate.Attached())
	ended := v.Counts.Ended(v.now())
	return api.Status{
		Enforcing: repair.Enforcing(problems), Problems: problems, Interfaces: o.Report(), Backstop: o.ReportBackstop(), Uncovered: uncovered, Routed: routed,
		Generation: v.gate.Tables.Generation(), Entries: v.Policy.Entries.Len() - ended, Ended: ended, Owners: len(v.Counts.Owners), Expiring: v.Counts.Ending(v.now(), api.Soon),
		Services: v.query().Services(), Suspended: query.SuspensionsOf(v.Overrides), Limited: len(v.Limits), Origins: query.OriginsOf(v.Origins(), nil), LastChange: change, Confirm: v.waits, Version: offline.version,
	}, nil
}

// Owners implements the question.
func (o Offline) Owners(context.Context) (api.Owners, error) {
	v, _, err := o.look()
	if err != nil {
		return api.Owners{}, err
	}
	defer v.gate.Close()
	return v.query().Owners(v.Counts.Owners)
}

// Stats implements the question.
func (o Offline) Stats(context.Context) (api.Stats, error) {
	v, _, err := o.look()
	if err != nil {
		return api.Stats{}, err
	}
	defer v.gate.Close()
	return v.query().Stats(v.Counts.Owners)
}

// List implements the question.
func (o Offline) List(_ context.Context, r api.ListRequest) (api.Listing, error) {
	v, _, err := o.look()
	if err != nil {
		return api.Listing{}, err
	}
	defer v.gate.Close()
	return v.query().List(r)
}

// Export implements the question.
func (o Offline) Export(_ context.Context, all bool, w io.Writer) error {
	v, _, err := o.look()
	if err != nil {
		return err
	}
	defer v.gate.Close()
	return v.Export(w, all)
}

// Table implements the question.
func (o Offline) Table(_ context.Context, format, service string, w io.Writer) error {
	v, _, err := o.look()
	if err != nil {
		return err
	}
	defer v.gate.Close()
	return v.query().Table(w, format, service)
}

// Check implements the question.
func (o Offline) Check(_ context.Context, addrs []netip.Addr, port *policy.Port) ([]api.CheckResult, error) {
	v, _, err := o.look()
	if err != nil {
		return nil, err
	}
	defer v.gate.Close()
	return v.query().Check(addrs, port)
}

// Detach opens the gate without a daemon.
func (o Offline) Detach(_ context.Context, by api.Caller, r api.DetachRequest) (api.DetachResult, error) {
	detached, left, err := loader.DetachRoot(o.root, r.Interfaces)
	err = errors.Join(err, o.logDetach(by, detached))
	return api.DetachResult{Detached: append([]string{}, detached...), Left: append([]string{}, left...)}, err
}
