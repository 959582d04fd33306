package shed_test

import (
	"fmt"
	"time"

	"github.com/tulle-mesh/tulle/interceptors/shed"
	"github.com/tulle-mesh/tulle/mesh/resource"
)

func ExampleNew() {
	limiter := shed.New(resource.Concurrency{Limit: 3}, time.Now())
	for _, c := range []shed.Criticality{shed.Default, shed.Sheddable, shed.Sheddable, shed.Critical, shed.Critical} {
		_, ok := limiter.Acquire(c, time.Now())
		fmt.Println(c, ok)
	}
	// Output:
	// default true
	// sheddable true
	// sheddable false
	// critical true
	// critical false
}
