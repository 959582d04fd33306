// Package telemetry counts what becomes of calls, in the process: instruments that cost a
// call a few nanoseconds and no allocation, and what takes their values elsewhere.
//
//	in := telemetry.New(telemetry.Config{Service: "web", Instance: "a1"})
//	go in.Run(ctx, conn) // pushes them to xdsserver, as OTLP
//
//	in.ClientCall(telemetry.ClientKey{Service: "voting", Method: "/shop.v1.Shop/Buy"}).
//		Record(codes.OK, 3*time.Millisecond)
//
// Values are cumulative since their series began: who takes them subtracts, and nothing is
// lost with a report that is. [Instruments.Snapshot] gives them to the bridges in
// mesh/telemetry/otel and mesh/telemetry/prometheus, which link what they bridge to; this
// package links OTLP's messages and nothing else.
//
// What is told apart is bounded: beyond 4,096 series of a kind methods become "other", and
// series that nothing was counted in for 10 minutes leave.
package telemetry

import (
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"google.golang.org/grpc/codes"
)

// The histograms.
const (
	clientCalls    = "tulle.client.call.duration"
	clientAttempts = "tulle.client.attempt.duration"
	serverCalls    = "tulle.server.call.duration"
)

// Other is the method of calls whose own is not told apart.
const Other = "other"

// Config is what a process says of itself with what it reports.
type Config struct {
	// Service is the process's own, "name" or "name.namespace", "client" for none.
	Service string
	// Instance tells it from others of its service.
	Instance string
	// Version and Zone may be empty; Region too, where zones are in none.
	Version, Region, Zone string
	// Library is the version of the library.
	Library string
}

// Security is how a connection is secured.
type Security uint8

// The securities.
const (
	// MTLS is mutual TLS with an identity of the mesh on both sides.
	MTLS Security = iota
	// Plaintext is a connection without TLS.
	Plaintext
	// Unknown is a connection of which the mesh does not know.
	Unknown
)

// String returns "mtls", "plaintext" or "unknown".
func (s Security) String() string {
	switch s {
	case MTLS:
		return "mtls"
	case Plaintext:
		return "plaintext"
	case Unknown:
	}
	return "unknown"
}

// A ClientKey says which calls are alike to the application that makes them, retries
// included.
type ClientKey struct {
	// Service is the dialled one, Route what the calls take, empty for the default.
	Service, Route string
	// Method is the full one, "/package.Service/Method".
	Method string
}

// An AttemptKey says which attempts are alike.
type AttemptKey struct {
	Service, Route, Method string
	// Cluster is where the route sent them, as "voting/v2".
	Cluster string
	// Local is whether they stayed in the process's zone.
	Local    bool
	Security Security
}

// A ServerKey says which calls are alike to the server that takes them.
type ServerKey struct {
	// Caller is a SPIFFE id, empty for a caller without an identity.
	Caller   string
	Method   string
	Security Security
}

// valid returns attributes whose text is UTF-8: some of it came from peers, and nothing
// that metrics go to takes other text.
func valid(attributes []Attribute) []Attribute {
	for i := range attributes {
		if a := &attributes[i]; !utf8.ValidString(a.Value) {
			attributes = slices.Clone(attributes)
			attributes[i].Value = strings.ToValidUTF8(a.Value, "?")
		}
	}
	return attributes
}

// An Attribute tells series of one name apart.
type Attribute struct{ Key, Value string }

// A Sample is a value that is counted elsewhere.
type Sample struct {
	// Name is the metric's, as docs/observability.md has them.
	Name string
	// Sum is whether it is a count that only grows; else it is a gauge.
	Sum        bool
	Value      float64
	Attributes []Attribute
}

// Instruments count the calls of one process. They are safe for concurrent use.
type Instruments struct {
	config   Config
	began    time.Time
	calls    family[ClientKey]
	attempts family[AttemptKey]
	served   family[ServerKey]

	reporting atomic.Bool // whether Run runs

	mu        sync.Mutex // guards what follows
	observers []func(yield func(Sample))
	swept     time.Time
}

// New returns Instruments that have counted nothing. They hold no resource to close.
func New(c Config) *Instruments {
	return &Instruments{
		config: c,
		began:  time.Now(),
		calls: family[ClientKey]{
			name:  clientCalls,
			other: func(k ClientKey) ClientKey { k.Method = Other; return k },
			grpc:  func(k ClientKey) ClientKey { return ClientKey{Service: k.Service, Method: k.Method} },
			last:  ClientKey{Service: Other, Method: Other},
			attributes: func(k ClientKey) []Attribute {
				return []Attribute{{"tulle.destination", k.Service}, {"tulle.route", k.Route}, {"grpc.method", k.Method}}
			},
		},
		attempts: family[AttemptKey]{
			name:  clientAttempts,
			other: func(k AttemptKey) AttemptKey { k.Method = Other; return k },
			grpc: func(k AttemptKey) AttemptKey {
				return AttemptKey{Service: k.Service, Method: k.Method, Cluster: k.Cluster}
			},
			last: AttemptKey{Service: Other, Method: Other, Security: Unknown},
			attributes: func(k AttemptKey) []Attribute {
				return []Attribute{
					{"tulle.destination", k.Service},
					{"tulle.route", k.Route},
					{"grpc.method", k.Method},
					{"tulle.cluster", k.Cluster},
					{"tulle.local", boolText(k.Local)},
					{"tulle.security", k.Security.String()},
				}
			},
		},
		served: family[ServerKey]{
			name:  serverCalls,
			other: func(k ServerKey) ServerKey { k.Method = Other; return k },
			grpc:  func(k ServerKey) ServerKey { return ServerKey{Method: k.Method} },
			last:  ServerKey{Caller: Other, Method: Other, Security: Unknown},
			attributes: func(k ServerKey) []Attribute {
				return []Attribute{{"tulle.source", k.Caller}, {"grpc.method", k.Method}, {"tulle.security", k.Security.String()}}
			},
		},
	}
}

func boolText(b bool) string {
	if b {
		return "true"
	}
	return "false"
}

// ClientCall returns the series of calls that are made, never nil. It is looked up for
// each call and not held on to: a series that is idle leaves.
func (i *Instruments) ClientCall(k ClientKey) *Series { return i.calls.of(k) }

// ClientAttempt returns the series of single attempts, as ClientCall.
func (i *Instruments) ClientAttempt(k AttemptKey) *Series { return i.attempts.of(k) }

// ServerCall returns the series of calls that are taken, as ClientCall.
func (i *Instruments) ServerCall(k ServerKey) *Series { return i.served.of(k) }

// Observe has collect asked for samples at each Snapshot, for as long as the Instruments
// are there. What several give with the same name and attributes, as the servers of one
// process do, is added up. collect must not call Snapshot.
func (i *Instruments) Observe(collect func(yield func(Sample))) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.observers = append(slices.Clip(i.observers), collect)
}

// A Snapshot is what the instruments say at one moment. It is immutable.
type Snapshot struct {
	Config Config
	At     time.Time
	// Began is when the process began to count.
	Began time.Time
	// Points are what the instruments count, Samples what is counted elsewhere; those
	// of one name have different attributes each.
	Points  []Point
	Samples []Sample

	past []Point // see GRPC
}

// A Point is the histogram of the calls of a series that ended by one code.
type Point struct {
	// Name is the metric's, its unit seconds.
	Name       string
	Attributes []Attribute // without the code
	Code       codes.Code
	// Began is when the first of them was counted.
	Began time.Time
	// Count counts all calls, Sum is what they took together, in seconds.
	Count uint64
	Sum   float64
	// Below counts those that took at most [Threshold].
	Below uint64
	// Buckets counts those that took between 2^((Offset+i)/32) and 2^((Offset+i+1)/32)
	// seconds: an exponential histogram of scale 5, as OTLP has it.
	Offset  int
	Buckets []uint64

	histogram *histogram
}

// Snapshot returns what was counted, in no particular order. It allocates, and is meant
// to be called every few seconds at the most.
func (i *Instruments) Snapshot() *Snapshot { return i.snapshot(time.Now()) }

func (i *Instruments) snapshot(now time.Time) *Snapshot {
	i.mu.Lock()
	observers := i.observers
	due := now.Sub(i.swept) >= sweepEvery
	if due {
		i.swept = now
	}
	i.mu.Unlock()
	if due {
		i.sweep(now)
	}
	s := &Snapshot{Config: i.config, At: now, Began: i.began}
	i.calls.points(s)
	i.attempts.points(s)
	i.served.points(s)
	places, key := map[string]int{}, []byte(nil)
	for _, collect := range observers {
		collect(func(sample Sample) {
			sample.Attributes = valid(sample.Attributes)
			key = sample.appendKey(key[:0])
			if at, ok := places[string(key)]; ok {
				s.Samples[at].Value += sample.Value
				return
			}
			places[string(key)] = len(s.Samples)
			s.Samples = append(s.Samples, sample)
		})
	}
	return s
}

// sweep lets series go that are idle.
func (i *Instruments) sweep(now time.Time) {
	reporting := i.reporting.Load()
	i.calls.sweep(now, reporting)
	i.attempts.sweep(now, reporting)
	i.served.sweep(now, reporting)
}
