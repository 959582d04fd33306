package shed

import (
	"context"

	"google.golang.org/grpc/metadata"
)

// Header is the metadata by which a caller says how much a call matters: one of
// "critical", "default" and "sheddable". A service that calls others to serve a call
// hands it on; nobody else does.
//
// The mesh believes it: who is let in at all may say it of all calls. An operator who
// cannot trust callers that far gives each a rate limit.
const Header = "x-criticality"

// A Criticality says how much a call matters when there is not room for all (the
// Site Reliability Workbook's word, chapter "Handling Overload").
type Criticality uint8

// The criticalities.
const (
	// Default calls get nine places of ten.
	Default Criticality = iota
	// Sheddable calls get two places of three: they can come again later. With the
	// default tolerance of 1.5 that is what the server can run without a queue, so
	// that they are refused as soon as others would wait for them, and not before.
	Sheddable
	// Critical calls get all places. As nobody else gets the last tenth, it is there
	// for them however many others come.
	Critical
)

// CriticalityOf returns what the caller said of the call that ctx serves. What is none
// of the three is Default. It does not allocate where nothing was said.
func CriticalityOf(ctx context.Context) Criticality {
	values := metadata.ValueFromIncomingContext(ctx, Header)
	if len(values) == 0 {
		return Default
	}
	switch values[0] {
	case "critical":
		return Critical
	case "sheddable":
		return Sheddable
	}
	return Default
}

// String is the criticality in the header.
func (c Criticality) String() string {
	switch c {
	case Sheddable:
		return "sheddable"
	case Critical:
		return "critical"
	default:
		return "default"
	}
}

// room is how many calls may run of those that matter as much or less; at least one.
func (c Criticality) room(limit int64) int64 {
	switch c {
	case Sheddable:
		return (2*limit + 2) / 3
	case Critical:
		return limit
	default:
		return (9*limit + 9) / 10
	}
}
