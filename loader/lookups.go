package loader

// This file finds other programs at the socket lookups. The kernel runs all of them, and a
// program that selects a socket overrules the backstop's refusal.

import (
	"errors"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"slices"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"

	"github.com/xdpallow/xdpallow/loader/needs"
	"github.com/xdpallow/xdpallow/loader/netdev"
	"github.com/xdpallow/xdpallow/loader/pins"
)

// Lookup is a program at the socket lookups of this network namespace.
type Lookup struct {
	ProgramID uint32
	Name      string // "" when the caller may not ask
}

func (l Lookup) String() string {
	if l.Name == "" {
		return fmt.Sprintf("program %d", l.ProgramID)
	}
	return fmt.Sprintf("program %d (%s)", l.ProgramID, l.Name)
}

// OtherLookups returns the programs at the socket lookups of this network namespace that are
// neither the backstop of this gate nor one of a gate that is pinned beside it.
func (g *Gate) OtherLookups() ([]Lookup, error) {
	ours, err := g.Backstop()
	if err != nil {
		return nil, err
	}
	return otherLookups(append(g.neighbours(), ours.ProgramID))
}

// OtherLookups is [Gate.OtherLookups] for a gate under root, which need not exist.
func OtherLookups(root string) ([]Lookup, error) {
	return otherLookups((&Gate{pins: pins.Root(root)}).neighbours())
}

func otherLookups(known []uint32) (others []Lookup, err error) {
	ns, err := os.Open(netdev.NamespaceFile)
	if err != nil {
		return nil, fmt.Errorf("open the network namespace: %w", err)
	}
	defer ns.Close()
	found, err := link.QueryPrograms(link.QueryOptions{Target: int(ns.Fd()), Attach: ebpf.AttachSkLookup})
	if errors.Is(err, ebpf.ErrNotSupported) && len(needs.Capabilities()) > 0 {
		err = os.ErrPermission // the library reports a missing capability as a missing feature
	}
	if err != nil {
		return nil, needs.Explain(fmt.Errorf("list the programs at the socket lookups: %w", err))
	}
	for _, program := range found.Programs {
		if id := uint32(program.ID); !slices.Contains(known, id) {
			others = append(others, Lookup{id, programName(id)})
		}
	}
	return others, nil
}

// neighbours returns the ids of the programs of our backstop and of those whose pin roots lie
// beside ours. Without CAP_SYS_ADMIN the kernel tells only the id of a program at the lookups,
// so pins are the only way to know whose it is.
func (g *Gate) neighbours() (programs []uint32) {
	for _, info := range g.backstops() {
		programs = append(programs, uint32(info.Program))
	}
	return programs
}

// Neighbours returns the pin roots beside ours that have a backstop in this network namespace.
func (g *Gate) Neighbours() (roots []string) {
	for root, info := range g.backstops() {
		if root != g.pins && inThisNamespace(info) {
			roots = append(roots, string(root))
		}
	}
	return roots
}

// backstops returns the links of the backstops that are pinned under our root and beside it.
func (g *Gate) backstops() iter.Seq2[pins.Root, *link.Info] {
	return func(yield func(pins.Root, *link.Info) bool) {
		parent := filepath.Dir(string(g.pins))
		files, _ := os.ReadDir(parent) // unreadable roots are unknown backstops
		for _, file := range files {
			root := pins.Root(filepath.Join(parent, file.Name()))
			if info, err := pinnedInfo(root.Link(backstop)); err == nil && !yield(root, info) {
				return
			}
		}
	}
}

// programName asks the kernel for the name of a program; "" when the caller may not ask.
func programName(id uint32) string {
	program, err := ebpf.NewProgramFromID(ebpf.ProgramID(id))
	if err != nil {
		return ""
	}
	defer program.Close()
	info, err := program.Info()
	if err != nil {
		return ""
	}
	return info.Name
}
