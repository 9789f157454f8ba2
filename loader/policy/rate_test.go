package policy

import "testing"

// Promise: a rate is written as people write it, never as 5.787e-05.
func TestFormatRate(t *testing.T) {
	for in, want := range map[string]string{
		"200/s": "200/s", "30/m": "30/m", "5/h": "5/h", "5/d": "5/d", "1/d": "1/d", "120/m": "2/s",
		"1000000000/s": "1000000000/s", "2.5/s": "150/m", "0.5/d": "0.5/d", "0.3333/s": "19.998/m",
	} {
		perSecond, err := ParseRate(in)
		if got := FormatRate(perSecond); got != want || err != nil {
			t.Errorf("%s is written %s, want %s (%v)", in, got, want, err)
		}
	}
}

// Promise: who names a service that does not exist is told those that do.
func TestNoService(t *testing.T) {
	for _, c := range []struct {
		services []Service
		want     string
	}{
		{[]Service{{Name: "admin"}, {Name: "api"}}, "no service nope; there are admin, api"},
		{[]Service{{Name: "api"}}, "no service nope; there is api"},
		{nil, "no service nope; there is none"},
	} {
		if got := NoService("nope", c.services); got != c.want {
			t.Errorf("%q, want %q", got, c.want)
		}
	}
}
