//go:build !race

package consul

// slow is how much slower the race detector makes what is measured.
const slow = 1
