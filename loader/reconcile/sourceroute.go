package reconcile

import (
	"fmt"
	"strings"

	"github.com/xdpallow/xdpallow/loader/netdev"
)

// SourceRoutes is the problem of a host whose interfaces in taking take source routes, or
// that does not tell, with err. The gate drops such packets to a protected port whatever
// their source, so it is shut; but the backstop cannot see them in what comes in beside the
// gate. The arguments are what netdev.SourceRouted returns.
func SourceRoutes(taking []string, err error) []Problem {
	p := Problem{Code: "source_routes", Subject: netdev.SourceRouteSetting, Hint: "sysctl -w " + netdev.SourceRouteSetting + "=0"}
	switch {
	case err != nil:
		p.Text = fmt.Sprintf("whether source routes are taken is not known: %v", err)
	case len(taking) == 0:
		return nil
	default:
		p.Text = strings.Join(taking, ", ") + " take source routes: a faked listed source can open connections beside the gate, by an interface that nobody guards or a redirect"
	}
	return []Problem{p}
}
