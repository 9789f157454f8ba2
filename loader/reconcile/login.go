package reconcile

// LoginUID is who logged in to the session of a process; nil where that is not known.
func LoginUID(pid int) *uint32 { return nil }
