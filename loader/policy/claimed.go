// This file says what origins claim of an entry. Nearly every entry has one claim, which is not kept
// beside its words but made of them.

package policy

import (
	"slices"
	"time"
	"unique"
)

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

// Renewed reports whether only pages and host names that are followed list e, and customers who
// enrolled. Whoever keeps them sees to its end, and it moves on as long as they are in reach.
func (e Entry) Renewed() bool {
	return !slices.ContainsFunc(e.Origins(), func(o Origin) bool { return o.strength() < strengthURL })
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
