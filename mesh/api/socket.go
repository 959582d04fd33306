package api

import (
	"os"
	"path/filepath"
	"strconv"
)

// DefaultSocket is the unix socket on which an xdsserver of this user listens
// unless told otherwise, and where processes of this user look for it:
// $XDG_RUNTIME_DIR/tulle/xds.sock, /run/tulle/xds.sock for root, and else
// tulle-UID/xds.sock in the directory for temporary files. Either side checks
// by the kernel's word whose process the other is, so that a socket somebody
// else put there is of no use to them.
func DefaultSocket() string {
	if dir := os.Getenv("XDG_RUNTIME_DIR"); dir != "" {
		return filepath.Join(dir, "tulle", "xds.sock")
	}
	uid := os.Getuid()
	if uid == 0 {
		return "/run/tulle/xds.sock"
	}
	return filepath.Join(os.TempDir(), "tulle-"+strconv.Itoa(uid), "xds.sock")
}
