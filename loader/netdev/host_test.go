// What the tests of this package share: a host of its own in network namespaces.
package netdev_test

import (
	"testing"

	"github.com/xdpallow/xdpallow/loader/netlab"
	"github.com/xdpallow/xdpallow/loader/netlab/labtest"
)

type host struct {
	*testing.T
	lab *netlab.Lab
}

func newHost(t *testing.T) *host {
	t.Helper()
	return &host{T: t, lab: labtest.New(t)}
}

// do runs fn in the host's namespace, where the interfaces are.
func (h *host) do(fn func() error) {
	h.Helper()
	h.must(h.lab.Host.Do(fn))
}

func (h *host) must(errs ...error) {
	h.Helper()
	for _, err := range errs {
		if err != nil {
			h.Fatal(err)
		}
	}
}
