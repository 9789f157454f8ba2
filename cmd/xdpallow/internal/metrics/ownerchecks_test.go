package metrics

import (
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/xdpallow/xdpallow/loader/api"
)

// Promise: what the owner endpoint answered is a series by service and reason, and there is
// none where no endpoint was asked for.
func TestOwnerChecks(t *testing.T) {
	const name = "xdpallow_owner_checks_total"
	source := sample()
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(NewCollector(source))
	if n, err := testutil.GatherAndCount(registry, name); err != nil || n != 0 {
		t.Errorf("without an endpoint: %d series, %v", n, err)
	}
	source.answer.Stats.OwnerChecks = []api.OwnerCheck{{Service: "api", Reason: "listed", Answers: 5}, {Service: "api", Reason: "wrong_owner"}}
	registry = prometheus.NewPedanticRegistry()
	registry.MustRegister(NewCollector(source))
	want := `
# HELP xdpallow_owner_checks_total Answers of the owner endpoint by service and why.
# TYPE xdpallow_owner_checks_total counter
xdpallow_owner_checks_total{reason="listed",service="api"} 5
xdpallow_owner_checks_total{reason="wrong_owner",service="api"} 0
`
	if err := testutil.GatherAndCompare(registry, strings.NewReader(want), name); err != nil {
		t.Error(err)
	}
}
