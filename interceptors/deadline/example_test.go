package deadline_test

import (
	"context"
	"fmt"
	"time"

	"github.com/tulle-mesh/tulle/interceptors/deadline"
)

// The route's timeout bounds a call whose application has more time.
func ExampleStart() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	now := time.Now()
	clock, ctx, release, failure := deadline.Start(ctx, now, deadline.Terms{Timeout: time.Second})
	if failure != nil {
		fmt.Println(failure)
		return
	}
	defer release()
	fmt.Println(clock.Until(ctx).Sub(now).Round(100 * time.Millisecond))
	// Output:
	// 1s
}
