package rate_test

import (
	"fmt"
	"time"

	"github.com/tulle-mesh/tulle/interceptors/rate"
	"github.com/tulle-mesh/tulle/mesh/resource"
)

func ExampleNew() {
	now := time.Now()
	limiter := rate.New(resource.Rate{PerSecond: 4, Burst: 2}, now)
	for range 3 {
		fmt.Println(limiter.Allow(now))
	}
	// Output:
	// true 0s
	// true 0s
	// false 250ms
}
