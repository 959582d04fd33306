//go:build !linux

package admin

import (
	"net"
	"os"
)

// mayBeReadByOthers is what check says of the API on this system.
const mayBeReadByOthers = "on this system every user of the machine can read the admin API over TCP; changes are refused there"

// owner is the user whose process is at the other end of a connection. A unix socket's
// file mode has already decided that.
func owner(c net.Conn) (uid int, err error) {
	if _, ok := c.(*net.UnixConn); ok {
		return os.Getuid(), nil
	}
	return 0, errUnknown
}
