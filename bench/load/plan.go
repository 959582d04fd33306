// Package load calls an echo service: as fast as callers can (closed loop), or at a rate
// that does not wait for answers (open loop). Every call is accounted for.
package load

import (
	"fmt"
	"time"
)

// The kinds of call. A stream's unit of work is a message; a unary call is one of its own.
const (
	Unary        = "unary"
	ServerStream = "server-stream"
	BidiStream   = "bidi-stream"
)

// streamMessages is how many messages a stream has, of those that stream.
const streamMessages = 100

// A Plan is one load.
type Plan struct {
	// Kind is [Unary], [ServerStream] or [BidiStream].
	Kind string `json:"kind"`
	// Bytes is the size of each message's body.
	Bytes int `json:"bytes"`
	// Callers is how many call at one time, each the next as soon as it has an answer.
	// It is not used where Rate is set.
	Callers int `json:"callers"`
	// Rate is calls a second that begin whether or not others are answered, at random
	// times (a Poisson process, the same for the same Seed); zero is a closed loop. It is
	// for unary calls.
	Rate float64 `json:"rate,omitempty"`
	Seed uint64  `json:"seed,omitempty"`
	// For is how long calls begin.
	For time.Duration `json:"for"`
}

// Limits that hold whatever a plan says.
const (
	maxFor = time.Minute
	// maxOpen is how many calls of an open loop wait at one time; what is due beyond that
	// is not sent, and told.
	maxOpen    = 20_000
	maxCallers = 4096
	maxBytes   = 1 << 20
)

func (p Plan) check() error {
	switch {
	case p.Kind != Unary && p.Kind != ServerStream && p.Kind != BidiStream:
		return fmt.Errorf("kind %q, want %s, %s or %s", p.Kind, Unary, ServerStream, BidiStream)
	case p.Rate != 0 && p.Kind != Unary:
		return fmt.Errorf("%s at a rate: only %s has one", p.Kind, Unary)
	case p.For <= 0 || p.For > maxFor || p.Bytes < 0 || p.Bytes > maxBytes || p.Rate < 0:
		return fmt.Errorf("%v of %d bytes at %g/s: want up to %v and %d bytes", p.For, p.Bytes, p.Rate, maxFor, maxBytes)
	case p.Rate == 0 && (p.Callers < 1 || p.Callers > maxCallers):
		return fmt.Errorf("%d callers, want 1 to %d", p.Callers, maxCallers)
	}
	return nil
}

// A Ledger accounts for every unit of work: Due = Sent + Skipped, and Sent = OK + all of
// Failed.
type Ledger struct {
	Due     int64 `json:"due"`
	Sent    int64 `json:"sent"`
	Skipped int64 `json:"skipped"`
	OK      int64 `json:"ok"`
	// Failed counts by status code.
	Failed map[string]int64 `json:"failed,omitempty"`
}

// Check returns an error where something failed, was skipped, or is not accounted for.
func (l Ledger) Check() error {
	failed := int64(0)
	for _, n := range l.Failed {
		failed += n
	}
	if l.Due != l.Sent+l.Skipped || l.Sent != l.OK+failed {
		return fmt.Errorf("the ledger does not add up: %+v", l)
	}
	if failed > 0 || l.Skipped > 0 {
		return fmt.Errorf("%d of %d failed (%v), %d were not sent in time", failed, l.Due, l.Failed, l.Skipped)
	}
	return nil
}

// A Result is what came of a plan.
type Result struct {
	Ledger Ledger `json:"ledger"`
	// Took is from the beginning to the last answer.
	Took time.Duration `json:"took"`
	// Latencies are from when a call was to begin to its answer, as an encoded
	// HdrHistogram of microseconds; those of a server stream are of whole streams.
	Latencies []byte `json:"latencies"`
	// CPU, Mallocs and Bytes are what the process used meanwhile.
	CPU     time.Duration `json:"cpu"`
	Mallocs uint64        `json:"mallocs"`
	Bytes   uint64        `json:"bytes"`
}

// Rate is units of work a second.
func (r Result) Rate() float64 { return float64(r.Ledger.OK) / r.Took.Seconds() }
