//go:build race

package e2e

// offered is how many calls a second the detector of races lets two processes make.
const offered = 2_000

// raced is whether the detector of races runs, which multiplies memory.
const raced = true
