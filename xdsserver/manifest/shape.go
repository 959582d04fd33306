package manifest

// A form is what a value must be.
type form int

const (
	text form = iota
	integer
	decimal
	boolean
	duration
	object
	list     // of objects
	textList // of texts
	anything // is not looked at
)

func (f form) String() string {
	switch f {
	case integer:
		return "a whole number"
	case decimal:
		return "a number"
	case boolean:
		return "true or false"
	case duration:
		return "a duration with its unit, as in 300ms or 2s"
	case object:
		return "a mapping"
	case list, textList:
		return "a list"
	case text, anything:
	}
	return "text"
}

// A shape is the fields a mapping may have.
type shape []field

// A field is one of them.
type field struct {
	name string
	form form
	// of is the shape of an object, or of a list's entries.
	of shape
	// doc is a sentence for editors.
	doc string
	// enum lists the texts that are allowed; nil allows any.
	enum []string
	// instead says of texts that enum leaves out on purpose what to do about them.
	instead map[string]string
	// from and to bound a number; a decimal is 0 to 100 where both are zero.
	from, to float64
	// required is how to write the field where it is missing; empty lets it be left out.
	required string
	// refused is why the field cannot be served and what to do; empty serves it.
	refused string
	// unused is why the field has no effect; the object is good without it.
	unused string
}

// bounded reports whether f is a number that [field.bounds] hold for.
func (f field) bounded() bool { return f.to != 0 || f.form == decimal }

// bounds are of a number, both included.
func (f field) bounds() (from, to float64) {
	if f.to == 0 {
		return 0, 100
	}
	return f.from, f.to
}

func (s shape) field(name string) *field {
	for i := range s {
		if s[i].name == name {
			return &s[i]
		}
	}
	return nil
}

func (s shape) names() []string {
	names := make([]string, 0, len(s))
	for _, f := range s {
		if f.refused == "" && f.form != anything {
			names = append(names, f.name)
		}
	}
	return names
}

// root is the shape of a document whose spec has the given one.
func root(kind string, versions []string, spec field) shape {
	return shape{
		{name: "apiVersion", enum: versions, required: "apiVersion: " + versions[0], doc: "The API the document is written for."},
		{name: "kind", enum: []string{kind}, required: "kind: " + kind, doc: "What the document describes."},
		{name: "metadata", form: object, of: metadata, required: "metadata: {name: NAME}", doc: "The object's name."},
		spec,
		{name: "status", form: anything},
	}
}

var metadata = shape{
	{name: "name", required: "name: NAME", doc: "The object's name, a DNS label (RFC 1123)."},
	{name: "namespace", doc: "The object's namespace, a DNS label; default when left out."},
	// What Kubernetes adds to a document.
	{name: "labels", form: anything},
	{name: "annotations", form: anything},
	{name: "creationTimestamp", form: anything},
	{name: "finalizers", form: anything},
	{name: "generation", form: anything},
	{name: "managedFields", form: anything},
	{name: "ownerReferences", form: anything},
	{name: "resourceVersion", form: anything},
	{name: "selfLink", form: anything},
	{name: "uid", form: anything},
}

// kinds are the shapes of the documents that are read.
var kinds = map[string]shape{
	"Service": root("Service", []string{APIVersion}, field{
		name: "spec", form: object, of: serviceSpec, doc: "How calls to the service are made.",
	}),
	"GRPCRoute": root("GRPCRoute", []string{APIVersion, GatewayAPIVersion}, field{
		name: "spec", form: object, of: routeSpec, required: "spec: {parentRefs: [...], rules: [...]}",
		doc: "Which calls go where.",
	}),
	"AccessPolicy": root("AccessPolicy", []string{APIVersion}, field{
		name: "spec", form: object, of: policySpec, required: "spec: {allow: [{from: [NAME]}]}",
		doc: "Who may call.",
	}),
	"Mesh": root("Mesh", []string{APIVersion}, field{
		name: "spec", form: object, of: meshSpec, doc: "What holds for all services.",
	}),
}

// kindsRefused says of kinds that are known what to do about them.
var kindsRefused = map[string]string{
	"HTTPRoute":       "the mesh carries gRPC only; write a GRPCRoute",
	"TCPRoute":        "the mesh carries gRPC only; remove it",
	"TLSRoute":        "the mesh carries gRPC only; remove it",
	"UDPRoute":        "the mesh carries gRPC only; remove it",
	"Gateway":         "the mesh has no gateways; remove it",
	"GatewayClass":    "the mesh has no gateways; remove it",
	"ReferenceGrant":  "routes may send calls to any namespace; remove it",
	"List":            "write its items as documents of their own, with --- between them",
	"ServiceProfile":  "write its routes as a GRPCRoute",
	"DestinationRule": "write its versions as backendRefs of a GRPCRoute",
	"VirtualService":  "write its routes as a GRPCRoute",

	"AuthorizationPolicy":   "write it as an AccessPolicy",
	"ServerAuthorization":   "write it as an AccessPolicy",
	"MeshTLSAuthentication": "write whom it names into from of an AccessPolicy",
	"NetworkAuthentication": "callers are told by identity, not by address; write an AccessPolicy",
	"PeerAuthentication":    "write spec.mtls of the Mesh or of a Service",
	"RequestAuthentication": "callers are told by their certificates; check tokens in the application",
}

var endpointShape = shape{
	{name: "address", doc: "IP address and port, as in 10.0.0.7:8080 or [2001:db8::7]:8080."},
	{name: "addresses", form: textList, doc: "Several addresses of one instance, the preferred first, in place of address."},
	{name: "version", doc: "The label by which routes choose versions."},
	{name: "zone", doc: "The zone the instance runs in."},
	{name: "region", doc: "The region the zone is in."},
	{name: "weight", form: integer, doc: "Its share among the others by peak-ewma and by ring-hash; 1 when left out. " +
		"Other policies do not look at it."},
	{name: "instance", doc: "A name, unique within the service; the address when left out."},
}

var routeSpec = shape{
	{
		name: "parentRefs", form: list, of: parentRef, required: "parentRefs: [{kind: Service, name: NAME}]",
		doc: "The services whose clients the route applies to.",
	},
	{
		name: "rules", form: list, of: ruleShape, required: "rules: [{backendRefs: [{name: NAME}]}]",
		doc: "The rules; of those that hold for a call the most specific decides. A call that none holds for fails.",
	},
	{name: "hostnames", form: anything, refused: "a route applies to its parents under every host name; remove it"},
	{name: "useDefaultGateways", form: anything, refused: "the mesh has no gateways; remove it"},
}

var parentRef = shape{
	{name: "group", enum: []string{"", "core"}, doc: "Empty or core: the API group of Service."},
	{
		name: "kind", enum: []string{"Service"}, required: "kind: Service (the Gateway API means Gateway without it)",
		doc: "Service: routes attach to services.",
	},
	{name: "name", required: "name: NAME", doc: "The service's name."},
	{name: "namespace", doc: "The service's namespace; the route's own when left out."},
	{name: "port", form: integer, unused: "endpoints bring their own ports", doc: "Has no effect: endpoints bring their own ports."},
	{name: "sectionName", form: anything, refused: "a route applies to all of its parent; remove it"},
}

var matchShape = shape{
	{name: "method", form: object, of: methodShape, doc: "The gRPC method; left out, any."},
	{name: "headers", form: list, of: headerShape, doc: "Headers that must all be there."},
}

var methodShape = shape{
	{name: "type", enum: matchTypes, doc: "How service and method are matched; Exact when left out."},
	{name: "service", doc: "The service with its package, as in emojivoto.v1.VotingService; left out, any."},
	{name: "method", doc: "The method, as in VoteDoughnut; left out, any."},
}

var headerShape = shape{
	{name: "type", enum: matchTypes, doc: "How the value is matched; Exact when left out."},
	{name: "name", required: "name: NAME", doc: "The header's name, in any letter case."},
	{name: "value", required: "value: VALUE", doc: "The value, or an RE2 expression for the whole of it."},
}

// The types of a match.
const (
	exact = "Exact"
	regex = "RegularExpression"
)

var matchTypes = []string{exact, regex}

var backendRef = shape{
	{name: "group", enum: []string{"", "core"}, doc: "Empty or core: the API group of Service."},
	{name: "kind", enum: []string{"Service"}, doc: "Service, which it is when left out."},
	{name: "name", required: "name: NAME", doc: "The service's name."},
	{name: "namespace", doc: "The service's namespace; the route's own when left out."},
	{name: "version", doc: "Keeps to endpoints of that version (not in the Gateway API); left out, all take part."},
	{name: "weight", form: integer, doc: "The share among the rule's backendRefs; 1 when left out, 0 takes no calls."},
	{name: "port", form: integer, unused: "endpoints bring their own ports", doc: "Has no effect: endpoints bring their own ports."},
	{name: "filters", form: anything, refused: "they are of the rule as a whole; write them there"},
}
