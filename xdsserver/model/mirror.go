package model

import "time"

// A Mirror sends copies of a share of the unary calls to another service or
// version, and drops what comes back.
type Mirror struct {
	Service ServiceName
	// Version keeps to endpoints with that version label; empty takes all.
	Version string
	// PerMillion is the share of calls, 0 to 1,000,000.
	PerMillion uint32
	// Timeout bounds a copy; zero means 1 s.
	Timeout time.Duration
}
