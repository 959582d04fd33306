package resolver

import (
	"context"
	"maps"
	"net/url"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/resolver"

	"github.com/tulle-mesh/tulle/mesh/call"
	"github.com/tulle-mesh/tulle/mesh/resource"
)

// Config returns the configuration of the service that cc calls. Once there is
// one, that is a map look-up and an atomic load.
//
// Before the first it wakes an idle cc and waits until ctx ends, the control
// plane says that it knows no such service, or the timeout of [Config] is over;
// the last two do not end a call that waits for ready, see [call.Call]. The
// error is a *[call.Error], or a status error of grpc's when cc is closed.
//
// A connection of another scheme has no Config: it returns nil and no error.
func (b *Builder) Config(ctx context.Context, cc *grpc.ClientConn) (*resource.Config, error) {
	if t := (*b.byDial.Load())[cc.Target()]; t != nil {
		if config := t.config.Load(); config != nil {
			return config, nil
		}
	}
	return b.await(ctx, cc)
}

// await is Config before there is one.
func (b *Builder) await(ctx context.Context, cc *grpc.ClientConn) (*resource.Config, error) {
	// grpc has parsed the target and does not show it; the canonical form, unlike
	// what the application wrote, always has a scheme.
	parsed, err := url.Parse(cc.CanonicalTarget())
	if err != nil || parsed.Scheme != Scheme {
		return nil, nil
	}
	service, failure := serviceOf(resolver.Target{URL: *parsed})
	if failure != nil {
		return nil, failure
	}
	t := b.enter(service, cc.Target())
	if t == nil {
		return nil, stopped(service)
	}
	defer b.leave(t)

	rpc := call.FromContext(ctx)
	patient := rpc != nil && rpc.WaitForReady
	if rpc != nil {
		rpc.Waited = true
	}
	start := time.Now()
	var timeout <-chan time.Time
	if !patient {
		timer := time.NewTimer(time.Until(t.since.Add(b.timeout)))
		defer timer.Stop()
		timeout = timer.C
	}
	for over := false; ; {
		changed, last, closed := b.peek(t)
		// Before a Config is returned: the connection holds the target from here
		// on, where this call's interest ends.
		if cc.GetState() == connectivity.Idle {
			cc.Connect()
		}
		// After Connect: the end of the connection is from here on the end of its
		// resolver too, which ends the wait below.
		if cc.GetState() == connectivity.Shutdown {
			return nil, grpc.ErrClientConnClosing //nolint:staticcheck // as grpc itself ends calls on a closed connection
		}
		if config := t.config.Load(); config != nil {
			return config, nil
		}
		failure := last.failure
		switch {
		case closed:
			return nil, stopped(service)
		case failure != nil && !patient:
			return nil, failure
		case failure == nil:
			failure = noConfig(service, last.waiting, last.cause)
		}
		switch {
		case over:
			return nil, failure
		case ctx.Err() != nil:
			return nil, interrupted(ctx, failure, time.Since(start))
		}
		select { // and look again: what is known now says best why the call ends
		case <-changed:
		case <-timeout:
			over = true
		case <-ctx.Done():
		}
	}
}

// enter counts a call that waits for a service's configuration, and makes the
// service findable by the dial target that was used. It returns nil when nothing
// will come any more.
func (b *Builder) enter(service, dial string) *target {
	b.mu.Lock()
	defer b.mu.Unlock()
	t := b.targets[service]
	if t == nil {
		if b.closed {
			return nil
		}
		t = b.targetLocked(service)
	}
	if known := *b.byDial.Load(); known[dial] != t {
		known = maps.Clone(known)
		known[dial] = t
		t.dials = append(t.dials, dial)
		b.byDial.Store(&known)
	}
	t.waiters++
	if t.waiters == 1 {
		b.dirtyLocked(t)
	}
	return t
}

func (b *Builder) leave(t *target) {
	b.mu.Lock()
	defer b.mu.Unlock()
	t.waiters--
	if t.waiters == 0 && len(t.conns) == 0 {
		b.dirtyLocked(t)
	}
}

// peek returns what is known of a target's configuration, and a channel that is
// closed when that has changed.
func (b *Builder) peek(t *target) (changed <-chan struct{}, last result, closed bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return t.changed, t.last, b.closed
}
