package mesh

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	registryv1 "github.com/tulle-mesh/tulle/mesh/api/registry/v1"
)

const (
	// retryAfter bounds the wait, with full jitter, before a broken registration
	// is opened again: well inside the lease, which keeps the endpoint meanwhile.
	retryAfter = 2 * time.Second
	// movedAfter is the same where the process goes to another xdsserver, which ends its
	// calls to the one before.
	movedAfter = 250 * time.Millisecond
	// refusedAfter is the wait after xdsserver refused the endpoint as it is:
	// only an operator can mend that.
	refusedAfter = 15 * time.Second
	// leaveWithin bounds the wait for clients to let go of a leaving endpoint.
	leaveWithin = 10 * time.Second
	// goodbyeWithin bounds the wait for xdsserver to hear that the endpoint goes.
	goodbyeWithin = time.Second
)

// A Registration keeps one endpoint of this process in the mesh, as long as the
// process lives: xdsserver takes the endpoint out when the process is gone, and
// gets it back when xdsserver was. It is safe for concurrent use.
type Registration struct {
	mesh     *Mesh
	address  string
	instance string
	cancel   context.CancelFunc
	done     chan struct{} // closed when run has returned

	// wake says that the state changed; run sends the newest, never each of them.
	wake chan struct{}
	left chan struct{}
	// The state is made of these: what the application says, whether the process
	// knows whom to let in, and whether the endpoint is on its way out.
	willing, able, leaving atomic.Bool

	status atomic.Pointer[RegistrationStatus]
	once   sync.Once
}

// RegistrationStatus is how a registration stands.
type RegistrationStatus struct {
	// Address is the host:port that clients dial.
	Address string
	// Registered is true while xdsserver holds the endpoint by an open stream.
	Registered bool
	// Serving is what the process says of itself: false takes no calls, also before
	// it knows whom to let in.
	Serving bool
	// Since is when Registered last changed.
	Since time.Time
	// Err is why it is not registered; nil while it is, or was not tried yet.
	Err error
}

// Register puts the endpoint at address, host:port, into the mesh for the
// process's own service. It is for those who keep their own *grpc.Server, made
// with [Mesh.ServerOptions]; a [Server] registers itself. It returns at once:
// xdsserver may be away.
//
// The endpoint does not serve until the process knows its access policy: a call
// must not meet a server that cannot decide on it. It is in the mesh before that,
// so that xdsserver knows of a service to have a policy for.
func (m *Mesh) Register(address string) (*Registration, error) {
	if m.config.Service == "" {
		return nil, fmt.Errorf("mesh: cannot register %s: the process has no service name: set Config.Service or TULLE_SERVICE", address)
	}
	if err := checkAdvertise(address); err != nil {
		return nil, fmt.Errorf("mesh: cannot register: %w: set Config.Advertise or TULLE_ADVERTISE", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	r := &Registration{
		mesh:    m,
		address: address,
		cancel:  cancel,
		done:    make(chan struct{}),
		wake:    make(chan struct{}, 1),
		left:    make(chan struct{}),
	}
	r.willing.Store(true)
	in := m.inbound()
	r.able.Store(in.policy.Current() != nil)
	r.status.Store(&RegistrationStatus{Address: address, Since: time.Now()})

	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		cancel()
		return nil, fmt.Errorf("mesh: cannot register %s: the mesh is closed", address)
	}
	r.instance = m.instance
	if m.registered++; m.registered > 1 {
		// An instance is one endpoint: what another listener adds is another.
		r.instance += fmt.Sprintf("-%d", m.registered)
	}
	m.registrations[r] = struct{}{}
	m.group.Go(func() error {
		defer close(r.done)
		var waiting sync.WaitGroup
		defer waiting.Wait()
		defer cancel()
		waiting.Go(func() {
			if in.await(ctx, m, address) && !r.able.Swap(true) {
				r.notify()
			}
		})
		r.run(ctx)
		return nil
	})
	return r, nil
}

// SetServing says whether the endpoint takes calls. One that does not stays
// visible to operators and is sent to no client.
func (r *Registration) SetServing(serving bool) {
	if r.willing.Swap(serving) != serving {
		r.notify()
	}
}

// state is what xdsserver is told of the endpoint.
func (r *Registration) state() registryv1.State {
	switch {
	case r.leaving.Load():
		return registryv1.State_STATE_LEAVING
	case r.willing.Load() && r.able.Load():
		return registryv1.State_STATE_SERVING
	default:
		return registryv1.State_STATE_NOT_SERVING
	}
}

// Leave takes the endpoint out of the mesh and waits until every client has let
// go of it, so that the server behind it can stop without a failed call. It
// returns ctx's error, or that of the bound of 10 seconds, when clients may
// still call; the endpoint is out of the mesh either way.
func (r *Registration) Leave(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, leaveWithin)
	defer cancel()
	if r.status.Load().Registered {
		r.leaving.Store(true)
		r.notify()
	} else {
		// xdsserver does not know the endpoint, or is away and cannot tell
		// anybody: waiting would help no client.
		r.cancel()
	}
	defer r.Close()
	select {
	case <-r.left:
		return nil
	case <-r.done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("mesh: leave %s: clients may still call it: %w", r.address, ctx.Err())
	}
}

// Close takes the endpoint out of the mesh without waiting for clients. It is
// idempotent.
func (r *Registration) Close() {
	r.once.Do(func() {
		r.cancel()
		<-r.done
		r.mesh.mu.Lock()
		delete(r.mesh.registrations, r)
		r.mesh.mu.Unlock()
	})
}

// Status returns how the registration stands.
func (r *Registration) Status() RegistrationStatus {
	s := *r.status.Load()
	s.Serving = r.state() == registryv1.State_STATE_SERVING
	return s
}

func (r *Registration) notify() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// run keeps a stream open until ctx ends or the endpoint has left.
func (r *Registration) run(ctx context.Context) {
	defer r.setRegistered(false, nil)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		err := r.hold(ctx)
		if err == nil || ctx.Err() != nil {
			return
		}
		if r.leaving.Load() {
			// The stream broke while leaving: the lease ends the endpoint.
			return
		}
		wait := time.Duration(rand.Int64N(int64(retryAfter)))
		code := status.Code(err)
		if code == codes.Canceled {
			wait = time.Duration(rand.Int64N(int64(movedAfter)))
		}
		if code == codes.InvalidArgument || code == codes.AlreadyExists || code == codes.PermissionDenied {
			wait = refusedAfter
			r.mesh.logger.Error("endpoint refused by xdsserver", "address", r.address, "error", err)
		} else if r.status.Load().Err == nil {
			r.mesh.logger.Info("registration lost, trying again", "address", r.address, "error", err)
		}
		r.setRegistered(false, err)
		timer.Reset(wait)
	}
}

// hold opens one stream, says who is there, and repeats it with each change of
// state. It returns nil when xdsserver confirmed that the endpoint has left, or
// when ctx ended and xdsserver was told.
func (r *Registration) hold(ctx context.Context) error {
	// The stream outlives ctx by a moment, to say goodbye.
	life, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	opening := context.AfterFunc(ctx, cancel)
	stream, err := registryv1.NewRegistryServiceClient(r.mesh.xds.Conn()).Register(life, grpc.WaitForReady(true))
	if err != nil {
		return err
	}
	if !opening() {
		return ctx.Err()
	}
	if err := stream.Send(r.request()); err != nil {
		return streamError(stream, err)
	}

	received := make(chan error, 1)
	var receiver sync.WaitGroup
	defer receiver.Wait()
	defer cancel()
	receiver.Go(func() { received <- r.receive(stream) })
	for {
		select {
		case err := <-received:
			return err
		case <-ctx.Done():
			return goodbye(stream, received)
		case <-r.wake:
			if err := stream.Send(r.request()); err != nil {
				return <-received
			}
		}
	}
}

// goodbye half-closes the stream, which takes the endpoint out at once, where a
// broken stream would leave it for its lease.
func goodbye(stream registryv1.RegistryService_RegisterClient, received <-chan error) error {
	_ = stream.CloseSend()
	timer := time.NewTimer(goodbyeWithin)
	defer timer.Stop()
	select {
	case <-received: //nolint:errcheck // how the stream ends changes nothing any more
	case <-timer.C:
	}
	return nil
}

// receive reads answers until the stream ends or the endpoint has left.
func (r *Registration) receive(stream registryv1.RegistryService_RegisterClient) error {
	for {
		answer, err := stream.Recv()
		if err != nil {
			return err
		}
		if answer.GetLeft() {
			close(r.left)
			return nil
		}
		if !r.status.Load().Registered {
			r.mesh.logger.Info("endpoint registered", "service", r.mesh.config.Service, "address", r.address, "instance", r.instance)
			r.setRegistered(true, nil)
		}
	}
}

func (r *Registration) setRegistered(registered bool, err error) {
	was := r.status.Load()
	since := was.Since
	if was.Registered != registered {
		since = time.Now()
	}
	r.status.Store(&RegistrationStatus{Address: r.address, Registered: registered, Since: since, Err: err})
}

// request is the endpoint's full state.
func (r *Registration) request() *registryv1.RegisterRequest {
	c := r.mesh.config
	service, namespace, _ := strings.Cut(c.Service, ".") // canonical: no namespace is the default one
	return &registryv1.RegisterRequest{
		Service:   service,
		Namespace: namespace,
		Instance:  r.instance,
		Version:   c.Version,
		Region:    c.region(),
		Zone:      c.zone(),
		Addresses: []string{r.address},
		State:     r.state(),
	}
}

// streamError is the stream's own error: Send only says io.EOF.
func streamError(stream registryv1.RegistryService_RegisterClient, sent error) error {
	if _, err := stream.Recv(); err != nil {
		return err
	}
	return sent
}
