package reconcile

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/xdpallow/xdpallow/loader/compile"
	"github.com/xdpallow/xdpallow/loader/desired"
	"github.com/xdpallow/xdpallow/loader/policy"
	"github.com/xdpallow/xdpallow/loader/store"
)

// Guards "nothing but speed": after any sequence of changes by the CLI, of what is
// declared and of services, what is desired, what is counted and when to look again are
// what they would be if everything were read anew, the claims that are kept for a
// service that is gone among them.
func TestDesiredAgainstAnew(t *testing.T) {
	var (
		prefix = rapid.Custom(func(t *rapid.T) netip.Prefix {
			bits := rapid.SampledFrom([]int{32, 32, 32, 31, 30, 28}).Draw(t, "bits")
			return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, 0, rapid.ByteRange(0, 9).Draw(t, "last")}), bits).Masked()
		})
		service = rapid.SampledFrom([]string{"", "", "api", "mail"})
		file    = policy.FileOrigin("a.list")
		now     = time.Now().UTC().Truncate(time.Second)
		claim   = rapid.Custom(func(t *rapid.T) policy.Claim {
			c := policy.Claim{Prefix: prefix.Draw(t, "prefix"), Owner: rapid.SampledFrom([]string{"", "acme", "globex"}).Draw(t, "owner")}
			if name := service.Draw(t, "service"); name != "" {
				c.Services = []string{name}
			}
			if rapid.Bool().Draw(t, "ends") {
				c.Until = now.Add(time.Duration(rapid.IntRange(1, 5).Draw(t, "hours")) * time.Hour)
			}
			return c
		})
	)
	named := func(names ...string) (services []policy.Service) {
		for i, name := range names {
			services = append(services, policy.Service{Name: name, Ports: []policy.Port{{Protocol: policy.TCP, Number: uint16(i + 1)}}, Mode: policy.Enforce})
		}
		return services
	}
	rapid.Check(t, func(t *rapid.T) {
		made := map[netip.Prefix]policy.Claim{}
		e := &Engine{tally: desired.CountAll(desired.State{})}
		e.view.Policy.Services = named("api", "mail")
		for step := range rapid.IntRange(1, 12).Draw(t, "steps") {
			c, said := desired.Edit{}, maps.Clone(made)
			switch rapid.IntRange(0, 4).Draw(t, "kind") {
			case 0:
				c.Services = named("api")
				if rapid.Bool().Draw(t, "mail") {
					c.Services = named("api", "mail")
				}
			case 1:
				c.Declared = map[policy.Origin][]policy.Claim{file: nil}
				for i, one := range rapid.SliceOfNDistinct(claim, 0, 4, func(c policy.Claim) netip.Prefix { return c.Prefix }).Draw(t, "declared") {
					one.Origin, one.Where = file, fmt.Sprint("a.list:", i)
					c.Declared[file] = append(c.Declared[file], one)
				}
			default:
				for _, gone := range rapid.SliceOfN(prefix, 0, 3).Draw(t, "remove") {
					c.Claims.Remove = append(c.Claims.Remove, policy.ClaimKey{Origin: policy.OriginCLI, Prefix: gone})
					delete(said, gone)
				}
				for _, one := range rapid.SliceOfN(claim, 0, 3).Draw(t, "put") {
					one.Origin = policy.OriginCLI
					c.Claims.Put = append(c.Claims.Put, one)
					said[one.Prefix] = one
				}
			}
			for _, owner := range rapid.SliceOfN(rapid.SampledFrom([]string{"acme", "globex"}), 0, 1).Draw(t, "stopped") {
				if subject := (store.Subject{Owner: owner}); rapid.Bool().Draw(t, "resumed") {
					c.Overrides.Resume = []store.Subject{subject}
				} else if _, again := e.view.Suspensions[subject]; !again {
					c.Overrides.Suspend = []store.Suspension{{Subject: subject, Unnoted: true, Nested: rapid.Bool().Draw(t, "nested")}}
				}
			}
			for _, p := range rapid.SliceOfN(prefix, 0, 1).Draw(t, "stopped prefix") {
				c.Overrides.Suspend = append(c.Overrides.Suspend, store.Suspension{Subject: store.Subject{Prefix: p}})
			}
			old := e.view.State
			next, plan, err := old.Apply(c, now, 0)
			if err != nil { // nothing is made of it: TestEditAgainstMerge has the words
				continue
			}
			made = said
			patches(t, old.Policy, next.Policy, plan)
			e.stand(change{edit: c}, next, plan)
			anew, err := desired.New(next.Policy.Services, next.Declared, slices.Collect(maps.Values(made)), now)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(dump(anew), dump(e.view.State), cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" {
				t.Fatalf("step %d (-anew +is):\n%s", step, diff)
			}
			if want := desired.CountAll(anew); want.Made != e.tally.Made || !maps.Equal(want.Owners, e.tally.Owners) || !cmp.Equal(want.Ends, e.tally.Ends) {
				t.Fatalf("step %d: counted %+v, want %+v", step, e.tally, want)
			}
			if want := policy.Diff(old.Policy, anew.Policy); len(want.Added) != len(plan.Added) || len(want.Removed) != len(plan.Removed) || len(want.Changed) != len(plan.Changed) {
				t.Fatalf("step %d: plan %+v, want %+v", step, plan, want)
			}
			// Too soon costs a look; too late would keep a grant.
			if _, _, end := anew.Policy.Expire(now); !end.IsZero() && (e.end.IsZero() || e.end.After(end)) {
				t.Fatalf("step %d: looks again at %v, want %v", step, e.end, end)
			}
		}
	})
}

// patches expects that a patch leads from what the kernel has of old to what it is to have
// of next.
func patches(t *rapid.T, old, next policy.State, plan policy.Plan) {
	enforced := func(s policy.State) map[netip.Prefix]policy.Entry {
		all := map[netip.Prefix]policy.Entry{}
		for e := range s.AllEnforced() {
			all[e.Prefix] = e
		}
		return all
	}
	d, small := compile.DeltaOf(old, next, plan)
	if !small {
		return
	}
	got, want := enforced(old), enforced(next)
	for _, p := range d.Remove {
		delete(got, p)
	}
	for _, e := range d.Put {
		got[e.Prefix] = e
	}
	if !maps.EqualFunc(got, want, policy.KernelEqual) {
		t.Fatalf("patched by %+v\nthe kernel has %+v\nof %+v", d, got, want)
	}
	if counts := compile.Families(next); counts[0]+counts[1] != len(want) {
		t.Fatalf("%d entries are enforced, and %v counted", len(want), counts)
	}
}

// dump is all of d that can be compared.
func dump(d desired.State) []any {
	all := []any{}
	for entry := range d.Policy.Entries.All() {
		all = append(all, *entry)
	}
	for _, prefix := range slices.SortedFunc(maps.Keys(d.Orphans), policy.ComparePrefix) {
		all = append(all, "orphan", d.Orphans[prefix])
	}
	return all
}
