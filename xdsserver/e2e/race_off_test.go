//go:build !race

package e2e

// offered is how many calls a second are held against a limit of half of that.
const offered = 10_000

// raced is whether the detector of races runs, which multiplies memory.
const raced = false
