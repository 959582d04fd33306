//go:build !linux

package mesh

import "syscall"

// controlSocket does nothing where TCP_USER_TIMEOUT is unknown: the kernel's own
// timeouts, in minutes, hold there.
func controlSocket(_, _ string, _ syscall.RawConn) error { return nil }
