package maps

import (
	"testing"

	"github.com/cilium/ebpf"
)

// Retry is retry.
var Retry = retry

// WithBatchUpdate puts do in the place of the kernel's batch update until the test
// ends. do is given the kernel's.
func WithBatchUpdate(tb testing.TB, do func(kernel func(m *ebpf.Map, keys, values any) (int, error), m *ebpf.Map, keys, values any) (int, error)) {
	kernel := batchUpdate
	tb.Cleanup(func() { batchUpdate = kernel })
	batchUpdate = func(m *ebpf.Map, keys, values any) (int, error) { return do(kernel, m, keys, values) }
}
