package daemon

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// A ConfigError is a Config that cannot work. Its text names the flag of
// xdsserver serve that fills the field.
type ConfigError struct{ Flag, Reason string }

// Error says which flag is wrong and what it wants.
func (e *ConfigError) Error() string { return e.Flag + " " + e.Reason }

// NoSocket as a Config's Socket is none.
const NoSocket = "none"

// AdminSocket is the name of the admin API's socket, beside that of the mesh.
const AdminSocket = "admin.sock"

// isLoopback reads a host:port, and says whether only this machine reaches it.
func isLoopback(flag, address string) (bool, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return false, &ConfigError{Flag: flag, Reason: fmt.Sprintf("%q is no host:port, want for example 127.0.0.1:18000", address)}
	}
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback(), nil
}

func listenTCP(flag, address string) (net.Listener, error) {
	lis, err := net.Listen("tcp", address)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("%s %s is in use by another process: stop it, or choose another port", flag, address)
	}
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", flag, address, err)
	}
	return lis, nil
}

// maxSocketPath is what every system has room for in a socket's address.
const maxSocketPath = 103

// listenUnix listens on a socket that only this user may open, in place of one
// that a killed process left behind.
func listenUnix(path string) (net.Listener, error) {
	if len(path) > maxSocketPath {
		return nil, &ConfigError{
			Flag:   "--socket",
			Reason: fmt.Sprintf("%s has %d characters, %d are the most that a socket's path can have", path, len(path), maxSocketPath),
		}
	}
	if err := socketDir(filepath.Dir(path)); err != nil {
		return nil, err
	}
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

// socketDir makes the directory of a socket, and refuses one in which somebody else
// could put another socket in its place.
func socketDir(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("--socket: directory %w", err)
	}
	info, err := os.Stat(dir)
	if err != nil {
		return fmt.Errorf("--socket: directory %w", err)
	}
	owner, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return nil // no system that we know
	}
	return judgeDir(dir, int(owner.Uid), int(owner.Gid), info.Mode().Perm())
}

// judgeDir says what is wrong with a directory for a socket. A group may write to
// it if it is this user's own: many systems give each user one, and let it.
func judgeDir(dir string, uid, gid int, mode os.FileMode) error {
	switch {
	case uid != os.Getuid() && uid != 0:
		return fmt.Errorf("--socket: directory %s belongs to user %d, who could put another socket there: choose one of your own", dir, uid)
	case mode&0o002 != 0, mode&0o020 != 0 && gid != os.Getgid():
		return fmt.Errorf("--socket: directory %s can be written by other users (mode %04o), who could put another socket there: "+
			"chmod 0700 it, or choose another", dir, mode)
	}
	return nil
}
