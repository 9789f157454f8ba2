// Package tree is a sorted tree of which every part stays as it is. An edit copies the way to what
// it changes and shares the rest, so that it costs the same among a million items as among a
// thousand, and the tree before it is there to go back to. Leaves have the items themselves,
// side by side: a pointer to each would take twice the memory and be slow to walk.
package tree

import (
	"iter"
	"slices"
)

// Key is what items are sorted by.
type Key[K any] interface{ Compare(K) int }

// Item is what a tree has: one of each key, which stays the same. Its mark is by what few of many
// are found, see Marked.
type Item[K any] interface {
	Key() K
	Mark() uint8
}

// Unmarked is embedded in items that nobody looks for by a mark.
type Unmarked struct{}

// Mark is that of all.
func (Unmarked) Mark() uint8 { return 0 }

// Tree has items, sorted by their keys. The zero value has none. It does not change, and what
// it returns pointers to belongs to it and must not be written to.
type Tree[K Key[K], E Item[K]] struct{ root *node[K, E] } // nil: none

// Change is what becomes of the item of one key.
type Change[K Key[K], E Item[K]] struct {
	Key  K
	Item *E // nil: it goes
}

// fanout is how many items a leaf has at most, and how many children an inner node.
const fanout = 32

// node is a leaf of items, or has children; never neither.
type node[K Key[K], E Item[K]] struct {
	items    []E
	children []*node[K, E]
	keys     []K     // the first of each child
	below    []marks // of each child
	marks    marks   // of the items
	size     int     // items
}

// marks is a set of marks.
type marks [4]uint64

func (m *marks) add(mark uint8) { m[mark>>6] |= 1 << (mark & 63) }

func (m *marks) has(mark uint8) bool { return m[mark>>6]>>(mark&63)&1 != 0 }

// New returns a tree of items, which are sorted and have each key once. It copies them.
func New[K Key[K], E Item[K]](items []E) Tree[K, E] {
	return Tree[K, E]{root(split(items, leaf[K, E]))}
}

// Len returns how many items there are.
func (t Tree[K, E]) Len() int {
	if t.root == nil {
		return 0
	}
	return t.root.size
}

// With returns t after changes, which are sorted and name each key once.
func (t Tree[K, E]) With(changes ...Change[K, E]) Tree[K, E] {
	switch {
	case len(changes) == 0:
		return t
	case t.root == nil:
		return Tree[K, E]{root(split(with(nil, changes), leaf[K, E]))}
	}
	return Tree[K, E]{root(t.root.with(changes))}
}

// Find returns the item of k, or nil.
func (t Tree[K, E]) Find(k K) *E {
	if item := t.UpTo(k); item != nil && (*item).Key().Compare(k) == 0 {
		return item
	}
	return nil
}

// UpTo returns the last item that does not come after k, or nil.
func (t Tree[K, E]) UpTo(k K) *E {
	n := t.root
	if n == nil {
		return nil
	}
	for n.children != nil {
		at := n.child(k)
		if at < 0 {
			return nil
		}
		n = n.children[at]
	}
	at, found := slices.BinarySearchFunc(n.items, k, compare[K, E])
	if found {
		return &n.items[at]
	}
	if at == 0 {
		return nil
	}
	return &n.items[at-1]
}

// Before returns how many items come before k.
func (t Tree[K, E]) Before(k K) (count int) {
	n := t.root
	for n != nil && n.children != nil {
		at := max(0, n.child(k))
		for _, child := range n.children[:at] {
			count += child.size
		}
		n = n.children[at]
	}
	if n != nil {
		at, _ := slices.BinarySearchFunc(n.items, k, compare[K, E])
		count += at
	}
	return count
}

// All yields every item.
func (t Tree[K, E]) All() iter.Seq[*E] {
	return func(yield func(*E) bool) {
		if t.root != nil {
			t.root.all(yield)
		}
	}
}

// Marked yields every item of a mark. Where few have it, it looks at few others.
func (t Tree[K, E]) Marked(mark uint8) iter.Seq[*E] {
	return func(yield func(*E) bool) {
		if t.root != nil {
			t.root.marked(mark, yield)
		}
	}
}

// From yields the items that do not come before k.
func (t Tree[K, E]) From(k K) iter.Seq[*E] {
	return func(yield func(*E) bool) {
		if t.root != nil {
			t.root.from(k, yield)
		}
	}
}

func leaf[K Key[K], E Item[K]](items []E) *node[K, E] {
	n := &node[K, E]{items: items, size: len(items)}
	for i := range items {
		n.marks.add(items[i].Mark())
	}
	return n
}

func parent[K Key[K], E Item[K]](children []*node[K, E]) *node[K, E] {
	n := &node[K, E]{children: children, keys: make([]K, len(children)), below: make([]marks, len(children))}
	for i, child := range children {
		n.keys[i], n.below[i] = child.first(), child.marks
		n.size += child.size
		for word := range n.marks {
			n.marks[word] |= child.marks[word]
		}
	}
	return n
}

func (n *node[K, E]) first() K {
	if n.children != nil {
		return n.keys[0]
	}
	return n.items[0].Key()
}

// split makes nodes of parts as even as can be, none wider than that.
func split[T any, K Key[K], E Item[K]](all []T, of func([]T) *node[K, E]) []*node[K, E] {
	count := (len(all) + fanout - 1) / fanout
	nodes := []*node[K, E]{}
	for i := range count {
		nodes = append(nodes, of(slices.Clone(all[len(all)*i/count:len(all)*(i+1)/count])))
	}
	return nodes
}

// root is the node above nodes; nil of none.
func root[K Key[K], E Item[K]](nodes []*node[K, E]) *node[K, E] {
	for len(nodes) > 1 {
		nodes = split(nodes, parent[K, E])
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
// key once.
func (n *node[K, E]) with(changes []Change[K, E]) []*node[K, E] {
	if n.children == nil {
		return split(with(n.items, changes), leaf[K, E])
	}
	children := make([]*node[K, E], 0, len(n.children)+1)
	for i, child := range n.children {
		mine := len(changes)
		if i+1 < len(n.children) {
			mine, _ = slices.BinarySearchFunc(changes, n.keys[i+1], func(c Change[K, E], key K) int { return c.Key.Compare(key) })
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
	return split(children, parent[K, E])
}

// join appends next to nodes, or to the last of them where both are small: nodes that were
// emptied one by one must not stand for ever.
func join[K Key[K], E Item[K]](nodes []*node[K, E], next *node[K, E]) []*node[K, E] {
	if len(nodes) == 0 {
		return append(nodes, next)
	}
	last := nodes[len(nodes)-1]
	if len(last.items)+len(last.children)+len(next.items)+len(next.children) > fanout/2 {
		return append(nodes, next)
	}
	if last.children == nil {
		nodes[len(nodes)-1] = leaf(slices.Concat(last.items, next.items))
	} else {
		nodes[len(nodes)-1] = parent(slices.Concat(last.children, next.children))
	}
	return nodes
}

// with returns items, sorted, after changes, sorted likewise.
func with[K Key[K], E Item[K]](items []E, changes []Change[K, E]) []E {
	all := make([]E, 0, len(items)+len(changes))
	for _, c := range changes {
		at, found := slices.BinarySearchFunc(items, c.Key, compare[K, E])
		all = append(all, items[:at]...)
		if items = items[at:]; found {
			items = items[1:]
		}
		if c.Item != nil {
			all = append(all, *c.Item)
		}
	}
	return append(all, items...)
}

func compare[K Key[K], E Item[K]](item E, k K) int { return item.Key().Compare(k) }

// child is the index of the child that k belongs to; -1 is before the first.
func (n *node[K, E]) child(k K) int {
	at, found := slices.BinarySearchFunc(n.keys, k, func(key, k K) int { return key.Compare(k) })
	if found {
		return at
	}
	return at - 1
}

// from reports whether yield wants more.
func (n *node[K, E]) from(k K, yield func(*E) bool) bool {
	if n.children == nil {
		at, _ := slices.BinarySearchFunc(n.items, k, compare[K, E])
		return each(n.items[at:], yield)
	}
	at := max(0, n.child(k))
	if !n.children[at].from(k, yield) {
		return false
	}
	for _, child := range n.children[at+1:] {
		if !child.all(yield) {
			return false
		}
	}
	return true
}

func (n *node[K, E]) all(yield func(*E) bool) bool {
	for _, child := range n.children {
		if !child.all(yield) {
			return false
		}
	}
	return each(n.items, yield)
}

// marked is from for the items of a mark.
func (n *node[K, E]) marked(mark uint8, yield func(*E) bool) bool {
	for i, child := range n.children {
		if n.below[i].has(mark) && !child.marked(mark, yield) {
			return false
		}
	}
	for i := range n.items {
		if n.items[i].Mark() == mark && !yield(&n.items[i]) {
			return false
		}
	}
	return true
}

func each[E any](items []E, yield func(*E) bool) bool {
	for i := range items {
		if !yield(&items[i]) {
			return false
		}
	}
	return true
}
