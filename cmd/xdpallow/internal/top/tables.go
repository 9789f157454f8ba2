package top

// This file is what is counted: traffic by verdict and reason, openings by owner.

import (
	"cmp"
	"fmt"
	"slices"
)

// sections returns all sections, for the left and the right half of a wide terminal.
func (m model) sections() (left, right []section) {
	left = []section{m.table(1, 1, 5, m.rates()), m.table(5, 3, 2, m.owners()), m.facts(6, 4)}
	right = []section{
		m.table(2, 2, 2, m.nearMisses()),
		m.table(3, 5, 3, m.talkers("PREFIX", prefixRows(m.shown.frame.Talkers))),
		m.table(4, 6, 2, m.talkers("ADDRESS", addressRows(m.shown.frame.Talkers))),
	}
	return left, right
}

// late is how many slots have passed since the shown reading while the source fails, and 0 while
// it answers.
func (m model) late() int {
	if m.failing == nil {
		return 0
	}
	return int(m.now.Sub(m.shown.frame.Time) / m.interval)
}

func (m model) sparkName() string { return fmt.Sprintf("LAST %.0f s", (slots * m.interval).Seconds()) }

// falling sorts larger numbers first; NaN is less than any number.
func falling(a, b float64) int { return cmp.Compare(b, a) }

// kernelOrder is the order of rates: what a gate is for comes first.
var kernelOrder = map[string]int{"xdp": 1, "backstop": 2, "drop": 1, "audit": 2, "pass": 3}

// rates are packets by verdict and reason. A verdict of several reasons has a row
// for all of them; reasons that never were have none.
func (m model) rates() grid {
	reasons := map[kind]int{}
	var kinds []kind
	for k, t := range m.shown.traffic {
		if k.reason != "" && t.packets.total > 0 {
			kinds = append(kinds, k)
			reasons[kind{k.layer, k.verdict, ""}]++
		}
	}
	for all, n := range reasons {
		if n > 1 {
			kinds = append(kinds, all)
		}
	}
	slices.SortFunc(kinds, m.compareKinds)
	g := grid{spark: m.sparkName(), columns: []column{
		{name: "VERDICT REASON", least: 18},
		{name: "PACKETS", right: true},
		{name: "BITS", right: true, rank: 1},
		{name: "TOTAL", right: true, rank: 2},
	}}
	for _, k := range kinds {
		t := m.shown.traffic[k]
		name := k.verdict + " " + k.reason
		if k.reason == "" {
			name = k.verdict + " ALL"
		}
		if k.layer != "xdp" {
			name = k.layer + " " + name
		}
		how := ofVerdict(k.verdict)
		g.rows = append(g.rows, row{turn: turnOf(k, reasons), line: &t.packets.history, tint: how, cells: []cell{
			{name, how},
			{perSecond(t.packets.rate, ""), plain},
			{perSecond(8*t.bytes.rate, "b"), plain},
			{whole(t.packets.total), plain},
		}})
	}
	return g
}

// turnOf is what stays of the rates where there is no room for all: the sum of
// what is dropped, customers, audit, then why it is dropped, and last the rest of
// the traffic.
func turnOf(k kind, reasons map[kind]int) int {
	sum := k.reason == "" || reasons[kind{k.layer, k.verdict, ""}] == 1
	switch {
	case k.layer == "xdp" && k.verdict == "drop" && sum, k.verdict == "pass" && k.reason == "listed":
		return 0
	case k.layer == "xdp" && k.verdict == "audit" && sum:
		return 1
	case k.verdict != "pass":
		return 2
	}
	return 3
}

func (m model) compareKinds(a, b kind) int {
	x, y := m.shown.traffic[a], m.shown.traffic[b]
	byOrder := 0
	switch m.order {
	case byPackets:
		byOrder = falling(x.packets.rate, y.packets.rate)
	case byBytes:
		byOrder = falling(x.bytes.rate, y.bytes.rate)
	}
	truth := map[bool]int{true: 0, false: 1}
	return cmp.Or(
		cmp.Compare(kernelOrder[a.layer], kernelOrder[b.layer]),
		cmp.Compare(kernelOrder[a.verdict], kernelOrder[b.verdict]),
		cmp.Compare(truth[a.reason == ""], truth[b.reason == ""]),
		byOrder, cmp.Compare(a.reason, b.reason),
	)
}

// owners shows the openings of each customer. A customer who is dropped comes first.
func (m model) owners() grid {
	var names []string
	for name, o := range m.shown.owners {
		if o.passed.total+o.dropped.total > 0 {
			names = append(names, name)
		}
	}
	slices.SortFunc(names, func(a, b string) int {
		x, y := m.shown.owners[a], m.shown.owners[b]
		byOrder := 0
		if m.order != byName {
			byOrder = cmp.Or(falling(x.dropped.rate, y.dropped.rate), falling(x.passed.rate, y.passed.rate))
		}
		return cmp.Or(byOrder, cmp.Compare(a, b))
	})
	g := grid{spark: "PASSED, " + m.sparkName(), columns: []column{
		{name: "OWNER", least: 12}, {name: "PASSED", right: true}, {name: "DROPPED", right: true},
	}}
	for _, name := range names {
		o := m.shown.owners[name]
		how := plain
		if o.dropped.rate > 0 {
			how = warn
		}
		g.rows = append(g.rows, row{line: &o.passed.history, tint: good, cells: []cell{
			{cmp.Or(name, "-"), how}, {perSecond(o.passed.rate, ""), plain}, {perSecond(o.dropped.rate, ""), how},
		}})
	}
	return g
}
