package undo

import (
	"slices"
	"testing"

	"github.com/xdpallow/xdpallow/loader/follow"
	"github.com/xdpallow/xdpallow/loader/policy"
	"github.com/xdpallow/xdpallow/loader/source"
	"github.com/xdpallow/xdpallow/loader/store"
)

// Promise: with a change go the lists that came with it; those that it forgot or had read elsewhere
// come back as they were, and what others said meanwhile stays.
func TestLists(t *testing.T) {
	page := func(name, url string) source.Settings { return source.Settings{Name: name, URL: url} }
	before := []source.Settings{page("stays", "https://a/"), page("moves", "https://b/"), page("goes", "https://c/")}
	after := []source.Settings{page("stays", "https://a/"), page("moves", "https://other/"), page("comes", "https://d/")}
	kept := follow.Origins{}
	for _, name := range []string{"stays", "moves", "goes", "unnamed"} {
		kept["url:"+policy.Origin(name)] = follow.Origin{OriginState: store.OriginState{Mark: name}}
	}
	back := Back{Origins: kept.Before(before, after, []policy.Origin{"url:goes"})}
	var all store.Effective
	for origin := range kept {
		claim := claims("10.0.0.0/24")[0]
		claim.Origin = origin
		all.Claims = append(all.Claims, &claim)
	}
	delete(kept, "url:goes")
	kept["url:comes"] = follow.Origin{}
	lists, forget := back.Lists(all, kept)
	var names []string
	for _, one := range lists {
		if len(one.Put) != 1 || one.Put[0].Origin != one.Origin || "url:"+one.State.Mark != string(one.Origin) {
			t.Errorf("comes back: %+v", one)
		}
		names = append(names, string(one.Origin))
	}
	if slices.Sort(names); !slices.Equal(names, []string{"url:goes", "url:moves"}) || !slices.Equal(forget, []policy.Origin{"url:comes"}) {
		t.Errorf("%v come back, %v go", names, forget)
	}
}
