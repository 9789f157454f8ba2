// This file puts the parts of a list together, which are read beside each other: who reads it in the end
// sees one list, and its mistakes from the top.

package policy

import (
	"cmp"
	"fmt"
	"slices"
)

// joined returns the claims of all parts of a list.
func joined(parts []*listParser) (claims []Claim, warnings []string, err error) {
	var said mistakes
	var twice []contradiction
	total := 0
	for _, part := range parts {
		total += len(part.claims)
		said.join(part.warnings)
	}
	claims = make([]Claim, 0, total)
	var one *listed // the first of the last prefix
	for next := least(parts); next != nil; next = least(parts) {
		if one == nil || one.Prefix != next.Prefix {
			if one = next; parts[0].sorted {
				claims = append(claims, next.Claim)
			}
			continue
		}
		next.again = true
		if next.commented && one.commented { // a comment says why, and not who may connect
			one.Note = cmp.Or(one.Note, next.Note)
			next.Note = one.Note
			if parts[0].sorted {
				claims[len(claims)-1].Note = one.Note
			}
		}
		if !SameWords(next.Claim, one.Claim) {
			twice = append(twice, contradiction{one, next})
		}
	}
	for _, part := range parts {
		for i := 0; i < len(part.claims) && !part.sorted; i++ {
			if one := &part.claims[i]; !one.again {
				claims = append(claims, one.Claim)
			}
		}
	}
	bad := inOrder(parts, twice)
	if err := bad.err(parts[0].name); err != nil {
		return nil, nil, err
	}
	for _, warning := range said.errs {
		warnings = append(warnings, warning.Error())
	}
	if said.more > 0 {
		warnings = append(warnings, fmt.Sprintf("%s: and %d more", parts[0].name, said.more))
	}
	return claims, warnings, nil
}

// mistake is what is wrong with a line.
type mistake struct {
	line int
	err  error
}

// contradiction is a prefix that stands in a list again, with other words.
type contradiction struct{ first, again *listed }

// inOrder are the mistakes of all parts of a list, and what contradicts itself there, in the order of
// its lines: who mends them goes through the file from the top.
func inOrder(parts []*listParser, twice []contradiction) (told mistakes) {
	var all []mistake
	exported := false
	for _, part := range parts {
		for _, wrong := range part.bad {
			if wrong.err != part.export || !exported {
				all = append(all, wrong)
			}
		}
		exported = exported || part.export != nil
		told.more += part.more
	}
	slices.SortFunc(twice, func(a, b contradiction) int { return a.again.line - b.again.line })
	for _, c := range twice[:min(len(twice), maxMessages)] {
		err := inputErrorf(c.again.Where, "", "%s is also in %s, with other words", c.first.Prefix, c.first.Where)
		all = append(all, mistake{c.again.line, err})
	}
	told.more += max(0, len(twice)-maxMessages)
	slices.SortStableFunc(all, func(a, b mistake) int { return a.line - b.line })
	for _, wrong := range all {
		told.add(wrong.err)
	}
	return told
}

// least takes the claim of the least prefix from parts, the first one of several; nil when all
// were taken.
func least(parts []*listParser) *listed {
	var from *listParser
	for _, part := range parts {
		if len(part.order) > 0 && (from == nil || ComparePrefix(part.order[0].prefix, from.order[0].prefix) < 0) {
			from = part
		}
	}
	if from == nil {
		return nil
	}
	at := from.order[0].at
	from.order = from.order[1:]
	return &from.claims[at]
}
