package query

import (
	"bufio"
	"fmt"
	"io"
	"slices"

	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/policy"
)

// This file writes the list for proxies that keep a copy of it.

// Table writes who is listed for service, "" for any, as a map that format reads: a line a
// prefix with its owner, of which the longest one decides. The error for a service or format
// that is not there is a *policy.InputError; nothing was written then.
func (v *View) Table(w io.Writer, format, service string) error {
	if !slices.Contains(api.TableFormats, format) {
		return &policy.InputError{What: fmt.Sprintf("%q is no format of a table", format)}
	}
	if named := func(s policy.Service) bool { return s.Name == service }; service != "" && !slices.ContainsFunc(v.Policy.Services, named) {
		return &policy.InputError{What: fmt.Sprintf("there is no service %s", service), Hint: "xdpallow mode"}
	}
	// nobody's is a word that no owner can be called, for HAProxy another one than of the refused.
	line, refused, nobodys := "%s %s\n", "-", "*"
	if format == "nginx" {
		line, refused, nobodys = "%s %s;\n", `""`, "-"
	}
	out := bufio.NewWriter(w)
	for r := range flat(v.Policy, service, v.Now()) {
		value := r.owner
		switch {
		case r.refused:
			value = refused
		case value == "":
			value = nobodys
		}
		fmt.Fprintf(out, line, r.prefix, value)
	}
	return out.Flush() // carries the first error of the writes above
}
