// Package model is what the mesh is told to be, as plain values: services,
// routes between them, who may call whom, and the endpoints that are alive.
//
// Sources make these values, translate turns them into xDS resources; this
// package knows neither YAML nor xDS and imports nothing but the standard
// library. All values are immutable once they are in a [Set].
package model

import "time"

// Kind is a kind of configuration object.
type Kind string

// The kinds.
const (
	KindService      Kind = "Service"
	KindGRPCRoute    Kind = "GRPCRoute"
	KindAccessPolicy Kind = "AccessPolicy"
	KindMesh         Kind = "Mesh"
)

// Ref names one configuration object.
type Ref struct {
	Kind Kind
	// Namespace is never empty.
	Namespace, Name string
}

// An Object is a *Service, a *Route, an *AccessPolicy or a *Mesh.
type Object interface {
	Ref() Ref
	// Origin is where the object was written: "mesh.yaml:12", or "applied".
	Origin() string
}

// A Service is the configuration of one service.
type Service struct {
	Name ServiceName
	From string
	// Timeout bounds calls that no rule gives another timeout; zero means none.
	Timeout time.Duration
	// IdleTimeout is how long a stream may be without a message either way; zero
	// means for ever.
	IdleTimeout time.Duration
	// HopCost is what is left over of a caller's own deadline when the service is
	// called to serve it.
	HopCost time.Duration
	// Retry and Hedge are for calls that no rule says others for; nil means that
	// what was certainly not sent is sent once more, and nothing is hedged.
	Retry *Retry
	Hedge *Hedge
	// RetryBudget bounds both; nil means the defaults.
	RetryBudget *RetryBudget
	// Breaker is each endpoint's own, ServiceBreaker that of the service as a whole;
	// nil means the defaults for the first and none for the second.
	Breaker, ServiceBreaker *Breaker
	// MaxEjectedPercent is how many of the endpoints may be out for their failures at
	// once, 1 to 100; zero means 50.
	MaxEjectedPercent uint32
	OutlierDetection  *OutlierDetection // nil for none
	LoadBalancing     *LoadBalancing    // nil for the defaults
	// MaxRequests is how many calls one client process may have open to the
	// service; zero means 1024 (gRFC A32).
	MaxRequests uint32
	// MaxRequestsPerEndpoint is how many it may have open to one endpoint; zero
	// means no limit.
	MaxRequestsPerEndpoint uint32
	// RateLimit is that of each client process; nil for none. A rule may say another.
	RateLimit *Rate
	// Admission is what instances of the service take; nil for everything.
	Admission *Admission
	// Methods are what is known of some of its methods.
	Methods []Method
	// PermissiveUntil is until when servers of ours take connections without TLS;
	// zero means as the Mesh says. Static endpoints never do.
	PermissiveUntil time.Time
	// Strict takes none, whatever the Mesh says. It excludes PermissiveUntil.
	Strict bool
	// Endpoints are static endpoints, beside those that register themselves.
	Endpoints []Endpoint
}

// A Target is endpoints of a service.
type Target struct {
	Service ServiceName
	// Version keeps to endpoints with that version, or in that subset; empty takes all.
	Version string
}

// A Route is a GRPCRoute of the Gateway API.
type Route struct {
	Namespace, Name string
	From            string
	// Parents are the services whose clients the route applies to; at least one.
	Parents []ServiceName
	// Rules in order; among rules that match, the most specific wins as the
	// Gateway API orders them.
	Rules []Rule
	// Ordered has the first rule win that matches, whatever the others; rules of routes
	// that are not ordered come before. Consul's service-routers are.
	Ordered bool
	// Vouches says that the services it names exist, also while nobody runs them: they are
	// known where the route comes from.
	Vouches bool
}

// A Rule says where the calls that it matches go.
type Rule struct {
	Name string
	// Matches are alternatives; none matches every call.
	Matches  []Match
	Backends []Backend
	// Timeout replaces the service's; nil keeps it, zero means none.
	Timeout *time.Duration
	// IdleTimeout, Retry, Hedge and RateLimit replace the service's, each as a whole;
	// nil keeps them. An IdleTimeout of zero means none.
	IdleTimeout *time.Duration
	Retry       *Retry
	Hedge       *Hedge
	RateLimit   *Rate
	Fault       *Fault
	Headers     *Headers
	Mirrors     []Mirror
}

// A Match holds for a call when all its parts do.
type Match struct {
	// Service and Method are the parts of the gRPC method; empty matches any.
	Service, Method string
	// Regex makes Service and Method RE2 expressions that match in whole.
	Regex bool
	// Path must hold for the method; it takes the place of the three before it. Nil holds
	// for every one.
	Path    *PathMatch
	Headers []HeaderMatch
}

// A HeaderMatch holds for a call that has the header with such a value.
type HeaderMatch struct {
	Name, Value string
	// Regex makes Value an RE2 expression that matches in whole.
	Regex bool
	// Invert matches a header that is there and has another value.
	Invert bool
	// Absent matches a call without the header, which has no Value then. An empty value is
	// none.
	Absent bool
}

// A Backend takes a share of a rule's calls.
type Backend struct {
	Service ServiceName
	// Version keeps to endpoints with that version label; empty takes all.
	Version string
	// Weight is the share among the rule's backends; zero takes no calls.
	Weight uint32
	// Failover takes the backend's calls while none of its endpoints does: the first of
	// them with one that takes calls. Of several routes that say it of the same service and
	// version, the first counts.
	Failover []Target
}

// A Fault is injected into a share of calls, on purpose.
type Fault struct {
	// DelayPerMillion and AbortPerMillion are shares of calls, 0 to 1,000,000.
	DelayPerMillion uint32
	Delay           time.Duration
	AbortPerMillion uint32
	// AbortCode is the gRPC status code (1 to 16).
	AbortCode uint32
	// FromHeaders has callers ask for the fault, by the headers of gRFC A33, which
	// say Delay and AbortCode then. The shares are of the calls that ask, in whole
	// percents. Without it no header causes a fault.
	FromHeaders bool
}

// Health is whether an endpoint takes calls.
type Health uint8

// The states of health.
const (
	Healthy Health = iota
	// NotServing endpoints say so themselves, through the gRPC health protocol.
	NotServing
	// Lost endpoints have dropped their registration; their lease still runs.
	// They take calls, since a lost registration is not a lost service.
	Lost
	// Leaving endpoints drain; they take no new calls.
	Leaving
)

// An Endpoint is one instance of a service.
type Endpoint struct {
	Service ServiceName
	// Instance is unique within the service.
	Instance string
	// Version is the label routes choose by; may be empty.
	Version string
	// Subsets are the named subsets of the service that it is in, in order; a route
	// chooses by one as it does by Version. They come from Consul's service-resolvers.
	Subsets      []string
	Region, Zone string
	// Addresses are host:port, the preferred first; at least one.
	Addresses []string
	// Weight is the endpoint's share among the others by PeakEWMA and by RingHash; zero
	// means 1. Other policies choose whatever the weights. For stock clients it counts
	// toward the share of the endpoint's zone.
	Weight uint32
	Health Health
	// From is [Registered], [Elsewhere], or where the endpoint is written.
	From  string
	Since time.Time
}

// A Problem is one thing that is wrong with an object, and where.
type Problem struct {
	Object Ref
	// From is where the object was read: "mesh.yaml:12:5".
	From string
	// Field is the path inside the object, as in "spec.rules[0].backendRefs[1]".
	Field string
	// Message is one sentence: what is wrong and what to do.
	Message string
	// Warning problems do not set the object aside.
	Warning bool
	// Instead stands for an *AccessPolicy or *Mesh that could not be read: it is
	// Closed. It is handed to [Validate] among the objects when there is no other of
	// its Ref. It is nil in other problems.
	Instead Object
}

// A Set is the whole configuration at one moment: accepted objects only.
type Set struct {
	// Services by name: configured ones, and those known from endpoints alone.
	Services map[ServiceName]*Service
	// Routes in order of namespace and name.
	Routes []*Route
	// Policies in order of namespace and name.
	Policies []*AccessPolicy
	// Mesh is nil where nothing is said of the mesh as a whole, for the defaults.
	Mesh *Mesh
	// Trust is nil where there are no identities: connections are refused then.
	Trust *Trust
	// Commands are what the processes of some services are told to do for a while.
	Commands map[ServiceName]*Commands
	// Endpoints by service, in order of instance.
	Endpoints map[ServiceName][]Endpoint
	// Problems of objects that are set aside, or warned of.
	Problems []Problem
	// Generations says which output of each source is in the Set, so that a
	// change can be followed until clients have it.
	Generations map[string]uint64
}

// Ref implements [Object].
func (s *Service) Ref() Ref { return Ref{KindService, s.Name.Namespace, s.Name.Name} }

// Origin implements [Object].
func (s *Service) Origin() string { return s.From }

// Ref implements [Object].
func (r *Route) Ref() Ref { return Ref{KindGRPCRoute, r.Namespace, r.Name} }

// Origin implements [Object].
func (r *Route) Origin() string { return r.From }
