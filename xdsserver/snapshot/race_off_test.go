//go:build !race

package snapshot

// raceEnabled says that the race detector slows everything down.
const raceEnabled = false
