package loader

// This file loads the programs of an attachment, and opens and pins what belongs to them.

import (
	"errors"
	"fmt"
	"os"
	"sync/atomic"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"

	"github.com/xdpallow/xdpallow/bpf"
	"github.com/xdpallow/xdpallow/loader/netdev"
	"github.com/xdpallow/xdpallow/loader/pins"
	"github.com/xdpallow/xdpallow/maps"
	"github.com/xdpallow/xdpallow/maps/counters"
)

const ethernetHeader = 14

// attachment is the program of an interface or of the backstop, with what belongs to it.
type attachment struct {
	program  *ebpf.Program
	shadow   *ebpf.Program // the same program with `dry` set: it decides, and counts nothing
	counters counters.Counters
	link     link.Link
	reason   string       // why it is not native; "" when it is, or when native was not tried
	ipFirst  bool         // frames have no Ethernet header
	queues   atomic.Int32 // queues that the interface received on just before the program was set
}

func (a *attachment) close() error {
	var errs []error
	for _, c := range []interface{ Close() error }{a.program, a.shadow, a.counters.Live} {
		errs = append(errs, c.Close())
	}
	for _, m := range a.counters.Earlier {
		errs = append(errs, m.Close())
	}
	if a.link != nil {
		errs = append(errs, a.link.Close())
	}
	return errors.Join(errs...)
}

// ask runs the shadow program on an Ethernet frame.
func (a *attachment) ask(frame []byte) (maps.Answer, error) {
	if a.ipFirst {
		frame = frame[ethernetHeader:]
	}
	value, err := a.shadow.Run(&ebpf.RunOptions{Data: frame})
	if err != nil {
		return maps.Answer{}, fmt.Errorf("run the shadow program: %w", err)
	}
	return maps.AnswerOf(value), nil
}

// programsFor returns the programs for an interface or the backstop: those that Prepare has
// loaded, if the frames begin as it assumed, or new ones.
func (g *Gate) programsFor(name string) (*attachment, error) {
	ipFirst, err := beginsWithIP(name)
	if err != nil {
		return nil, err
	}
	g.mu.Lock()
	a := g.prepared[name]
	delete(g.prepared, name)
	g.mu.Unlock()
	if a != nil && a.ipFirst == ipFirst {
		a.queues.Store(netdev.VethQueues(name))
		return a, nil
	}
	if a != nil {
		a.close()
	}
	return g.loadPrograms(name, ipFirst)
}

// Prepare loads the programs for an interface that does not exist yet, so that it is guarded
// sooner when it appears. It assumes Ethernet frames. The second call does nothing.
func (g *Gate) Prepare(name string) error {
	g.mu.Lock()
	_, found := g.prepared[name]
	g.mu.Unlock()
	if found {
		return nil
	}
	a, err := g.loadPrograms(name, false)
	if err != nil {
		return withName(name, err)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.prepared[name] = a
	return nil
}

// beginsWithIP is netdev.BeginsWithIP of an interface by name; the backstop sees no frames.
func beginsWithIP(name string) (ipFirst bool, err error) {
	if name == backstop {
		return false, nil
	}
	device, err := netlink.LinkByName(name)
	if err != nil {
		return false, netdev.NotFound(name, err)
	}
	return netdev.BeginsWithIP(device)
}

// loadPrograms loads program and shadow program for name, with the counters that are pinned for
// name. If there are none it makes and pins them; nothing else is pinned.
func (g *Gate) loadPrograms(name string, ipFirst bool) (_ *attachment, err error) {
	program := programOf(name, ipFirst)
	a := &attachment{ipFirst: ipFirst}
	a.queues.Store(netdev.VethQueues(name))
	defer func() {
		if err != nil {
			a.close()
		}
	}()
	if a.counters, err = g.openCounters(name); err != nil {
		return nil, err
	}
	if a.program, err = g.loadProgram(program, a.counters.Live, constants{ipFirst: a.ipFirst}); err != nil {
		return nil, err
	}
	trace, err := counters.New()
	if err != nil {
		return nil, err
	}
	defer trace.Close()
	a.shadow, err = g.loadProgram(program, trace, constants{dry: true, ipFirst: a.ipFirst})
	return a, err
}

// programOf returns the name that the program for an interface or for the backstop has in the
// object.
func programOf(name string, ipFirst bool) string {
	switch {
	case name == backstop:
		return bpf.XdpallowProgBackstop
	case ipFirst:
		return bpf.XdpallowProgXdpallowIp
	}
	return bpf.XdpallowProgXdpallow
}

// loadObject is another one in tests.
var loadObject = bpf.LoadXdpallow

// constants are the read-only variables of a program: `dry` makes a shadow program, `ip_first`
// one for frames without an Ethernet header.
type constants struct{ dry, ipFirst bool }

func (g *Gate) loadProgram(name string, counters *ebpf.Map, c constants) (*ebpf.Program, error) {
	spec, err := loadObject()
	if err != nil {
		return nil, err
	}
	for variable, set := range map[string]bool{bpf.XdpallowVarDry: c.dry, bpf.XdpallowVarIpFirst: c.ipFirst} {
		if !set {
			continue
		}
		if err := spec.Variables[variable].Set(uint8(1)); err != nil {
			return nil, fmt.Errorf("set %s of program %s: %w", variable, name, err)
		}
	}
	replacements := g.Tables.Replacements()
	replacements[bpf.XdpallowMapCounters] = counters
	spec.Programs = map[string]*ebpf.ProgramSpec{name: spec.Programs[name]}
	maps.DropTemplates(spec)
	loaded, err := ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{MapReplacements: replacements})
	if err != nil {
		return nil, fmt.Errorf("load program %s: %w", name, err)
	}
	defer loaded.Close()
	return loaded.DetachProgram(name), nil
}

// openCounters opens the counters that are pinned for name, or makes and pins them.
func (g *Gate) openCounters(name string) (counters.Counters, error) {
	c, err := g.loadCounters(name)
	if c.Live != nil || !errors.Is(err, os.ErrNotExist) {
		return c, err
	}
	made, err := counters.New()
	if err != nil {
		return counters.Counters{}, err
	}
	defer made.Close()
	if err := pins.Put(g.pins.At("counters", name), made); err != nil {
		return counters.Counters{}, err
	}
	return g.loadCounters(name)
}

// loadCounters opens the counters that are pinned for name; os.ErrNotExist when there are none.
func (g *Gate) loadCounters(name string) (c counters.Counters, err error) {
	path := g.pins.At("counters", name)
	if c.Live, err = ebpf.LoadPinnedMap(path, nil); err != nil {
		return c, fmt.Errorf("load pinned counters of %s: %w", name, pins.Explain(path, err))
	}
	c.Earlier, err = g.openEarlier(name)
	return c, err
}

// openEarlier opens the counter maps that other schemas left for name.
func (g *Gate) openEarlier(name string) (earlier []*ebpf.Map, err error) {
	pinned, err := g.pins.Earlier(name)
	for _, path := range pinned {
		m, loadErr := ebpf.LoadPinnedMap(path, nil)
		if loadErr != nil {
			err = fmt.Errorf("load pinned map %s: %w", path, loadErr)
			break
		}
		earlier = append(earlier, m)
	}
	return earlier, err
}

// pinPrograms pins program and shadow program in place of those before.
func (g *Gate) pinPrograms(name string, a *attachment) error {
	return errors.Join(
		pins.Put(g.pins.At("programs", name), a.program),
		pins.Put(g.pins.At("twins", name), a.shadow),
	)
}

func (g *Gate) unpinPrograms(name string) error {
	return errors.Join(
		pins.Remove(g.pins.At("programs", name)),
		pins.Remove(g.pins.At("twins", name)),
	)
}

// load opens what is pinned for name. It makes nothing.
func (g *Gate) load(name string) (_ *attachment, err error) {
	a := &attachment{}
	a.ipFirst, _ = beginsWithIP(name) // an interface that is gone has no frames
	a.queues.Store(netdev.VethQueues(name))
	defer func() {
		if err != nil {
			a.close()
		}
	}()
	if a.link, err = link.LoadPinnedLink(g.pins.Link(name), nil); err != nil {
		return nil, fmt.Errorf("load pinned link of %s: %w", name, err)
	}
	if a.program, err = ebpf.LoadPinnedProgram(g.pins.At("programs", name), nil); err != nil {
		return nil, fmt.Errorf("load pinned program of %s: %w", name, err)
	}
	if a.shadow, err = ebpf.LoadPinnedProgram(g.pins.At("twins", name), nil); err != nil {
		return nil, fmt.Errorf("load pinned shadow program of %s: %w", name, err)
	}
	a.reason = g.pins.KeptReason(name)
	a.counters, err = g.loadCounters(name)
	return a, err
}
