package query

import (
	"context"
	"io"
	"net/netip"

	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/policy"
	"github.com/xdpallow/xdpallow/loader/transfer"
)

// This file answers the questions that need nothing but a view, for a daemon and without one.

// Answers calls a function with a view to answer from, and returns its error, or why there is
// no view.
type Answers func(fn func(*View) error) error

// Owners returns every owner.
func (a Answers) Owners(context.Context) (owners api.Owners, err error) {
	err = a(func(v *View) (err error) { owners, err = v.Owners(); return err })
	return owners, err
}

// Stats returns the counters.
func (a Answers) Stats(context.Context) (stats api.Stats, err error) {
	err = a(func(v *View) (err error) { stats, err = v.Stats(); return err })
	return stats, err
}

// List gives write the entries that r asks for, as they stand when it is called.
func (a Answers) List(_ context.Context, r api.ListRequest, write func(api.Listed) error) error {
	return a(func(v *View) error {
		listed, err := v.List(r)
		if err != nil {
			return err
		}
		return write(listed)
	})
}

// Export writes what commands made, and with all what is declared.
func (a Answers) Export(_ context.Context, all bool, w io.Writer) error {
	return a(func(v *View) error { return transfer.Write(w, v.State, all) })
}

// Table writes who is listed for service, as a proxy reads it.
func (a Answers) Table(_ context.Context, format, service string, w io.Writer) error {
	return a(func(v *View) error { return v.Table(w, format, service) })
}

// Check returns what happens to openings from addrs, at port or at every protected one.
func (a Answers) Check(_ context.Context, addrs []netip.Addr, port *policy.Port) (results []api.CheckResult, err error) {
	err = a(func(v *View) (err error) { results, err = v.Check(addrs, port); return err })
	return results, err
}
