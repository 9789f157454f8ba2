package loader

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
)

const ethernetHeader = 14

// attachment is what belongs to one program that is attached: on an interface, or as
// the backstop.
type attachment struct {
	program  *ebpf.Program
	twin     *ebpf.Program // the same program, dry; see bpf/maps.h
	counters maps.Counters
	link     link.Link
	reason   string       // why not native, "" when it is or nobody asked for native
	ipFirst  bool         // frames have no Ethernet header
	queues   atomic.Int32 // that the interface received on as the program was set, or before
}

func (a *attachment) close() error {
	var errs []error
	for _, c := range []interface{ Close() error }{a.program, a.twin, a.counters.Live} {
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

// ask wants an Ethernet frame, and runs what of it this interface would carry.
func (a *attachment) ask(frame []byte) (maps.Answer, error) {
	if a.ipFirst {
		frame = frame[ethernetHeader:]
	}
	value, err := a.twin.Run(&ebpf.RunOptions{Data: frame})
	if err != nil {
		return maps.Answer{}, fmt.Errorf("run twin: %w", err)
	}
	return maps.AnswerOf(value), nil
}

// make returns a program and its twin for name: those that Prepare has loaded, or new
// ones. The name is an interface's, or that of the backstop.
func (g *Gate) make(name string) (*attachment, error) {
	ipFirst, err := framing(name)
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
	return g.loadBoth(name, ipFirst)
}

// Prepare loads what an interface that is not there yet is going to run, so that it is
// guarded sooner when it comes. It is taken for one with Ethernet frames. To do it twice
// is nothing to do.
func (g *Gate) Prepare(name string) error {
	g.mu.Lock()
	_, found := g.prepared[name]
	g.mu.Unlock()
	if found {
		return nil
	}
	a, err := g.loadBoth(name, false)
	if err != nil {
		return named(name, err)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.prepared[name] = a
	return nil
}

// framing is netdev.BeginsWithIP of the interface of that name; the backstop sees no frames.
func framing(name string) (ipFirst bool, err error) {
	if name == backstop {
		return false, nil
	}
	device, err := netlink.LinkByName(name)
	if err != nil {
		return false, netdev.NotFound(name, err)
	}
	return netdev.BeginsWithIP(device)
}

// loadBoth loads a program and its twin for name, with the counters that name already
// has. Nothing is pinned yet but the counters.
func (g *Gate) loadBoth(name string, ipFirst bool) (_ *attachment, err error) {
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
	trace, err := maps.NewCounters()
	if err != nil {
		return nil, err
	}
	defer trace.Close()
	a.twin, err = g.loadProgram(program, trace, constants{dry: true, ipFirst: a.ipFirst})
	return a, err
}

// programOf is the name in the object of what guards an interface, or is the backstop.
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

// constants are those of a program, see bpf/maps.h and bpf/parse.h.
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

// openCounters opens what is pinned for name, or makes and pins it.
func (g *Gate) openCounters(name string) (maps.Counters, error) {
	c, err := g.loadCounters(name)
	if c.Live != nil || !errors.Is(err, os.ErrNotExist) {
		return c, err
	}
	made, err := maps.NewCounters()
	if err != nil {
		return maps.Counters{}, err
	}
	defer made.Close()
	if err := pins.Put(g.pins.At("counters", name), made); err != nil {
		return maps.Counters{}, err
	}
	return g.loadCounters(name)
}

// loadCounters opens what is pinned for name; os.ErrNotExist when nothing is.
func (g *Gate) loadCounters(name string) (c maps.Counters, err error) {
	path := g.pins.At("counters", name)
	if c.Live, err = ebpf.LoadPinnedMap(path, nil); err != nil {
		return c, fmt.Errorf("load pinned counters of %s: %w", name, pins.Explain(path, err))
	}
	c.Earlier, err = g.openEarlier(name)
	return c, err
}

// openEarlier opens what other schemas had counted for name.
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

// pinPrograms pins program and twin in place of their forerunners.
func (g *Gate) pinPrograms(name string, a *attachment) error {
	return errors.Join(
		pins.Put(g.pins.At("programs", name), a.program),
		pins.Put(g.pins.At("twins", name), a.twin),
	)
}

func (g *Gate) unpinPrograms(name string) error {
	return errors.Join(
		pins.Remove(g.pins.At("programs", name)),
		pins.Remove(g.pins.At("twins", name)),
	)
}

// load reads what is pinned for name, for a reader: it makes nothing.
func (g *Gate) load(name string) (_ *attachment, err error) {
	a := &attachment{}
	a.ipFirst, _ = framing(name) // one that is gone, or was never to be read, says nothing
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
	if a.twin, err = ebpf.LoadPinnedProgram(g.pins.At("twins", name), nil); err != nil {
		return nil, fmt.Errorf("load pinned twin of %s: %w", name, err)
	}
	a.reason = g.keptReason(name)
	a.counters, err = g.loadCounters(name)
	return a, err
}
