// This file is suspend, resume and limit. They do not read the entries of a list: to stop a stolen
// key must not wait for a million of them.

package edits

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/desired"
	"github.com/xdpallow/xdpallow/loader/fleet"
	"github.com/xdpallow/xdpallow/loader/fleet/layout"
	"github.com/xdpallow/xdpallow/loader/policy"
	"github.com/xdpallow/xdpallow/loader/store"
)

// Overrides is one command of these. On is called once or more, and leaves in Already what the last
// call found.
type Overrides struct {
	DryRun bool

	Already *layout.Suspension // of suspend: it was so before

	edit func(c *fleet.Content) error
}

// On makes of a list what the command says. It returns nil for what changes nothing and for a dry
// run.
func (o *Overrides) On(v fleet.View) (*fleet.Content, error) {
	if v.Manifest == nil {
		return nil, &policy.Refused{What: "there is no list yet", Hint: "xdpallow fleet add 192.0.2.0/24 --owner acme"}
	}
	c := &fleet.Content{Suspended: slices.Clone(v.Manifest.Suspended), Limits: maps.Clone(v.Manifest.Limits)}
	if c.Limits == nil {
		c.Limits = map[string]layout.Limit{}
	}
	if err := o.edit(c); err != nil {
		return nil, err
	}
	if o.DryRun || slices.Equal(c.Suspended, v.Manifest.Suspended) && maps.Equal(c.Limits, v.Manifest.Limits) {
		return nil, nil
	}
	return c, nil
}

// Suspend is `fleet suspend`, of by, for reason. Who is not on the list can be stopped, too: a host
// may list him itself.
func Suspend(r api.SuspendRequest, by, reason string) (*Overrides, error) {
	subject, err := desired.SubjectOf(r.Subject)
	if err != nil {
		return nil, err
	}
	if r.Owner == "" && r.Nested {
		return nil, &policy.InputError{What: "--nested is about what others have in an owner's network; a prefix is suspended with all that lies in it", Hint: "xdpallow fleet suspend " + subject.String()}
	}
	if r.Owner == "" && !r.AllowAny {
		if err := policy.GuardSubject(subject.Prefix, "suspended"); err != nil {
			return nil, err
		}
	}
	o := &Overrides{DryRun: r.DryRun}
	o.edit = func(c *fleet.Content) error {
		o.Already = nil
		one := layout.Suspension{Subject: subject.String(), Reason: reason, By: by, Since: time.Now().UTC().Truncate(time.Second), Nested: r.Nested}
		i := slices.IndexFunc(c.Suspended, func(s layout.Suspension) bool { return s.Subject == one.Subject })
		if i < 0 {
			c.Suspended = append(c.Suspended, one)
			return nil
		}
		before := c.Suspended[i]
		o.Already = &before
		if one.Since = before.Since; reason == "" {
			one.Reason, one.By = before.Reason, before.By
		}
		one.Nested = one.Nested || before.Nested
		c.Suspended[i] = one
		return nil
	}
	return o, nil
}

// Resume is `fleet resume`.
func Resume(s policy.Subject) (*Overrides, error) {
	subject, err := desired.SubjectOf(s)
	if err != nil {
		return nil, err
	}
	return &Overrides{edit: func(c *fleet.Content) error {
		left := slices.DeleteFunc(slices.Clone(c.Suspended), func(s layout.Suspension) bool { return s.Subject == subject.String() })
		if len(left) == len(c.Suspended) {
			return &policy.Refused{What: fmt.Sprintf("%s is not suspended by the fleet", subject), Hint: "xdpallow fleet status"}
		}
		c.Suspended = left
		return nil
	}}, nil
}

// Limit is `fleet limit`; a rate of 0 is none.
func Limit(r api.LimitRequest) (*Overrides, error) {
	l := store.Limit{Owner: r.Owner, PerSecond: r.PerSecond, Burst: r.Burst}
	if err := policy.ParseName("owner", r.Owner); err != nil {
		return nil, err
	}
	if r.PerSecond != 0 {
		if l.Burst == 0 {
			l.Burst = desired.BurstOf(l.PerSecond)
		}
		if err := desired.CheckLimit(l); err != nil {
			return nil, err
		}
	}
	return &Overrides{edit: func(c *fleet.Content) error {
		if r.PerSecond != 0 {
			c.Limits[r.Owner] = layout.Limit{PerSecond: l.PerSecond, Burst: l.Burst}
			return nil
		}
		if _, limited := c.Limits[r.Owner]; !limited {
			return &policy.Refused{What: r.Owner + " has no limit in the fleet", Hint: "xdpallow fleet status"}
		}
		delete(c.Limits, r.Owner)
		return nil
	}}, nil
}
