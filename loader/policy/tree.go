// This file is a sorted tree of which every part stays as it is. An edit copies the way to what
// it changes and shares the rest, so that it costs the same among a million entries as among a
// thousand. Leaves have the entries themselves, side by side: a tree of a pointer to each
// would take twice the memory and be slow to walk.

package policy

import (
	"net/netip"
	"slices"
)

// fanout is how many entries a leaf has at most, and how many children an inner node.
const fanout = 32

// node is a leaf of entries, or has children; never neither.
type node struct {
	entries  []Entry
	children []*node
	keys     []netip.Prefix // the first of each child
	sizes    [2]int         // entries of IPv4 and of IPv6
}

// change is what becomes of one prefix.
type change struct {
	prefix netip.Prefix
	entry  *Entry // nil: it goes
}

func leaf(entries []Entry) *node {
	n := &node{entries: entries}
	ipv4, _ := slices.BinarySearchFunc(entries, true, func(e Entry, _ bool) int {
		if e.Prefix.Addr().Is4() {
			return -1
		}
		return 1
	})
	n.sizes = [2]int{ipv4, len(entries) - ipv4}
	return n
}

func parent(children []*node) *node {
	n := &node{children: children, keys: make([]netip.Prefix, len(children))}
	for i, child := range children {
		n.keys[i] = child.first()
		n.sizes[0], n.sizes[1] = n.sizes[0]+child.sizes[0], n.sizes[1]+child.sizes[1]
	}
	return n
}

func (n *node) first() netip.Prefix {
	if n.children != nil {
		return n.keys[0]
	}
	return n.entries[0].Prefix
}

// split makes nodes of parts as even as can be, none wider than that.
func split[T any](all []T, make func([]T) *node) []*node {
	count := (len(all) + fanout - 1) / fanout
	nodes := []*node{}
	for i := range count {
		nodes = append(nodes, make(slices.Clone(all[len(all)*i/count:len(all)*(i+1)/count])))
	}
	return nodes
}

// root is the node above nodes; nil of none.
func root(nodes []*node) *node {
	for len(nodes) > 1 {
		nodes = split(nodes, parent)
	}
	if len(nodes) == 0 {
		return nil
	}
	n := nodes[0]
	for len(n.children) == 1 {
		n = n.children[0]
	}
	return n
}

// with returns the nodes that stand for n after changes, which are sorted and name each
// prefix once.
func (n *node) with(changes []change) []*node {
	if n.children == nil {
		return split(with(n.entries, changes), leaf)
	}
	children := make([]*node, 0, len(n.children)+1)
	for i, child := range n.children {
		mine := len(changes)
		if i+1 < len(n.children) {
			mine, _ = slices.BinarySearchFunc(changes, n.keys[i+1], func(c change, key netip.Prefix) int { return ComparePrefix(c.prefix, key) })
		}
		if mine == 0 {
			children = join(children, child)
			continue
		}
		for _, one := range child.with(changes[:mine]) {
			children = join(children, one)
		}
		changes = changes[mine:]
	}
	return split(children, parent)
}

// join appends next to nodes, or to the last of them where both are small: nodes that were
// emptied one by one must not stand for ever.
func join(nodes []*node, next *node) []*node {
	if len(nodes) == 0 {
		return append(nodes, next)
	}
	last := nodes[len(nodes)-1]
	if len(last.entries)+len(last.children)+len(next.entries)+len(next.children) > fanout/2 {
		return append(nodes, next)
	}
	if last.children == nil {
		nodes[len(nodes)-1] = leaf(slices.Concat(last.entries, next.entries))
	} else {
		nodes[len(nodes)-1] = parent(slices.Concat(last.children, next.children))
	}
	return nodes
}

// with returns entries, sorted, after changes, sorted likewise.
func with(entries []Entry, changes []change) []Entry {
	all := make([]Entry, 0, len(entries)+len(changes))
	for _, c := range changes {
		at, found := slices.BinarySearchFunc(entries, c.prefix, compareEntry)
		all = append(all, entries[:at]...)
		if entries = entries[at:]; found {
			entries = entries[1:]
		}
		if c.entry != nil {
			all = append(all, *c.entry)
		}
	}
	return append(all, entries...)
}

func compareEntry(e Entry, p netip.Prefix) int { return ComparePrefix(e.Prefix, p) }

// upTo returns the last entry that does not come after p, or nil.
func (n *node) upTo(p netip.Prefix) *Entry {
	for n.children != nil {
		at := n.child(p)
		if at < 0 {
			return nil
		}
		n = n.children[at]
	}
	at, found := slices.BinarySearchFunc(n.entries, p, compareEntry)
	if found {
		return &n.entries[at]
	}
	if at == 0 {
		return nil
	}
	return &n.entries[at-1]
}

// child is the index of the child that p belongs to; -1 is before the first.
func (n *node) child(p netip.Prefix) int {
	at, found := slices.BinarySearchFunc(n.keys, p, ComparePrefix)
	if found {
		return at
	}
	return at - 1
}

// from yields the entries that do not come before p, and reports whether yield wants more.
func (n *node) from(p netip.Prefix, yield func(*Entry) bool) bool {
	if n.children == nil {
		at, _ := slices.BinarySearchFunc(n.entries, p, compareEntry)
		return each(n.entries[at:], yield)
	}
	at := max(0, n.child(p))
	if !n.children[at].from(p, yield) {
		return false
	}
	for _, child := range n.children[at+1:] {
		if !child.all(yield) {
			return false
		}
	}
	return true
}

func (n *node) all(yield func(*Entry) bool) bool {
	for _, child := range n.children {
		if !child.all(yield) {
			return false
		}
	}
	return each(n.entries, yield)
}

func each(entries []Entry, yield func(*Entry) bool) bool {
	for i := range entries {
		if !yield(&entries[i]) {
			return false
		}
	}
	return true
}
