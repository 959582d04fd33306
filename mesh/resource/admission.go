package resource

// An Admission says which of the calls that its callers may make a server takes.
// Its values are in range and have their defaults. It is immutable.
type Admission struct {
	// RateLimits must all hold.
	RateLimits []RateLimit
	// Concurrency is nil for no limit.
	Concurrency *Concurrency
	// Fault is injected before the handler; nil for none. It has no header fields.
	Fault *Fault
}

// RatePer is what a [RateLimit] counts apart.
type RatePer uint8

// What is counted apart.
const (
	PerTotal    RatePer = iota
	PerIdentity         // the caller's SPIFFE id; all without one are one
	PerMethod
	PerMetadata // the value of MetadataKey; all without it are one
)

// A RateLimit bounds how many calls a second one server takes.
type RateLimit struct {
	Name        string // for errors and tables; unique in the Admission
	Per         RatePer
	MetadataKey string // in lower case
	Rate        Rate
	// Methods and Callers say which calls it is for; empty means all. Methods are
	// "/package.Service/Method" or "/package.Service/*", Callers SPIFFE ids.
	Methods, Callers []string
}

// Concurrency bounds how many calls run at once.
type Concurrency struct {
	// Limit is the bound or, where Adaptive, the first one.
	Limit    uint32
	Adaptive bool
	// Min and Max bound an adaptive limit; Tolerance is how many times the unloaded
	// latency is taken for no overload yet, above 1.
	Min, Max  uint32
	Tolerance float64
}

// DefaultConcurrency returns what an adaptive limit has where nothing is said.
func DefaultConcurrency() Concurrency {
	return Concurrency{Limit: 20, Adaptive: true, Min: 1, Max: 1000, Tolerance: 1.5}
}
