package house

import "slices"

// A room is a folder with everything below it that is not a room of its own.
type room struct {
	path string
	// imports are the rooms it may import; the room itself is always among them.
	imports []string
	// why is the reason, as the failure says it.
	why string
}

// The rows of the library, the lowest first. Rooms in one row never import each
// other: they meet in the values of the row below.
var (
	values    = []string{"mesh/resource", "mesh/call", "mesh/spiffe", "mesh/api"}
	protocols = slices.Concat([]string{"mesh/xdsclient", "mesh/identity", "mesh/telemetry", "mesh/tap", "mesh/breaker"}, values)
	machinery = slices.Concat([]string{"resolver", "balancer", "interceptors"}, protocols)
)

// shared is what the server and the library have in common.
var shared = []string{"mesh/resource", "mesh/spiffe", "mesh/api"}

// core is what it takes to serve a mesh: the daemon runs it, and so does a test
// that wants the real thing in memory.
var core = []string{
	"xdsserver/model",
	"xdsserver/manifest",
	"xdsserver/translate",
	"xdsserver/snapshot",
	"xdsserver/serve",
	"xdsserver/source",
	"xdsserver/source/merge",
	"xdsserver/source/registry",
	"xdsserver/identity",
	"xdsserver/enrol",
	"xdsserver/telemetry",
	"xdsserver/tap",
}

// Reasons that more than one room has.
const (
	whyValues    = "the values rooms meet in import no room, so that every room can import them"
	whyMachinery = "resolver, balancer and interceptors never import each other: they meet in mesh/resource and mesh/call"
	whyDriver    = "drivers never import each other, nor see what becomes of their output: they meet in source.Output"
	whyTests     = "it holds tests only"
)

// law is the import law: which room may import which.
var law = slices.Concat(lawOfLibrary, lawOfServer, lawOfRest)

var lawOfLibrary = []room{
	{
		path:    "mesh",
		imports: machinery,
		why:     "the door opens on every room of the library, and on none of the server",
	},
	{
		path:    "mesh/meshtest",
		imports: slices.Concat([]string{"mesh"}, machinery, core),
		why:     "the test kit runs the server's core in memory, not its disk, its files or its command line",
	},
	{path: "resolver", imports: protocols, why: whyMachinery},
	{
		path:    "resolver/stock",
		imports: values,
		why:     "stock targets go through grpc-go's own client, beside ours and not on top of it",
	},
	{path: "balancer", imports: protocols, why: whyMachinery},
	{path: "interceptors", imports: protocols, why: whyMachinery},
	{
		path:    "mesh/xdsclient",
		imports: values,
		why:     "the transport carries resources whose meaning it does not know",
	},
	{
		path:    "mesh/identity",
		imports: values,
		why:     "identity serves the machinery above it, and knows nothing of it",
	},
	{
		path:    "mesh/identity/workload",
		imports: slices.Concat([]string{"mesh/identity"}, values),
		why:     "who takes identities from the SPIFFE Workload API links its client; nobody else does",
	},
	{
		path:    "mesh/breaker",
		imports: values,
		why:     "breakers of endpoints and of services are one thing, and know neither",
	},
	{
		path:    "mesh/telemetry",
		imports: values,
		why:     "instruments serve the machinery above them, and know nothing of it",
	},
	{
		path:    "mesh/telemetry/otel",
		imports: []string{"mesh/telemetry"},
		why:     "who bridges to OpenTelemetry links its SDK; nobody else does",
	},
	{
		path:    "mesh/telemetry/prometheus",
		imports: []string{"mesh/telemetry"},
		why:     "who bridges to a Prometheus registry links its client; nobody else does",
	},
	{
		path:    "mesh/tap",
		imports: values,
		why:     "a tap sees calls that it is handed, and knows nothing of who hands them",
	},
	{
		path:    "mesh/resource",
		imports: []string{"mesh/api"},
		why:     "the values rooms meet in import no room but protobuf, one message of which is a resource",
	},
	{path: "mesh/call", why: whyValues},
	{path: "mesh/spiffe", why: whyValues},
	{path: "mesh/api", why: "protobuf is what programs meet in: it imports no room"},
}

var lawOfServer = []room{
	{
		path:    "xdsserver",
		imports: []string{"xdsserver/cli"},
		why:     "main only calls the command line, so that examples/demo can be the same program",
	},
	{
		path:    "xdsserver/cli",
		imports: slices.Concat([]string{"xdsserver/daemon", "xdsserver/consul", "xdsserver/identity", "mesh/identity"}, shared),
		why: "commands speak to a running server through its admin API, and start one through the daemon; " +
			"identity fetch enrols as any process does, and a root key moves from file to file",
	},
	{
		path: "xdsserver/daemon",
		imports: slices.Concat(core, shared, []string{
			"xdsserver/source/file",
			"xdsserver/consul",
			"xdsserver/source/consul",
			"xdsserver/announce",
			"xdsserver/identity/connect",
			"xdsserver/store",
			"xdsserver/store/kv",
			"xdsserver/admin",
			"xdsserver/dashboard",
		}),
		why: "the daemon is the one place that knows every part; it does not know the command line",
	},
	{
		path:    "xdsserver/dashboard",
		imports: slices.Concat([]string{"xdsserver/admin"}, shared),
		why:     "the page shows what the admin API says, and knows no other way",
	},
	{
		path:    "xdsserver/admin",
		imports: slices.Concat(core, shared, []string{"xdsserver/store"}),
		why:     "the operator's API stands on the server's parts, and on no driver's details",
	},
	{
		path:    "xdsserver/serve",
		imports: slices.Concat([]string{"xdsserver/snapshot"}, shared),
		why:     "serve -> snapshot -> translate -> model: streams know what is published, not where it came from",
	},
	{
		path:    "xdsserver/snapshot",
		imports: slices.Concat([]string{"xdsserver/translate", "xdsserver/model"}, shared),
		why:     "serve -> snapshot -> translate -> model: what is built does not know who serves it",
	},
	{
		path:    "xdsserver/translate",
		imports: slices.Concat([]string{"xdsserver/model"}, shared),
		why:     "translate is pure: a model in, resources out",
	},
	{
		path: "xdsserver/model",
		why:  "the model is plain values, so that no format and no protocol leaks into it",
	},
	{
		path:    "xdsserver/manifest",
		imports: []string{"xdsserver/model"},
		why:     "YAML is one way to write the model; nothing but the model stands below it",
	},
	{
		path:    "xdsserver/source",
		imports: []string{"xdsserver/model"},
		why:     "what a source is does not depend on any source",
	},
	{
		path:    "xdsserver/source/merge",
		imports: []string{"xdsserver/source", "xdsserver/model"},
		why:     "merge folds outputs, whoever made them",
	},
	{
		path:    "xdsserver/source/file",
		imports: []string{"xdsserver/source", "xdsserver/manifest", "xdsserver/model"},
		why:     whyDriver,
	},
	{
		path:    "xdsserver/source/registry",
		imports: []string{"xdsserver/source", "xdsserver/model", "xdsserver/identity", "mesh/api"},
		why:     "who registers is who the connection says: the one driver that listens knows identities",
	},
	{
		path:    "xdsserver/source/consul",
		imports: []string{"xdsserver/source", "xdsserver/model", "xdsserver/consul"},
		why:     whyDriver,
	},
	{path: "xdsserver/consul", why: "the connection to Consul does not know what is kept there"},
	{path: "xdsserver/consul/consultest", why: "agents for tests know nothing of who is tested"},
	{
		path:    "xdsserver/announce",
		imports: []string{"xdsserver/consul", "xdsserver/model"},
		why:     "who joined is told to Consul; who that is and what becomes of it others know",
	},
	{
		path:    "xdsserver/store/kv",
		imports: []string{"xdsserver/store", "xdsserver/consul", "xdsserver/source", "xdsserver/manifest", "xdsserver/model"},
		why:     "the store of many xdsservers is like that of one, and knows nothing of what is served",
	},
	{
		path:    "xdsserver/store",
		imports: []string{"xdsserver/source", "xdsserver/manifest", "xdsserver/model"},
		why:     "the store is one more source, and knows nothing of what is served",
	},
	{
		path:    "xdsserver/identity",
		imports: slices.Concat([]string{"xdsserver/source", "xdsserver/model"}, shared),
		why:     "the authority signs, and is a source of what peers are verified against; it does not know who may be whom",
	},
	{
		path:    "xdsserver/identity/connect",
		imports: slices.Concat([]string{"xdsserver/identity", "xdsserver/consul"}, shared),
		why:     "one authority is Consul's; those who have another need no Consul",
	},
	{
		path:    "xdsserver/enrol",
		imports: slices.Concat([]string{"xdsserver/identity"}, shared),
		why:     "enrolment attests who asks, and leaves the signing to the authority",
	},
	{path: "xdsserver/telemetry", imports: shared, why: "the receiver counts; it knows nothing of configuration"},
	{
		path:    "xdsserver/tap",
		imports: slices.Concat([]string{"xdsserver/source", "xdsserver/model"}, shared),
		why:     "taps are a source of commands for processes, and take what these report",
	},
	{path: "xdsserver/e2e", why: whyTests},
}

var lawOfRest = []room{
	{
		path:    "examples",
		imports: slices.Concat([]string{"mesh", "mesh/meshtest"}, values),
		why:     "an example shows the application's API, and what any application could write",
	},
	{
		path:    "examples/demo",
		imports: slices.Concat([]string{"mesh", "xdsserver/cli"}, values),
		why:     "the tour is one binary that runs itself in every role, and may run the server's command line for that",
	},
	{
		path:    "bench",
		imports: slices.Concat([]string{"mesh", "mesh/meshtest", "resolver/stock"}, machinery, core),
		why:     "a benchmark measures the library and the server's core, not the command line",
	},
	{path: "internal/house", why: whyTests},
	{path: "internal/xdsgen", imports: []string{"mesh/api"}, why: "it writes what the library reads of xDS, and is part of nothing"},
}
