package source

import (
	"context"
	"net/http"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/xdpallow/xdpallow/loader/policy"
)

// Promise: what a reload asks for is what happens: new settings are followed, changed ones from
// the beginning, the others are looked at again at once, and what is gone is not heard of
// any more.
func TestGroup(t *testing.T) {
	s, one := newSite(t)
	s.text("203.0.113.1\n", `"1"`)
	s.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { s.serve(w, r) }) // several ask
	two := one
	two.Name, two.Owner = "two", "two"
	one.Name, one.Owner = "one", "one"

	kept := []policy.Claim{{Prefix: netip.MustParsePrefix("203.0.113.9/32"), Origin: "url:one"}}
	asked := make(chan policy.Origin, 10)
	type took struct {
		ctx context.Context
		r   Reading
	}
	taken := make(chan took, 10)
	g := NewGroup(
		nil,
		func(o policy.Origin) Have { asked <- o; return Have{Claims: kept} },
		func(ctx context.Context, r Reading) error { taken <- took{ctx, r}; return nil },
	)
	next := func(what string, origins ...policy.Origin) (all []took) {
		t.Helper()
		var got []policy.Origin
		for range origins {
			select {
			case one := <-taken:
				if one.r.Err != nil || len(one.r.Claims) != 1 || one.r.Claims[0].Owner != string(one.r.Origin[len("url:"):]) {
					t.Errorf("%s: %+v", what, one.r)
				}
				got, all = append(got, one.r.Origin), append(all, one)
			case <-time.After(time.Minute):
				t.Fatalf("%s: took %v, want %v", what, got, origins)
			}
		}
		if slices.Sort(got); !slices.Equal(got, origins) {
			t.Errorf("%s: took %v, want %v", what, got, origins)
		}
		return all
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	g.Follow(ctx, []Settings{one, two})
	first := next("two new ones", "url:one", "url:two")
	if a, b := <-asked, <-asked; a == b {
		t.Errorf("asked what is kept of %s and %s", a, b)
	}
	g.Follow(ctx, []Settings{one, two})
	next("the same", "url:one", "url:two")

	two.Limits.Entries = 7
	g.Follow(ctx, []Settings{two})
	next("one changed, one gone", "url:two")
	if o := <-asked; o != "url:two" {
		t.Errorf("asked what is kept of %s", o)
	}
	for _, one := range first {
		if one.ctx.Err() == nil {
			t.Errorf("%s as it was before is still followed", one.r.Origin)
		}
	}
	cancel()
	g.Wait()
	if len(taken)+len(asked) > 0 {
		t.Errorf("%d more readings, %d more questions", len(taken), len(asked))
	}
}
