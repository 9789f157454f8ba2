// This file says what suspend and resume make of a state, and what they refuse.

package desired

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/policy"
	"github.com/xdpallow/xdpallow/loader/store"
)

// Suspend is the suspension that r makes of d at now. A subject that is stopped already
// keeps its time, and its reason and uid as long as no other reason is given. It refuses,
// as *policy.Refused or *policy.InputError, what is mistyped and what is too wide.
func (d State) Suspend(r api.SuspendRequest, by api.Caller, now time.Time) (s store.Suspension, err error) {
	subject, err := SubjectOf(r.Subject)
	if err != nil {
		return s, err
	}
	if !r.AllowAny && r.Owner == "" {
		if err := policy.GuardSubject(subject.Prefix, "suspended"); err != nil {
			return s, err
		}
	}
	if r.Nested && r.Owner == "" {
		return s, &policy.InputError{What: "--nested is about what others have in an owner's network; a prefix is suspended with all that lies in it", Hint: "xdpallow suspend " + subject.String()}
	}
	before, again := d.Suspensions[subject]
	if !again {
		if err := d.touches(subject); err != nil {
			return s, err
		}
	}
	s = store.Suspension{Subject: subject, Reason: by.Reason, UID: by.UID, Time: now.Truncate(time.Second), Unnoted: r.Owner != "", Nested: r.Nested}
	if again {
		s.Time = before.Time
		if by.Reason == "" {
			s.Reason, s.UID = before.Reason, before.UID
		}
	}
	if again && r.Owner != "" {
		s = Holding(s, HoldOf(before).Tightened(d.Policy, r.Nested, now))
	}
	return s, nil
}

// Resume is whom r lets in again. It refuses, as *policy.Refused, who is not suspended, and
// says by whom he is.
func (d State) Resume(r api.SuspendRequest) (policy.Subject, error) {
	subject, err := SubjectOf(r.Subject)
	if err != nil {
		return subject, err
	}
	if _, found := d.Suspensions[subject]; found {
		return subject, nil
	}
	what, hint := fmt.Sprintf("%s is not suspended", subject), "xdpallow status"
	if stops := d.stops(subject); len(stops) > 0 {
		what, hint = fmt.Sprintf("%s is suspended by %s", subject, d.whose(stops[0])), d.Resumes(stops[0])
	}
	return subject, &policy.Refused{What: what, Hint: hint}
}

// whose is a subject that is suspended, with the list that says so where no command here does.
func (d State) whose(s policy.Subject) string {
	if _, by, found := d.SuspensionOf(s); found && by != policy.OriginCLI {
		return fmt.Sprintf("%s (%s)", s, by)
	}
	return s.String()
}

// Resumes is the command that takes the suspension of s back.
func (d State) Resumes(s policy.Subject) string {
	if _, by, found := d.SuspensionOf(s); found {
		return api.InList(by, "resume "+s.String())
	}
	return "xdpallow resume " + s.String()
}

// SubjectOf is s for the store, or what is wrong with it.
func SubjectOf(s policy.Subject) (policy.Subject, error) {
	if s.Owner == "" && s.Prefix.IsValid() {
		prefix, _, err := policy.ParsePrefix(s.Prefix.String())
		return policy.Subject{Prefix: prefix}, err
	}
	if s.Prefix.IsValid() {
		return policy.Subject{}, &policy.InputError{What: fmt.Sprintf("%s and %s are two", s.Prefix, s.Owner)}
	}
	return policy.Subject{Owner: s.Owner}, policy.ParseName("owner", s.Owner)
}

// touches refuses a subject that nobody who is listed belongs to: it was mistyped.
func (d State) touches(s policy.Subject) error {
	if s.Owner != "" {
		return d.Knows(s.Owner)
	}
	for range d.Policy.Entries.Under(s.Prefix) {
		return nil
	}
	for range d.Policy.Entries.Covering(s.Prefix) {
		return nil
	}
	return &policy.Refused{What: fmt.Sprintf("nothing that is listed touches %s", s.Prefix), Hint: "xdpallow check " + s.Prefix.Addr().String()}
}

// Knows refuses, as *policy.Refused, an owner of whom nothing is said: not by an entry, a limit or a
// suspension, nor by a list from elsewhere, whether or not what it says is enforced.
func (d State) Knows(owner string) error {
	if d.Counts.Owner(owner) > 0 || slices.Contains(d.Expected, owner) || slices.Contains(slices.Collect(d.NamedOwners), owner) {
		return nil
	}
	for claim := range d.kept {
		if claim.Owner == owner {
			return nil
		}
	}
	return &policy.Refused{What: fmt.Sprintf("no prefix belongs to %s", owner), Hint: "xdpallow owners"}
}

// StoppedBy are the names by which s is stopped beside a suspension of its own by a command here.
func (d State) StoppedBy(s policy.Subject) []string {
	names := []string{}
	for _, by := range d.stops(s) {
		names = append(names, d.whose(by))
	}
	return names
}

// stops are the subjects by which s is stopped beside a suspension of its own by a command here.
func (d State) stops(s policy.Subject) (all []policy.Subject) {
	if _, by, found := d.SuspensionOf(s); found && by != policy.OriginCLI {
		all = append(all, s)
	}
	if s.Owner != "" {
		return all
	}
	for _, by := range d.EverySuspension {
		if by.Prefix.IsValid() && by.Prefix.Bits() < s.Prefix.Bits() && by.Prefix.Overlaps(s.Prefix) {
			all = append(all, by.Subject)
		}
	}
	state := d.Policy
	for around := range state.Entries.Covering(s.Prefix) {
		if owner := state.OwnerOf(around); state.Suspended.Owner(owner) {
			all = append(all, policy.Subject{Owner: owner})
		}
	}
	if owner := state.OwnerOf(&policy.Entry{Prefix: s.Prefix}); state.Suspended.Owner(owner) {
		all = append(all, policy.Subject{Owner: owner})
	}
	slices.SortFunc(all, func(a, b policy.Subject) int { return strings.Compare(a.String(), b.String()) })
	return slices.Compact(all)
}

// OpenWithin are the entries of others in the network of owner, who is suspended in
// state, that go on letting somebody in.
func OpenWithin(state policy.State, owner string) []api.Whose {
	open := []api.Whose{}
	for p := range state.Suspended.HeldBy(owner) {
		for e := range state.Entries.Under(p) {
			if e.Owner() != "" && e.Owner() != owner && !state.IsSuspended(e) {
				open = append(open, api.Whose{Prefix: e.Prefix, Owner: e.Owner()})
			}
		}
	}
	slices.SortFunc(open, func(a, b api.Whose) int { return policy.ComparePrefix(a.Prefix, b.Prefix) })
	return slices.Compact(open)
}
