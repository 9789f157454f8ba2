package doctor

// This file finds the rules by which a packet that came to one port is handed to another,
// or to a container. The gate judges it by the port that it came to.

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// redirects asks nft, which also shows what iptables-nft, and so Docker, has made. Without
// nft there is no answer, which is an error.
func redirects() ([]string, error) {
	path, err := exec.LookPath("nft")
	for _, dir := range []string{"/usr/sbin/nft", "/sbin/nft"} {
		if err != nil {
			path, err = exec.LookPath(dir)
		}
	}
	if err != nil {
		return nil, err
	}
	if os.Geteuid() != 0 {
		return nil, os.ErrPermission
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	var complaint bytes.Buffer
	cmd := exec.CommandContext(ctx, path, "list", "ruleset")
	cmd.Stderr = &complaint
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("nft list ruleset: %w: %s", err, strings.TrimSpace(complaint.String()))
	}
	return translations(string(out)), nil
}

// legacyNAT reports whether the kernel has the table nat of iptables-legacy here, which is
// there as soon as somebody has looked at it.
func legacyNAT() bool {
	for _, family := range []string{"ip", "ip6"} {
		tables, _ := os.ReadFile("/proc/net/" + family + "_tables_names") // root's to read
		if slices.Contains(strings.Fields(string(tables)), "nat") {
			return true
		}
	}
	return false
}

var (
	translates = regexp.MustCompile(`\b(dnat|redirect|DNAT|REDIRECT)\b`)
	counters   = regexp.MustCompile(`\bcounter packets \d+ bytes \d+ ?`)
	named      = regexp.MustCompile(`\b(?:tcp|udp|th) dport (\d+)\b`)
)

// translations are the rules of a ruleset that translate destinations, each once and
// without its counters.
func translations(ruleset string) (rules []string) {
	for line := range strings.Lines(ruleset) {
		if line = strings.TrimSpace(line); translates.MatchString(line) && !strings.HasPrefix(line, "type ") {
			rules = append(rules, strings.TrimSpace(counters.ReplaceAllString(line, "")))
		}
	}
	slices.Sort(rules)
	return slices.Compact(rules)
}

// comesTo is the port that a rule takes packets from; 0 where it names none or several.
func comesTo(rule string) int {
	found := named.FindStringSubmatch(rule)
	if found == nil {
		return 0
	}
	port, _ := strconv.Atoi(found[1])
	return port
}

// portRange reads two numbers.
func portRange(text string) (bounds [2]int) {
	for i, field := range strings.Fields(text) {
		if i < len(bounds) {
			bounds[i], _ = strconv.Atoi(field)
		}
	}
	return bounds
}

// reserved reports whether a list as 1,5-9 has port.
func reserved(list string, port int) bool {
	return slices.ContainsFunc(strings.Split(list, ","), func(item string) bool {
		low, high, isRange := strings.Cut(item, "-")
		if !isRange {
			high = low
		}
		from, err := strconv.Atoi(low)
		to, _ := strconv.Atoi(high)
		return err == nil && from <= port && port <= to
	})
}
