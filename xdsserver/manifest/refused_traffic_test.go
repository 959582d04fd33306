package manifest

// balanced is a service with a way to balance.
func balanced(s string) string { return spec("loadBalancing: {" + s + "}") }

// admitting is a service with one limit of its instances.
func admitting(s string) string { return spec("admission: {rateLimits: [{" + s + "}]}") }

// mirroring is a route that mirrors its calls.
func mirroring(s string) string {
	return rule("filters: [{type: RequestMirror, requestMirror: {" + s + "}}]")
}

// changing is a route that changes headers.
func changing(s string) string {
	return rule("filters: [{type: RequestHeaderModifier, requestHeaderModifier: {" + s + "}}]")
}

// refusedTraffic are those about what is done for calls.
var refusedTraffic = []refusal{
	// Retries and hedges.
	{"a sixth attempt", spec("retry: {attempts: 6}"), []string{"f:5:21 spec.retry.attempts: 6 is out of range: write a whole number from 1 to 5"}},
	{"no attempt at all", spec("retry: {attempts: 0}"), []string{"f:5:21 spec.retry.attempts: 0 is out of range: write a whole number from 1 to 5"}},
	{"a negative number of attempts", spec("retry: {attempts: -1}"), []string{"spec.retry.attempts: -1 is out of range"}},
	{
		"a code with a slip",
		spec("retry: {on: [unavailabel]}"),
		[]string{`f:5:16 spec.retry.on[0]: "unavailabel" is no gRPC status code that fails a call: did you mean unavailable?`},
	},
	{"a code of HTTP", spec("retry: {on: ['503']}"), []string{`spec.retry.on[0]: "503" is no gRPC status code that fails a call: write one of cancelled, unknown`}},
	{"OK as a code", spec("retry: {on: [ok]}"), []string{`spec.retry.on[0]: "ok" is no gRPC status code that fails a call`}},
	{"a code that is there twice", spec("retry: {on: [internal, INTERNAL]}"), []string{"f:5:26 spec.retry.on[1]: internal is written twice"}},
	{"no codes", spec("retry: {on: []}"), []string{"f:5:15 spec.retry.on: is empty: write a code, or remove it"}},
	{
		"the Gateway API's retry of HTTP", rule("retry: {codes: [500], attempts: 2, backoff: 100ms}"),
		[]string{
			"f:8:13 spec.rules[0].retry.codes: codes is not served by this version: those are of HTTP; write on: [unavailable]",
			"f:8:49 spec.rules[0].retry.backoff: must be a mapping, not text",
		},
	},
	{
		"a backoff that shrinks", spec("retry: {backoff: {base: 2s, max: 1s}}"),
		[]string{"f:5:36 spec.retry.backoff.max: 1s is shorter than base, which is 2s"},
	},
	{"a backoff of no time", spec("retry: {backoff: {base: 0s}}"), []string{"f:5:27 spec.retry.backoff.base: 0s is no time"}},
	{"a backoff of a day", spec("retry: {backoff: {base: 24h}}"), []string{"spec.retry.backoff.base: 24h is out of range: write 1ms to 1h"}},
	{"an attempt of a week", spec("retry: {perTryTimeout: 168h}"), []string{"spec.retry.perTryTimeout: 168h is out of range: write 1ms to 24h"}},
	{"a buffer of a gigabyte", spec("retry: {bufferBytes: 1073741824}"), []string{"spec.retry.bufferBytes: 1073741824 is out of range: write a whole number from 1 to 16777216"}},
	{"text as true or false", spec("retry: {idempotent: yes}"), []string{"f:5:23 spec.retry.idempotent: must be true or false, not text"}},
	{"a budget above all calls", spec("retryBudget: {percent: 101}"), []string{"f:5:26 spec.retryBudget.percent: 101 is out of range: write 0 to 100"}},
	{"a budget of a negative share", spec("retryBudget: {percent: -0.5}"), []string{"spec.retryBudget.percent: -0.5 is out of range"}},
	{"a budget of a moment", spec("retryBudget: {window: 10ms}"), []string{"f:5:25 spec.retryBudget.window: 10ms is out of range: write 1s to 1h"}},
	{"a hedge of one attempt", spec("hedge: {attempts: 1}"), []string{"f:5:21 spec.hedge.attempts: 1 is out of range: write a whole number from 2 to 5"}},
	{"a quantile of one", spec("hedge: {quantile: 1}"), []string{"f:5:21 spec.hedge.quantile: 1 is out of range: write 0.001 to 0.999"}},
	{"a quantile in percent", spec("hedge: {quantile: 95}"), []string{"spec.hedge.quantile: 95 is out of range"}},
	{"a hedge by delay and quantile", spec("hedge: {delay: 1s, quantile: 0.9}"), []string{"f:5:10 spec.hedge: says delay and quantile: write one of them"}},
	{"a hedge that is off and says more", rule("hedge: {off: true, delay: 1s}"), []string{"f:8:12 spec.rules[0].hedge: is off and says more"}},
	{
		"a retry of a stream that is not safe",
		spec("methods: [{name: /a.B/Upload, clientStreaming: true}]\n  retry: {on: [unavailable], attempts: 3}"),
		[]string{"f:6:10 spec.retry: is for /a.B/Upload, too, which takes a stream that may have had its effect when it fails, and is not marked idempotent"},
	},
	{"a method without a name", spec("methods: [{idempotent: true}]"), []string{"f:5:13 spec.methods[0].name: is missing"}},
	{"all methods of a service", spec("methods: [{name: /a.B/*, idempotent: true}]"), []string{`f:5:20 spec.methods[0].name: "/a.B/*" is no method: write /package.Service/Method`}},
	{"a method that is there twice", spec("methods: [{name: /a.B/C, idempotent: true}, {name: /a.B/C, idempotent: true}]"), []string{"spec.methods[1].name: /a.B/C is written in methods[0], too"}},
	{"a method of which nothing is said", spec("methods: [{name: /a.B/C}]"), []string{"spec.methods[0]: says nothing of /a.B/C"}},

	// Breakers and outliers.
	{"a penalty of a day", spec("breaker: {maxPenalty: 24h}"), []string{"f:5:25 spec.breaker.maxPenalty: 24h is out of range: write 1ms to 1h"}},
	{"penalties the wrong way round", spec("breaker: {minPenalty: 10s, maxPenalty: 1s}"), []string{"f:5:42 spec.breaker.maxPenalty: 1s is shorter than minPenalty, which is 10s"}},
	{"a breaker that is off and says more", spec("serviceBreaker: {off: true, minRequests: 3}"), []string{"f:5:19 spec.serviceBreaker: is off and says more: remove the rest, or off"}},
	{"a success rate in percent", spec("breaker: {successRate: 80}"), []string{"spec.breaker.successRate: 80 is out of range: write 0 to 1"}},
	{"a breaker that opens by itself", spec("breaker: {consecutiveFailures: 0}"), []string{"spec.breaker.consecutiveFailures: 0 is out of range: write a whole number from 1 to 1000000"}},
	{"more endpoints out than all", spec("maxEjectedPercent: 101"), []string{"f:5:22 spec.maxEjectedPercent: 101 is out of range: write a whole number from 1 to 100"}},
	{"outliers that are not looked for", spec("outlierDetection: {interval: 1s}"), []string{"f:5:21 spec.outlierDetection: does nothing: write successRate: {} or failurePercentage: {}"}},
	{
		"ejections the wrong way round",
		spec("outlierDetection: {successRate: {}, baseEjectionTime: 2m, maxEjectionTime: 1m}"),
		[]string{"spec.outlierDetection.maxEjectionTime: 1m is shorter than baseEjectionTime, which is 2m"},
	},

	// Balancing.
	{"a policy nobody knows", balanced("policy: random"), []string{`f:5:27 spec.loadBalancing.policy: "random" is not allowed: write peak-ewma or round-robin`}},
	{"a field of another policy", balanced("policy: round-robin, choices: 3"), []string{"f:5:49 spec.loadBalancing.choices: is for policy least-request, and the policy is round-robin"}},
	{"a hash header without ring hash", balanced("hashHeader: x-user"), []string{"f:5:31 spec.loadBalancing.hashHeader: is for policy ring-hash, and the policy is peak-ewma"}},
	{"a hash header in upper case", balanced("policy: ring-hash, hashHeader: X-User"), []string{"spec.loadBalancing.hashHeader: X-User is not in lower case, as all metadata is: write x-user"}},
	{"a hash header of gRPC's own", balanced("policy: ring-hash, hashHeader: grpc-timeout"), []string{"hashHeader: grpc-timeout is gRPC's own"}},
	{"a hash header that is binary", balanced("policy: ring-hash, hashHeader: trace-bin"), []string{"hashHeader: trace-bin is binary"}},
	{"a hash header of HTTP/2", balanced("policy: ring-hash, hashHeader: ':path'"), []string{`hashHeader: ":path" is a pseudo-header`}},
	{"a ring of a million", balanced("policy: ring-hash, maxRingSize: 1000000"), []string{"maxRingSize: 1000000 is out of range: write a whole number from 1 to 8192"}},
	{"rings the wrong way round", balanced("policy: ring-hash, minRingSize: 100, maxRingSize: 10"), []string{"maxRingSize: 10 is below minRingSize, which is 100"}},
	{"a band the wrong way round", balanced("zone: {low: 3, high: 2}"), []string{"f:5:40 spec.loadBalancing.zone.high: 2 is below low, which is 3"}},
	{"a band of zones that are alike", balanced("zone: {mode: spread, low: 1}"), []string{"spec.loadBalancing.zone: takes zones alike, and says how far"}},
	{"a slow start of no time", balanced("slowStart: {aggression: 2}"), []string{"spec.loadBalancing.slowStart.window: is missing: write window: 30s"}},
	{"a negative penalty", balanced("failurePenalty: -1s"), []string{`"-1s" is no duration`}},
	{"a subset of none", balanced("subset: 0"), []string{"spec.loadBalancing.subset: 0 is out of range: write a whole number from 1 to 10000"}},
	{"a stream of an instant", balanced("maxStreamAge: 1ms"), []string{"spec.loadBalancing.maxStreamAge: 1ms is out of range: write 1s to 24h"}},

	// Limits.
	{"a rate of nothing", spec("rateLimit: {requestsPerSecond: 0}"), []string{"f:5:34 spec.rateLimit.requestsPerSecond: 0 is out of range: write 0.001 to 1000000"}},
	{"a rate that is not a number", spec("rateLimit: {requestsPerSecond: .nan}"), []string{"spec.rateLimit.requestsPerSecond: must be a number"}},
	{"a rate without its number", spec("rateLimit: {burst: 1}"), []string{"spec.rateLimit.requestsPerSecond: is missing"}},
	{"a limit without a name", admitting("requestsPerSecond: 1"), []string{"f:5:28 spec.admission.rateLimits[0].name: is missing: write name: NAME"}},
	{"a limit by what nobody counts", admitting("name: a, per: address, requestsPerSecond: 1"), []string{`per: "address" is not allowed: write total or identity or method or metadata`}},
	{"a limit by metadata without its key", admitting("name: a, per: metadata, requestsPerSecond: 1"), []string{"spec.admission.rateLimits[0].key: is missing"}},
	{"a key that is counted by nobody", admitting("name: a, key: x-user, requestsPerSecond: 1"), []string{"spec.admission.rateLimits[0].key: is for per: metadata"}},
	{"a key in upper case", admitting("name: a, per: metadata, key: X-User, requestsPerSecond: 1"), []string{`key: "X-User" is not in lower case`}},
	{"a limit for many callers at once", admitting("name: a, callers: ['*.shop'], requestsPerSecond: 1"), []string{"spec.admission.rateLimits[0].callers[0]: is many callers, and a limit names each"}},
	{"a limit for no methods", admitting("name: a, methods: [], requestsPerSecond: 1"), []string{"spec.admission.rateLimits[0].methods: is empty"}},
	{"a limit for what is no method", admitting("name: a, methods: [Vote], requestsPerSecond: 1"), []string{`spec.admission.rateLimits[0].methods[0]: method "Vote" is none that a server can decide by`}},
	{
		"two limits of one name",
		spec("admission: {rateLimits: [{name: a, requestsPerSecond: 1}, {name: a, requestsPerSecond: 2}]}"),
		[]string{"f:5:68 spec.admission.rateLimits[1].name: a is the name of rateLimits[0] too"},
	},
	{"no concurrency at all", spec("admission: {concurrency: {}}"), []string{"spec.admission.concurrency: does nothing: write limit or adaptive: true"}},
	{"a limit that moves and is fixed", spec("admission: {concurrency: {limit: 5, min: 1}}"), []string{"spec.admission.concurrency: does not move, and says min, max or tolerance"}},
	{"a first limit outside its bounds", spec("admission: {concurrency: {adaptive: true, limit: 5, min: 10}}"), []string{"spec.admission.concurrency.limit: 5 is the first limit, and not from min to max, 10 to 1000"}},
	{"limits the wrong way round", spec("admission: {concurrency: {adaptive: true, min: 10, max: 5}}"), []string{"spec.admission.concurrency.max: 5 is below min, which is 10"}},
	{"a tolerance of none", spec("admission: {concurrency: {adaptive: true, tolerance: 1}}"), []string{"tolerance: 1 is out of range: write 1.001 to 100"}},
	{"a server's fault by headers", spec("admission: {fault: {fromHeaders: true}}"), []string{"spec.admission.fault: does nothing", `spec.admission.fault.fromHeaders: unknown field "fromHeaders"`}},

	// Faults.
	{"an empty fault", rule("fault: {}"), []string{"f:8:12 spec.rules[0].fault: does nothing"}},
	{"a fault of no call", rule("fault: {abort: {code: internal, percent: 0}}"), []string{"f:8:12 spec.rules[0].fault: does nothing: give delay or abort a percent above zero"}},
	{"a delay without duration", rule("fault: {delay: {percent: 1}}"), []string{"f:8:20 spec.rules[0].fault.delay.duration: is missing: write duration: 300ms"}},
	{"a delay of no time", rule("fault: {delay: {percent: 1, duration: 0s}}"), []string{"f:8:43 spec.rules[0].fault.delay.duration: 0s is less than 1ms"}},
	{
		"a share above 100",
		rule("fault: {abort: {code: internal, percent: 100.1}}"),
		[]string{"f:8:46 spec.rules[0].fault.abort.percent: 100.1 is out of range: write 0 to 100"},
	},
	{"a negative share", rule("fault: {abort: {code: internal, percent: -1}}"), []string{"percent: -1 is out of range"}},
	{"a share that is too fine", rule("fault: {abort: {code: internal, percent: 0.00001}}"), []string{"0.00001 is finer than 0.0001"}},
	{
		"a code nobody knows",
		rule("fault: {abort: {code: teapot, percent: 1}}"),
		[]string{`fault.abort.code: "teapot" is no gRPC status code`},
	},
	{"a number as code", rule("fault: {abort: {code: 14, percent: 1}}"), []string{"fault.abort.code: must be text, not a number"}},
	{
		"a fault by headers that says what they say",
		rule("fault: {fromHeaders: true, delay: {duration: 1s}, abort: {code: internal}}"),
		[]string{
			"spec.rules[0].fault.delay.duration: comes from the header where fromHeaders is true: remove it",
			"spec.rules[0].fault.abort.code: comes from the header where fromHeaders is true: remove it",
		},
	},
	{"a fault by headers of half a percent", rule("fault: {fromHeaders: true, delay: {percent: 0.5}}"), []string{"f:8:49 spec.rules[0].fault.delay.percent: is of calls that ask for it, and whole"}},

	// Filters.
	{"a filter without a type", rule("filters: [{}]"), []string{"f:8:15 spec.rules[0].filters[0].type: is missing"}},
	{"a filter that says nothing", rule("filters: [{type: RequestHeaderModifier}]"), []string{"f:8:15 spec.rules[0].filters[0].requestHeaderModifier: is missing"}},
	{
		"a filter of answers",
		rule("filters: [{type: ResponseHeaderModifier, responseHeaderModifier: {set: [{name: a, value: b}]}}]"),
		[]string{
			"f:8:22 spec.rules[0].filters[0].type: ResponseHeaderModifier is not served by this version: what services answer is not changed",
			"f:8:46 spec.rules[0].filters[0].responseHeaderModifier: responseHeaderModifier is not served by this version",
		},
	},
	{"an extension", rule("filters: [{type: ExtensionRef}]"), []string{"type: ExtensionRef is not served by this version: there are no extensions; remove it"}},
	{"a filter of HTTP", rule("filters: [{type: URLRewrite}]"), []string{`type: "URLRewrite" is not allowed: write RequestHeaderModifier or RequestMirror`}},
	{
		"a filter with the field of another",
		rule("filters: [{type: RequestMirror, requestHeaderModifier: {remove: [a]}}]"),
		[]string{"f:8:60 spec.rules[0].filters[0].requestHeaderModifier: is of another filter than type: RequestMirror"},
	},
	{
		"two filters of headers",
		rule("filters: [{type: RequestHeaderModifier, requestHeaderModifier: {remove: [a]}}, {type: RequestHeaderModifier, requestHeaderModifier: {remove: [b]}}]"),
		[]string{"spec.rules[0].filters[1]: is the second RequestHeaderModifier of the rule"},
	},
	{
		"a filter of one backend",
		routeHead + "spec:\n  parentRefs: [{kind: Service, name: v}]\n  rules: [{backendRefs: [{name: v, filters: [{type: RequestMirror}]}]}]\n",
		[]string{"backendRefs[0].filters: filters is not served by this version: they are of the rule as a whole; write them there"},
	},
	{"a filter that changes nothing", changing(""), []string{"f:8:68 spec.rules[0].filters[0].requestHeaderModifier: changes nothing"}},
	{"a header of gRPC's own", changing("set: [{name: Grpc-Timeout, value: 1S}]"), []string{"spec.rules[0].filters[0].requestHeaderModifier.set[0].name: Grpc-Timeout is gRPC's own"}},
	{"a header of the protocol's own", changing("remove: [content-type]"), []string{"requestHeaderModifier.remove[0]: content-type is gRPC's own"}},
	{"a pseudo-header", changing("set: [{name: ':authority', value: a}]"), []string{`":authority" is a pseudo-header`}},
	{"a header that is there twice", changing("add: [{name: a, value: b}, {name: A, value: c}]"), []string{"requestHeaderModifier.add[1].name: a is in entry 0, too"}},
	{"a header that cannot be sent", changing("add: [{name: a, value: grün}]"), []string{"requestHeaderModifier.add[0].value: ... can never be sent"}},
	{"a header without a value", changing("add: [{name: a}]"), []string{"requestHeaderModifier.add[0].value: is missing"}},
	{
		"a mirror to itself",
		mirroring("backendRef: {name: voting}"),
		[]string{"f:8:65 spec.rules[0].filters[0].requestMirror.backendRef: is a mirror to itself: backendRefs[0] sends the calls there already"},
	},
	{"a mirror to nobody", mirroring("percent: 1"), []string{"spec.rules[0].filters[0].requestMirror.backendRef: is missing"}},
	{"a mirror of more than all calls", mirroring("backendRef: {name: web}, percent: 101"), []string{"spec.rules[0].filters[0].requestMirror.percent: 101 is out of range: write 0 to 100"}},
	{"a mirror of three halves of the calls", mirroring("backendRef: {name: web}, fraction: {numerator: 3, denominator: 2}"), []string{"requestMirror.fraction: is 3 of 2, more than all calls"}},
	{"a mirror of a part of nothing", mirroring("backendRef: {name: web}, fraction: {numerator: 0, denominator: 0}"), []string{"requestMirror.fraction.denominator: 0 is out of range"}},
	{"a mirror of two shares", mirroring("backendRef: {name: web}, percent: 1, fraction: {numerator: 1}"), []string{"requestMirror.fraction: says the share, as percent does"}},
	{"a mirror with a weight", mirroring("backendRef: {name: web, weight: 1}"), []string{`requestMirror.backendRef.weight: unknown field "weight"`}},
	{
		"two mirrors to one place",
		rule("filters: [{type: RequestMirror, requestMirror: {backendRef: {name: web}}}, {type: RequestMirror, requestMirror: {backendRef: {name: web}}}]"),
		[]string{"spec.rules[0].filters[1].requestMirror.backendRef: is mirrored to by requestMirror[0], too"},
	},
	{"a stream that is idle for a week", rule("idleTimeout: 168h"), []string{"f:8:18 spec.rules[0].idleTimeout: 168h is out of range: write 1ms to 24h"}},
	{"a hop that costs a day", spec("hopCost: 24h"), []string{"f:5:12 spec.hopCost: 24h is out of range: write 1ms to 1h"}},
}
