package reconcile

// Checkpoint makes one of what has changed since the last.
func (e *Engine) Checkpoint() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.lastUse()
}
