package tap

import (
	"slices"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/metadata"

	"github.com/tulle-mesh/tulle/mesh/resource"
)

// capturesAtLeast is of messages that are read for a tap of failures, in calls a second:
// whether a call fails is known only after its messages are gone.
const capturesAtLeast = 50

// An opened is a tap that is open. It is immutable but for its tally.
type opened struct {
	spec     *resource.Tap
	to, from pattern
	method   methodPattern
	until    time.Time
	tally    *tally
}

// A tally is what outlives a change of a tap.
type tally struct {
	began time.Time
	// rate admits calls, captures the reading of messages of calls that may fail.
	rate, captures bucket
	dropped        atomic.Uint64
}

// newOpened opens a tap; before is the one of the same id that is open, nil for none.
func newOpened(spec *resource.Tap, before *opened, now time.Time) *opened {
	o := &opened{spec: spec, to: pattern(spec.To), from: pattern(spec.From), method: newMethodPattern(spec.Method)}
	if before != nil {
		o.tally = before.tally
	} else {
		o.tally = &tally{began: now}
	}
	o.tally.rate.set(spec.MaxRPS)
	o.tally.captures.set(max(capturesAtLeast, spec.MaxRPS))
	o.until = spec.Until
	if bound := o.tally.began.Add(longest); o.until.After(bound) {
		o.until = bound
	}
	return o
}

// wants reports whether the tap asks for a call.
func (o *opened) wants(c *Call, now time.Time) bool {
	return now.Before(o.until) && o.side(c) && o.method.matches(c.Method) && o.has(c.Metadata)
}

func (o *opened) side(c *Call) bool {
	switch {
	case o.to == "" && o.from == "":
		return true
	case c.Side == Client:
		return o.to != "" && o.to.matches(c.Peer)
	default:
		return o.from != "" && o.from.matches(c.Peer)
	}
}

func (o *opened) has(md metadata.MD) bool {
	for key, value := range o.spec.Metadata {
		if !slices.Contains(md.Get(key), value) {
			return false
		}
	}
	return true
}

// admit reports whether the tap may have one more call now, and counts it where not.
func (o *opened) admit(now time.Time) bool {
	if o.tally.rate.take(now) {
		return true
	}
	o.tally.dropped.Add(1)
	return false
}
