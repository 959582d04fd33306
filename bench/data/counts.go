package data

import (
	"time"

	"github.com/tulle-mesh/tulle/bench/service"
)

// counts are what a server and its proxies have used.
type counts struct {
	service.Counts

	proxies time.Duration
}

func micros(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }
