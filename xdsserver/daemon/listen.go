package daemon

import (
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
	"time"
)

// A ConfigError is a Config that cannot work. Its text names the flag of
// xdsserver serve that fills the field.
type ConfigError struct{ Flag, Reason string }

// Error says which flag is wrong and what it wants.
func (e *ConfigError) Error() string { return e.Flag + " " + e.Reason }

// listenTCP listens on a loopback address. Others are refused until every
// connection is mutual TLS: fail closed.
func listenTCP(flag, address string) (net.Listener, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, &ConfigError{Flag: flag, Reason: fmt.Sprintf("%q is no host:port, want for example 127.0.0.1:18000", address)}
	}
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return nil, &ConfigError{Flag: flag, Reason: address + " is not a loopback address: this version has no mutual TLS yet, " +
			"and serves 127.0.0.1, ::1 and a unix socket (--socket) only"}
	}
	lis, err := net.Listen("tcp", address)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("%s %s is in use by another process: stop it, or choose another port", flag, address)
	}
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", flag, address, err)
	}
	return lis, nil
}

// listenUnix listens on a socket that only this user may open, in place of one
// that a killed process left behind.
func listenUnix(path string) (net.Listener, error) {
	if info, err := os.Lstat(path); err == nil {
		if info.Mode()&os.ModeSocket == 0 {
			return nil, fmt.Errorf("--socket %s exists and is no socket: remove it, or choose another path", path)
		}
		if conn, err := (&net.Dialer{Timeout: time.Second}).Dial("unix", path); err == nil {
			_ = conn.Close()
			return nil, fmt.Errorf("--socket %s is in use by another process: stop it, or choose another path", path)
		}
		if err := os.Remove(path); err != nil {
			return nil, fmt.Errorf("--socket %s: %w", path, err)
		}
	}
	// The mask comes before the listener: there must be no moment when
	// everybody may open it.
	old := syscall.Umask(0o177)
	lis, err := net.Listen("unix", path)
	syscall.Umask(old)
	if err != nil {
		return nil, fmt.Errorf("--socket %s: %w", path, err)
	}
	return lis, nil
}
