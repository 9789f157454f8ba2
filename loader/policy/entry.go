// This file packs an entry. A million of them stand in memory at once, and few of their words
// are their own: who they belong to and where they come from is kept once for all.

package policy

import (
	"cmp"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unique"
)

// Entry is what all claims of one prefix make together, see Merge. It does not change, and a
// copy of it shares its words.
type Entry struct {
	Prefix    netip.Prefix
	shared    unique.Handle[shared] // the zero handle: nobody, every service
	own       *own                  // nil: nothing in it
	until     int64                 // ms after the zero time, and so 0 for ever
	line      uint32                // of its only claim; 0 is none
	Suspended bool                  // set only by State.Enforced; the list itself has State.Suspended
}

// shared is what many entries have alike.
type shared struct {
	owner    string
	mark     uint8       // of owner: to find it anew, for an owner's entries among a million, takes most of the time
	services *serviceSet // nil: every one
	origin   Origin      // of the only claim
	file     string      // likewise: its Where but for the line
}

// own is what few entries have, and hardly two alike.
type own struct {
	note   string
	claims *[]Claim // sorted by origin, where there is more than one
	rest   int32    // of until, ns
}

// serviceSet is a set of services, of which there is one.
type serviceSet struct {
	names  []string // sorted
	joined string
}

var serviceSets sync.Map // joined -> *serviceSet: as few as operators think of

func setOf(services []string) *serviceSet {
	if len(services) == 0 {
		return nil
	}
	joined := services[0]
	if len(services) > 1 {
		joined = strings.Join(services, ",")
	}
	set, known := serviceSets.Load(joined)
	if !known {
		joined = strings.Clone(joined) // else it may keep the line in memory that it was read from
		set, _ = serviceSets.LoadOrStore(joined, &serviceSet{strings.Split(joined, ","), joined})
	}
	return set.(*serviceSet)
}

// EntryOf returns the entry that c makes alone.
func EntryOf(c Claim) Entry {
	file, line := splitPlace(c.Where)
	e := Entry{
		Prefix: c.Prefix, until: c.Until.UnixMilli() + zeroMillis, line: line,
		shared: unique.Make(shared{c.Owner, markOf(c.Owner), setOf(c.Services), c.Origin, file}),
	}
	rest := int32(c.Until.Nanosecond() % int(time.Millisecond))
	if c.Note != "" || rest != 0 {
		e.own = &own{note: c.Note, rest: rest}
	}
	return e
}

// merged returns the entry of several claims, sorted, which make the words of whole.
func merged(whole Claim, claims []Claim) Entry {
	whole.Origin, whole.Where = "", ""
	e := EntryOf(whole)
	return e.claimed(slices.Clone(claims))
}

func (e Entry) claimed(claims []Claim) Entry {
	e.own = &own{e.Note(), &claims, e.rest()}
	return e
}

// ownedBy returns e as the entry of owner.
func (e Entry) ownedBy(owner string) Entry {
	if e.Owner() != owner {
		words := e.words()
		words.owner, words.mark = owner, markOf(owner)
		e.shared = unique.Make(words)
	}
	return e
}

// forAll returns e for every service and for ever.
func (e Entry) forAll() Entry {
	words := e.words()
	words.services = nil
	e.shared, e.until = unique.Make(words), 0
	if e.rest() != 0 {
		e.own = &own{e.own.note, e.own.claims, 0}
	}
	return e
}

func (e *Entry) words() shared {
	if e.shared == (unique.Handle[shared]{}) {
		return shared{mark: markOf("")}
	}
	return e.shared.Value()
}

// Owner is whom e belongs to; "" is nobody.
func (e Entry) Owner() string { return e.words().owner }

// Services are what e is for, sorted; nil is every service. They must not be written to.
func (e Entry) Services() []string {
	if set := e.words().services; set != nil {
		return set.names
	}
	return nil
}

// Until is when e ends, in UTC; zero is never.
func (e Entry) Until() time.Time {
	if e.until == 0 {
		return time.Time{}
	}
	return time.UnixMilli(e.until - zeroMillis).Add(time.Duration(e.rest())).UTC()
}

// zeroMillis is the Unix time, but for the sign, of the zero time.
var zeroMillis = -time.Time{}.UnixMilli()

func (e *Entry) rest() int32 {
	if e.own == nil {
		return 0
	}
	return e.own.rest
}

// Note is what was noted of e.
func (e Entry) Note() string {
	if e.own == nil {
		return ""
	}
	return e.own.note
}

// splitPlace cuts "file:12" into the file, which many claims share, and the line.
func splitPlace(where string) (file string, line uint32) {
	colon := strings.LastIndexByte(where, ':')
	if colon < 0 {
		return where, 0
	}
	n, err := strconv.ParseUint(where[colon+1:], 10, 32)
	if err != nil || joinPlace(where[:colon], uint32(n)) != where {
		return where, 0
	}
	return where[:colon], uint32(n)
}

func joinPlace(file string, line uint32) string {
	if line == 0 {
		return file
	}
	return file + ":" + strconv.FormatUint(uint64(line), 10)
}

// Equal reports whether list and check show a and b as the same. The place of a claim does not
// count: to move a line is no change.
func (a Entry) Equal(b Entry) bool {
	return KernelEqual(a, b) && a.Note() == b.Note() &&
		(!a.Several() && !b.Several() && a.words().origin == b.words().origin || slices.Equal(a.Origins(), b.Origins()))
}

// KernelEqual reports whether a and b are the same entry for the kernel.
func KernelEqual(a, b Entry) bool {
	if a.Prefix != b.Prefix || a.until != b.until || a.rest() != b.rest() || a.Suspended != b.Suspended {
		return false
	}
	if a.shared == b.shared {
		return true
	}
	x, y := a.words(), b.words()
	return x.owner == y.owner && x.services == y.services
}

// ComparePrefix orders prefixes by address, IPv4 first, shorter first.
func ComparePrefix(a, b netip.Prefix) int {
	if c := a.Addr().Compare(b.Addr()); c != 0 {
		return c
	}
	return cmp.Compare(a.Bits(), b.Bits())
}
