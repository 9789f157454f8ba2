package main

// This file is what is promised of commands beside ipset and nft, and of one list beside another.

import "fmt"

// userClaims are the promises about a list of n prefixes.
func userClaims(part string, n int) []claim {
	million := n >= 1_000_000
	first := []float64{3, 2}
	if million {
		first = []float64{2.5, 1.5}
	}
	c := []claim{
		{text: "replace over ipset restore, first load", cell: "first load", over: "ipset restore", must: first[0], goal: first[1]},
		{text: "replace over nft -f, first load", cell: "first load", over: "nft add element", must: 0.6, goal: 0.4},
		{text: "list -o text over ipset list", cell: "list -o text", over: "ipset list", must: 3, goal: 1.5},
	}
	if million {
		c = append(c,
			claim{text: "replace with 1 % changed over first load", cell: "replace 1 %", over: "first load", must: 0.5, goal: 0.3},
			claim{text: "list --expiring, none, over version", cell: "list --expiring", over: "version", must: 20, goal: 5},
			claim{text: "list --owner, none, over version", cell: "list --owner", over: "version", must: 20, goal: 5},
			claim{text: "list --unused over one batch read of the tries", cell: "list --unused", over: "batch read", must: 2, goal: 1.5},
			claim{text: "mode audit over the same at 1k", cell: "mode audit", over: "mode audit into 1k", must: 3, goal: 1.5},
			claim{text: "suspend of 200 entries over the same at 1k", cell: "suspend", over: "suspend into 1k", must: 3, goal: 1.5},
			claim{text: "add of one over the same at 1k", cell: "add one", over: "add one into 1k", must: 3, goal: 1.5},
			claim{text: "add - of 10,000 over the same into 1k", cell: "add 10,000", over: "add 10,000 into 1k", must: 4, goal: 2},
			claim{text: "daemon's bytes an entry, settled", cell: "settled bytes an entry", must: 400, goal: 250},
			claim{text: "daemon's bytes an entry, peak of a replace", cell: "replace: peak bytes an entry", must: 900, goal: 500},
			claim{text: "start to enforcing over pins, over publish", cell: "start over pins", over: "publish", must: 2, goal: 1},
			claim{text: "start to enforcing from the store, over publish", cell: "start from the store", over: "publish", must: 4, goal: 2.5},
			claim{text: "status over the same at 1k", cell: "status", over: "status into 1k", must: 2, goal: 1.2},
			claim{text: "scrape over the same at 1k", cell: "scrape", over: "scrape into 1k", must: 2, goal: 1.2},
			claim{text: "Tab, seconds", cell: "tab", must: 0.2, goal: 0.2},
		)
	}
	for i := range c {
		c[i].part, c[i].group = part, fmt.Sprint(n)
		c[i].text += ", " + short(n)
	}
	return c
}
