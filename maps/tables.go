package maps

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/xdpallow/xdpallow/bpf"
	"github.com/xdpallow/xdpallow/maps/bloom"
)

// Pins keeps maps alive without us, by name. What a name stands for may be
// replaced at any time; a replacement is atomic.
type Pins interface {
	Pin(name string, m *ebpf.Map) error
	Load(name string) (*ebpf.Map, error) // os.ErrNotExist when there is none
	Unpin(name string) error             // no error when there is none
}

const slots = uint64(bpf.XdpallowLimitNR_SLOTS)

// Tables are the maps that all programs of one pin root share: the policy and the
// tries in two slots, and which of them is live. One writer at a time; beside him any
// number may call Generation, Stale, Lookup, Use, Tries, SameServices and SameCurrent.
type Tables struct {
	// BeforeMove is called by Publish and Patch when all is ready, just before programs can
	// meet the first of what is new; nil is nothing to do.
	BeforeMove func()

	pins           Pins
	current        *ebpf.Map
	policy         *ebpf.Map
	allow          [2]*ebpf.Map // the outer maps of the tries, IPv4 and IPv6
	coarse         *ebpf.Map    // the coarse level of the prefilter, both slots
	fine           [2]*ebpf.Map // the outer maps of its fine level
	local          *ebpf.Map    // see SetLocal
	ingress        *ebpf.Map    // see SetIngress
	inSocketLookup *ebpf.Map    // between the programs only
	owners         *ebpf.Map    // see SetOwner
	openings       *ebpf.Map    // see Openings
	events         *ebpf.Map    // see package ring
	lost           *ebpf.Map    // see package ring
	barrier        *ebpf.Map    // nil for a reader

	mu           sync.RWMutex // of the next four, for those who look beside the writer; SetSampling writes live beside him
	live         bpf.XdpallowCurrent
	families     [2]familySlot // of the live slot, zero before the first publish
	needsPublish bool          // see Stale
	retired      [2]trie       // see Use

	settled bool      // no program can still be reading the idle slot
	widened [2]int    // prefixes that were added to the prefilter since a publish made it
	node    [2]uint64 // see Count
}

// familySlot is what one family has in one slot.
type familySlot struct {
	trie      trie
	prefilter *bloom.Filter // its sizes; the bitmaps are in the kernel
	fine      *ebpf.Map     // nil when the prefilter is off
}

func (s familySlot) close() error { return errors.Join(s.trie.m.Close(), s.fine.Close()) }

var outerNames = [2]string{bpf.XdpallowMapAllow4, bpf.XdpallowMapAllow6}

func innerName(outer string, slot uint64) string { return fmt.Sprintf("%s-%d", outer, slot) }

// OpenTables adopts the tables that are pinned, or makes and pins new ones.
func OpenTables(pins Pins) (*Tables, error) {
	t, err := openTables(pins, openMap)
	if err != nil {
		return nil, err
	}
	if t.barrier, err = newBarrier(); err != nil {
		t.Close()
		return nil, err
	}
	return t, nil
}

// LoadTables opens the tables that are pinned, for a reader: it makes nothing, and
// they must not be written to. Returns an error that is os.ErrNotExist when a map is
// missing.
func LoadTables(pins Pins) (*Tables, error) { return openTables(pins, loadMap) }

func openTables(pins Pins, open func(Pins, string, *ebpf.MapSpec) (*ebpf.Map, error)) (_ *Tables, err error) {
	t := &Tables{pins: pins}
	defer func() {
		if err != nil {
			t.Close()
		}
	}()
	all, err := bpf.LoadXdpallow()
	if err != nil {
		return nil, err
	}
	all.Maps[bpf.XdpallowMapCurrent].Flags |= unix.BPF_F_MMAPABLE // as the loader of programs has it
	for name, m := range t.maps() {
		if *m, err = open(pins, pinName(name), all.Maps[name]); err != nil {
			return nil, err
		}
	}
	if err := t.current.Lookup(uint32(0), &t.live); err != nil {
		return nil, fmt.Errorf("read current: %w", err)
	}
	return t, t.adopt()
}

// pinName is the name of a map in the file system, which has no use for dots.
func pinName(name string) string { return strings.TrimPrefix(name, ".data.") }

func loadMap(pins Pins, name string, spec *ebpf.MapSpec) (*ebpf.Map, error) {
	m, err := pins.Load(name)
	if err != nil {
		return nil, err
	}
	if err := spec.Compatible(m); err != nil {
		m.Close()
		return nil, fmt.Errorf("pinned map %s: %w", name, err)
	}
	return m, nil
}

func openMap(pins Pins, name string, spec *ebpf.MapSpec) (*ebpf.Map, error) {
	m, err := loadMap(pins, name, spec)
	if !errors.Is(err, os.ErrNotExist) {
		return m, err
	}
	if m, err = ebpf.NewMap(spec); err != nil {
		return nil, fmt.Errorf("make map %s: %w", name, err)
	}
	if err := pins.Pin(name, m); err != nil {
		m.Close()
		return nil, err
	}
	return m, nil
}

// Stale reports whether the live tries cannot be reached, so that only a publish
// can bring the kernel to a known state.
func (t *Tables) Stale() bool {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.stale()
}

func (t *Tables) stale() bool { return t.needsPublish || t.live.Generation == 0 }

func (t *Tables) move() {
	if t.BeforeMove != nil {
		t.BeforeMove()
	}
}

// edit changes what all programs begin with.
func (t *Tables) edit(change func(*bpf.XdpallowCurrent)) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	next := t.live
	change(&next)
	if err := t.current.Put(uint32(0), next); err != nil {
		return fmt.Errorf("write %s: %w", bpf.XdpallowVarCurrent, err)
	}
	t.live = next
	return nil
}

// setCurrent makes slot live, as that generation.
func (t *Tables) setCurrent(slot, generation uint64) error {
	return t.edit(func(c *bpf.XdpallowCurrent) { c.Slot, c.Generation = slot, generation })
}

// Generation is the number of the published policy; 0 before the first.
func (t *Tables) Generation() uint64 {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.live.Generation
}

// Replacements are the maps to give to a program at load.
func (t *Tables) Replacements() map[string]*ebpf.Map {
	all := map[string]*ebpf.Map{}
	for name, m := range t.maps() {
		all[name] = *m
	}
	return all
}

func (t *Tables) maps() map[string]**ebpf.Map {
	return map[string]**ebpf.Map{
		bpf.XdpallowMapCurrent: &t.current, bpf.XdpallowMapPolicy: &t.policy,
		bpf.XdpallowMapAllow4: &t.allow[0], bpf.XdpallowMapAllow6: &t.allow[1],
		bpf.XdpallowMapBloomCoarse: &t.coarse,
		bpf.XdpallowMapBloomFine4:  &t.fine[0], bpf.XdpallowMapBloomFine6: &t.fine[1],
		bpf.XdpallowMapLocal: &t.local, bpf.XdpallowMapIngress: &t.ingress,
		bpf.XdpallowMapInSocketLookup: &t.inSocketLookup,
		bpf.XdpallowMapOwners:         &t.owners, bpf.XdpallowMapOpeningsOf: &t.openings,
		bpf.XdpallowMapEvents: &t.events, bpf.XdpallowMapLost: &t.lost,
	}
}

// DropTemplates takes out of a spec what is only there for its types.
func DropTemplates(spec *ebpf.CollectionSpec) {
	delete(spec.Maps, bpf.XdpallowMapTrie4)
	delete(spec.Maps, bpf.XdpallowMapTrie6)
}

// Close closes our handles. Pinned and attached, the tables live on.
func (t *Tables) Close() error {
	var errs []error
	for _, m := range t.Replacements() {
		errs = append(errs, m.Close())
	}
	return errors.Join(append(errs, t.barrier.Close(), t.families[0].close(), t.families[1].close(), t.Release())...)
}

func familyOf(p netip.Prefix) int {
	if p.Addr().Is4() {
		return 0
	}
	return 1
}

func comparePrefix(a, b netip.Prefix) int {
	return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Bits(), b.Bits()))
}

func sortEntries(entries []Entry) {
	slices.SortFunc(entries, func(a, b Entry) int { return comparePrefix(a.Prefix, b.Prefix) })
}
