//go:build !linux

package identity

import (
	"errors"
	"net"
)

// serverUser is not known where SO_PEERCRED is not.
func serverUser(net.Conn) (int, error) {
	return 0, errors.New("this system does not say whose process listens on a unix socket: enrol with a token (xdsserver token create)")
}
