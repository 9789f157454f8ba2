package maps

// This file changes the live policy in place.

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/xdpallow/xdpallow/bpf"
)

// ErrPatch says that a change is no patch: it needs a Publish.
var ErrPatch = errors.New("not a patch")

// Patch changes a few entries of the live policy in place: all puts (new or
// changed entries), then all removes, then the generation. Between two of its
// steps the kernel has some of them, so it takes several prefixes only when none
// covers another: each address then sees one change, at once. Returns ErrPatch,
// having changed nothing, when that does not hold or the tries are stale; on
// another error the caller publishes what he wants. It returns removed entries that were used.
func (t *Tables) Patch(put []Entry, remove []netip.Prefix, generation uint64) (used []Entry, err error) {
	if overlap(put, remove) {
		return nil, ErrPatch
	}
	return t.change(put, remove, generation)
}

// SetModes gives the live services the modes of services and the ends of their audits in place, and
// then raises the generation: the break-glass must not wait for a publish. Entries, ports and scopes
// stay, so each packet is judged as before or as afterwards. It returns ErrPatch, having changed
// nothing, where ports or scopes in the kernel are others; else as Patch.
func (t *Tables) SetModes(services []Service, generation uint64) error {
	want, err := Policy{Services: services}.value()
	if err != nil || t.Stale() {
		return cmp.Or(err, ErrPatch)
	}
	live := new(bpf.XdpallowPolicy)
	if err := t.policy.Lookup(uint32(t.live.Slot), live); err != nil {
		return fmt.Errorf("read policy: %w", err)
	}
	first, same := *live, *want
	for i, row := range live.Services {
		if want.Services[i].Refusal == bpf.XdpallowVerdictVERDICT_DROP {
			first.Services[i].Refusal = want.Services[i].Refusal
		}
		same.Services[i].Refusal, same.Services[i].AuditUntil = row.Refusal, row.AuditUntil
	}
	if same != *live {
		return ErrPatch
	}
	t.move()
	// A packet that has met "audit" and then looks for its end must find it: an audit that was over
	// long ago would let it in. So the end goes when no packet can be so far.
	if first != *live {
		if err := errors.Join(t.putPolicy(t.live.Slot, &first), t.Barrier()); err != nil {
			return err
		}
	}
	if err := t.putPolicy(t.live.Slot, want); err != nil {
		return err
	}
	return t.setCurrent(t.live.Slot, generation)
}

// Grow puts many entries, all of them new, into the live policy in place. The most specific
// come first, so each address sees one change also where one covers another. Some addresses see
// theirs earlier than others. Errors are those of Patch, and of entries that do not read back.
func (t *Tables) Grow(put []Entry, generation uint64) error {
	put = slices.Clone(put)
	slices.SortFunc(put, func(a, b Entry) int {
		return cmp.Or(b.Prefix.Bits()-a.Prefix.Bits(), comparePrefix(a.Prefix, b.Prefix))
	})
	if _, err := t.change(put, nil, generation); err != nil {
		return err
	}
	for _, want := range put {
		got, found, err := t.families[familyOf(want.Prefix)].trie.lookup(want.Prefix)
		if err != nil || !found || !got.SamePolicy(want) {
			return errors.Join(fmt.Errorf("%v reads back as %+v", want, got), err)
		}
	}
	return nil
}

// Shrink takes many entries out of the live policy in place, the widest first; else as Grow. It
// returns those that were used.
func (t *Tables) Shrink(remove []netip.Prefix, generation uint64) (used []Entry, err error) {
	remove = slices.Clone(remove)
	slices.SortFunc(remove, func(a, b netip.Prefix) int { return cmp.Or(a.Bits()-b.Bits(), comparePrefix(a, b)) })
	if used, err = t.change(nil, remove, generation); err != nil {
		return used, err
	}
	for _, p := range remove {
		if _, found, err := t.families[familyOf(p)].trie.lookup(p); err != nil || found {
			return used, errors.Join(fmt.Errorf("%v is still there", p), err)
		}
	}
	return used, nil
}

// change puts, removes, and raises the generation, in that order. used is there beside an error, too.
func (t *Tables) change(put []Entry, remove []netip.Prefix, generation uint64) (used []Entry, err error) {
	if t.Stale() {
		return nil, ErrPatch
	}
	for _, p := range slices.AppendSeq(slices.Clone(remove), prefixes(put)) {
		if err := checkPrefix(p); err != nil {
			return nil, err
		}
	}
	// Bits before entries: an entry without its bits would be dropped unseen.
	for _, e := range put {
		if err := t.widen(e.Prefix); err != nil {
			return nil, err
		}
	}
	t.move()
	for _, e := range put {
		trie := t.families[familyOf(e.Prefix)].trie
		old, found, err := trie.lookup(e.Prefix)
		if err != nil {
			return nil, fmt.Errorf("look up %v: %w", e.Prefix, err)
		}
		e.LastSeen, e.Hits = 0, 0
		if found {
			e.LastSeen, e.Hits = old.LastSeen, old.Hits
		}
		if err := trie.put(e); err != nil {
			return nil, fmt.Errorf("put %v: %w", e.Prefix, err)
		}
	}
	for _, p := range remove {
		trie := t.families[familyOf(p)].trie
		old, found, err := trie.lookup(p)
		if err != nil || !found {
			return used, errors.Join(fmt.Errorf("remove %v: not there", p), err)
		}
		if err := trie.delete(p); err != nil {
			return used, fmt.Errorf("remove %v: %w", p, err)
		}
		if old.Hits != 0 {
			used = append(used, old)
		}
	}
	if err := t.setCurrent(t.live.Slot, generation); err != nil {
		return used, fmt.Errorf("raise generation: %w", err)
	}
	return used, nil
}

func overlap(put []Entry, remove []netip.Prefix) bool {
	all := slices.AppendSeq(slices.Clone(remove), prefixes(put))
	slices.SortFunc(all, comparePrefix)
	for i := 1; i < len(all); i++ {
		if all[i-1].Overlaps(all[i]) {
			return true
		}
	}
	return false
}
