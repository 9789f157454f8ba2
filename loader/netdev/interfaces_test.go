package netdev_test

import (
	"errors"
	"os"
	"testing"

	"github.com/xdpallow/xdpallow/loader/netdev"
)

// Nobody guards what is not there, and a name that is not there is told as such.
func TestResolveNothing(t *testing.T) {
	if names, err := netdev.Resolve("nosuch0"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%v, %v, want an error that is os.ErrNotExist", names, err)
	}
}
