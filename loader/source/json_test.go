// Promise guarded here: one rule finds the ranges of providers in the files that they publish,
// and finds no other; what it does not find is an error.

package source

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/xdpallow/xdpallow/loader/policy"
)

// where is what the rule says, as a config file has it.
func where(said ...string) (all []Condition) {
	for _, s := range said {
		key, value, _ := strings.Cut(s, "=")
		all = append(all, Condition{key, value})
	}
	return all
}

// The files are those of the providers, shortened.
func TestRuleReadsProviders(t *testing.T) {
	for _, c := range []struct {
		file string
		rule *Rule
		want string
	}{
		{"aws.json", &Rule{Where: where("service=S3", "region=eu-west-1")}, "52.218.0.0/17 3.5.64.0/21 2a05:d07a:8000::/40"},
		{"aws.json", &Rule{Where: where("service=S3"), Under: []string{"ipv6_prefixes"}}, "2a05:d07a:8000::/40 2600:1ff0:8000::/39"},
		{"google.json", &Rule{Where: where("scope=europe-west1")}, "34.77.0.0/16 35.187.0.0/17 2600:1900:4010::/44"},
		{"azure.json", &Rule{Where: where("name=Storage.WestEurope")}, "13.69.40.16/28 20.38.108.0/23 2603:1020:206:1::280/121"},
		{"azure.json", &Rule{Where: where("systemService=AzureStorage", "regionId=18")}, "13.69.40.16/28 20.38.108.0/23 2603:1020:206:1::280/121"},
		{"azure.json", &Rule{Where: where("region=")}, "4.145.74.52/30 2603:1000:4:402::178/125"},
		{"github.json", &Rule{Under: []string{"hooks"}}, "192.30.252.0/22 185.199.108.0/22 140.82.112.0/20 143.55.64.0/20 2a0a:a440::/29 2606:50c0::/32"},
		{"cloudflare.json", &Rule{Where: where("success=true")}, "173.245.48.0/20 103.21.244.0/22 2400:cb00::/32 2606:4700::/32"},
		{"cloudflare.json", &Rule{Under: []string{"result", "ipv4_cidrs"}}, "173.245.48.0/20 103.21.244.0/22"},
	} {
		text, err := os.ReadFile(filepath.Join("testdata", c.file))
		if err != nil {
			t.Fatal(err)
		}
		claims, err := c.rule.parse(c.file, "url:x", text)
		var got []string
		for _, claim := range claims {
			got = append(got, claim.Prefix.String())
		}
		if err != nil || strings.Join(got, " ") != c.want {
			t.Errorf("%s %s: %v, %v\nwant %s", c.file, c.rule, got, err, c.want)
		}
	}
}

func TestRule(t *testing.T) {
	for _, c := range []struct {
		text string
		rule Rule
		want string // prefixes, or an error
	}{
		{`"192.0.2.1"`, Rule{}, "192.0.2.1/32"},
		{`["192.0.2.1", "192.0.2.1/32", "::ffff:192.0.2.1"]`, Rule{}, "192.0.2.1/32"},
		{`{"a": {"x": 1, "b": ["192.0.2.1", {"x": 2, "c": "192.0.2.2"}]}}`, Rule{Where: where("x=1")}, "192.0.2.1/32"}, // the nearest decides
		{`{"x": 1, "a": {"y": 2, "b": "192.0.2.1"}, "c": "192.0.2.2"}`, Rule{Where: where("x=1", "y=2")}, "192.0.2.1/32"},
		{`{"b": "192.0.2.1", "x": [1], "y": {"z": 1}, "c": null}`, Rule{Where: where("x=1")}, ":: has no prefix where x=1"},
		{`{"b": "192.0.2.1", "c": null}`, Rule{Where: where("c=")}, ":: has no prefix where c="},
		{`{"a": [{"b": "192.0.2.1"}], "b": "192.0.2.2"}`, Rule{Under: []string{"a", "b"}}, "192.0.2.1/32"},
		{`{"a": "192.0.2.1"}`, Rule{Under: []string{"a", "b"}}, ":: has no prefix below a.b"},
		{`{"c": {"a": "192.0.2.1"}}`, Rule{Under: []string{"a"}}, ":: has no prefix below a"},
		{`{"x": 0, "a": {"b": "192.0.2.1"}}`, Rule{Under: []string{"a"}, Where: where("x=1")}, ":: has no prefix below a, where x=1"},
		{`{"note": "50% off", "version": "1.2", "at": "12:30", "when": "2026-11-28", "v6": "::1x", "a": "192.0.2.1"}`, Rule{}, "192.0.2.1/32"},
		{"{}", Rule{}, ":: has no prefix"},
		{"", Rule{}, ":1: is not JSON: it ends too early"},
		{"{\n\"a\": [\n", Rule{}, ":2: is not JSON: it ends too early"},
		{"{\n\"a\": nonsense}", Rule{}, ":2: is not JSON: invalid character 'o' in literal null (expecting 'u')"},
		{`["192.0.2.1"] ["192.0.2.2"]`, Rule{}, ":1: is not one JSON document: something follows it"},
		{"[\n\"192.0.2.1\",\n\"192.0.2.1/24\"]", Rule{}, ":3: 192.0.2.1/24 has host bits set"},
		{`["192.0.2.1-192.0.2.9"]`, Rule{}, `:1: "192.0.2.1-192.0.2.9" is a range: list its prefixes`},
		{`["192.0.2.0/255.255.255.0"]`, Rule{}, `:1: "192.0.2.0/255.255.255.0" has a netmask: write its length`},
		{`["127.0.0.1"]`, Rule{}, ":1: 127.0.0.1 is this host itself: its own clients always connect and need no entry"},
		{`{"x": 2, "a": "127.0.0.1"}`, Rule{Where: where("x=1")}, ":: has no prefix where x=1"},
		{strings.Repeat("[", 65) + `"192.0.2.1"` + strings.Repeat("]", 65), Rule{}, ":1: is nested deeper than 64"},
		{strings.Repeat("[", 1<<20), Rule{}, ":1: is nested deeper than 64"},
	} {
		claims, err := c.rule.parse("p", "url:x", []byte(c.text))
		got := []string{}
		for _, claim := range claims {
			got = append(got, claim.Prefix.String())
		}
		said := strings.Join(got, " ")
		if err != nil {
			said = strings.TrimPrefix(err.Error(), "p")
		}
		if want := strings.Replace(c.want, "::", ":", 1); said != want && said != c.want {
			t.Errorf("%.80s %s:\n%s\nwant\n%s", c.text, c.rule, said, c.want)
		}
	}
}

func TestRuleTellsLines(t *testing.T) {
	claims, err := Rule{}.parse("p", "url:x", []byte("[\n\"192.0.2.1\",\n\n\"192.0.2.2\"]"))
	if err != nil || len(claims) != 2 || claims[0].Where != "p:2" || claims[1].Where != "p:4" || claims[0].Origin != "url:x" {
		t.Errorf("claims are %+v, %v", claims, err)
	}
}

// FuzzRule holds the rule to what the engine builds on: it ends; it returns claims or an error
// with a place, and never both; a claim is canonical, stands in the text, and stands there once.
func FuzzRule(f *testing.F) {
	for _, name := range []string{"aws", "google", "azure", "github", "cloudflare"} {
		text, err := os.ReadFile(filepath.Join("testdata", name+".json"))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text, "service=S3", "")
		f.Add(text, "", "hooks")
	}
	f.Fuzz(func(t *testing.T, text []byte, said, under string) {
		var rule Rule
		if said != "" {
			rule.Where = where(said)
		}
		if under != "" {
			rule.Under = strings.Split(under, ".")
		}
		claims, err := rule.parse("p", "url:x", text)
		if (err == nil) != (len(claims) > 0) {
			t.Fatalf("%d claims and %v", len(claims), err)
		}
		if err != nil {
			if input, ok := errors.AsType[*policy.InputError](err); !ok || input.Where != "p" && !strings.HasPrefix(input.Where, "p:") {
				t.Errorf("error %#v has no place", err)
			}
			return
		}
		seen := map[string]bool{}
		for _, c := range claims {
			var line int
			if _, err := fmt.Sscanf(c.Where, "p:%d", &line); err != nil || line < 1 || line > bytes.Count(text, []byte("\n"))+1 {
				t.Errorf("claim at %q", c.Where)
			}
			again, _, err := policy.ParsePrefix(c.Prefix.String())
			if err != nil || again != c.Prefix || seen[c.Prefix.String()] {
				t.Errorf("claim %v: %v", c.Prefix, err)
			}
			seen[c.Prefix.String()] = true
		}
		open, err := Rule{}.parse("p", "url:x", text) // any rule finds less
		if err == nil && len(open) < len(claims) {
			t.Errorf("%d claims, and without a rule %d", len(claims), len(open))
		}
	})
}
