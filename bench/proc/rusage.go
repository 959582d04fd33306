//go:build unix

package proc

import (
	"syscall"
	"time"
)

// OwnCPU is what this process has used of processors, user and system together, to the
// microsecond.
func OwnCPU() (time.Duration, error) {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0, err
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()), nil
}
