package telemetry

import "strings"

// A family is what the calls of a line are, and who saw them.
type family uint8

// The families. Their numbers are in files: new ones come last.
const (
	// familyCall is calls as the application sees them, retries included.
	familyCall family = iota + 1
	// familyAttempt is single attempts, as their client sees them.
	familyAttempt
	// familyServed is calls as their server sees them.
	familyServed
	// familyCount is what else clients count, by the kinds below.
	familyCount
	// familyLoad is calls of stock clients, of which there are counts alone.
	familyLoad
	// familyIn and familyOut are all calls that one instance takes and makes.
	familyIn
	familyOut
	// familyHeard is how much of the time the processes of a service were heard of, in
	// milliseconds: rates are over that.
	familyHeard
)

// The kinds of familyCount. Their numbers are in files: new ones come last.
const (
	countRetries = iota
	countHedges
	countDenied
	countRefused
	countEjections
	countOpened
	countMirrored
	countMirrorFailed
	countMirrorDropped
)

// A security is how attempts, or calls that are served, were secured.
type security uint8

// The securities. Their numbers are in files.
const (
	securityNone security = iota // not said
	securityMTLS
	securityPlaintext
	securityUnknown
)

func parseSecurity(text string) security {
	switch text {
	case "mtls":
		return securityMTLS
	case "plaintext":
		return securityPlaintext
	case "":
		return securityNone
	}
	return securityUnknown
}

func (s security) String() string {
	switch s {
	case securityMTLS:
		return "mtls"
	case securityPlaintext:
		return "plaintext"
	case securityNone, securityUnknown:
	}
	return "unknown"
}

// A def says what a line is of. It is comparable.
type def struct {
	family family
	// source and destination are services; Client for no service, empty for nobody
	// who could be known.
	source, destination string
	route, method       string
	cluster             string
	// peer is the SPIFFE id of the caller.
	peer     string
	local    bool
	security security
}

// owner is the service whose certificate the reports came with.
func (d *def) owner() string {
	if d.family == familyServed || d.family == familyIn {
		return d.destination
	}
	return d.source
}

func (d *def) size() int {
	return len(d.route) + len(d.method) + len(d.cluster) + len(d.peer) + len(d.source) + len(d.destination)
}

// folded is the line of those that are not kept apart, which there are few of: level
// 1 does not know methods, routes and who calls, level 2 no destination either.
func (d *def) folded(level int) def {
	f := def{family: d.family, source: d.source, destination: d.destination, security: d.security, local: d.local}
	if f.family != familyCount {
		f.method = Other
	}
	if level > 1 {
		if f.family == familyServed {
			f.source = Other
		} else {
			f.destination = Other
		}
		return f
	}
	// What comes from outside may name destinations without end; that is level 2's.
	f.cluster = d.cluster
	if f.family == familyServed {
		f.peer = d.peer
	}
	return f
}

// cutVersion takes a cluster's name apart: "voting" and "v2" of "voting/v2". A cluster
// of all versions has none.
func cutVersion(cluster string) (service, version string) {
	service, version, _ = strings.Cut(cluster, "/")
	return service, version
}

// version is that of a cluster.
func version(cluster string) string {
	_, v := cutVersion(cluster)
	return v
}
