package load

import (
	"fmt"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A clock wakes who sleeps by it some tens of microseconds late. Go's own timers are a part
// of its wait for the network, which it asks of Linux in whole milliseconds: with them,
// whoever has more to do with the network would begin calls sooner, and look faster.
type clock struct {
	file *os.File
	raw  syscall.RawConn
}

func newClock() (*clock, error) {
	fd, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("calls at a rate need a timer: timerfd_create: %w", err)
	}
	c := &clock{file: os.NewFile(uintptr(fd), "timerfd")}
	if c.raw, err = c.file.SyscallConn(); err != nil {
		_ = c.file.Close()
		return nil, fmt.Errorf("timerfd: %w", err)
	}
	return c, nil
}

func (c *clock) sleep(d time.Duration) error {
	if d <= 0 {
		return nil // to timerfd_settime, zero is never
	}
	var failed error
	err := c.raw.Control(func(fd uintptr) {
		failed = unix.TimerfdSettime(int(fd), 0, &unix.ItimerSpec{Value: unix.NsecToTimespec(d.Nanoseconds())}, nil)
	})
	if err == nil {
		err = failed
	}
	if err == nil {
		var expired [8]byte
		_, err = c.file.Read(expired[:])
	}
	if err != nil {
		return fmt.Errorf("timerfd: %w", err)
	}
	return nil
}

func (c *clock) close() { _ = c.file.Close() }
