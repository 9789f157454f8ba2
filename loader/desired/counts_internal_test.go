package desired

import "github.com/xdpallow/xdpallow/loader/policy"

// All is everything that c counts, for comparison.
func (c Counts) All() (all struct {
	Made   int
	Kept   [2]map[policy.Origin]int
	Owners map[string]int
	Ends   map[int64]int
},
) {
	all.Kept = [2]map[policy.Origin]int{c.Followed, c.Aside}
	all.Made, all.Owners, all.Ends = c.Made, c.Owners(), map[int64]int{}
	for of := range c.ends.All() {
		all.Ends[int64(of.key)] = of.entries
	}
	return all
}
