package xdsclient

import (
	"context"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/connectivity"
)

// failoverAfter is how long a server that was in use may be away before others
// are tried. Lower moves clients that a restart would have had back at once; higher
// leaves them longer without news: all of a move, with the pause before it (a quarter of
// a second) and the other server's first answer or its silence (settleAfter), is to take
// less than 3 s.
const failoverAfter = time.Second

// A connector remembers between streams how the servers behaved. It belongs to
// the goroutine that connects.
type connector struct {
	client *Client
	// By server: until when it is tried after all others, and whether its last
	// attempt failed.
	avoid   []time.Time
	failing []bool
	// answered is true once any server has.
	answered bool
}

// An attempt is one that failed.
type attempt struct {
	server int
	err    error
}

// note takes a failed attempt into account.
func (k *connector) note(a attempt) {
	k.failing[a.server] = true
	for _, f := range k.failing {
		if !f {
			k.client.failed(a.err)
			return
		}
	}
	k.client.unreachable(a.err)
}

// search waits until a server is connected and returns it with its connection.
// It begins with the one in use and widens to all of them when that one is away
// for too long, or refuses before any server ever answered. All are then tried
// side by side: the first to come back is found at once, whichever it is. The
// error is ctx's.
func (k *connector) search(ctx context.Context) (int, *grpc.ClientConn, error) {
	ctx, cancel := context.WithCancel(ctx)
	var group sync.WaitGroup
	defer group.Wait()
	defer cancel()
	n := len(k.avoid)
	found, tried := make(chan int, n), make(chan attempt)
	started := make([]bool, n)
	start := func(avoided bool) {
		for i := range n {
			if !started[i] && (avoided || !k.avoided(i)) {
				started[i] = true
				group.Go(func() { k.client.await(ctx, i, found, tried) })
			}
		}
	}
	first := k.client.servers.inUse()
	if k.avoided(first) {
		start(k.allAvoided())
	} else {
		started[first] = true
		group.Go(func() { k.client.await(ctx, first, found, tried) })
	}
	timer := time.NewTimer(failoverAfter)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return 0, nil, ctx.Err()
		case i := <-found:
			i = preferred(i, found)
			conn, err := k.client.servers.conn(i)
			return i, conn, err
		case a := <-tried:
			k.note(a)
			if !k.answered {
				start(false)
			}
		case <-timer.C:
			start(true)
		}
	}
}

func (k *connector) avoided(i int) bool { return time.Now().Before(k.avoid[i]) }

func (k *connector) allAvoided() bool {
	for i := range k.avoid {
		if !k.avoided(i) {
			return false
		}
	}
	return true
}

// preferred returns the best of the servers found at the same time.
func preferred(i int, found <-chan int) int {
	for {
		select {
		case j := <-found:
			i = min(i, j)
		default:
			return i
		}
	}
}

// await connects to a server, reports the attempts that fail and, at last, that
// one did not.
func (c *Client) await(ctx context.Context, server int, found chan<- int, tried chan<- attempt) {
	conn, err := c.servers.conn(server)
	if err != nil {
		return // the client has stopped: ctx ends, too
	}
	for {
		state := conn.GetState()
		switch state {
		case connectivity.Ready:
			found <- server // never blocks: there is room for each server
			return
		case connectivity.Idle:
			conn.Connect()
		case connectivity.TransientFailure:
			if err := reason(ctx, conn); err != nil && ctx.Err() == nil {
				select {
				case tried <- attempt{server: server, err: describe(c.servers.targets[server], err)}:
				case <-ctx.Done():
				}
			}
		case connectivity.Connecting, connectivity.Shutdown:
		}
		if !conn.WaitForStateChange(ctx, state) || state == connectivity.Shutdown {
			return
		}
	}
}

// reason asks a connection that failed why: grpc tells only a call that does
// not wait. Should the connection have come up meanwhile, the call goes no
// further than its headers.
func reason(ctx context.Context, conn *grpc.ClientConn) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	_, err := openStream(ctx, conn)
	return err
}
