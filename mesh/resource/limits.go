package resource

import (
	"math"
	"time"
)

// Limits of what one resource may hold. They are far above what a service
// needs, and low enough that a broken control plane costs a process neither its
// memory nor its time.
const (
	// maxSize is of the encoded resource, in bytes. gRPC's own limit of 4 MiB
	// per response is below it unless the caller raised that.
	maxSize = 32 << 20

	// maxRoutes and maxDomains are per RouteConfiguration, over all its virtual
	// hosts. Matching a method for the first time is linear in the routes.
	maxRoutes  = 10_000
	maxDomains = 10_000

	// maxHeaders is of matchers per route, maxBackends of clusters per route:
	// picking one is linear.
	maxHeaders  = 64
	maxBackends = 1_000

	// maxRegexLength is in bytes, maxRegexProgram in instructions of RE2's
	// program, which bounds the time of a match to that many steps per byte of
	// input. Envoy's default (re2.max_program_size) is 100; Go's compiler counts
	// a little higher for the same pattern.
	maxRegexLength  = 4_096
	maxRegexProgram = 1_000

	// maxEndpoints is per ClusterLoadAssignment, maxAddresses per endpoint.
	maxEndpoints = 100_000
	maxAddresses = 16

	// maxWeight is what weights may sum to (gRFC A28, A27).
	maxWeight = math.MaxUint32

	// maxMethods is how many methods a virtual host remembers the matching of.
	// Method names come from the application, which may make them up.
	maxMethods      = 512
	maxMethodLength = 512

	// maxPolicies is per RBAC message. maxPostings is of the methods and callers
	// that its policies name, each as often as it must be listed, and bounds the
	// memory of an Access: 4 bytes each, beside the names. maxTerms is of the
	// different conditions that one policy's permissions come to when they are
	// multiplied out, maxRuleDepth of how deep they are nested.
	maxPolicies  = 20_000
	maxPostings  = 1_000_000
	maxTerms     = 1_000
	maxRuleDepth = 16

	// maxPeerIDs is per Cluster.
	maxPeerIDs = 100

	// maxAuthorities is per TrustBundle, maxCertificate in bytes.
	maxAuthorities = 16
	maxCertificate = 8 << 10

	// maxTaps is per Commands, maxTapRate in calls per second of one. maxRedacted is of
	// names, maxCommandText of each text in bytes.
	maxTaps        = 4
	maxTapRate     = 1_000.0
	maxRedacted    = 256
	maxCommandText = 512

	// maxDuration is of all that waits, bounds or is measured: what takes longer is
	// a mistake, in a unit for instance. maxCode is of gRPC's status codes.
	maxDuration = 24 * time.Hour
	maxCode     = 16

	// maxChoices is of endpoints drawn by least request (gRFC A48). maxRing is in
	// entries of 16 bytes each, per cluster; standardRing is what a standard
	// policy that asks for more gets (gRFC A42), and standardRingAsked the most
	// that it may ask for.
	maxChoices        = 10
	maxRing           = 1 << 16
	standardRing      = 4_096
	standardRingAsked = 8 << 20

	// maxPerSecond is of calls, and maxFailures of a breaker's in a row, or calls in
	// its window.
	maxPerSecond = 1e9
	maxFailures  = 1_000_000

	// maxBuffer is of a call's messages that are kept, in bytes.
	maxBuffer = 64 << 20

	// maxMirrors and maxChanges, of headers, are per route: each is done for each
	// call. maxHeaderName and maxHeaderValue are in bytes.
	maxMirrors     = 16
	maxChanges     = 64
	maxHeaderName  = 256
	maxHeaderValue = 4_096

	// maxRateLimits is per Admission, maxSelected of methods and of callers of each:
	// calls are compared with them one by one. maxLimitName is in bytes.
	maxRateLimits = 64
	maxSelected   = 256
	maxLimitName  = 256
)
