package xdsclient

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"

	"google.golang.org/grpc"

	"github.com/tulle-mesh/tulle/mesh/api/xdsv3"
)

// What a server or a caller may make the process hold. A process that meets one
// of these bounds is misused or attacked: each is far above any sane need.
const (
	// maxMessage bounds one response, in bytes.
	maxMessage = 32 << 20
	// maxResources bounds the names subscribed to, and those remembered.
	maxResources = 100_000
	// maxHeld bounds the encoded bytes of all values held, together.
	maxHeld = 256 << 20
	// maxName bounds a resource's name, in bytes.
	maxName = 4096
)

// A Type is a kind of resource, and how its values are made.
type Type struct {
	// URL is the resource's type URL, "type.googleapis.com/...".
	URL string
	// Decode makes a value of the bytes in the resource's Any, and says the name
	// found in it. The value is shared by all subscribers and must be immutable;
	// it must not be nil. An error (or a panic, which is one) refuses the
	// resource and is sent to the server as the reason. Decode is called
	// concurrently, and never with a lock held.
	Decode func(value []byte) (name string, v any, err error)
}

// A Config is what a [Client] is made of. Servers, Node and Types are needed.
type Config struct {
	// Servers are gRPC targets in order of preference. A host:port without a
	// scheme is looked up again at each connection attempt, not by grpc's dns
	// resolver, which may wait two minutes between look-ups.
	Servers []string
	// DialOptions come before the client's own, which win: keepalive,
	// reconnect backoff and idle timeout are the client's.
	DialOptions []grpc.DialOption
	// Node tells the server who asks. Its Cluster (its Id where that is empty)
	// is whose disk cache it reads. It must not be changed afterwards.
	Node *xdsv3.Node
	// Types are the kinds of resources that can be subscribed to. Requests are
	// sent in this order.
	Types []Type
	// CacheFile is where accepted resources are kept across restarts. Its folder
	// is made (mode 0700) when it is not there. Processes of one service may
	// share a file: the last writer wins. Empty means no disk cache.
	CacheFile string
	// Logger is told of rare changes: connected, stale, current, refused. Nil
	// means slog.Default().
	Logger *slog.Logger
}

// validate returns an error that names the first field that cannot work.
func (c *Config) validate() error {
	switch {
	case len(c.Servers) == 0:
		return errors.New("xdsclient: no server: set Config.Servers")
	case slices.Contains(c.Servers, ""):
		return errors.New("xdsclient: an empty entry in Config.Servers")
	case c.Node.GetId() == "":
		return errors.New("xdsclient: no node id: set Config.Node")
	case len(c.Types) == 0:
		return errors.New("xdsclient: no resource types: set Config.Types")
	}
	if _, err := c.Node.Append(nil); err != nil {
		return fmt.Errorf("xdsclient: Config.Node cannot be sent: %w", err)
	}
	seen := map[string]bool{}
	for _, t := range c.Types {
		switch {
		case t.URL == "" || t.Decode == nil:
			return fmt.Errorf("xdsclient: type %q in Config.Types needs both URL and Decode", t.URL)
		case seen[t.URL]:
			return fmt.Errorf("xdsclient: type %q is twice in Config.Types", t.URL)
		}
		seen[t.URL] = true
	}
	return nil
}

// service is whose configuration this is: instances come and go, the service
// they belong to owns the disk cache.
func service(node *xdsv3.Node) string {
	if c := node.GetCluster(); c != "" {
		return c
	}
	return node.GetId()
}
