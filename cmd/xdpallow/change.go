package main

// This file is what add and remove share: they read prefixes from arguments or stdin, and
// print what became of them.

import (
	"errors"
	"fmt"
	"io"
	"iter"
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/policy"
)

// maxStdin bounds what `-` reads, in bytes: the daemon takes no more.
const maxStdin = 64 << 20

// self returns the caller, for the log of a change. The daemon ignores its ids and asks the
// kernel; without a daemon this process makes the change itself.
func (c *call) self() api.Caller {
	return api.Caller{UID: uint32(c.uid), PID: int32(os.Getpid()), LoginUID: c.loginUID, Command: c.words(), Reason: c.flags.String("reason")}
}

// words returns the command line for the change log, cut to maxWords.
func (c *call) words() string {
	words := strings.TrimPrefix(typed(c.env), "xdpallow ")
	return strings.ToValidUTF8(words[:min(len(words), maxWords)], "")
}

// maxWords is in bytes. Escaped, they still fit a header.
const maxWords = 4096

// reasonFlag is the flag of every command that changes something.
func reasonFlag() cli.Flag {
	return &cli.StringFlag{Name: "reason", Usage: "`TEXT` that says why, for history"}
}

// claims reads PREFIX|ADDR… or, for a lone "-", the lines of stdin. It reports all mistakes,
// and does so before the daemon is asked.
func (c *call) claims() ([]policy.Claim, error) {
	args := c.flags.Args().Slice()
	if len(args) == 1 && args[0] == "-" {
		return c.stdinClaims()
	}
	var claims []policy.Claim
	var bad []error
	for _, arg := range args {
		if arg == "-" {
			return nil, &policy.InputError{What: "- reads stdin, and takes no other argument", Hint: "xdpallow " + c.name + " - <FILE"}
		}
		prefix, warning, err := policy.ParsePrefix(arg)
		if err != nil {
			bad = append(bad, c.corrected(err, func(prefixes []string) string { return c.insteadOf(arg, prefixes...) }))
			continue
		}
		c.warnOfPrefix(arg, prefix, warning)
		claims = append(claims, policy.Claim{Prefix: prefix})
	}
	return claims, errors.Join(bad...)
}

// warnOfPrefix warns where arg may have been meant otherwise than it was read.
func (c *call) warnOfPrefix(arg string, read netip.Prefix, warning string) {
	if warning != "" {
		c.note("warning: %s", warning)
	}
	if !strings.Contains(arg, "/") && policy.LooksLikeNetwork(read.Addr()) {
		c.note("warning: %s is read as %s, one address", arg, read)
	}
}

// corrected turns the hint of err, the prefixes that an argument means, into a command line, which
// write makes of them.
func (c *call) corrected(err error, write func(prefixes []string) string) error {
	if input, ok := errors.AsType[*policy.InputError](err); ok {
		if prefixes := prefixesIn(input.Hint); prefixes != nil {
			return &policy.InputError{What: input.What, Hint: write(prefixes)}
		}
	}
	return err
}

// prefixesIn returns the words of a hint if all of them are prefixes, else nil.
func prefixesIn(hint string) []string {
	words := strings.Fields(hint)
	noPrefix := func(word string) bool { _, err := netip.ParsePrefix(word); return err != nil }
	if len(words) == 0 || slices.ContainsFunc(words, noPrefix) {
		return nil
	}
	return words
}

// insteadOf returns the command line with words in place of arg, or "" where arg is only a
// part of a word.
func (c *call) insteadOf(arg string, words ...string) string {
	i := slices.Index(c.args, arg)
	if i < 0 {
		return ""
	}
	again := c.env
	again.args = slices.Concat(c.args[:i], words, c.args[i+1:])
	return typed(again)
}

func (c *call) stdinClaims() ([]policy.Claim, error) {
	in := &io.LimitedReader{R: c.stdin, N: maxStdin + 1}
	claims, warnings, err := policy.ParseList("stdin", policy.OriginCLI, in)
	if in.N <= 0 {
		return nil, &policy.InputError{
			What: fmt.Sprintf("stdin: more than %d MiB", maxStdin>>20),
			Hint: "xdpallow run --allow-file FILE",
		}
	}
	if err != nil {
		return nil, err
	}
	for _, w := range warnings {
		c.note("warning: %s", w)
	}
	if len(claims) == 0 {
		return nil, &policy.InputError{What: "stdin: no prefix in it"}
	}
	return claims, nil
}

// printChange prints a line for each prefix: the verb, the prefix, and what row adds.
func (c *call) printChange(listing api.Listing, row func(api.Entry) (verb, more string)) error {
	slices.SortStableFunc(listing.Entries, func(a, b api.Entry) int { return policy.ComparePrefix(a.Prefix, b.Prefix) })
	if c.json {
		return writeListing(c.out, listing)
	}
	var lines iter.Seq[[]string] = func(yield func([]string) bool) {
		for _, e := range listing.Entries {
			verb, more := row(e)
			if !yield([]string{verb + " " + e.Prefix.String(), more}) {
				return
			}
		}
	}
	_ = table(c.out, 0, lines)
	c.printGeneration(listing.Generation, listing.Total, "")
	return nil
}

func (c *call) printGeneration(generation uint64, total int, suffix string) {
	word := "generation"
	if strings.HasPrefix(c.name, fleetGroup+" ") {
		word = "serial"
	}
	fmt.Fprintf(c.out, "%s %d, %s%s\n", word, generation, policy.Count(total, "prefix", "prefixes"), suffix)
}
