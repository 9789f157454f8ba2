// This file is where claims come from. What is declared is read anew at each start; what is kept
// is in the store, because nobody else on this host has it.

package policy

import (
	"cmp"
	"strings"
)

// Origin is where a claim comes from: OriginFlag, OriginConfig or a FileOrigin, which are
// declared; or OriginCLI, OriginEnrol, or what EtcdOrigin, URLOrigin or DNSOrigin return, which
// are kept.
type Origin string

// The origins of which there is one.
const (
	OriginFlag   Origin = "flag"   // --allow
	OriginConfig Origin = "config" // allow: of the config file
	OriginCLI    Origin = "cli"    // add
	OriginEnrol  Origin = "enrol"  // a customer enrolled himself
)

const (
	filePrefix = "file:"
	etcdPrefix = "etcd:"
	urlPrefix  = "url:"
	dnsPrefix  = "dns:"
)

// FileOrigin names the origin of a list file.
func FileOrigin(path string) Origin { return Origin(filePrefix + path) }

// Path is the path of a list file; isList is false of every other origin.
func (o Origin) Path() (path string, isList bool) { return strings.CutPrefix(string(o), filePrefix) }

// IsFile reports whether o is a file that somebody edits: the config file or a list file.
func (o Origin) IsFile() bool {
	_, isList := o.Path()
	return isList || o == OriginConfig
}

// EtcdOrigin names a list of a fleet. The list "main" has the fleet's name alone.
func EtcdOrigin(name, list string) Origin {
	if list == "main" {
		return Origin(etcdPrefix + name)
	}
	return Origin(etcdPrefix + name + "/" + list)
}

// URLOrigin names the origin of a page that is followed.
func URLOrigin(name string) Origin { return Origin(urlPrefix + name) }

// DNSOrigin names the origin of host names that are followed.
func DNSOrigin(name string) Origin { return Origin(dnsPrefix + name) }

// Etcd returns the name of the fleet's list that o is; false where o is something else.
func (o Origin) Etcd() (name string, found bool) { return strings.CutPrefix(string(o), etcdPrefix) }

// IsDNS reports whether o is host names that are followed.
func (o Origin) IsDNS() bool { return o.strength() == strengthDNS }

// Followed reports whether o is a list that is kept elsewhere and changes by itself.
func (o Origin) Followed() bool { return o.strength() >= strengthEtcd && o.strength() <= strengthDNS }

// Kept reports whether the store has the claims of o. Others are read from files and flags.
func (o Origin) Kept() bool { return o.strength() >= strengthCLI }

// yields reports whether a claim of o gives way to a stronger one of another owner. It was made
// elsewhere, where nobody can be told; who declares or adds such a claim is refused instead.
func (o Origin) yields() bool { return o.strength() > strengthCLI }

// The strengths of origins, the strongest first. What is declared stands here on this host,
// and only root can write it; who enrols has nothing but a customer's key.
const (
	strengthDeclared = iota
	strengthCLI
	strengthEtcd
	strengthURL
	strengthDNS
	strengthEnrol
)

func (o Origin) strength() int {
	switch {
	case o == OriginCLI:
		return strengthCLI
	case o == OriginEnrol:
		return strengthEnrol
	case strings.HasPrefix(string(o), etcdPrefix):
		return strengthEtcd
	case strings.HasPrefix(string(o), urlPrefix):
		return strengthURL
	case strings.HasPrefix(string(o), dnsPrefix):
		return strengthDNS
	}
	return strengthDeclared
}

// CompareStrength orders origins by whose owner of a prefix stands, the strongest first. Of two
// that are equally strong the first by name is the stronger.
func CompareStrength(a, b Origin) int {
	return cmp.Or(cmp.Compare(a.strength(), b.strength()), cmp.Compare(a, b))
}
