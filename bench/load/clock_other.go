//go:build !linux

package load

import "time"

// A clock is Go's own.
type clock struct{}

func newClock() (*clock, error) { return &clock{}, nil }

func (*clock) sleep(d time.Duration) error {
	time.Sleep(d)
	return nil
}

func (*clock) close() {}
