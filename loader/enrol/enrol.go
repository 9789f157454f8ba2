// Package enrol says which address a customer may let in himself by showing his certificate, and for
// how long. It is pure: it takes no lock, and reads no clock, file or map.
package enrol

import (
	"cmp"
	"crypto/sha256"
	"fmt"
	"math/big"
	"net/netip"
	"regexp"
	"slices"
	"time"

	"github.com/xdpallow/xdpallow/loader/policy"
	"github.com/xdpallow/xdpallow/loader/source"
)

// Limits are what one owner may enrol. They are enforced by the daemon: whoever breaks into the process
// that talks with customers can do no more than all owners together may.
type Limits struct {
	For       time.Duration  // how long an address stays after it was enrolled
	Addresses int            // how many at a time; one more takes the place of the oldest
	Within    []netip.Prefix // the networks that he may come from; nil: any
	Services  []string       // sorted; nil is every one
}

// Authorities is the name under which the certificates of authorities lie among those of owners. No owner may
// enrol by it: his certificate would lie there, and with it he could name anybody.
const Authorities = "ca"

// Settings are the limits of each owner. Nobody else may enrol.
type Settings map[string]Limits

// Request asks to let an address in. Its JSON, as that of an Answer, is a contract.
type Request struct {
	Owner       string     `json:"owner"`       // as his certificate names him
	Address     netip.Addr `json:"address"`     // the other end of his TCP connection
	Certificate string     `json:"certificate"` // which one it was, see Certificate
}

// Answer tells a customer what he has.
type Answer struct {
	Owner    string         `json:"owner"`
	Prefix   netip.Prefix   `json:"prefix"`
	Until    time.Time      `json:"until"` // UTC
	Left     int            `json:"left"`  // how many more he may enrol before one is replaced
	Replaced []netip.Prefix `json:"replaced,omitempty"`
}

// The results of a request. They are labels of a metric, and are added to and never changed.
const (
	Enrolled     = "enrolled"
	Renewed      = "renewed"       // its end was moved
	Standing     = "standing"      // more than half of its time is left: nothing was changed
	UnknownOwner = "unknown_owner" // no limits are set for him
	Suspended    = "suspended"
	Outside      = "outside" // of Within
	Private      = "private" // an address that nobody has on the Internet
	Taken        = "taken"   // another owner's
	TooOften     = "too_often"
	Failed       = "failed" // not his fault
)

// Results are all of them.
var Results = []string{Enrolled, Renewed, Standing, UnknownOwner, Suspended, Outside, Private, Taken, TooOften, Failed}

// Refused is a request that lets nobody in.
type Refused struct {
	Result string // one of Results
	What   string // for the customer
}

func (r *Refused) Error() string { return r.What }

func refuse(result, format string, args ...any) error {
	return &Refused{result, fmt.Sprintf(format, args...)}
}

// Decision is what becomes of a request.
type Decision struct {
	Edit   policy.Edit // of what is enrolled; empty where it stands already
	Claim  policy.Claim
	Result string // Enrolled, Renewed or Standing
	Answer Answer
}

// String is for the log and the history.
func (d Decision) String() string {
	return fmt.Sprintf("%s %s (%s) until %s, certificate %s", d.Result, d.Claim.Prefix, d.Claim.Owner,
		d.Claim.Until.Format(time.RFC3339), d.Claim.Note)
}

// width6 is what of an IPv6 address is enrolled: a host changes the rest of it by the hour.
const width6 = 64

// Prefix is what is enrolled for addr.
func Prefix(addr netip.Addr) netip.Prefix {
	addr = addr.Unmap().WithZone("")
	if addr.Is4() {
		return netip.PrefixFrom(addr, 32)
	}
	return netip.PrefixFrom(addr, width6).Masked()
}

// certificate is the form of Request.Certificate: the serial number, hexadecimal, and the first 8 bytes of
// the SHA-256 of the certificate.
var certificate = regexp.MustCompile(`^[0-9a-f]{1,64} sha256:[0-9a-f]{16}$`)

// Certificate names a certificate by its serial number and its SHA-256.
func Certificate(serial *big.Int, sum [sha256.Size]byte) string {
	return fmt.Sprintf("%s sha256:%x", serial.Text(16), sum[:8])
}

// Decide says what becomes of r in state at now. own are the claims that its owner has enrolled, ended ones
// too. The error is a *Refused.
func (s Settings) Decide(r Request, own []policy.Claim, state policy.State, now time.Time) (Decision, error) {
	limits, known := s[r.Owner]
	prefix := Prefix(r.Address)
	if err := limits.admit(r, known, prefix); err != nil {
		return Decision{}, err
	}
	if err := standsFor(r.Owner, limits.Services, prefix, state, now); err != nil {
		return Decision{}, err
	}
	live := slices.DeleteFunc(slices.Clone(own), func(c policy.Claim) bool {
		return c.Prefix == prefix || policy.HasEnded(c.Until, now)
	})
	claim := policy.Claim{
		Prefix: prefix, Owner: r.Owner, Services: limits.Services, Note: r.Certificate,
		Origin: policy.OriginEnrol, Until: now.Add(limits.For).UTC().Truncate(time.Second),
	}
	d := Decision{Result: Enrolled}
	for _, old := range own {
		if old.Prefix == prefix && !policy.HasEnded(old.Until, now) {
			claim, d.Result = limits.renewed(old, claim, now)
		}
	}
	var gone []netip.Prefix
	if d.Result == Enrolled {
		gone = limits.replaced(live)
	}
	for _, p := range gone {
		d.Edit.Remove = append(d.Edit.Remove, policy.ClaimKey{Origin: policy.OriginEnrol, Prefix: p})
	}
	if d.Result != Standing {
		d.Edit.Put = []policy.Claim{claim}
	}
	d.Claim = claim
	d.Answer = Answer{
		Owner: r.Owner, Prefix: prefix, Until: claim.Until, Replaced: gone,
		Left: max(0, limits.Addresses-(len(live)-len(gone))-1),
	}
	return d, nil
}

// admit refuses r where its owner has no limits, or may not come from there.
func (l Limits) admit(r Request, known bool, prefix netip.Prefix) error {
	within := func(network netip.Prefix) bool {
		return network.Bits() <= prefix.Bits() && network.Contains(prefix.Addr())
	}
	switch {
	case !known:
		return refuse(UnknownOwner, "%.64q may not enrol here", r.Owner)
	case !prefix.IsValid() || !certificate.MatchString(r.Certificate):
		return refuse(Failed, "the request has no address, or no certificate")
	case source.Private(prefix):
		return refuse(Private, "%s is no address of the Internet", r.Address)
	case l.Within != nil && !slices.ContainsFunc(l.Within, within):
		return refuse(Outside, "%s is not in a network from which %s may enrol", r.Address, r.Owner)
	}
	return nil
}

// standsFor refuses a claim by which nobody would come in, because somebody is suspended, the prefix is another
// owner's, or a service is not there. A stronger origin says whose a prefix is even when its claim has
// ended. Of two customers at one address the first has it until it ends.
func standsFor(owner string, services []string, prefix netip.Prefix, state policy.State, now time.Time) error {
	claim := policy.Claim{Prefix: prefix, Owner: owner, Services: services, Origin: policy.OriginEnrol}
	if entry := policy.EntryOf(claim); state.IsSuspended(&entry) {
		return refuse(Suspended, "%s is suspended at %s", owner, prefix)
	}
	if err := policy.CheckServices([]policy.Claim{claim}, state.Services); err != nil {
		return refuse(Failed, "%s may enrol for a service that is not there", owner)
	}
	at, found := state.Entries.Find(prefix)
	if !found {
		return nil
	}
	by, held := at.Holder()
	if !held || by.Owner == owner || by.Origin == policy.OriginEnrol && policy.HasEnded(by.Until, now) {
		return nil
	}
	return refuse(Taken, "%s is listed for somebody else", prefix)
}

// Leaves is when what ended at until leaves the list: an hour later, so that it can be asked about, and
// together with others.
func Leaves(until time.Time) time.Time {
	const together = 10 * time.Minute
	return until.Add(time.Hour + together).Truncate(together)
}

// renewed is what becomes of old, which has not ended, when it is enrolled again as claim. Its end moves only
// when less than half of the time is left, or a customer who asks each minute would change
// the list each minute.
func (l Limits) renewed(old, claim policy.Claim, now time.Time) (policy.Claim, string) {
	if !slices.Equal(old.Services, claim.Services) || old.Note != claim.Note {
		return claim, Enrolled
	}
	if left := old.Until.Sub(now); left >= l.For/2 && left <= l.For {
		return old, Standing
	}
	return claim, Renewed
}

// replaced are the prefixes of live that make room for one more, the oldest first: those that end first.
func (l Limits) replaced(live []policy.Claim) (gone []netip.Prefix) {
	oldest := slices.SortedFunc(slices.Values(live), func(a, b policy.Claim) int {
		return cmp.Or(a.Until.Compare(b.Until), policy.ComparePrefix(a.Prefix, b.Prefix))
	})
	for _, c := range oldest[:max(0, len(oldest)-(l.Addresses-1))] {
		gone = append(gone, c.Prefix)
	}
	return gone
}
