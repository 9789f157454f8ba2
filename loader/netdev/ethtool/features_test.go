package ethtool_test

import (
	"testing"

	"github.com/xdpallow/xdpallow/loader/netdev/ethtool"
	"github.com/xdpallow/xdpallow/loader/netlab/labtest"
)

// Promise: the offloads of an interface are read as the kernel has them: GRO follows what
// is set, and a veth that cannot do LRO has it off for good.
func TestFeatures(t *testing.T) {
	t.Parallel()
	lab := labtest.New(t)
	for _, on := range []bool{true, false} {
		if err := lab.Host.SetGRO("eth0", on); err != nil {
			t.Fatal(err)
		}
		var features map[string]ethtool.Feature
		if err := lab.Host.Do(func() (err error) {
			features, err = ethtool.GetFeatures("eth0")
			return err
		}); err != nil {
			t.Fatal(err)
		}
		gro, known := features["rx-gro"]
		if !known || gro.Active != on || gro.Fixed {
			t.Errorf("rx-gro is %+v (known: %v), want active %v and not fixed", gro, known, on)
		}
		if lro, known := features["rx-lro"]; !known || lro.Active || !lro.Fixed {
			t.Errorf("rx-lro is %+v (known: %v), want off and fixed", lro, known)
		}
	}
}

func TestDriver(t *testing.T) {
	t.Parallel()
	lab := labtest.New(t)
	if err := lab.Host.Do(func() error {
		driver, err := ethtool.Driver("eth0")
		if driver != "veth" {
			t.Errorf("driver %q", driver)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
}
