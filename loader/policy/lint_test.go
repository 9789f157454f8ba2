package policy

import (
	"fmt"
	"testing"
)

func TestNewServices(t *testing.T) {
	mail := Service{Name: "mail", Ports: []Port{{TCP, 465}, {TCP, 25}, {TCP, 465}}, Mode: Audit, Scope: ScopeSYN}
	given := []Service{mail, api}
	got, err := NewServices(given)
	if err != nil {
		t.Fatal(err)
	}
	sorted := mail
	sorted.Ports = []Port{{TCP, 25}, {TCP, 465}}
	if d := diff([]Service{api, sorted}, got); d != "" {
		t.Error(d)
	}
	if d := diff([]Service{{Name: "mail", Ports: []Port{{TCP, 465}, {TCP, 25}, {TCP, 465}}, Mode: Audit, Scope: ScopeSYN}, api}, given); d != "" {
		t.Errorf("the argument was changed: %s", d)
	}
	s := State{Services: got}
	if of, ok := s.ServiceOf(Port{TCP, 25}); !ok || of.Name != "mail" {
		t.Errorf("tcp/25 is of %q", of.Name)
	}
	if of, ok := s.ServiceOf(Port{UDP, 25}); ok {
		t.Errorf("udp/25 is of %q", of.Name)
	}
}

func TestValidateServices(t *testing.T) {
	with := func(change func(*Service)) []Service {
		s := api
		change(&s)
		return []Service{s}
	}
	other := Service{Name: "web", Ports: []Port{{TCP, 443}}, Mode: Enforce, Scope: ScopeSYN}
	var many []Service
	for i := range MaxServices + 1 {
		many = append(many, Service{Name: fmt.Sprintf("s%02d", i), Ports: []Port{{TCP, uint16(i + 1)}}, Mode: Audit, Scope: ScopeSYN})
	}
	if err := ValidateServices(many[:MaxServices]); err != nil {
		t.Errorf("%d services: %v", MaxServices, err)
	}
	for _, c := range []struct {
		services []Service
		message  string
		hint     string
	}{
		{many, "32 services are more than 31", ""},
		{with(func(s *Service) { s.Name = "API" }), `service "API" is not 1 to 63 of a-z 0-9 . _ - that begin with a letter or digit`, "api"},
		{with(func(s *Service) { s.Mode = "block" }), `service api: mode "block" is not enforce or audit`, ""},
		{with(func(s *Service) { s.Scope = "all" }), `service api: drop scope "all" is not syn, stray or strict`, ""},
		{with(func(s *Service) { s.Ports = nil }), "service api has no port", ""},
		{with(func(s *Service) { s.Ports = []Port{{TCP, 0}} }), `service api: port "tcp/0" is not N, tcp/N or udp/N with N from 1 to 65535`, ""},
		{[]Service{api, api}, "service api is there twice", ""},
		{[]Service{api, other}, "port tcp/443 is in service api and in service web", ""},
	} {
		t.Run(c.message, func(t *testing.T) {
			wantInput(t, ValidateServices(c.services), c.message, c.hint)
		})
	}
}

// Guards lint: an entry for a service that is not there lets nobody in.
func TestCheckServices(t *testing.T) {
	services := []Service{api, {Name: "mail"}}
	good := claim(t, file, "a.list:1", "service=api,mail")
	if err := CheckServices([]Claim{good, claim(t, file, "a.list:2", "")}, services); err != nil {
		t.Errorf("refused: %v", err)
	}
	bad := claim(t, file, "a.list:3", "service=api,maill")
	err := CheckServices([]Claim{good, bad}, services)
	wantInput(t, err, "a.list:3: 203.0.113.0/24: no service maill; there are api, mail", "")
	typed := claim(t, OriginCLI, "", "service=api,maill")
	err = CheckServices([]Claim{good, typed}, services)
	wantInput(t, err, "cli: 203.0.113.0/24: no service maill; there are api, mail", "service=api,mail")
	if got := flatten(CheckServices([]Claim{bad, bad}, services)); len(got) != 2 {
		t.Errorf("two bad claims are told as %q", got)
	}
}
