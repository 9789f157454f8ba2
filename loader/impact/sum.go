package impact

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/policy"
)

// Sum is one line for cuts, of which there are some.
func Sum(cuts []api.Cut) string {
	type sum struct{ prefixes, connections int }
	owners := map[string]sum{}
	var strangers []api.Cut
	for _, cut := range cuts {
		if cut.Prefix == nil {
			strangers = append(strangers, cut)
			continue
		}
		owner := cmp.Or(cut.Owner, "no owner")
		owners[owner] = sum{owners[owner].prefixes + 1, owners[owner].connections + cut.Connections}
	}
	var words []string
	for _, owner := range slices.Sorted(maps.Keys(owners)) {
		if len(words) == maxOwnersTold {
			words = append(words, "and "+policy.Count(len(owners)-len(words), "owner", "owners")+" more")
			break
		}
		text := owner + " (" + policy.Count(owners[owner].prefixes, "prefix", "prefixes") + " in use"
		if open := owners[owner].connections; open > 0 {
			text += ", " + policy.Count(open, "open connection", "open connections")
		}
		words = append(words, text+")")
	}
	all := []string{}
	if len(words) > 0 {
		all = append(all, strings.Join(words, ", "))
	}
	room := max(1, maxOwnersTold-len(words))
	for i, cut := range strangers {
		if i == room {
			all = append(all, fmt.Sprintf("and %d more", len(strangers)-i))
			break
		}
		all = append(all, cut.Who()+": "+cut.To())
	}
	return "cut off: " + strings.Join(all, "; ")
}

// maxOwnersTold keeps a warning one line.
const maxOwnersTold = 5
