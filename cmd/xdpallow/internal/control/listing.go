package control

// This file is a ListRequest on the socket.

import (
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/xdpallow/xdpallow/loader/api"
	"github.com/xdpallow/xdpallow/loader/policy"
)

func listQuery(req api.ListRequest) url.Values {
	query := url.Values{"owner": {req.Owner}, "unused": {req.Unused.String()}, "expiring": {req.Expiring.String()}}
	if req.Expired {
		query.Set("expired", "")
	}
	if req.Prefix.IsValid() {
		query.Set("prefix", req.Prefix.String())
	}
	if req.Format != "" {
		query.Set("format", req.Format)
	}
	if req.Columns != 0 {
		query.Set("columns", strconv.Itoa(req.Columns))
	}
	return query
}

func listRequest(query url.Values) (api.ListRequest, error) {
	req := api.ListRequest{Owner: query.Get("owner"), Expired: query.Has("expired"), Format: query.Get("format")}
	for key := range query {
		if !slices.Contains([]string{"owner", "prefix", "unused", "expiring", "expired", "format", "columns"}, key) {
			// Of a newer command: what it asks for is less than everything.
			return req, &policy.InputError{What: fmt.Sprintf("this daemon cannot list by %s: it is older than the command", key), Hint: "systemctl restart xdpallow"}
		}
	}
	if text := query.Get("prefix"); text != "" {
		var err error
		if req.Prefix, _, err = policy.ParsePrefix(text); err != nil {
			return req, err
		}
	}
	if req.Format != "" && !slices.Contains(api.ListFormats, req.Format) {
		return req, &policy.InputError{What: fmt.Sprintf("this daemon writes no list as %s: it is older than the command", req.Format), Hint: "systemctl restart xdpallow"}
	}
	if text := query.Get("columns"); text != "" {
		var err error
		if req.Columns, err = strconv.Atoi(text); err != nil {
			return req, &policy.InputError{What: fmt.Sprintf("columns %q is no number", text)}
		}
	}
	for key, into := range map[string]*time.Duration{"unused": &req.Unused, "expiring": &req.Expiring} {
		text := query.Get(key)
		if text == "" {
			continue
		}
		var err error
		if *into, err = time.ParseDuration(text); err != nil {
			return req, &policy.InputError{What: fmt.Sprintf("%s %q is no duration", key, text)}
		}
	}
	return req, nil
}
