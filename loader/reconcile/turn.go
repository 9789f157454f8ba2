package reconcile

import "sync"

// This file is the engine's lock. Most hold it for a moment; who makes a change holds it
// until that is on disk, which takes seconds among a million entries.

// turn is a lock of which those can let go who would rather not wait for a change.
type turn struct {
	taken chan struct{} // has an element while somebody has the turn

	mu     sync.Mutex
	change chan struct{} // closed while who has the turn makes a change
}

func newTurn() turn { return turn{taken: make(chan struct{}, 1), change: make(chan struct{})} }

// Lock waits for the turn.
func (t *turn) Lock() { t.taken <- struct{}{} }

// Begin says that who has the turn makes a change with it.
func (t *turn) Begin() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !isClosed(t.change) {
		close(t.change)
	}
}

// LockUnlessChanging waits for the turn as long as nobody makes a change, and reports
// whether it has it.
func (t *turn) LockUnlessChanging() bool {
	t.mu.Lock()
	change := t.change
	t.mu.Unlock()
	select {
	case t.taken <- struct{}{}:
		return true
	case <-change:
		return false
	}
}

// Unlock gives the turn, and with it a change, to an end.
func (t *turn) Unlock() {
	t.mu.Lock()
	if isClosed(t.change) {
		t.change = make(chan struct{})
	}
	t.mu.Unlock()
	<-t.taken
}

func isClosed(done <-chan struct{}) bool {
	select {
	case <-done:
		return true
	default:
		return false
	}
}
