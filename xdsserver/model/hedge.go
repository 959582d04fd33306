package model

import "time"

// A Hedge makes another attempt of a unary call that is not answered for a while,
// and takes the answer that comes first.
type Hedge struct {
	// Off hedges nothing: a rule says so where its service hedges.
	Off bool
	// Delay is when another attempt is made; zero means at the Quantile.
	Delay time.Duration
	// Quantile of the time that the route's own calls take, above 0 and below 1;
	// zero means 0.95.
	Quantile float64
	// Attempts in all, the first included; zero means 2.
	Attempts uint32
}

// Hedges reports whether anything is hedged; nil does not.
func (h *Hedge) Hedges() bool { return h != nil && !h.Off }
