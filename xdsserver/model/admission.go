package model

// An Admission is which of the calls that its callers may make an instance of the
// service takes.
type Admission struct {
	// RateLimits must all hold.
	RateLimits []RateLimit
	// Concurrency is nil for no limit.
	Concurrency *Concurrency
	// Fault is injected by the service itself; nil for none.
	Fault *Fault
}

// Concurrency bounds how many calls run at once in one instance.
type Concurrency struct {
	// Limit is the bound or, where Adaptive, the first one; zero means 20 then, or
	// what of Min and Max is nearest to it.
	Limit    uint32
	Adaptive bool
	// Min and Max bound an adaptive limit; zero means 1 and 1000.
	Min, Max uint32
	// Tolerance is how many times the unloaded latency is no overload yet, above 1;
	// zero means 1.5.
	Tolerance float64
}

const (
	defaultConcurrency    = 20
	defaultMinConcurrency = 1
	defaultMaxConcurrency = 1000
)

// Bounds returns the first limit and what bounds it, with what they are when left
// out. They are all Limit where it is not Adaptive.
func (c *Concurrency) Bounds() (first, least, most uint32) {
	if !c.Adaptive {
		return c.Limit, c.Limit, c.Limit
	}
	least, most = bounds(c.Min, c.Max, defaultMinConcurrency, max(defaultMaxConcurrency, c.Limit))
	if first = c.Limit; first == 0 {
		first = min(max(defaultConcurrency, least), most)
	}
	return first, least, most
}
