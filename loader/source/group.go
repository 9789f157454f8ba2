// This file follows several origins, as settings come and go.

package source

import (
	"context"
	"reflect"
	"sync"

	"github.com/xdpallow/xdpallow/loader/policy"
)

// Group follows origins, each in a goroutine of its own.
type Group struct {
	follow  func(Settings) Follower
	have    func(policy.Origin) Have
	take    func(context.Context, Reading) error
	members map[policy.Origin]member
	running sync.WaitGroup
}

// member is an origin that is followed.
type member struct {
	settings Settings
	follower Follower
	stop     context.CancelFunc
}

// NewGroup returns a group that follows nothing yet. It calls follow for what follows an
// origin (nil is New, and a nil Follower follows nothing), have when it begins to, and take for each reading, the last two from several goroutines.
func NewGroup(follow func(Settings) Follower, have func(policy.Origin) Have, take func(context.Context, Reading) error) *Group {
	if follow == nil {
		follow = New
	}
	return &Group{follow: follow, have: have, take: take, members: map[policy.Origin]member{}}
}

// Follow follows from now on what settings say, until ctx ends: it begins with new ones, begins
// anew with those that have changed, kicks the others, and stops what is not in settings. It
// does not wait, so a lock that have and take want may be held. The context of take ends
// as soon as its origin is stopped: a take that waited for the lock must look at it again.
// Calls of Follow must not overlap.
func (g *Group) Follow(ctx context.Context, settings []Settings) {
	wanted := map[policy.Origin]bool{}
	for _, s := range settings {
		wanted[s.Origin()] = true
	}
	for origin, m := range g.members {
		if !wanted[origin] {
			m.stop()
			delete(g.members, origin)
		}
	}
	for _, s := range settings {
		m, known := g.members[s.Origin()]
		if known && reflect.DeepEqual(m.settings, s) {
			if m.follower != nil {
				m.follower.Kick()
			}
			continue
		}
		if known {
			m.stop()
		}
		g.members[s.Origin()] = g.start(ctx, s)
	}
}

func (g *Group) start(ctx context.Context, s Settings) member {
	ctx, stop := context.WithCancel(ctx)
	m := member{settings: s, follower: g.follow(s), stop: stop}
	if m.follower == nil {
		return m
	}
	g.running.Go(func() { m.follower.Follow(ctx, g.have(s.Origin()), g.take) })
	return m
}

// Wait waits until nothing is followed any more, after the context of Follow has ended.
func (g *Group) Wait() { g.running.Wait() }
