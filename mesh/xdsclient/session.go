package xdsclient

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"

	"github.com/tulle-mesh/tulle/mesh/api/xdsv3"
)

// ackQueue is how many answers may wait to be sent. When it is full, the next
// response is not read: a server that floods is slowed down.
const ackQueue = 16

// A session is one stream, from its opening to its end.
type session struct {
	server int
	target string
	stream adsStream
	acks   chan *xdsv3.DeltaDiscoveryRequest
	// strange are the unknown types already logged. Owned by the receiver.
	strange map[string]bool

	// Guarded by Client.mu, by type index: whether names of the type were asked
	// for, and whether a response of the type has come.
	asked, spoken []bool
	// opened is since when silence counts as consent.
	opened time.Time
	// live is true once the server has answered, or let settleAfter pass without
	// refusing the stream; settled once its silence was taken for consent.
	live, settled bool
}

// serve opens a stream on a connection that is ready and keeps it until it
// breaks, a better server answers (then the error is a *switchTo) or ctx ends.
// The first result is false when the server never answered on it.
func (c *Client) serve(ctx context.Context, server int, conn *grpc.ClientConn) (bool, error) {
	g, ctx := errgroup.WithContext(ctx)
	s := &session{
		server:  server,
		target:  c.servers.targets[server],
		acks:    make(chan *xdsv3.DeltaDiscoveryRequest, ackQueue),
		strange: map[string]bool{},
		asked:   make([]bool, len(c.types)),
		spoken:  make([]bool, len(c.types)),
	}
	g.Go(func() error {
		// The stream must end with the group, whoever leaves it first, so it is
		// opened with the group's context.
		var err error
		if s.stream, err = openStream(ctx, conn); err != nil {
			return describe(s.target, err)
		}
		c.begin(s)
		g.Go(func() error { return c.receive(ctx, s) })
		if server > 0 {
			g.Go(func() error { return c.probe(ctx, server) })
		}
		return c.send(ctx, s)
	})
	err := g.Wait()
	return c.end(s, err), err
}

// send sends what is subscribed to and the answers of the receiver.
func (c *Client) send(ctx context.Context, s *session) error {
	node := c.node // in the first request of a stream only
	send := func(req *xdsv3.DeltaDiscoveryRequest) error {
		req.Node, node = node, nil
		return s.stream.Send(req)
	}
	for {
		for _, req := range c.requests(s) {
			if err := send(req); err != nil {
				return sendError(s, err)
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-c.wakeSender:
		case req := <-s.acks:
			if err := send(req); err != nil {
				return sendError(s, err)
			}
		}
	}
}

// sendError leaves the reason of a broken stream to the receiver, where grpc
// reports it: io.EOF here only says that there is one.
func sendError(s *session, err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return describe(s.target, err)
}

func (c *Client) receive(ctx context.Context, s *session) error {
	for {
		resp, err := s.stream.Recv()
		switch {
		case errors.Is(err, io.EOF):
			return fmt.Errorf("%s: the server ended the stream", s.target)
		case err != nil:
			return describe(s.target, err)
		}
		req := c.handle(s, resp)
		if req == nil {
			continue
		}
		select {
		case s.acks <- req:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// begin makes s the open session: nothing is subscribed to on it yet.
func (c *Client) begin(s *session) {
	now := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.session = s
	c.clearStream()
	for typ, table := range c.tables {
		for _, r := range table {
			c.dirty[typ][r] = struct{}{}
			if !r.state.Load().Known {
				r.asked = now
				c.waiting[r] = struct{}{}
			}
		}
	}
	if c.count == 0 {
		c.setReady() // nothing is asked for, so nothing will be answered
	}
	s.opened = now
	c.wakeKeeper.set()
}

// end closes the session and reports whether the server ever answered on it.
func (c *Client) end(s *session, err error) bool {
	var after effects
	c.mu.Lock()
	if c.session == s {
		c.session = nil
		c.clearStream()
	}
	if s.live {
		c.since = time.Now()
	}
	if to := new(switchTo); !errors.As(err, &to) {
		c.lastErr = err
	}
	c.review(&after)
	c.wakeKeeper.set()
	c.mu.Unlock()
	after.run(c.logger)
	c.logger.Debug("xds stream ended", "server", s.target, "error", err)
	return s.live
}

// clearStream forgets what was said on a stream that is gone, and with it the
// resources whose unsubscription need not be sent any more. c.mu is held.
func (c *Client) clearStream() {
	for _, table := range c.tables {
		for _, r := range table {
			r.sent, r.offered, r.answered = false, false, false
			if len(r.subs) == 0 {
				c.forget(r)
			}
		}
	}
}

// goLive notes that the server of s answers. c.mu is held.
func (c *Client) goLive(s *session, after *effects) {
	if s.live {
		return
	}
	s.live, c.answered = true, true
	c.since = time.Now()
	c.down, c.lastErr, c.downSaid = nil, nil, false
	c.setReady()
	after.log = append(after.log, func(l *slog.Logger) { l.Info("xds server answers", "server", s.target) })
}

// requests returns what has to be said for the server's subscriptions to be
// ours, one request for each type that changed, in the order of Config.Types.
func (c *Client) requests(s *session) []*xdsv3.DeltaDiscoveryRequest {
	var out []*xdsv3.DeltaDiscoveryRequest
	c.mu.Lock()
	defer c.mu.Unlock()
	for typ, dirty := range c.dirty {
		if len(dirty) == 0 {
			continue
		}
		req := &xdsv3.DeltaDiscoveryRequest{TypeUrl: c.types[typ].URL}
		for r := range dirty {
			switch {
			case len(r.subs) > 0 && !r.sent:
				r.sent = true
				req.ResourceNamesSubscribe = append(req.ResourceNamesSubscribe, r.name)
				c.offer(s, r, req)
			case len(r.subs) == 0 && r.sent:
				req.ResourceNamesUnsubscribe = append(req.ResourceNamesUnsubscribe, r.name)
				c.forget(r)
			}
		}
		clear(dirty)
		if len(req.GetResourceNamesSubscribe()) == 0 && len(req.GetResourceNamesUnsubscribe()) == 0 {
			// A first request without names would ask for everything.
			continue
		}
		slices.Sort(req.GetResourceNamesSubscribe())
		slices.Sort(req.GetResourceNamesUnsubscribe())
		s.asked[typ] = true
		out = append(out, req)
	}
	return out
}

// offer tells the server which version is held, so that it need not send it
// again; the protocol has room for that in the first request of a type only. A
// value that is only remembered is not offered: the server's answer is what
// tells it from a stale one. c.mu is held.
func (c *Client) offer(s *session, r *resource, req *xdsv3.DeltaDiscoveryRequest) {
	if s.asked[r.typ] || !r.used || r.good.version == "" {
		return
	}
	if req.InitialResourceVersions == nil {
		req.InitialResourceVersions = map[string]string{}
	}
	req.InitialResourceVersions[r.name] = r.good.version
	r.offered = true
}
