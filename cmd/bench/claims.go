// This file has the promises about speed: ratios within one run, and which cells they compare.
package main

import (
	"fmt"
	"slices"
)

// claim is one ratio that must hold, and its goal.
type claim struct {
	part, text        string
	group, cell, over string
	must, goal        float64
	atLeast           bool
}

func (c claim) holds(figure, bound float64) bool {
	if c.atLeast {
		return figure >= bound
	}
	return figure <= bound
}

const partMicro = "micro"

func claims() []claim {
	return slices.Concat(microClaims(), publishClaims(), liveClaims(), clientClaims(), ownerClaims(), userClaims(partUser, 100_000), userClaims(partMillion, 1_000_000))
}

func publishClaims() []claim {
	return []claim{
		{part: partPublish, text: "publish over one bare BatchUpdate, 100k", group: "100000", cell: "publish", over: "bare", must: 4, goal: 4},
		{part: partPublish, text: "publish over one bare BatchUpdate, 1M", group: "1000000", cell: "publish", over: "bare", must: 3, goal: 3},
		{part: partPublish, text: "bytes an entry above 16 MiB, 1M", group: "1000000", cell: "bytes an entry", must: 180, goal: 180},
	}
}

func liveClaims() (c []claim) {
	ours := ourFilter.name
	for i, n := range liveSizes {
		group := fmt.Sprint(n)
		c = append(c,
			claim{text: "live softirq over the empty XDP drop, " + short(n), group: group, cell: ours, over: emptyDrop.name, must: []float64{1.8, 2, 3}[i], goal: []float64{1.4, 1.5, 2.4}[i]},
			claim{text: "nft netdev ingress set over ours, live, " + short(n), group: group, cell: nftNetdev.name, over: ours, must: []float64{6, 12, 18}[i], goal: []float64{8, 15, 20}[i], atLeast: true})
	}
	for i, n := range liveSizes[:2] {
		c = append(c, claim{text: "iptables raw + ipset over ours, live, " + short(n), group: fmt.Sprint(n), cell: ipsetRaw.name, over: ours, must: []float64{8, 20}[i], goal: []float64{10, 25}[i], atLeast: true})
	}
	for i := range c {
		c[i].part = partLive
	}
	return c
}

func clientClaims() []claim {
	return []claim{
		{part: partClient, text: "listed client's requests/s in a flood over its rate without", group: "100000", cell: "flood: requests/s", over: "no flood: requests/s", must: 0.85, goal: 0.92, atLeast: true},
		{part: partClient, text: "its p99 in a flood over that without", group: "100000", cell: "flood: p99 ms", over: "no flood: p99 ms", must: 1.25, goal: 1.1},
		{part: partClient, text: "of its rate it keeps, over what it keeps when the flood is known at sight", group: "100000", cell: "kept: ours", over: "kept: bare", must: 0.9, goal: 0.95, atLeast: true},
	}
}

func microClaims() []claim {
	c := []claim{
		{text: "parse-and-drop over empty", group: "ipv4 sizes", cell: "parse-and-drop", over: "empty", must: 1.6, goal: 1.6},
		{text: "sampling on over sampling left out, 100k", group: "ipv4 sampling", cell: "on", over: "left out", must: 1.05, goal: 1.05},
		{text: "floor over parse-and-drop", group: "ipv4 sizes", cell: "floor", over: "parse-and-drop", must: 2, goal: 1.5},
	}
	for i, n := range sizes {
		c = append(c, claim{
			text: fmt.Sprintf("random miss over the floor, %s", short(n)), group: "ipv4 sizes", cell: fmt.Sprintf("ours %d", n), over: "floor",
			must: []float64{1.4, 1.6, 1.8, 3.5}[i], goal: []float64{1.3, 1.5, 1.6, 3}[i],
		})
	}
	for i, n := range sizes[1:] {
		c = append(c, claim{
			text: fmt.Sprintf("trie-only over ours, random miss, %s", short(n)), group: fmt.Sprintf("ipv4 %d miss", n), cell: "trie-only", over: "ours",
			must: []float64{2.5, 9, 12}[i], goal: []float64{3.5, 14, 18}[i], atLeast: true,
		})
	}
	for _, n := range sizes[2:] {
		c = append(c, claim{
			text: fmt.Sprintf("trie-only over ours, adversarial miss, %s", short(n)), group: fmt.Sprintf("ipv4 %d near", n), cell: "trie-only", over: "ours",
			must: 3, goal: 4, atLeast: true,
		})
	}
	c = append(c,
		claim{text: "IPv6 random miss over the floor, 100k", group: "ipv6 sizes", cell: "ours 100000", over: "floor", must: 2.2, goal: 1.8},
		claim{text: "IPv6 trie-only over ours in a listed /48, 100k", group: "ipv6 100000 near", cell: "trie-only", over: "ours", must: 2.5, goal: 3, atLeast: true},
		claim{text: "100k over 15, random miss", group: "ipv4 sizes", cell: "ours 100000", over: "ours 15", must: 1.4, goal: 1.3},
		claim{text: "segment of an open connection over the floor", group: "ipv4 sizes", cell: "segment", over: "floor", must: 1.2, goal: 1.1},
	)
	for i := range c {
		c[i].part = partMicro
	}
	return c
}

// short is a list's size as people say it.
func short(n int) string {
	switch {
	case n >= 1_000_000:
		return fmt.Sprintf("%dM", n/1_000_000)
	case n >= 1000:
		return fmt.Sprintf("%dk", n/1000)
	}
	return fmt.Sprint(n)
}
