package manifest

var ruleShape = shape{
	{name: "name", doc: "A name, unique within the route; it shows where a call was sent."},
	{name: "matches", form: list, of: matchShape, doc: "Alternatives: the rule holds for calls that one of them holds for; left out, " +
		"for every call."},
	{
		name: "backendRefs", form: list, of: backendRef, required: "backendRefs: [{name: NAME}]",
		doc: "Where the calls go, shared by weight.",
	},
	{name: "filters", form: list, of: filterShape, doc: "What is done to the calls on their way."},
	{name: "timeouts", form: object, of: timeoutsShape, doc: "How long a call may take."},
	{name: "idleTimeout", form: duration, doc: "How long a stream may be without a message either way, in place of the service's; 0s means " +
		"for ever."},
	{name: "retry", form: object, of: retryShape, doc: "When failed calls are tried again, in place of what the service says."},
	{name: "hedge", form: object, of: hedgeShape, doc: "When another attempt is made, in place of what the service says."},
	{name: "rateLimit", form: object, of: rateShape, doc: "How many of the calls one client process may make, in place of what the service says."},
	{name: "fault", form: object, of: faultShape, doc: "Failures on purpose (not in the Gateway API)."},
	{
		name: "sessionPersistence", form: anything,
		refused: "write loadBalancing: {policy: ring-hash, hashHeader: NAME} of the Service",
	},
}

var timeoutsShape = shape{
	{name: "request", form: duration, doc: "Bounds the call, in place of the service's timeout; 0s means no bound."},
	{name: "backendRequest", form: anything, refused: "write retry.perTryTimeout, which bounds each attempt but the last"},
}

// The types of a filter.
const (
	headerModifier = "RequestHeaderModifier"
	requestMirror  = "RequestMirror"
)

var filterShape = shape{
	{
		name: "type", enum: []string{headerModifier, requestMirror}, required: "type: RequestHeaderModifier or type: RequestMirror",
		instead: map[string]string{"ResponseHeaderModifier": answersStay, "ExtensionRef": noExtensions},
		doc:     "What the filter does; the field of that name says how.",
	},
	{name: "requestHeaderModifier", form: object, of: shape{
		{name: "set", form: list, of: headerValue, doc: "Headers that take the place of those of their name."},
		{name: "add", form: list, of: headerValue, doc: "Headers that are added to those of their name."},
		{name: "remove", form: textList, doc: "Names of headers that are not sent on."},
	}, doc: "Changes headers of calls."},
	{name: "requestMirror", form: object, of: shape{
		{name: "backendRef", form: object, of: mirrorRef, required: "backendRef: {name: NAME}", doc: "Where the copies go."},
		{name: "percent", form: decimal, doc: "The share of calls, 0 to 100, in steps of 0.0001; 100 when left out."},
		{name: "fraction", form: object, of: shape{
			{name: "numerator", form: integer, required: "numerator: 1", doc: "So many calls."},
			{name: "denominator", form: integer, doc: "Of so many; 100 when left out."},
		}, doc: "The share of calls, in place of percent."},
		{name: "timeout", form: duration, doc: "Bounds a copy (not in the Gateway API); 1s when left out."},
	}, doc: "Sends copies of unary calls to another service or version, and drops what comes back."},
	{name: "responseHeaderModifier", form: anything, refused: answersStay},
	{name: "extensionRef", form: anything, refused: noExtensions},
}

const (
	answersStay  = "what services answer is not changed; remove it"
	noExtensions = "there are no extensions; remove it"
)

var headerValue = shape{
	{name: "name", required: "name: NAME", doc: "The header's name, in any letter case."},
	{name: "value", required: "value: VALUE", doc: "Its value."},
}

var mirrorRef = shape{
	{name: "group", enum: []string{"", "core"}, doc: "Empty or core: the API group of Service."},
	{name: "kind", enum: []string{"Service"}, doc: "Service, which it is when left out."},
	{name: "name", required: "name: NAME", doc: "The service's name."},
	{name: "namespace", doc: "The service's namespace; the route's own when left out."},
	{name: "version", doc: "Keeps to endpoints of that version (not in the Gateway API); left out, all take part."},
	{name: "port", form: integer, unused: "endpoints bring their own ports", doc: "Has no effect: endpoints bring their own ports."},
}

var faultParts = shape{
	{name: "delay", form: object, of: shape{
		{name: "duration", form: duration, doc: "How long calls are held up."},
		{name: "percent", form: decimal, doc: "The share of calls, 0 to 100, in steps of 0.0001."},
	}, doc: "Holds up a share of calls."},
	{name: "abort", form: object, of: shape{
		{name: "code", doc: "The gRPC status that calls fail with, as in unavailable or resource-exhausted."},
		{name: "percent", form: decimal, doc: "The share of calls, 0 to 100, in steps of 0.0001."},
	}, doc: "Fails a share of calls."},
}

var faultShape = append(shape{
	{name: "fromHeaders", form: boolean, doc: "Has callers ask for faults by the x-envoy-fault- headers (gRFC A33), which say duration and " +
		"code then; left out, no header causes a fault."},
}, faultParts...)
