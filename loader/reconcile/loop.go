package reconcile

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/compile"
	"github.com/xdpallow/xdpallow/loader/netdev"
	"github.com/xdpallow/xdpallow/loader/repair"
	"github.com/xdpallow/xdpallow/loader/stored"
)

const (
	probeEvery = 10 * time.Second
	// Events of interfaces can be lost, so everything is looked at anyway.
	reconcileEvery = 30 * time.Second
)

// timers are when the daemon has to act by itself.
type timers struct {
	told     time.Time     // when it was last said what ends soon
	forgetAt time.Time     // when the next entry of add goes that has ended; zero is never
	end      time.Time     // when the next claim ends beside another; zero is never
	poked    chan struct{} // something else may be due next
}

// poke has Run look at what is due next.
func (t *timers) poke() {
	select {
	case t.poked <- struct{}{}:
	default:
	}
}

// Run keeps the gate right until ctx ends or detach has taken the last interface:
// it follows interfaces, flies the canary, and takes ended claims out.
func (e *Engine) Run(ctx context.Context) {
	ctx, stop := context.WithCancel(ctx)
	var looking sync.WaitGroup
	defer looking.Wait()
	defer stop()
	looking.Go(func() { e.Observer.Run(ctx, e.options.Log) })
	changed := netdev.Watch(ctx)
	probe, reconcile := time.NewTicker(probeEvery), time.NewTicker(reconcileEvery)
	defer probe.Stop()
	defer reconcile.Stop()
	var keeping sync.WaitGroup
	keeping.Go(func() { e.keepUse(ctx) })
	defer keeping.Wait()
	defer e.beginToFollow(ctx)()
	defer stop()
	var settled <-chan time.Time // a moment after an interface was set up anew
	for {
		ended, due := e.nextEnd(), e.nextDue()
		select {
		case <-ctx.Done():
			return
		case <-e.life.done:
			return
		case change := <-changed:
			e.follow(change)
			if len(change.SetUp) > 0 {
				settled = time.After(time.Second)
			}
		case <-settled:
			settled = nil
			e.lookOnce()
		case <-reconcile.C:
			e.follow(netdev.Change{})
			e.keepOwnerUse()
		case <-probe.C:
			e.due()
			e.watch()
		case <-e.timers.poked:
		case <-due:
			e.due()
		case <-ended:
			e.expire()
		}
	}
}

// follow guards the named interfaces that are there and are not guarded: new ones,
// late ones, re-created ones; and those that were given a queue or set up anew.
func (e *Engine) follow(change netdev.Change) {
	h := e.host()
	e.mu.Lock()
	defer e.unlock()
	e.mend(h)
	if e.life.isDone() {
		return
	}
	o := e.observe(h)
	e.interfaces.Checker.RepairPrograms(o, e.enforced.Want())
	e.interfaces.Checker.TryMTUs(o)
	if e.interfaces.Checker.LookAtSetUp(o, change.SetUp) {
		e.judge(e.observe(h))
	}
}

// lookOnce asks once more, soon after an interface was set up anew, whether its driver
// runs our program.
func (e *Engine) lookOnce() {
	h := e.host()
	e.mu.Lock()
	defer e.unlock()
	if !e.life.isDone() {
		o := e.observe(h)
		e.interfaces.Checker.Look(o)
		e.judge(o)
	}
}

// mend attaches what is named and not attached. The caller holds the mutex.
func (e *Engine) mend(h repair.Host) {
	if !e.life.isDone() {
		e.interfaces.Mend(h, e.attaching())
	}
}

// watch repairs what was changed, flies the canary, and says what is a problem now.
func (e *Engine) watch() {
	h := e.host()
	e.mu.Lock()
	defer e.unlock()
	e.followClock(false)
	if err := e.Observer.SaveDue(e.disk.Store); err != nil {
		e.options.Log.Error(err.Error())
	}
	if e.life.isDone() {
		e.judge(e.observe(h))
	} else {
		e.judge(e.interfaces.Checker.Check(h, e.enforced.Want()))
	}
	e.tellExpiring(time.Now())
	// Somebody took our program off, of which the kernel tells nobody: the gate is
	// open until we attach again.
	if slices.ContainsFunc(e.problems.found, func(p api.Problem) bool { return p.Code == "detached" || p.Code == "backstop_detached" }) {
		e.mend(h)
	}
}

// judge collects the problems by o, and logs what became one and what ceased to be one.
func (e *Engine) judge(o repair.Observation) {
	before := e.problems.found
	e.probe(o)
	for _, p := range e.problems.found {
		if !slices.Contains(before, p) {
			e.options.Log.Error(p.String(), "problem", p.Code)
		}
	}
	for _, p := range before {
		if !slices.Contains(e.problems.found, p) {
			e.options.Log.Info("no longer a problem: "+p.String(), "problem", p.Code)
		}
	}
}

// tinyStep is what NTP slews, and what two readings differ by.
const tinyStep = time.Second

// followClock keeps --until on the wall clock, unless its step is huge and huge is not meant.
func (e *Engine) followClock(huge bool) {
	step := e.enforced.Compiler.Clock.Step(readClock())
	if step.Abs() > stored.HugeStep && !huge {
		e.problems.Note(api.Problem{
			Code: "clock_stepped", Text: fmt.Sprintf("the wall clock has moved by %v; entries end as they would have before", step.Round(time.Second)),
			Hint: "xdpallow reload",
		})
		return
	}
	e.problems.Forget("clock_stepped")
	if step.Abs() < tinyStep {
		return
	}
	e.enforced.Compiler.Clock = readClock()
	if err := e.keepClock(); err != nil {
		e.options.Log.Error(fmt.Sprintf("note the clock: %v", err))
	}
	e.options.Log.Info(fmt.Sprintf("the wall clock has moved by %v: deadlines follow it", step.Round(time.Millisecond)))
	e.mu.Begin()
	if err := e.enforced.Publish(e.enforced.Gate.Tables.Generation()); err != nil {
		e.options.Log.Error(fmt.Sprintf("follow the wall clock: %v", err))
	}
}

// nextEnd fires when the next claim ends, which may leave an entry to other claims.
func (e *Engine) nextEnd() <-chan time.Time {
	e.mu.Lock()
	defer e.unlock()
	if e.timers.end.IsZero() {
		return nil
	}
	// A deadline is wall time and this timer is not: look again within the hour.
	return time.After(min(max(time.Until(e.timers.end), 0)+time.Millisecond, time.Hour))
}

// expire merges again what has a claim that has ended. The kernel alone knows
// the latest claim of each prefix, so nobody is kept alive while we are late.
func (e *Engine) expire() {
	e.mu.Lock()
	defer e.unlock()
	if time.Now().Before(e.timers.end) {
		return
	}
	next, plan := e.enforced.Expire(time.Now())
	if e.timers.end = next.NextEnd; plan.Empty() {
		return
	}
	if err := e.commit(change{by: self(), command: "expire"}, next, plan); err != nil {
		e.options.Log.Error(fmt.Sprintf("take ended claims out: %v", err))
		e.timers.end = time.Now().Add(time.Second) // again
	}
}

// wallNow is a variable so that tests can step the wall clock, which belongs to
// everybody on the host.
var wallNow = time.Now

func readClock() compile.Clock { return compile.NewClock(wallNow(), compile.Boottime()) }
