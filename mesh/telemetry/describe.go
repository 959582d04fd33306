package telemetry

import (
	"iter"
	"maps"
)

// Kind is what a metric's values are.
type Kind uint8

// The kinds.
const (
	Gauge Kind = iota
	// Sum is a count that only grows while the process lives.
	Sum
	Histogram
)

// A Description says what a metric is, for the bridges.
type Description struct {
	Kind Kind
	// Unit is as UCUM has it: "s", "{call}".
	Unit string
	// Text is a sentence.
	Text string
}

// Describe returns what is known of a metric by its name: nothing of one that an
// application's own Observe yields.
func Describe(name string) Description { return descriptions[name] }

// Descriptions yields all metrics that the mesh has, those of [Snapshot.GRPC] among them.
func Descriptions() iter.Seq2[string, Description] { return maps.All(descriptions) }

var descriptions = map[string]Description{
	clientCalls:    {Histogram, "s", "How long calls took as the application sees them, retries included."},
	clientAttempts: {Histogram, "s", "How long single attempts of calls took."},
	serverCalls:    {Histogram, "s", "How long calls took as their server sees them."},

	"tulle.client.retries":          {Sum, "{attempt}", "Attempts made because one before had failed."},
	"tulle.client.hedges":           {Sum, "{attempt}", "Attempts made because one before was slow."},
	"tulle.client.denied":           {Sum, "{attempt}", "Retries and hedges that the budget did not allow."},
	"tulle.client.refused":          {Sum, "{call}", "Calls that the mesh ended before they were sent, by its reason."},
	"tulle.client.ejections":        {Sum, "{ejection}", "Endpoints that outlier detection took out."},
	"tulle.client.breaker.opened":   {Sum, "{opening}", "Circuit breakers that opened."},
	"tulle.client.mirrored":         {Sum, "{call}", "Copies of calls for mirrors, by what became of them."},
	"tulle.client.endpoint.latency": {Gauge, "s", "The latency that the balancer expects of an endpoint."},
	"tulle.client.endpoint.open":    {Gauge, "{call}", "Calls to an endpoint that are open."},
	"tulle.client.endpoint.breaker": {Gauge, "1", "The circuit breaker of an endpoint: 0 closed, 1 half-open, 2 open."},
	"tulle.client.endpoint.ejected": {Gauge, "1", "Whether outlier detection has taken an endpoint out."},
	"tulle.client.endpoint.in_use":  {Gauge, "1", "Whether an endpoint is given calls."},
	"tulle.server.access":           {Sum, "{call}", "Calls by who made them and whether the policy let them in."},
	"tulle.server.limited":          {Sum, "{call}", "Calls above the rate that is allowed."},
	"tulle.server.shed":             {Sum, "{call}", "Calls that there was no room for."},
	"tulle.server.injected":         {Sum, "{call}", "Calls failed on purpose."},
	"tulle.server.panics":           {Sum, "{call}", "Calls whose handler panicked."},
	"tulle.connections":             {Gauge, "{connection}", "Connections that are open."},
	"tulle.streams":                 {Gauge, "{call}", "Streams that are open."},
	"tulle.identity.expiry":         {Gauge, "s", "When the certificate expires, as Unix time."},
	"tulle.control.stale":           {Gauge, "s", "How long xdsserver has not confirmed the configuration; 0 while it does."},
	"tulle.control.nacks":           {Sum, "{response}", "Configurations from xdsserver that were refused."},
	"grpc.client.call.duration":     {Histogram, "s", "End-to-end time taken by gRPC to complete an RPC from the application's perspective."},
	"grpc.client.attempt.duration":  {Histogram, "s", "End-to-end time taken to complete a client call attempt."},
	"grpc.server.call.duration":     {Histogram, "s", "End-to-end time taken to complete a call from the server's perspective."},
}
