package manifest

// millions bounds counts of calls.
const millions = 1_000_000

var serviceSpec = shape{
	{name: "timeout", form: duration, doc: "Bounds calls that no route gives another timeout; 0s or left out means none."},
	{name: "idleTimeout", form: duration, doc: "How long a stream may be without a message either way; 0s or left out means for ever."},
	{name: "hopCost", form: duration, doc: "What is left over of a caller's own deadline when the service is called to serve it."},
	{name: "retry", form: object, of: retryShape, doc: "When failed calls are tried again; left out, what was certainly not sent is sent " +
		"once more."},
	{name: "retryBudget", form: object, of: retryBudgetShape, doc: "How many retries and hedges one client process may add."},
	{name: "hedge", form: object, of: hedgeShape, doc: "When another attempt is made of a call that is not answered yet."},
	{name: "breaker", form: object, of: breakerShape, doc: "When calls to an endpoint are stopped because they fail."},
	{name: "serviceBreaker", form: object, of: breakerShape, doc: "When calls to the service as a whole are stopped because they fail; " +
		"left out, never."},
	{name: "maxEjectedPercent", form: integer, from: 1, to: 100, doc: "How many of the endpoints, in percent, may be out for their " +
		"failures at once; 50 when left out."},
	{name: "outlierDetection", form: object, of: outlierShape, doc: "Ejects endpoints that do worse than the others (gRFC A50)."},
	{name: "loadBalancing", form: object, of: balancingShape, doc: "How an endpoint is chosen for a call."},
	{name: "maxRequests", form: integer, doc: "How many calls one client process may have open to the service, " +
		"to each version that a route names apart; 1024 when left out."},
	{name: "maxRequestsPerEndpoint", form: integer, doc: "How many calls one client process may have open to one endpoint; left out, no " +
		"limit."},
	{name: "rateLimit", form: object, of: rateShape, doc: "How many calls one client process may make."},
	{name: "admission", form: object, of: admissionShape, doc: "Which of the calls that its callers may make an instance takes."},
	{name: "methods", form: list, of: methodFacts, doc: "What is known of methods, where their .proto files do not say it."},
	{
		name: "endpoints", form: list, of: endpointShape,
		doc: "Instances that do not register themselves; those that do need no entry.",
	},
	{name: "mtls", form: object, of: mtlsShape, doc: "Whether connections need TLS, where it differs from what the Mesh says."},
	{name: "limits", form: anything, refused: "write rateLimit for what each client sends, and admission for what instances take"},
}

var retryShape = shape{
	{name: "on", form: textList, doc: "The codes that are tried again, as in unavailable; that alone when left out."},
	{name: "attempts", form: integer, from: 1, to: 5, doc: "Attempts in all, the first included; 2 when left out, 1 is no retry."},
	{name: "perTryTimeout", form: duration, doc: "Bounds each attempt but the last; 0s or left out means none."},
	{name: "backoff", form: object, of: shape{
		{name: "base", form: duration, doc: "The longest wait before the second attempt, twice as long before each other; 25ms when left out."},
		{name: "max", form: duration, doc: "The longest wait before any; ten times base when left out."},
	}, doc: "How long to wait before another attempt, at random from zero."},
	{name: "idempotent", form: boolean, doc: "Whether calls may be made twice; left out, only what was not sent is tried again, and methods " +
		"that are known to be idempotent."},
	{name: "bufferBytes", form: integer, from: 1, to: 16 << 20, doc: "What is kept of a stream's messages to send them again; 262144 when " +
		"left out."},
	{name: "codes", form: anything, refused: "those are of HTTP; write on: [unavailable]"},
}

var retryBudgetShape = shape{
	{name: "percent", form: decimal, doc: "Retries and hedges per hundred calls; 20 when left out."},
	{name: "minPerSecond", form: decimal, to: millions, doc: "Those that are allowed however few calls there are; 10 when left out."},
	{name: "window", form: duration, doc: "How long calls count; 10s when left out."},
}

var hedgeShape = shape{
	{name: "off", form: boolean, doc: "Hedges nothing, where the service does."},
	{name: "delay", form: duration, doc: "When the next attempt is made; in place of quantile."},
	{name: "quantile", form: decimal, from: 0.001, to: 0.999, doc: "When the next attempt is made, as a quantile of what calls of the route " +
		"take; 0.95 when left out."},
	{name: "attempts", form: integer, from: 2, to: 5, doc: "Attempts in all, the first included; 2 when left out."},
}

var breakerShape = shape{
	{name: "off", form: boolean, doc: "Stops nothing."},
	{name: "consecutiveFailures", form: integer, from: 1, to: millions, doc: "How many failures in a row open it; 7 when left out."},
	{name: "minPenalty", form: duration, doc: "How long it is open the first time, and twice as long each time that a call shows that " +
		"nothing has changed; 1s when left out."},
	{name: "maxPenalty", form: duration, doc: "How long it is open at most; 1m when left out."},
	{name: "jitter", form: decimal, doc: "By how much of itself a penalty may be longer; 0.5 when left out."},
	{name: "successRate", form: decimal, from: 0, to: 1, doc: "Opens it when fewer calls of a window succeed, as in 0.8; left out, off."},
	{name: "window", form: duration, doc: "How long calls count for successRate; 10s when left out."},
	{name: "minRequests", form: integer, from: 1, to: millions, doc: "How many calls of a window successRate needs; 5 when left out."},
	{name: "on", form: textList, doc: "The codes that are failures; unknown, deadline-exceeded, internal, unavailable and data-loss when left out."},
}

var outlierShape = shape{
	{name: "interval", form: duration, doc: "How often endpoints are compared; 10s when left out."},
	{name: "baseEjectionTime", form: duration, doc: "How long one is out the first time; 30s when left out."},
	{name: "maxEjectionTime", form: duration, doc: "How long one is out at most; 5m when left out."},
	{name: "successRate", form: object, of: shape{
		{name: "stdevFactor", form: integer, from: 1, to: 100_000, doc: "How far below the mean, in thousandths of the standard deviation; 1900 " +
			"when left out."},
		{name: "minimumHosts", form: integer, from: 1, to: 100_000, doc: "How many endpoints it needs; 5 when left out."},
		{name: "requestVolume", form: integer, from: 1, to: millions, doc: "How many calls of each in an interval it needs; 100 when left out."},
	}, doc: "Ejects endpoints whose share of successes is far below the mean."},
	{name: "failurePercentage", form: object, of: shape{
		{name: "threshold", form: integer, from: 1, to: 100, doc: "How many of its calls fail, in percent; 85 when left out."},
		{name: "minimumHosts", form: integer, from: 1, to: 100_000, doc: "How many endpoints it needs; 5 when left out."},
		{name: "requestVolume", form: integer, from: 1, to: millions, doc: "How many calls of each in an interval it needs; 50 when left out."},
	}, doc: "Ejects endpoints of which too many calls fail."},
}

var balancingShape = shape{
	{
		name: "policy", enum: []string{"peak-ewma", "round-robin", "least-request", "ring-hash", "weighted-round-robin"},
		doc: "How an endpoint is chosen; peak-ewma when left out.",
	},
	{name: "defaultRtt", form: duration, doc: "What an endpoint that was not called yet is taken to need (peak-ewma); 30ms when left out."},
	{name: "decay", form: duration, doc: "How long the average remembers (peak-ewma); 10s when left out."},
	{name: "failurePenalty", form: duration, doc: "What a failed call counts as having taken, at least (peak-ewma); 5s when left out, 0s " +
		"counts it as it was."},
	{name: "utilization", form: boolean, doc: "Whether the load that endpoints report multiplies theirs (peak-ewma)."},
	{name: "choices", form: integer, from: 2, to: 10, doc: "How many endpoints are drawn (least-request); 2 when left out."},
	{name: "hashHeader", doc: "The header whose value decides the endpoint, in lower case (ring-hash)."},
	{name: "minRingSize", form: integer, from: 1, to: 8192, doc: "Entries of the ring, at least (ring-hash); 1024 when left out."},
	{name: "maxRingSize", form: integer, from: 1, to: 8192, doc: "Entries of the ring, at most (ring-hash); 4096 when left out."},
	{name: "weighted", form: object, of: shape{
		{name: "blackoutPeriod", form: duration, doc: "How long an endpoint reports before its weight counts; 10s when left out."},
		{name: "weightExpirationPeriod", form: duration, doc: "How long a weight counts without a report; 3m when left out."},
		{name: "weightUpdatePeriod", form: duration, doc: "How often weights are worked out; 1s when left out."},
		{name: "errorUtilizationPenalty", form: decimal, doc: "Multiplies the share of errors; 1 when left out."},
	}, doc: "By the load that endpoints report (weighted-round-robin, gRFC A58)."},
	{name: "slowStart", form: object, of: shape{
		{name: "window", form: duration, required: "window: 30s", doc: "How long an endpoint that has just become ready gets less."},
		{name: "aggression", form: decimal, from: 0.01, to: 100, doc: "Above 1 it gets more at first, below less; 1 when left out."},
		{name: "minWeightPercent", form: integer, from: 1, to: 100, doc: "What it gets at the start, in percent; 10 when left out."},
	}, doc: "Gives an endpoint that has just become ready a growing share."},
	{name: "zone", form: object, of: shape{
		{name: "mode", enum: []string{prefer, spread}, doc: "prefer keeps to the client's own zone while it is not loaded, spread takes zones " +
			"alike; prefer when left out."},
		{name: "low", form: decimal, from: 0.01, to: 1000, doc: "Below so many open calls per endpoint one of another zone is let go; 0.8 when left " +
			"out."},
		{name: "high", form: decimal, from: 0.01, to: 1000, doc: "Above so many open calls per endpoint one of another zone is added; 2 when left " +
			"out."},
	}, doc: "How far calls keep to the client's own zone."},
	{name: "subset", form: integer, from: 1, to: 10_000, doc: "How many endpoints one client connects to, drawn at random; left out, all."},
	{name: "maxStreamAge", form: duration, doc: "How old a stream may become before its client opens another, where endpoints are uneven; " +
		"left out, as old as it likes."},
}

var rateShape = shape{
	{
		name: "requestsPerSecond", form: decimal, from: 0.001, to: millions, required: "requestsPerSecond: 100",
		doc: "Calls per second.",
	},
	{name: "burst", form: integer, from: 1, to: millions, doc: "How many may come at once; a second's worth when left out."},
}

var admissionShape = shape{
	{name: "rateLimits", form: list, of: append(shape{
		{name: "name", required: "name: NAME", doc: "A name, unique in the service; errors and tables tell it."},
		{name: "per", enum: []string{"total", "identity", "method", "metadata"}, doc: "What is counted apart; total when left out."},
		{name: "key", doc: "The metadata whose values are counted apart, for per: metadata."},
		{name: "methods", form: textList, doc: "The methods it is for, as in /emojivoto.v1.VotingService/VoteDoughnut or " +
			"/emojivoto.v1.VotingService/*; left out, every method."},
		{name: "callers", form: textList, doc: "The callers it is for, as in web, web.shop or a SPIFFE id; left out, every caller."},
	}, rateShape...), doc: "How many calls an instance takes; all must hold."},
	{name: "concurrency", form: object, of: shape{
		{name: "limit", form: integer, from: 1, to: millions, doc: "How many calls run at once; where it is adaptive the first limit, 20 when left out."},
		{name: "adaptive", form: boolean, doc: "Moves the limit by the latency that is seen."},
		{name: "min", form: integer, from: 1, to: millions, doc: "The lowest limit; 1 when left out."},
		{name: "max", form: integer, from: 1, to: millions, doc: "The highest limit; 1000 when left out."},
		{name: "tolerance", form: decimal, from: 1.001, to: 100, doc: "How many times the unloaded latency is no overload yet; 1.5 when left out."},
	}, doc: "How many calls run at once in an instance."},
	{name: "fault", form: object, of: faultParts, doc: "Failures on purpose, by the instances themselves."},
}

var methodFacts = shape{
	{name: "name", required: "name: /package.Service/Method", doc: "The method, as in /emojivoto.v1.VotingService/VoteDoughnut."},
	{name: "clientStreaming", form: boolean, doc: "Whether callers send a stream."},
	{name: "idempotent", form: boolean, doc: "Whether a call may be made twice; retries do then."},
}

// The words of spec.loadBalancing.zone.mode.
const (
	prefer = "prefer"
	spread = "spread"
)
