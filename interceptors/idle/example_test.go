package idle_test

import (
	"context"
	"fmt"
	"time"

	"github.com/tulle-mesh/tulle/interceptors/idle"
)

// The stream's context ends when nothing has passed for long enough.
func ExampleStart() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	watch := idle.Start(time.Millisecond, cancel)
	defer watch.Stop()
	<-ctx.Done()
	fmt.Println(watch.Failure("voting", "/voting.v1.Voting/Watch").Reason)
	// Output:
	// STREAM_IDLE
}
