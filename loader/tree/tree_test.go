package tree

import (
	"cmp"
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

type number int

func (a number) Compare(b number) int { return cmp.Compare(a, b) }

type item struct {
	number number
	word   string
}

func (i item) Key() number { return i.number }

func (i item) Mark() uint8 {
	looked++
	return i.word[0]
}

// looked counts the items that were asked for their mark.
var looked int

// Promise: through any sequence of edits, small and large, a tree has what a map has, in
// order; the tree before each is as it was; and no node is empty or wider than it may be.
func TestTreeAgainstMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var is Tree[number, item]
		want := map[number]string{}
		for range rapid.IntRange(1, 8).Draw(t, "edits") {
			was, before := is, maps.Clone(want)
			changed := map[number]*item{}
			from, many := rapid.IntRange(0, 3000).Draw(t, "from"), rapid.SampledFrom([]int{1, 3, 40, 3000}).Draw(t, "many")
			step, goes := rapid.IntRange(1, 5).Draw(t, "step"), rapid.IntRange(0, 3).Draw(t, "goes")
			for i := range many {
				n := number(from + i*step)
				if changed[n] = nil; i%4 < goes {
					delete(want, n)
					continue
				}
				want[n] = string(rune(97 + i%26))
				changed[n] = &item{n, want[n]}
			}
			var changes []Change[number, item]
			for _, n := range slices.Sorted(maps.Keys(changed)) {
				changes = append(changes, Change[number, item]{n, changed[n]})
			}
			is = is.With(changes...)
			same(t, is, want)
			same(t, was, before)
		}
	})
}

func same(t *rapid.T, tree Tree[number, item], want map[number]string) {
	keys := slices.Sorted(maps.Keys(want))
	var got []number
	for i := range tree.All() {
		if got = append(got, i.number); i.word != want[i.number] {
			t.Fatalf("%d is %q, want %q", i.number, i.word, want[i.number])
		}
	}
	if !slices.Equal(got, keys) || tree.Len() != len(keys) {
		t.Fatalf("%d keys, counted as %d, want %d", len(got), tree.Len(), len(keys))
	}
	for _, n := range []number{-1, 0, 1, 700, 2999, 20000} {
		at, found := slices.BinarySearch(keys, n)
		if tree.Before(n) != at || (tree.Find(n) != nil) != found {
			t.Fatalf("%d: %d before it, want %d; found %v, want %v", n, tree.Before(n), at, tree.Find(n) != nil, found)
		}
		var last *number
		if found {
			last = &keys[at]
		} else if at > 0 {
			last = &keys[at-1]
		}
		if upTo := tree.UpTo(n); (upTo == nil) != (last == nil) || last != nil && upTo.number != *last {
			t.Fatalf("up to %d is %v", n, upTo)
		}
		left := 0
		for range tree.From(n) {
			left++
		}
		if left != len(keys)-at {
			t.Fatalf("%d from %d on, want %d", left, n, len(keys)-at)
		}
	}
	for _, mark := range []uint8{'a', 'q', 0} {
		var of, marked []number
		for _, n := range keys {
			if want[n][0] == mark {
				of = append(of, n)
			}
		}
		for i := range tree.Marked(mark) {
			marked = append(marked, i.number)
		}
		if !slices.Equal(marked, of) {
			t.Fatalf("%d items are marked %q, want %d", len(marked), mark, len(of))
		}
	}
	if tree.root != nil {
		whole(t, tree.root)
	}
}

func whole(t *rapid.T, n *node[number, item]) {
	if wide := len(n.items) + len(n.children); wide == 0 || wide > fanout || len(n.children) != len(n.keys) {
		t.Fatalf("a node has %d items, %d children, %d keys", len(n.items), len(n.children), len(n.keys))
	}
	for _, child := range n.children {
		whole(t, child)
	}
}

// Promise: to find few among many, it looks at few others, also after edits.
func TestMarkedLooksAtFew(t *testing.T) {
	var items []item
	for i := range 100_000 {
		items = append(items, item{number(i), string(rune('a' + i%20))})
	}
	is := New[number](items)
	is = is.With(Change[number, item]{5, &item{5, "z"}}, Change[number, item]{90_005, &item{90_005, "z"}})
	is = is.With(Change[number, item]{90_005, &item{90_005, "a"}})
	looked = 0
	var found []number
	for i := range is.Marked('z') {
		found = append(found, i.number)
	}
	if !slices.Equal(found, []number{5}) || looked > fanout {
		t.Errorf("found %v, having looked at %d of %d items", found, looked, is.Len())
	}
	for i := range is.Marked('a') {
		if i.number > 0 {
			t.Errorf("found %d, and wanted no more", i.number)
		}
		break
	}
}
