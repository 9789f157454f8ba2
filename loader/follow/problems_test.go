package follow

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/xdpallow/xdpallow/loader/policy"
	"github.com/xdpallow/xdpallow/loader/store"
)

// Promise: problems say what is so. Of an origin whose list is not there yet nothing is enforced; a
// server that answers, and is refused, is not out of reach; what is not followed is told.
func TestProblemsSayWhatIsSo(t *testing.T) {
	now := time.Now()
	old := store.OriginState{At: now.Add(-time.Hour)}
	refused := errors.New("is wider than widest /16")
	for _, c := range []struct {
		name       string
		one        Origin
		want       []string // code and part of the text of each
		mustNotSay string
	}{
		{"nothing yet", Origin{Every: time.Minute, Failing: refused}, []string{"origin_pending: no list yet", "origin_failing: not taken over: is wider"}, "what it said last"},
		{"refused for an hour", Origin{OriginState: old, Every: time.Minute, Failing: refused}, []string{"origin_failing: not taken over, what it said last", "origin_stale: not taken over for 1h"}, "out of reach"},
		{"silent for an hour", Origin{OriginState: old, Every: time.Minute}, []string{"origin_stale: out of reach for 1h"}, "not taken over"},
		{"not followed", Origin{OriginState: old}, []string{"origin_failing: not followed"}, "out of reach"},
		{"good", Origin{OriginState: store.OriginState{At: now}, Every: time.Minute}, nil, ""},
	} {
		problems := Origins{policy.URLOrigin("a"): c.one}.Problems(0, nil, now)
		if len(problems) != len(c.want) {
			t.Errorf("%s: %+v, want %q", c.name, problems, c.want)
			continue
		}
		for i, p := range problems {
			if text := p.Code + ": " + p.Text; !strings.HasPrefix(text, c.want[i]) || strings.Contains(text, c.mustNotSay) && c.mustNotSay != "" || p.Hint == "" {
				t.Errorf("%s: %q (hint %q), want %q without %q", c.name, text, p.Hint, c.want[i], c.mustNotSay)
			}
		}
	}
}
