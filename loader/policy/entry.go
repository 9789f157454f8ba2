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
		shared: unique.Make(shared{c.Owner, setOf(c.Services), c.Origin, file}),
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
		words.owner = owner
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
		return shared{}
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

// Several reports whether more than one origin claims e.
func (e Entry) Several() bool { return e.own != nil && e.own.claims != nil }

// Claims are what origins say of e, sorted by origin: at least one. They must not be written to.
func (e Entry) Claims() []Claim {
	if e.Several() {
		return *e.own.claims
	}
	return []Claim{e.only()}
}

// only is the claim of e where there is one.
func (e Entry) only() Claim {
	words := e.words()
	return Claim{
		Prefix: e.Prefix, Owner: words.owner, Services: e.Services(), Until: e.Until(), Note: e.Note(),
		Origin: words.origin, Where: joinPlace(words.file, e.line),
	}
}

// By returns what origin claims of e.
func (e Entry) By(origin Origin) (claim Claim, found bool) {
	if !e.Several() {
		if e.words().origin != origin {
			return Claim{}, false
		}
		return e.only(), true
	}
	i := slices.IndexFunc(*e.own.claims, func(c Claim) bool { return c.Origin == origin })
	if i < 0 {
		return Claim{}, false
	}
	return (*e.own.claims)[i], true
}

// Origins returns the origins that e is made of, sorted, each once: those of its claims but the
// ones that are aside.
func (e Entry) Origins() []Origin {
	if !e.Several() {
		return []Origin{e.words().origin}
	}
	return originsOf(standing(*e.own.claims))
}

// Has reports whether origin claims e.
func (e Entry) Has(origin Origin) bool {
	if !e.Several() {
		return e.words().origin == origin
	}
	return slices.ContainsFunc(*e.own.claims, func(c Claim) bool { return c.Origin == origin })
}

// Everyone returns the origins of all of e's claims, sorted, each once.
func (e Entry) Everyone() []Origin {
	if !e.Several() {
		return []Origin{e.words().origin}
	}
	return originsOf(*e.own.claims)
}

func originsOf(claims []Claim) []Origin {
	origins := make([]Origin, 0, len(claims))
	for _, c := range claims {
		origins = append(origins, c.Origin)
	}
	return slices.Compact(origins)
}

// Renewed reports whether only pages and host names that are followed list e. Whoever keeps them
// sees to its end, and it moves on as long as they are in reach.
func (e Entry) Renewed() bool {
	return !slices.ContainsFunc(e.Origins(), func(o Origin) bool { return o.strength() != strengthURL && o.strength() != strengthDNS })
}

// Holder returns the claim that says whose e is; false where none does.
func (e Entry) Holder() (claim Claim, found bool) {
	if by := holder(e.Claims()); by != nil {
		return *by, true
	}
	return Claim{}, false
}

// Aside yields the origins whose claim of e is not enforced, because a stronger origin says that
// e is another owner's.
func (e Entry) Aside(yield func(Origin) bool) {
	if !e.Several() {
		return
	}
	by := holder(*e.own.claims)
	for _, c := range *e.own.claims {
		if c.isAside(by) && !yield(c.Origin) {
			return
		}
	}
}

// LetsIn reports whether what origin claims of e lets anybody in at now: it has not ended, and it is
// not aside.
func (e *Entry) LetsIn(origin Origin, now time.Time) bool {
	claim, found := e.By(origin)
	return found && !HasEnded(claim.Until, now) && !(e.Several() && claim.isAside(holder(*e.own.claims)))
}

// At returns e with where as the place of the claim of origin, if there is one.
func (e Entry) At(origin Origin, where string) Entry {
	if !e.Several() {
		if words := e.words(); words.origin == origin {
			words.file, e.line = splitPlace(where)
			e.shared = unique.Make(words)
		}
		return e
	}
	claims := slices.Clone(*e.own.claims)
	for i := range claims {
		if claims[i].Origin == origin {
			claims[i].Where = where
		}
	}
	return e.claimed(claims)
}

// Declared reports whether any origin but the CLI claims e.
func (e Entry) Declared() bool {
	if !e.Several() {
		return e.words().origin != OriginCLI
	}
	return slices.ContainsFunc(*e.own.claims, func(c Claim) bool { return c.Origin != OriginCLI })
}

// DeclaredAt names the first place that declares e, "" when only the CLI does.
func (e Entry) DeclaredAt() string {
	for _, claim := range e.Claims() {
		switch {
		case claim.Where != "":
			return claim.Where
		case claim.Origin == OriginFlag:
			return "--allow " + claim.Prefix.String()
		}
	}
	return ""
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
