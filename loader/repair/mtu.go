package repair

// This file tells of interfaces whose driver takes no program of ours, mostly because
// their MTU has grown. The program that is attached stays, and what it cannot be given
// is lost: the large segments of a listed client. The next start would meet that first.

import (
	"fmt"
	"maps"
	"slices"

	"github.com/xdpallow/xdpallow/loader"
	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/netdev"
)

// taking is what a driver answered when it was given our program last.
type taking struct {
	mtu     int // it was asked with
	good    int // the last with which it took the program, 0 for none
	refused *loader.RefusedError
}

// noteTaking notes what came of giving an interface our program.
func (c *Checker) noteTaking(name string, at loader.Attachment) {
	t := c.takings[name]
	t.mtu, t.refused = at.MTU, at.Kept
	if at.Kept == nil {
		t.good = at.MTU
	}
	c.takings[name] = t
}

// TryMTUs gives the driver of each interface our program again whose frames do not fit a
// page any more, or whose driver refused it with another MTU. Nothing else tells whether
// it would take it. It is asked once for each MTU, because some drivers open their NIC
// anew for each program that they are given, of which we are told as of a new MTU.
func (c *Checker) TryMTUs(o Observation) {
	maps.DeleteFunc(c.takings, func(name string, _ taking) bool {
		return !slices.ContainsFunc(o.Interfaces, func(i Interface) bool { return i.Interface == name })
	})
	for _, i := range o.Interfaces {
		name, at, t := i.Interface, i.Attachment, c.takings[i.Interface]
		if i.Err != nil || at.Mode != loader.Native || at.MTU == t.mtu {
			continue
		}
		if at.MTU <= netdev.Page && t.refused == nil {
			c.noteTaking(name, at) // any driver would
			continue
		}
		again, err := c.gate.Attach(name, loader.Native)
		if err != nil {
			c.log.Error(fmt.Sprintf("try our program with an MTU of %d: %v", at.MTU, err))
			continue
		}
		c.noteTaking(name, again)
	}
}

// refusals are the problems of interfaces whose driver takes no program of ours.
func (c *Checker) refusals() (problems []api.Problem) {
	for name, t := range c.takings {
		if t.refused == nil {
			continue
		}
		p := api.Problem{Code: "program_kept", Subject: name, Hint: t.refused.Hint(), Text: fmt.Sprintf(
			"its driver takes no program of ours, and the one that it has stays: %s", t.refused.Cause)}
		if t.mtu > netdev.Page {
			p.Code = "mtu"
			p.Text = fmt.Sprintf("its MTU is %d, for which its driver has no native XDP (%v): the program that it has stays, and large segments of listed clients can be lost", t.mtu, t.refused.Err)
			if 0 < t.good && t.good < t.mtu {
				p.Hint = fmt.Sprintf("ip link set dev %s mtu %d", name, t.good)
			}
		}
		problems = append(problems, p)
	}
	return problems
}
