// This file runs Go code inside a namespace: a namespace belongs to a thread,
// and Go moves goroutines between threads unless it is told not to.

package netlab

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"golang.org/x/sys/unix"
)

// Do runs fn on a thread inside the namespace and throws the thread away.
// Sockets made by fn stay in the namespace and may be used from any goroutine;
// goroutines started by fn run outside. A panic in fn, or a t.FailNow, is
// carried over to the caller, so that deferred clean-up takes place.
func (ns *Namespace) Do(fn func() error) error {
	return onThread(func() error {
		if ns.file == nil {
			return fmt.Errorf("enter namespace %s: %w", ns.Name, unix.EBADF)
		}
		if err := unix.Setns(int(ns.file.Fd()), unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("enter namespace %s: %w", ns.Name, err)
		}
		return fn()
	})
}

// ending is how fn came to its end.
type ending struct {
	err      error
	panicked any // with its stack, which the caller's would not show
	goexit   bool
}

// onThread runs fn on a thread that ends with it.
func onThread(fn func() error) error {
	done := make(chan ending, 1)
	go throwaway(fn, done)
	switch end := <-done; {
	case end.panicked != nil:
		panic(end.panicked)
	case end.goexit:
		runtime.Goexit()
		return nil
	default:
		return end.err
	}
}

func throwaway(fn func() error, done chan<- ending) {
	runtime.LockOSThread()
	if unix.Gettid() == unix.Getpid() {
		// The main thread is not thrown away, and /proc/self is its view:
		// hold it until fn has got another one.
		defer runtime.UnlockOSThread()
		started := make(chan struct{})
		go func() {
			runtime.LockOSThread()
			close(started)
			run(fn, done)
		}()
		<-started
		return
	}
	run(fn, done)
}

// run never unlocks the thread: the runtime then ends it with the goroutine.
func run(fn func() error, done chan<- ending) {
	end := ending{goexit: true}
	defer func() {
		if p := recover(); p != nil {
			end = ending{panicked: fmt.Sprintf("%v\n\n%s", p, debug.Stack())}
		}
		done <- end
	}()
	err := fn()
	end = ending{err: err}
}
