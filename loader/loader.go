// Package loader puts programs, links and pins into the kernel and takes them out: it loads,
// attaches, adopts, upgrades, restores and detaches. It knows interfaces and pins, and neither
// owners nor files of entries. Methods of a [Gate] may be called concurrently where they say so;
// all of them act in the network namespace of the calling thread.
package loader

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"

	"github.com/cilium/ebpf/rlimit"

	"github.com/xdpallow/xdpallow/loader/lock"
	"github.com/xdpallow/xdpallow/loader/needs"
	"github.com/xdpallow/xdpallow/loader/pins"
	"github.com/xdpallow/xdpallow/maps"
)

// ErrNoPins says that nothing is pinned under the root: there is no gate.
var ErrNoPins = errors.New("nothing is pinned")

// Gate is everything that is pinned under one root: the tables, and for each interface and for
// the backstop a program, its shadow program, its counters and its link. What it pins outlives
// it, and enforces without it.
type Gate struct {
	Tables *maps.Tables

	pins pins.Root
	lock *os.File // nil for a reader

	mu       sync.RWMutex           // of the next two; who reads an attachment has it until he has read
	attached map[string]*attachment // by interface, and the backstop
	prepared map[string]*attachment // programs without a link, see Prepare
}

// Open makes the caller the only owner of root, and opens the tables that are pinned there or
// makes new ones. Links are left alone until [Gate.Attach]. The caller closes the gate. Returns
// *lock.HeldError when another process is the owner, *NamespaceError when the gate belongs to
// another network namespace, *pins.PrivateMountError, *pins.HiddenError, or an error that is
// os.ErrPermission.
func Open(root string) (_ *Gate, err error) {
	defer func() { err = needs.Explain(err) }()
	// Linux before 5.11 charges maps to RLIMIT_MEMLOCK; later ones have nothing to remove.
	if err := rlimit.RemoveMemlock(); err != nil {
		return nil, fmt.Errorf("lift the limit of locked memory: %w", err)
	}
	if err := pins.Root(root).Ensure(); err != nil {
		return nil, err
	}
	held, err := lock.Take(root)
	if err != nil {
		return nil, err
	}
	g := &Gate{pins: pins.Root(root), lock: held, attached: map[string]*attachment{}, prepared: map[string]*attachment{}}
	if err := g.checkNamespace(); err != nil {
		held.Close()
		return nil, err
	}
	if err := g.pins.MakeDirectories(); err != nil {
		held.Close()
		return nil, err
	}
	if g.Tables, err = maps.OpenTables(pins.Tables(g.pins.Schema())); err != nil {
		held.Close()
		return nil, fmt.Errorf("open tables under %s: %w", root, err)
	}
	if err := g.NoteBackstop(); err != nil {
		g.Close()
		return nil, err
	}
	return g, nil
}

// OpenReader opens what is pinned under root for reading, also while another process is the
// owner. It makes and changes nothing, so that a missing pin is an error. The caller closes the
// gate, and calls only methods that ask. Returns ErrNoPins when there is no gate, and
// *NamespaceError when it belongs to another network namespace.
func OpenReader(root string) (*Gate, error) {
	g := &Gate{pins: pins.Root(root), attached: map[string]*attachment{}}
	linked, err := g.Linked()
	if err != nil {
		return nil, err
	}
	if g.hasBackstop() {
		linked = append(linked, backstop)
	}
	if len(linked) == 0 {
		return nil, fmt.Errorf("%w under %s", ErrNoPins, root)
	}
	if err := g.checkNamespace(); err != nil {
		return nil, err
	}
	if _, err := os.Stat(g.pins.Schema("current")); err != nil {
		return nil, fmt.Errorf("the gate under %s was put up by another release: %w", root, err)
	}
	if g.Tables, err = maps.LoadTables(pins.Tables(g.pins.Schema())); err != nil {
		return nil, fmt.Errorf("open tables under %s: %w", root, err)
	}
	for _, name := range linked {
		a, err := g.load(name)
		if err != nil {
			g.Close()
			return nil, err
		}
		g.attached[name] = a
	}
	return g, nil
}

// Linked lists the interfaces that have a pinned link, attached or not.
func (g *Gate) Linked() ([]string, error) {
	linked, err := g.pins.Linked()
	return slices.DeleteFunc(linked, func(name string) bool { return name == backstop }), err
}

// Up reports whether a link is pinned, of an interface or of the backstop.
func (g *Gate) Up() bool {
	linked, err := g.Linked()
	return err == nil && len(linked) > 0 || g.hasBackstop()
}

// Attached lists the interfaces of which this gate has handles, sorted. It may be called
// concurrently.
func (g *Gate) Attached() []string {
	g.mu.RLock()
	defer g.mu.RUnlock()
	names := make([]string, 0, len(g.attached))
	for name := range g.attached {
		if name != backstop {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// Close closes all handles and gives up the ownership. The kernel goes on with what is pinned.
func (g *Gate) Close() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	var errs []error
	for _, a := range g.attached {
		errs = append(errs, a.close())
	}
	for _, a := range g.prepared {
		errs = append(errs, a.close())
	}
	errs = append(errs, g.Tables.Close())
	if g.lock != nil {
		errs = append(errs, g.lock.Close())
	}
	return errors.Join(errs...)
}

// borrow returns the attachment of name, which nobody closes or replaces until give is
// called: whoever looks may do so beside the one who attaches and detaches.
func (g *Gate) borrow(name string) (a *attachment, give func(), err error) {
	g.mu.RLock()
	a, found := g.attached[name]
	if found {
		return a, g.mu.RUnlock, nil
	}
	g.mu.RUnlock()
	if name == backstop {
		return nil, nil, errors.New("the backstop is not attached")
	}
	return nil, nil, fmt.Errorf("interface %s is not attached", name)
}

// attachment is borrow for the one who attaches and detaches.
func (g *Gate) attachment(name string) (*attachment, error) {
	a, give, err := g.borrow(name)
	if err == nil {
		give()
	}
	return a, err
}

// Ask returns what the program of an attached interface decides about an Ethernet frame, which
// has 14 bytes at least. It runs the shadow program on the live tables: nothing is counted or
// sampled. If frames of the interface have no Ethernet header, that of frame is cut off first.
func (g *Gate) Ask(name string, frame []byte) (maps.Answer, error) {
	a, give, err := g.borrow(name)
	if err != nil {
		return maps.Answer{}, err
	}
	defer give()
	return a.ask(frame)
}
