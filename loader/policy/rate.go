// This file reads and writes rates: how often something may happen.

package policy

import (
	"math"
	"strconv"
	"strings"
	"time"
)

// rateUnits are the units of a rate, the shortest first.
var rateUnits = []struct {
	name string
	each time.Duration
}{{"s", time.Second}, {"m", time.Minute}, {"h", time.Hour}, {"d", 24 * time.Hour}}

// ParseRate reads "200/s", "10/m", "5/h" or "1/d", and returns the rate in events a second. Errors
// are *InputError without a Where.
func ParseRate(s string) (perSecond float64, err error) {
	number, unit, found := strings.Cut(s, "/")
	n, err := strconv.ParseFloat(number, 64)
	for _, u := range rateUnits {
		if found && err == nil && u.name == unit && n > 0 && !math.IsInf(n, 0) {
			return n / u.each.Seconds(), nil
		}
	}
	return 0, inputErrorf("", "xdpallow limit acme 200/s", "%q is not a rate over 0 as 200/s, 10/m, 5/h or 1/d", s)
}

// FormatRate writes a rate, in events a second, as ParseRate reads it: in the shortest unit that
// makes it a whole number, else in the shortest that makes it at least 1.
func FormatRate(perSecond float64) string {
	for _, u := range rateUnits {
		n := perSecond * u.each.Seconds()
		if whole := math.Round(n); whole >= 1 && math.Abs(n-whole) < 1e-9*whole {
			return strconv.FormatFloat(whole, 'f', -1, 64) + "/" + u.name
		}
	}
	for _, u := range rateUnits {
		if n := perSecond * u.each.Seconds(); n >= 1 || u.each == 24*time.Hour {
			return strconv.FormatFloat(n, 'g', 6, 64) + "/" + u.name
		}
	}
	return "0/s"
}
