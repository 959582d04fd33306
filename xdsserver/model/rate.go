package model

// A Rate is calls per second.
type Rate struct {
	PerSecond float64 // above zero
	// Burst is how many may come at once; zero means a second's worth.
	Burst uint32
}

// RatePer is what a [RateLimit] counts apart.
type RatePer string

// What is counted apart. Empty means PerTotal.
const (
	PerTotal    RatePer = "total"
	PerIdentity RatePer = "identity"
	PerMethod   RatePer = "method"
	PerMetadata RatePer = "metadata"
)

// A RateLimit bounds how many calls one instance of the service takes.
type RateLimit struct {
	// Name is for errors and tables, unique in the service.
	Name string
	Per  RatePer
	// Key is the metadata whose values are counted apart by PerMetadata, in lower case.
	Key  string
	Rate Rate
	// Methods and Callers are the calls that it is for; none means all. Methods are
	// as in an [AccessRule], callers services and SPIFFE ids.
	Methods []string
	Callers []Principal
}
