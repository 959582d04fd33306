// Package breaker stops calls to what fails, and lets one through now and then to
// see whether it still does.
package breaker

import "github.com/sony/gobreaker/v2"

// State is what a breaker does with calls.
type State = gobreaker.State
