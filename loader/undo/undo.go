package undo

import (
	"slices"

	"github.com/xdpallow/xdpallow/loader/desired"
	"github.com/xdpallow/xdpallow/loader/policy"
	"github.com/xdpallow/xdpallow/loader/store"
)

// Edit returns the edit that reverts the last change, except for declared services and origins.
func Edit(inverse store.Undo) desired.Edit {
	edit := desired.Edit{
		Claims:    policy.Edit{Put: inverse.Put},
		Overrides: desired.OverridesEdit{Resume: inverse.Resume, Suspend: inverse.Suspend, Unlimit: inverse.Unlimit, Limit: inverse.Limit},
	}
	for _, prefix := range inverse.Delete {
		edit.Claims.Remove = append(edit.Claims.Remove, policy.ClaimKey{Origin: policy.OriginCLI, Prefix: prefix})
	}
	return edit
}

// Reload is one that may be taken back.
type Reload struct {
	Held       Held   // before it
	Generation uint64 // likewise
	Was, Now   map[policy.Origin][]policy.Claim
	Services   bool // the config file says other services than before
	Followed   bool // likewise of origins
}

// Holds is what is held once the reload was taken back: the files that it found changed.
func (r Reload) Holds() Held {
	h := Held{Generation: r.Generation, Origins: slices.Clone(r.Held.Origins)}
	hold := func(origin policy.Origin) {
		if origin.IsFile() && !slices.Contains(h.Origins, origin) {
			h.Origins = append(h.Origins, origin)
		}
	}
	for origin, claims := range r.Now {
		if !slices.EqualFunc(claims, r.Was[origin], sameClaim) {
			hold(origin)
		}
	}
	for origin := range r.Was {
		if _, stays := r.Now[origin]; !stays {
			hold(origin)
		}
	}
	if r.Services || r.Followed {
		hold(policy.OriginConfig)
	}
	slices.Sort(h.Origins)
	return h
}

func sameClaim(a, b policy.Claim) bool { return a.Prefix == b.Prefix && policy.SameWords(a, b) }
