// This file reads where the owner endpoint listens.

package config

import (
	"net/netip"

	"go.yaml.in/yaml/v3"
)

// Owner says where the endpoint listens that tells proxies whose an address is. Nothing listens
// where it is zero.
type Owner struct {
	Socket string // absolute path of a unix socket, or ""
	Group  string // of the socket; "" leaves it to the daemon's own user
	Listen string // ADDRESS:PORT, or ""
}

func (r *reader) owner(n *yaml.Node) (o Owner) {
	r.mapping(n, "owner", []key{
		{"socket", func(n *yaml.Node) { o.Socket = r.file(n, "socket") }},
		{"group", func(n *yaml.Node) { o.Group, _ = r.text(n, "group") }},
		{"listen", func(n *yaml.Node) { o.Listen = r.near(n) }},
	})
	if o.Group != "" && o.Socket == "" {
		r.fail(n, "", "owner has a group, and no socket that it could be of")
	}
	return o
}

// near reads an address at which no stranger can ask: the answers name customers.
func (r *reader) near(n *yaml.Node) string {
	text, ok := r.text(n, "listen")
	if !ok {
		return ""
	}
	at, err := netip.ParseAddrPort(text)
	addr := at.Addr().Unmap()
	switch {
	case err != nil || at.Port() == 0:
		r.fail(n, "", "listen %.64q is not ADDRESS:PORT, as 127.0.0.1:9464", text)
	case !addr.IsLoopback() && !addr.IsPrivate():
		r.fail(n, "", "listen %s would tell strangers who your customers are: name a loopback or private address, as 127.0.0.1:9464", text)
	default:
		return at.String()
	}
	return ""
}
