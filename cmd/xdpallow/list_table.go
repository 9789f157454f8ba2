package main

// This file is the table of `list`.

import (
	"bufio"
	"cmp"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/xdpallow/xdpallow/cmd/xdpallow/internal/tabular"
	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/policy"
)

// writeEntryTable goes through l twice, for the widths and for the text. How entries were used
// matters for the widths only until one was seen at all, for the text only if one was.
func writeEntryTable(w *bufio.Writer, r api.ListRequest, l api.Listed) error {
	var failed error
	seen := false
	first := l.Entries(func() bool { return !seen })
	widths := tabular.Measure(entryRows(func(yield func(*api.Entry) bool) {
		for e := range until(first, &failed) {
			seen = seen || e.LastSeen != nil
			if !yield(e) {
				return
			}
		}
	}, r.Unused > 0))
	if failed != nil {
		return failed
	}
	if widths.Rows == 1 {
		_, err := fmt.Fprintln(w, api.NothingListed)
		return err
	}
	widths.LeaveOut("SUSPENDED") // where there is none: a column for suspensions says what is wrong
	again := until(l.Entries(func() bool { return seen }), &failed)
	if err := widths.Write(w, 0, r.Columns, entryRows(again, r.Unused > 0)); err != nil {
		return err
	}
	return failed
}

// entryRows are a row an entry, with since when it is enforced if that matters.
func entryRows(entries iter.Seq[*api.Entry], first bool) iter.Seq[[]string] {
	row := func(enforced string, cells ...string) []string {
		if first {
			return slices.Insert(cells, 5, enforced)
		}
		return cells
	}
	return func(yield func([]string) bool) {
		if !yield(row("FIRST-ENFORCED", "PREFIX", "OWNER", "SERVICES", "UNTIL", "LAST-SEEN", "ORIGIN", "NOTE", "SUSPENDED")) {
			return
		}
		for e := range entries {
			suspended := "-"
			if e.Suspended {
				suspended = "suspended"
			}
			if e.CountsFor != "" && e.SuspendedBy == e.CountsFor {
				suspended += " with " + e.SuspendedBy
			}
			if e.SuspendedIn != "" {
				suspended += " (" + string(e.SuspendedIn) + ")"
			}
			until := moment(e.Until)
			if e.Ended {
				until = "ended " + until
			}
			if !yield(row(
				moment(e.FirstEnforced), e.Prefix.String(), ownerCell(e), cmp.Or(strings.Join(e.Services, ","), "all"),
				until, moment(e.LastSeen), cmp.Or(joined(e.Origins), "-"), cmp.Or(e.Note, "-"), suspended,
			)) {
				return
			}
		}
	}
}

// ownerCell is the owner of e, or in parentheses the one for whom it counts.
func ownerCell(e *api.Entry) string {
	if e.Owner == "" && e.CountsFor != "" {
		return "(" + e.CountsFor + ")"
	}
	return cmp.Or(e.Owner, "-")
}

func joined(origins []policy.Origin) string {
	names := make([]string, len(origins))
	for i, o := range origins {
		names[i] = string(o)
	}
	return strings.Join(names, ",")
}

// moment is a time as the JSON has it, or a dash for never.
func moment(t *time.Time) string {
	if t == nil {
		return "-"
	}
	return t.UTC().Format(time.RFC3339)
}
