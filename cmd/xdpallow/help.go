package main

// This file makes help fit a terminal: urfave/cli prints a flag a line, however long.

import (
	"bytes"
	"io"
	"regexp"
	"strings"
	"unicode/utf8"

	"github.com/urfave/cli/v2"
)

// helpWidth is how many columns a terminal has that nobody has widened.
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

// explained is a flag with what it means, after the blanks that make a column of it.
var explained = regexp.MustCompile(`^(   -.*?\S {2,})(\S.*)$`)

// wrapped is line of help in which what a flag means goes on below itself; below the flag,
// where that leaves little room beside it.
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
	text, column := flag, indent
	for i, word := range strings.Fields(parts[2]) {
		n := utf8.RuneCountInString(word)
		switch {
		case i == 0:
		case column+1+n > helpWidth:
			text, column = text+"\n"+strings.Repeat(" ", indent), indent
		default:
			text, column = text+" ", column+1
		}
		text, column = text+word, column+n
	}
	return text
}
