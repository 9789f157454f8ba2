// This file is the settings of origins that are kept elsewhere, as a config file has them: a mistake there is
// found when the file is read, and not when the origin is.

package source

import (
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/xdpallow/xdpallow/loader/policy"
)

// Settings are one followed origin. One of URL, Names and Etcd is set.
type Settings struct {
	Name     string
	Owner    string   // of every entry; AnyOwner lets the lines of a list name owners
	Services []string // sorted; nil is every service
	Limits   Limits
	Stale    time.Duration // entries end this long after the last success; 0 is never

	URL   string
	CA    string // a file with the certificates that may vouch for URL; "" is those of the host
	Every time.Duration
	JSON  *Rule // nil is a text in the grammar of list files

	Names []string      // host names, without a trailing dot
	Hold  time.Duration // an address stays this long after it was last answered

	Etcd *Etcd
}

// Etcd is where a list of a fleet is.
type Etcd struct {
	Endpoints []string // https://HOST:PORT, or http:// on this host
	CA        string   // a file with the certificates that may vouch for Endpoints; "" is those of the host
	Cert, Key string   // files with what this host shows them; "" where all Endpoints are on this host
	Group     string   // of hosts, "" is none
	Fleet     string   // its name below /xdpallow/v1/
	List      string
}

// New returns what follows s; nil for a list in etcd, which needs a client of its own.
func New(s Settings) Follower {
	switch {
	case s.Etcd != nil:
		return nil
	case s.URL != "":
		return &page{settings: s, kick: make(chan struct{}, 1), patience: answersWithin}
	}
	return newHosts(s)
}

// AnyOwner is the owner of an origin that names the owners itself.
const AnyOwner = "*"

// Defaults of Settings.
const (
	Every    = 5 * time.Minute
	EveryDNS = time.Minute // whatever the TTL: Hold makes it moot
	Hold     = 10 * time.Minute
	StaleDNS = 24 * time.Hour

	EveryEtcd = time.Minute // beside what etcd tells at once
)

// Origin returns how claims and messages name the origin.
func (s Settings) Origin() policy.Origin {
	switch {
	case s.Etcd != nil:
		return policy.EtcdOrigin(s.Name, s.Etcd.List)
	case s.URL != "":
		return policy.URLOrigin(s.Name)
	}
	return policy.DNSOrigin(s.Name)
}

// Owners returns whom origins name as the owner of all that they say, some perhaps twice.
func Owners(all []Settings) (owners []string) {
	for _, s := range all {
		if s.Owner != AnyOwner {
			owners = append(owners, s.Owner)
		}
	}
	return owners
}

// end returns when claims end that the other end still has at now. It is moved on only when less
// than half of Stale is left, so that a list which never changes is seldom written anew.
func (s Settings) end(before, now time.Time) time.Time {
	left := before.Sub(now)
	switch {
	case s.Stale == 0:
		return time.Time{}
	case left < s.Stale/2, left > s.Stale: // Stale was longer once
		return now.Add(s.Stale).UTC().Truncate(time.Second)
	}
	return before
}

// CheckURL returns an *policy.InputError without a Where for a URL that is not followed. Without
// TLS whoever is on the way could list himself, so that is for this host alone.
func CheckURL(text string) error {
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Hostname() == "" || u.Scheme != "https" && u.Scheme != "http":
		return &policy.InputError{What: "url " + quoted(text) + " is not https://HOST/PATH"}
	case !secure(u):
		u.Scheme = "https"
		return &policy.InputError{What: "url " + quoted(text) + " has no TLS: anybody on the way could list himself", Hint: u.String()}
	case u.User != nil:
		return &policy.InputError{What: "url has a user name or a password, which the config file should not hold"}
	}
	return nil
}

// secure reports whether what u answers comes from its host: by TLS, or on this host.
func secure(u *url.URL) bool {
	addr, err := netip.ParseAddr(u.Hostname())
	return u.Scheme == "https" || u.Scheme == "http" && (err == nil && addr.IsLoopback() || u.Hostname() == "localhost")
}

// CheckEndpoint returns an *policy.InputError without a Where for an endpoint that is not asked.
// Without TLS whoever is on the way could list himself, so that is for this host alone.
func CheckEndpoint(text string) error {
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Port() == "" || u.Hostname() == "" || u.Scheme != "https" && u.Scheme != "http" ||
		strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil:
		return &policy.InputError{What: "endpoint " + quoted(text) + " is not https://HOST:PORT"}
	case !secure(u):
		u.Scheme = "https"
		return &policy.InputError{What: "endpoint " + quoted(text) + " has no TLS: anybody on the way could list himself", Hint: u.String()}
	}
	return nil
}

// Secret reports whether endpoint is asked by TLS.
func Secret(endpoint string) bool { return strings.HasPrefix(endpoint, "https:") }

// CheckHost returns an *policy.InputError without a Where for what is not the name of a host.
func CheckHost(name string) error {
	if _, err := netip.ParseAddr(name); err == nil {
		return &policy.InputError{What: quoted(name) + " is an address: list it in allow", Hint: "allow: [" + name + "]"}
	}
	bad := func(label string) bool {
		return label == "" || len(label) > 63 || label[0] == '-' || strings.Trim(label, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_") != ""
	}
	if labels := strings.Split(name, "."); len(name) > 253 || len(labels) < 2 || slices.ContainsFunc(labels, bad) {
		return &policy.InputError{What: quoted(name) + " is not the full name of a host, as vpn.example.net"}
	}
	return nil
}

// claim makes c what the settings let it be. It returns an *policy.InputError with the place of
// c where c says more than it may.
func (s Settings) claim(c *policy.Claim) error {
	if s.Owner != AnyOwner {
		if c.Owner != "" && c.Owner != s.Owner {
			return &policy.InputError{Where: c.Where, What: "owner " + c.Owner + " is not " + s.Owner + ", whom this origin is for"}
		}
		c.Owner = s.Owner
	}
	if len(s.Services) == 0 {
		return nil
	}
	for _, service := range c.Services {
		if !slices.Contains(s.Services, service) {
			return &policy.InputError{Where: c.Where, What: "service " + service + " is not " + strings.Join(s.Services, " or ") + ", which this origin is for"}
		}
	}
	if len(c.Services) == 0 {
		c.Services = s.Services
	}
	return nil
}

func quoted(s string) string { return fmt.Sprintf("%.64q", s) }
