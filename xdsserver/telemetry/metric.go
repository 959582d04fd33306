package telemetry

import "google.golang.org/protobuf/encoding/protowire"

// A metric is one that the receiver knows.
type metric uint8

// The metrics. Their numbers are in files: new ones come last.
const (
	metricNone metric = iota
	metricCall
	metricAttempt
	metricServed
	metricRetries
	metricHedges
	metricDenied
	metricRefused
	metricEjections
	metricOpened
	metricMirrored
	metricLatency
	metricOpen
	metricBreaker
	metricEjected
	metricInUse
	metricAccess
	metricLimited
	metricShed
	metricInjected
	metricPanics
	metricConnections
	metricStreams
	metricExpiry
	metricStale
	metricNacks
	// Of processes that are not ours (gRFC A66).
	metricStockCall
	metricStockAttempt
	metricStockServed
)

// metricNames are the metrics, ours as docs/observability.md has them.
var metricNames = [...]string{
	metricNone:         "",
	metricCall:         "tulle.client.call.duration",
	metricAttempt:      "tulle.client.attempt.duration",
	metricServed:       "tulle.server.call.duration",
	metricRetries:      "tulle.client.retries",
	metricHedges:       "tulle.client.hedges",
	metricDenied:       "tulle.client.denied",
	metricRefused:      "tulle.client.refused",
	metricEjections:    "tulle.client.ejections",
	metricOpened:       "tulle.client.breaker.opened",
	metricMirrored:     "tulle.client.mirrored",
	metricLatency:      "tulle.client.endpoint.latency",
	metricOpen:         "tulle.client.endpoint.open",
	metricBreaker:      "tulle.client.endpoint.breaker",
	metricEjected:      "tulle.client.endpoint.ejected",
	metricInUse:        "tulle.client.endpoint.in_use",
	metricAccess:       "tulle.server.access",
	metricLimited:      "tulle.server.limited",
	metricShed:         "tulle.server.shed",
	metricInjected:     "tulle.server.injected",
	metricPanics:       "tulle.server.panics",
	metricConnections:  "tulle.connections",
	metricStreams:      "tulle.streams",
	metricExpiry:       "tulle.identity.expiry",
	metricStale:        "tulle.control.stale",
	metricNacks:        "tulle.control.nacks",
	metricStockCall:    "grpc.client.call.duration",
	metricStockAttempt: "grpc.client.attempt.duration",
	metricStockServed:  "grpc.server.call.duration",
}

var metricsByName = func() map[string]metric {
	m := make(map[string]metric, len(metricNames))
	for i, name := range metricNames {
		if name != "" {
			m[name] = metric(i)
		}
	}
	return m
}()

// histogram reports whether the metric is one of durations.
func (m metric) histogram() bool { return m.family() != 0 }

// gauge reports whether the metric is the latest value, and no count.
func (m metric) gauge() bool {
	switch m {
	case metricLatency, metricOpen, metricBreaker, metricEjected, metricInUse,
		metricConnections, metricStreams, metricExpiry, metricStale:
		return true
	default:
		return false
	}
}

// stock reports whether the metric is one of processes that are not ours.
func (m metric) stock() bool { return m >= metricStockCall }

// family is what a metric of durations counts; zero for others.
func (m metric) family() family {
	switch m {
	case metricCall, metricStockCall:
		return familyCall
	case metricAttempt, metricStockAttempt:
		return familyAttempt
	case metricServed, metricStockServed:
		return familyServed
	default:
		return 0
	}
}

// fits reports whether a metric comes in the field of Metric. A gauge may come as a
// sum: some SDKs know no other.
func (m metric) fits(field protowire.Number) bool {
	switch field {
	case fieldHistogram, fieldExponential:
		return m.histogram()
	case fieldSum:
		return !m.histogram()
	default:
		return field == fieldGauge && m.gauge()
	}
}

// A reason is why a point is refused.
type reason uint8

// The reasons; reasons is how many there are.
const (
	reasonNone reason = iota
	reasonKind
	reasonTemporality
	reasonScale
	reasonValue
	reasonCount
	reasonDecreased
	reasonText
	reasonSeries
	reasonRoom
	reasonRate
	reasons
)

// String is the reason's name in metrics and in messages.
func (r reason) String() string {
	switch r {
	case reasonKind:
		return "kind"
	case reasonTemporality:
		return "temporality"
	case reasonScale:
		return "scale"
	case reasonValue:
		return "value"
	case reasonCount:
		return "count"
	case reasonDecreased:
		return "decreased"
	case reasonText:
		return "text"
	case reasonSeries:
		return "series"
	case reasonRoom:
		return "room"
	case reasonRate:
		return "rate"
	default:
		return "none"
	}
}

// advice says what a sender did wrong.
func (r reason) advice() string {
	switch r {
	case reasonKind:
		return "the metric is of another kind"
	case reasonTemporality:
		return "temporality must be cumulative"
	case reasonScale:
		return "the scale or the bounds of buckets are out of range"
	case reasonValue:
		return "a value is negative, too large or no number"
	case reasonCount:
		return "the buckets do not add up to the count"
	case reasonDecreased:
		return "a counter went back, and its start did not change"
	case reasonText:
		return "an attribute is too long, or cannot be shown"
	case reasonSeries:
		return "this process has too many series"
	case reasonRoom:
		return "there is no room for more lines, or processes"
	case reasonRate:
		return "this process reports too often"
	default:
		return ""
	}
}
