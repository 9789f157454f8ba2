// Package reconcile makes the kernel agree with the desired state and keeps it
// so: every change goes through its one pipeline (parse, lint, merge, diff,
// guard rails, publish or patch, record), and it is what proves that the gate
// enforces.
package reconcile
