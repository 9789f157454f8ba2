package netdev_test

import (
	"errors"
	"os"
	"testing"

	"github.com/xdpallow/xdpallow/loader/netdev"
)

// Nobody guards what is not there, and a name that is not there is told as such.
func TestResolveNothing(t *testing.T) {
	interfaces, err := netdev.Read()
	if err != nil {
		t.Fatal(err)
	}
	if names, err := interfaces.Carriers("nosuch0"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%v, %v, want an error that is os.ErrNotExist", names, err)
	}
}
