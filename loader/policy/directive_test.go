package policy

import (
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// Promise: a line of an export is read as what was written, whatever somebody gave as the
// reason; and a list that has one is refused, once, with what to type instead.
func TestDirectives(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := Directive{Words: []string{"suspend", "acme"}}
		reason := rapid.StringOf(rapid.RuneFrom([]rune("a \t\"\\#=ü,"))).Draw(t, "reason")
		for _, f := range []Field{{"by", "7"}, {"reason", reason}} {
			if rapid.Bool().Draw(t, f.Key) {
				d.Fields = append(d.Fields, f)
			}
		}
		var read []Directive
		claims, _, err := ParseExport("x", strings.NewReader("# export\n "+d.String()+" # why\n192.0.2.0/24\n"), func(d Directive) error {
			read = append(read, d)
			return nil
		})
		if err != nil || len(claims) != 1 || !reflect.DeepEqual(read, []Directive{d}) {
			t.Fatalf("%s is read as %q, %v", d, read, err)
		}
	})
	text := "192.0.2.0/24\nsuspend acme\nlimit acme 5/s\nhold\n"
	_, _, err := ParseList("a.list", OriginCLI, strings.NewReader(text))
	if lines := strings.Split(err.Error(), "\n"); len(lines) != 2 || !strings.HasPrefix(lines[0], `a.list:2: "suspend" is a line of xdpallow export`) || !strings.HasPrefix(lines[1], "a.list:4: ") {
		t.Errorf("an export that is read as a list: %v", err)
	}
}
