package telemetry

// A Description says what a metric is, for the bridges.
type Description struct {
	// Unit is as UCUM has it: "s", "{call}".
	Unit string
	// Text is a sentence.
	Text string
}

// Describe returns what is known of a metric by its name: nothing of one that an
// application's own Observe yields.
func Describe(name string) Description { return descriptions[name] }

var descriptions = map[string]Description{
	clientCalls:    {"s", "How long calls took as the application sees them, retries included."},
	clientAttempts: {"s", "How long single attempts of calls took."},
	serverCalls:    {"s", "How long calls took as their server sees them."},

	"tulle.client.retries":          {"{attempt}", "Attempts made because one before had failed."},
	"tulle.client.hedges":           {"{attempt}", "Attempts made because one before was slow."},
	"tulle.client.denied":           {"{attempt}", "Retries and hedges that the budget did not allow."},
	"tulle.client.refused":          {"{call}", "Calls that the mesh ended before they were sent, by its reason."},
	"tulle.client.ejections":        {"{ejection}", "Endpoints that outlier detection took out."},
	"tulle.client.breaker.opened":   {"{opening}", "Circuit breakers that opened."},
	"tulle.client.mirrored":         {"{call}", "Copies of calls for mirrors, by what became of them."},
	"tulle.client.endpoint.latency": {"s", "The latency that the balancer expects of an endpoint."},
	"tulle.client.endpoint.open":    {"{call}", "Calls to an endpoint that are open."},
	"tulle.client.endpoint.breaker": {"1", "The circuit breaker of an endpoint: 0 closed, 1 half-open, 2 open."},
	"tulle.client.endpoint.ejected": {"1", "Whether outlier detection has taken an endpoint out."},
	"tulle.client.endpoint.in_use":  {"1", "Whether an endpoint is given calls."},
	"tulle.server.access":           {"{call}", "Calls by who made them and whether the policy let them in."},
	"tulle.server.limited":          {"{call}", "Calls above the rate that is allowed."},
	"tulle.server.shed":             {"{call}", "Calls that there was no room for."},
	"tulle.server.injected":         {"{call}", "Calls failed on purpose."},
	"tulle.server.panics":           {"{call}", "Calls whose handler panicked."},
	"tulle.connections":             {"{connection}", "Connections that are open."},
	"tulle.streams":                 {"{call}", "Streams that are open."},
	"tulle.identity.expiry":         {"s", "When the certificate expires, as Unix time."},
	"tulle.control.stale":           {"s", "How long xdsserver has not confirmed the configuration; 0 while it does."},
	"tulle.control.nacks":           {"{response}", "Configurations from xdsserver that were refused."},
	"grpc.client.call.duration":     {"s", "End-to-end time taken by gRPC to complete an RPC from the application's perspective."},
	"grpc.client.attempt.duration":  {"s", "End-to-end time taken to complete a client call attempt."},
	"grpc.server.call.duration":     {"s", "End-to-end time taken to complete a call from the server's perspective."},
}
