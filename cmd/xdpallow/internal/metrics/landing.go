package metrics

// This file is the page that a browser shows at the address of the metrics. It has no address
// and no name of a customer on it, and no script.

import (
	"context"
	_ "embed"
	"html/template"
	"net/http"
	"slices"

	"github.com/xdpallow/xdpallow/loader/api"
)

//go:embed landing.html
var landingText string

var landing = template.Must(template.New("landing").Parse(landingText))

// Landing serves the page. status is asked for each request: with the problems found last, so
// that nobody can make the host test itself by looking at it.
func Landing(status func(context.Context) (api.Status, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		now, err := status(r.Context())
		if err != nil {
			http.Error(w, "the status cannot be read", http.StatusInternalServerError)
			return
		}
		var codes []string // their texts name interfaces and addresses
		for _, p := range now.Problems {
			codes = append(codes, p.Code)
		}
		slices.Sort(codes)
		header := w.Header()
		header.Set("Content-Type", "text/html; charset=utf-8")
		header.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'")
		header.Set("X-Content-Type-Options", "nosniff")
		header.Set("Cache-Control", "no-store")
		_ = landing.Execute(w, struct { // fails only when the caller hung up
			Version   string
			Enforcing bool
			Problems  []string
		}{now.Version, now.Enforcing, slices.Compact(codes)})
	})
}
