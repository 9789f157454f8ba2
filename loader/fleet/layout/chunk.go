// This file is the entries of a list as chunks: texts that are named by their sum and never
// change. A change of a list makes new chunks where it is, and leaves the others as they are.

package layout

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"

	"github.com/xdpallow/xdpallow/loader/policy"
)

// Bounds of a chunk. maxLines keeps what a change of one entry rewrites at some kilobytes.
const (
	maxLines  = 4096
	maxText   = 4 << 20 // bytes of the lines
	maxPacked = 256 << 10
)

// List is the entries of a list, packed. A million of them have 8 MiB.
type List struct {
	Chunks []Chunk
	packed map[string][]byte // by sum, gzip
}

// NewList cuts claims, sorted by policy.ComparePrefix and each prefix once, into chunks. The
// boundaries are those of like where they can be, so that what has not changed has the same sum;
// a chunk that became too long is cut in halves. Chunks that like holds are not packed again.
func NewList(claims []policy.Claim, like List) (List, error) {
	l := List{packed: map[string][]byte{}}
	for i := range like.Chunks {
		end := len(claims)
		if i+1 < len(like.Chunks) {
			end, _ = slices.BinarySearchFunc(claims, like.Chunks[i+1].First, func(c policy.Claim, p netip.Prefix) int { return policy.ComparePrefix(c.Prefix, p) })
		}
		if err := l.add(claims[:end], like); err != nil {
			return List{}, err
		}
		claims = claims[end:]
	}
	return l, l.add(claims, like)
}

// add appends claims as one chunk, or as many as its bounds ask for.
func (l *List) add(claims []policy.Claim, like List) error {
	if len(claims) == 0 {
		return nil
	}
	var text []byte
	if len(claims) <= maxLines {
		for _, c := range claims {
			text = append(policy.AppendLine(text, c), '\n')
		}
	}
	var packed []byte
	sum := textSum(text)
	fits := text != nil && len(text) <= maxText
	if fits {
		packed = like.packed[sum]
		if packed == nil {
			packed = pack(text)
		}
		fits = len(packed) <= maxPacked
	}
	switch half := len(claims) / 2; {
	case fits:
		l.Chunks = append(l.Chunks, Chunk{Sum: sum, First: claims[0].Prefix, Entries: len(claims)})
		l.packed[sum] = packed
		return nil
	case half == 0:
		return fmt.Errorf("the line of %v is too long", claims[0].Prefix)
	default:
		if err := l.add(claims[:half], like); err != nil {
			return err
		}
		return l.add(claims[half:], like)
	}
}

// Packed returns the chunk of this sum as it is written, gzip; nil is one that l does not hold. It is
// l's own: nobody may change it.
func (l List) Packed(sum string) []byte { return l.packed[sum] }

// Entries is how many entries l has.
func (l List) Entries() (n int) {
	for _, c := range l.Chunks {
		n += c.Entries
	}
	return n
}

// Lacks returns the chunks of m that l does not hold.
func (l List) Lacks(m *Manifest) (chunks []Chunk) {
	for _, c := range m.Chunks {
		if l.packed[c.Sum] == nil {
			chunks = append(chunks, c)
		}
	}
	return chunks
}

// With returns the list of m: chunks are of l, or of fetched, which has them packed by sum. An
// error names the chunk and its line.
func (l List) With(m *Manifest, fetched map[string][]byte) (List, error) {
	after := List{Chunks: m.Chunks, packed: make(map[string][]byte, len(m.Chunks))}
	for i, c := range m.Chunks {
		packed := l.packed[c.Sum]
		if packed == nil {
			packed = fetched[c.Sum]
			text, err := unpack(c, packed)
			if err != nil {
				return List{}, err
			}
			last := prefixOf(text[bytes.LastIndexByte(text[:len(text)-1], '\n')+1:])
			if i+1 < len(m.Chunks) && policy.ComparePrefix(last, m.Chunks[i+1].First) >= 0 {
				return List{}, c.wrong("%v belongs to the next chunk", last)
			}
		}
		after.packed[c.Sum] = packed
	}
	return after, nil
}

// Apply returns the list of m, which is l with the delta of m, and false where it is not.
func (l List) Apply(m *Manifest) (after List, applied bool) {
	lacks := l.Lacks(m)
	text, err := l.text(l.without(m.Chunks))
	if err != nil {
		return List{}, false
	}
	if text, err = m.Delta.apply(text); err != nil {
		return List{}, false
	}
	fetched := map[string][]byte{}
	for i, c := range lacks {
		end := len(text)
		if i+1 < len(lacks) {
			end, _ = search(text, lacks[i+1].First)
		}
		if textSum(text[:end]) != c.Sum {
			return List{}, false
		}
		fetched[c.Sum], text = pack(text[:end]), text[end:]
	}
	after, err = l.With(m, fetched)
	return after, err == nil && len(text) == 0
}

// without returns the chunks of l that chunks has not.
func (l List) without(chunks []Chunk) (rest []Chunk) {
	has := make(map[string]bool, len(chunks))
	for _, c := range chunks {
		has[c.Sum] = true
	}
	return slices.DeleteFunc(slices.Clone(l.Chunks), func(c Chunk) bool { return has[c.Sum] })
}

// text returns the lines of chunks of l.
func (l List) text(chunks []Chunk) (text []byte, err error) {
	for _, c := range chunks {
		part, err := unpack(c, l.packed[c.Sum])
		if err != nil {
			return nil, err
		}
		text = append(text, part...)
	}
	return text, nil
}

// Claims returns all entries as claims of origin, sorted by policy.ComparePrefix. Errors are
// *policy.InputError that name the chunk and the line.
func (l List) Claims(origin policy.Origin) (claims []policy.Claim, err error) {
	claims = make([]policy.Claim, 0, l.Entries())
	for _, c := range l.Chunks {
		text, err := unpack(c, l.packed[c.Sum])
		if err != nil {
			return nil, err
		}
		part, _, err := policy.ParseStored(c.name(), origin, bytes.NewReader(text))
		if err != nil {
			return nil, err
		}
		for i := range part {
			part[i].Where = ""
			if n := len(claims); n > 0 && policy.ComparePrefix(claims[n-1].Prefix, part[i].Prefix) >= 0 {
				return nil, c.wrong("%v is not in order", part[i].Prefix)
			}
			claims = append(claims, part[i])
		}
		if len(part) != c.Entries {
			return nil, c.wrong("has %d entries, and its manifest says %d", len(part), c.Entries)
		}
	}
	return claims, nil
}

// EditTo returns what leads from l to after, as claims of origin. Chunks that both have are not
// looked at. Errors are those of Claims.
func (l List) EditTo(after List, origin policy.Origin) (edit policy.Edit, err error) {
	old, err := l.text(l.without(after.Chunks))
	if err != nil {
		return edit, err
	}
	rest := after.without(l.Chunks)
	text, err := after.text(rest)
	if err != nil {
		return edit, err
	}
	var last netip.Prefix
	wrong := func(what string, p netip.Prefix) error {
		i, _ := slices.BinarySearchFunc(rest, p, func(c Chunk, p netip.Prefix) int { return policy.ComparePrefix(c.First, p) })
		return rest[max(0, min(i, len(rest)-1))].wrong("%v %s", p, what)
	}
	for len(old)+len(text) > 0 {
		was, oldRest := cutLine(old)
		is, textRest := cutLine(text)
		if len(old) > 0 && bytes.Equal(was, is) {
			old, text = oldRest, textRest
			continue
		}
		from, to := prefixOf(was), prefixOf(is)
		if len(text) == 0 || from.IsValid() && to.IsValid() && policy.ComparePrefix(from, to) < 0 {
			edit.Remove, old = append(edit.Remove, policy.ClaimKey{Origin: origin, Prefix: from}), oldRest
			continue
		}
		claim, err := parseLine(string(is))
		if err != nil {
			return edit, wrong(err.Error(), to)
		}
		if last.IsValid() && policy.ComparePrefix(last, claim.Prefix) >= 0 {
			return edit, wrong("is not in order", claim.Prefix)
		}
		last, claim.Origin = claim.Prefix, origin
		if edit.Put, text = append(edit.Put, claim), textRest; from == to {
			old = oldRest
		}
	}
	return edit, nil
}
