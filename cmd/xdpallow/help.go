package main

// This file wraps help to the width of a terminal: urfave/cli prints each flag in one line,
// however long.

import (
	"bytes"
	"io"
	"regexp"
	"strings"
	"unicode/utf8"

	"github.com/urfave/cli/v2"
)

// helpWidth is the default width of a terminal, in columns.
const helpWidth = 80

// urfave/cli has one printer of help for all.
func init() {
	print := cli.HelpPrinter
	cli.HelpPrinter = func(w io.Writer, template string, data any) {
		var whole bytes.Buffer
		print(&whole, template, data)
		for line := range strings.Lines(whole.String()) {
			_, _ = io.WriteString(w, wrapped(strings.TrimSuffix(line, "\n"))+"\n")
		}
	}
}

// explained matches a flag and, after the blanks of the column, its explanation.
var explained = regexp.MustCompile(`^(   -.*?\S {2,})(\S.*)$`)

// wrapped wraps the explanation of a flag in its column, or below the flag where the column is
// too narrow.
func wrapped(line string) string {
	parts := explained.FindStringSubmatch(line)
	if parts == nil || utf8.RuneCountInString(line) <= helpWidth {
		return line
	}
	const least = 30
	flag, indent := parts[1], utf8.RuneCountInString(parts[1])
	if helpWidth-indent < least {
		flag, indent = strings.TrimRight(flag, " ")+"\n"+strings.Repeat(" ", 8), 8
	}
	return flag + folded(parts[2], indent, helpWidth)
}

// folded wraps text to columns; further lines are indented.
func folded(text string, indent, columns int) string {
	var out strings.Builder
	column := indent
	for i, word := range strings.Fields(text) {
		n := utf8.RuneCountInString(word)
		switch {
		case i == 0:
		case column+1+n > columns:
			out.WriteString("\n" + strings.Repeat(" ", indent))
			column = indent
		default:
			out.WriteByte(' ')
			column++
		}
		out.WriteString(word)
		column += n
	}
	return out.String()
}
