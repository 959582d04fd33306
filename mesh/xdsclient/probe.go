package xdsclient

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"google.golang.org/grpc/connectivity"

	"github.com/tulle-mesh/tulle/mesh/api/xdsv3"
)

// With these, clients are back at the server that they prefer within two minutes of its
// return. Of 10,000 that moved away from one, 333 a second look for it: while it is gone
// that is a connection that is refused, and once it is back, when the gap is over, a
// handshake and one answer each, of 10,000 clients within 45 s.
const (
	// The return of a better server is looked for after a time between these. Lower
	// spreads clients sooner, and costs the servers more.
	probeLeast, probeMost = 15 * time.Second, 45 * time.Second
	// probeTimeout is how long a better server may take to answer.
	probeTimeout = 5 * time.Second
	// switchGap is the least time between a change of server and the return to
	// a better one, so that a server that comes and goes moves nobody often.
	switchGap = time.Minute
)

// switchTo ends a stream because a better server answers.
type switchTo struct{ server int }

func (s *switchTo) Error() string { return fmt.Sprintf("server %d answers again", s.server) }

// probe looks for the return of a server that is preferred to the one in use
// until one answers (gRFC A71), or ctx ends. It always returns an error.
func (c *Client) probe(ctx context.Context, inUse int) error {
	for {
		delay := probeLeast + rand.N(probeMost-probeLeast)
		c.mu.Lock()
		delay = max(delay, time.Until(c.switched.Add(switchGap)))
		c.mu.Unlock()
		if err := pause(ctx, delay); err != nil {
			return err
		}
		for better := range inUse {
			if c.answers(ctx, better) {
				return &switchTo{server: better}
			}
			c.servers.drop(better)
		}
	}
}

// answers asks a server for one resource on a stream of its own, and does not
// use what it says: the stream in use goes on until another server is known to
// be good. A connection alone would not do: a server that is warming up, or hangs,
// has one, too.
func (c *Client) answers(ctx context.Context, server int) bool {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	conn, err := c.servers.conn(server)
	if err != nil {
		return false
	}
	for state := conn.GetState(); state != connectivity.Ready; state = conn.GetState() {
		if state == connectivity.Idle {
			conn.Connect()
		}
		// One attempt is enough: the server has others to refuse.
		if state == connectivity.TransientFailure || !conn.WaitForStateChange(ctx, state) {
			return false
		}
	}
	req := c.question()
	if req == nil {
		return true // nothing is subscribed to: there is nothing to ask
	}
	stream, err := openStream(ctx, conn)
	if err != nil {
		return false
	}
	if err := stream.Send(req); err != nil {
		return false
	}
	_, err = stream.Recv()
	return err == nil
}

// question asks for one resource that is subscribed to; nil when none is.
func (c *Client) question() *xdsv3.DeltaDiscoveryRequest {
	c.mu.Lock()
	defer c.mu.Unlock()
	for typ, table := range c.tables {
		for name := range table {
			return &xdsv3.DeltaDiscoveryRequest{
				Node:                   c.node,
				TypeUrl:                c.types[typ].URL,
				ResourceNamesSubscribe: []string{name},
			}
		}
	}
	return nil
}
