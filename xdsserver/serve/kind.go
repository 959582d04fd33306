package serve

import (
	"strings"

	"github.com/tulle-mesh/tulle/mesh/resource"
)

// A kind is a type of resource, numbered in the order in which changes are sent:
// what is referred to goes before what refers to it (make before break).
type kind uint8

const (
	bundles kind = iota // what peers are verified against, before what leads to them
	clusters
	endpoints
	listeners
	routes
	commands // what processes are told to do for a while; it leads to nothing
	kinds
)

var kindURLs = [kinds]string{
	bundles:   resource.TrustBundleType,
	clusters:  resource.ClusterType,
	endpoints: resource.EndpointsType,
	listeners: resource.ListenerType,
	routes:    resource.RouteType,
	commands:  resource.CommandsType,
}

// kindOf returns the kind of a type URL.
func kindOf(url []byte) (kind, bool) {
	for k, u := range kindURLs {
		if string(url) == u { // does not allocate
			return kind(k), true
		}
	}
	return 0, false
}

// url is the type URL.
func (k kind) url() string { return kindURLs[k] }

// String is the message's name, as people call the type.
func (k kind) String() string { return k.url()[strings.LastIndexByte(k.url(), '.')+1:] }

// bit is the kind's place in a set of kinds.
func (k kind) bit() uint32 { return 1 << k }

// full reports whether state-of-the-world responses of the kind carry the whole
// subscription: what is missing in them is gone. The other kinds are sent piece
// by piece, and have no way to say that a name is gone.
func (k kind) full() bool { return k == clusters || k == listeners }

// configuration is the set of kinds that say where calls go. A client is current, and a
// change has arrived, when it has those: commands come and go without end.
const configuration = 1<<kinds - 1 - 1<<commands

// above is the set of kinds whose resources refer to clusters.
const above = 1<<listeners | 1<<routes
