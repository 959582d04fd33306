package retry_test

import (
	"fmt"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/tulle-mesh/tulle/interceptors/retry"
	"github.com/tulle-mesh/tulle/mesh/resource"
)

// A service has had ten calls: a fifth of them may be made again, and one for each
// second of the window.
func ExampleNewBudget() {
	policy := resource.RetryBudget{Percent: 20, MinPerSecond: 1, Window: 5 * time.Second}
	now := time.Now()
	budget := retry.NewBudget(policy.Window, now)
	for range 10 {
		budget.Deposit(now)
	}
	retries := 0
	for budget.Withdraw(now, policy) {
		retries++
	}
	fmt.Println(retries)
	// Output:
	// 7
}

// What a server may have seen is tried again only where it may be done twice.
func ExampleAgain() {
	failure := retry.Failure{Code: codes.Unavailable}
	fmt.Println(retry.Again(resource.DefaultRetry(), failure))
	failure.Repeatable = true
	fmt.Println(retry.Again(resource.DefaultRetry(), failure))
	// Output:
	// false
	// true
}
