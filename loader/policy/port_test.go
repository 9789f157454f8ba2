package policy

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// Promise: a range is every port from its first to its last, and no other.
func TestParsePorts(t *testing.T) {
	for in, want := range map[string][]Port{
		"443":             {{TCP, 443}},
		"udp/443":         {{UDP, 443}},
		"8080-8082":       {{TCP, 8080}, {TCP, 8081}, {TCP, 8082}},
		"tcp/8080-8081":   {{TCP, 8080}, {TCP, 8081}},
		"udp/65534-65535": {{UDP, 65534}, {UDP, 65535}},
		"9-9":             {{TCP, 9}},
		"tcp/30000-30000": {{TCP, 30000}},
	} {
		if got, err := ParsePorts(in); err != nil || !slices.Equal(got, want) {
			t.Errorf("ParsePorts(%q) = %v, %v; want %v", in, got, err, want)
		}
	}
	if all, err := ParsePorts("1-65535"); err != nil || len(all) != 65535 || all[65534] != (Port{TCP, 65535}) {
		t.Errorf("all ports are %d, %v", len(all), err)
	}
	for in, want := range map[string]string{
		"":            `port "" is not N, tcp/N or udp/N with N from 1 to 65535`,
		"0":           `port "0" is not N, tcp/N or udp/N with N from 1 to 65535`,
		"443/tcp":     `port "443/tcp" is not N, tcp/N or udp/N with N from 1 to 65535`,
		"0-100":       `ports "0-100" are not N-M, tcp/N-M or udp/N-M with N and M from 1 to 65535`,
		"1-65536":     `ports "1-65536" are not N-M, tcp/N-M or udp/N-M with N and M from 1 to 65535`,
		"1-":          `ports "1-" are not N-M, tcp/N-M or udp/N-M with N and M from 1 to 65535`,
		"-1":          `ports "-1" are not N-M, tcp/N-M or udp/N-M with N and M from 1 to 65535`,
		"1-2-3":       `ports "1-2-3" are not N-M, tcp/N-M or udp/N-M with N and M from 1 to 65535`,
		"tcp/1-tcp/2": `ports "tcp/1-tcp/2" are not N-M, tcp/N-M or udp/N-M with N and M from 1 to 65535`,
		"sctp/1-2":    `ports "sctp/1-2" are not N-M, tcp/N-M or udp/N-M with N and M from 1 to 65535`,
		"32767-30000": `ports "32767-30000" end before they begin`,
	} {
		if got, err := ParsePorts(in); err == nil || err.Error() != want {
			t.Errorf("ParsePorts(%q) = %v, %v; want %s", in, got, err, want)
		}
	}
}

// Promise: what is printed of ports is read as the same ports; two neighbours stay two, as
// they were printed before there were ranges.
func TestJoinPorts(t *testing.T) {
	ports := func(texts ...string) (ports []Port) {
		for _, text := range texts {
			some, err := ParsePorts(text)
			if err != nil {
				t.Fatal(err)
			}
			ports = append(ports, some...)
		}
		return ports
	}
	for want, of := range map[string][]Port{
		"":                                nil,
		"tcp/80,tcp/81":                   ports("80", "81"),
		"tcp/80-82":                       ports("80-82"),
		"tcp/443,tcp/30000-32767,udp/443": ports("443", "30000-32767", "udp/443"),
		"tcp/65533-65535,udp/1-3":         ports("65533-65535", "udp/1-3"),
	} {
		if got := JoinPorts(of); got != want {
			t.Errorf("%d ports are %q, want %q", len(of), got, want)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		var want []Port
		for range rapid.IntRange(0, 5).Draw(t, "ranges") {
			first := rapid.IntRange(1, 40).Draw(t, "first")
			for n := range rapid.IntRange(1, 5).Draw(t, "length") {
				want = append(want, Port{rapid.SampledFrom([]Protocol{TCP, UDP}).Draw(t, "protocol"), uint16(first + n)})
			}
		}
		slices.SortFunc(want, ComparePort)
		want = slices.Compact(want)
		var got []Port
		for text := range strings.SplitSeq(JoinPorts(want), ",") {
			if text == "" {
				continue
			}
			some, err := ParsePorts(text)
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, some...)
		}
		if !slices.Equal(got, want) {
			t.Fatalf("%v is printed as %s and read as %v", want, JoinPorts(want), got)
		}
	})
}

// Promise: a service of every port is as good as one of two: its changes and openings are
// told in a line each, and JSON has each port, as it always had.
func TestRangesInWords(t *testing.T) {
	all, err := ParsePorts("1-65535")
	if err != nil {
		t.Fatal(err)
	}
	some, err := ParsePorts("30000-30009")
	if err != nil {
		t.Fatal(err)
	}
	wide, narrow := Service{Name: "game", Ports: all, Mode: Enforce, Scope: ScopeSYN}, Service{Name: "game", Ports: some, Mode: Enforce, Scope: ScopeSYN}
	services, err := NewServices([]Service{{Name: "game", Ports: slices.Concat(all, some), Mode: Enforce, Scope: ScopeSYN}})
	if err != nil || !reflect.DeepEqual(services, []Service{wide}) {
		t.Fatalf("%d ports, %v", len(services[0].Ports), err)
	}
	changes := DiffServices([]Service{wide}, []Service{narrow})
	if got, want := changes[0].String(), "service game: ports -tcp/1-29999 -tcp/30010-65535"; got != want {
		t.Errorf("the change is %q, want %q", got, want)
	}
	opens := Openings([]Service{wide}, []Service{narrow})
	if got, want := JoinOpenings(opens), "tcp/1-29999 opens to everybody; tcp/30010-65535 opens to everybody"; got != want || len(opens) != 65525 {
		t.Errorf("%d openings are %q, want %q", len(opens), got, want)
	}
	state := State{Services: services}
	if _, found := state.ServiceOf(Port{TCP, 65535}); !found {
		t.Error("the last port is protected by no service")
	}
	if _, found := state.ServiceOf(Port{UDP, 53}); found {
		t.Error("a port of another protocol is protected")
	}
	text, err := json.Marshal(Service{Name: "game", Ports: some[:3], Mode: Enforce, Scope: ScopeSYN})
	if want := `{"name":"game","ports":["tcp/30000","tcp/30001","tcp/30002"],"mode":"enforce","drop":"syn"}`; err != nil || string(text) != want {
		t.Errorf("JSON is %s, %v", text, err)
	}
}

// Whatever is typed for ports, it is refused or it is one piece of one protocol.
func FuzzParsePorts(f *testing.F) {
	for _, seed := range []string{"443", "udp/443", "30000-32767", "tcp/1-65535", "9-1", "-", "1-", "/", "tcp/-1", "0x10-20", "1-2-3"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		ports, err := ParsePorts(s)
		if err != nil {
			return
		}
		if len(ports) == 0 {
			t.Fatalf("%q is no port, and no mistake", s)
		}
		for i, p := range ports {
			if p.Number == 0 || p.Protocol != ports[0].Protocol || int(p.Number) != int(ports[0].Number)+i {
				t.Fatalf("%q is %v", s, ports)
			}
		}
		if again, err := ParsePorts(fmt.Sprint(PortRange{ports[0], ports[len(ports)-1].Number})); err != nil || !slices.Equal(ports, again) {
			t.Fatalf("%q is %v, and read again %v, %v", s, ports, again, err)
		}
	})
}
