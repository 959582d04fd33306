package balancer

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"

	"google.golang.org/grpc/balancer"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"

	"github.com/tulle-mesh/tulle/mesh/call"
	"github.com/tulle-mesh/tulle/mesh/resource"
)

// grpc-go reads three things in a picker's error: ErrNoSubConnAvailable makes the
// call wait for the next picker; a status error ends it, whatever it asked for;
// any other ends it as UNAVAILABLE unless it asked to wait for ready. So what the
// operator decided is a status error, and trouble with connections is a plain
// one. Every status here is UNAVAILABLE, which gRFC A54 permits; of a leaf's,
// grpc-go turns those it does not permit into INTERNAL.

// refuse ends a call by decision.
func refuse(rpc *call.Call, failure *call.Error) (balancer.PickResult, error) {
	if rpc != nil {
		rpc.Failure = failure
	}
	return balancer.PickResult{}, failure
}

// A refusal is the end of calls that are over a limit. Its words are made when the first call
// needs them: most limits are never reached, and each upstream has two. Its zero value is
// without words yet.
type refusal struct{ made atomic.Pointer[call.Error] }

func (r *refusal) words(describe func() *call.Error) *call.Error {
	if failure := r.made.Load(); failure != nil {
		return failure
	}
	r.made.CompareAndSwap(nil, describe())
	return r.made.Load()
}

// An outage is why a cluster has no endpoint to pick. Its words are made when
// the first call needs them: most outages are a connection on its way.
type outage struct {
	// queues is whether calls wait for the next picker.
	queues bool
	words  func() (*call.Error, error)
}

func newOutage(queues bool, describe func() *call.Error) *outage {
	return &outage{queues: queues, words: sync.OnceValues(func() (*call.Error, error) {
		failure := describe()
		return failure, errors.New(failure.Error())
	})}
}

func (o *outage) fail(rpc *call.Call) (balancer.PickResult, error) {
	if rpc == nil && o.queues {
		return balancer.PickResult{}, balancer.ErrNoSubConnAvailable
	}
	failure, plain := o.words()
	if rpc != nil {
		rpc.Failure = failure
	}
	if o.queues {
		return balancer.PickResult{}, balancer.ErrNoSubConnAvailable
	}
	return balancer.PickResult{}, plain
}

// dropped is the end of a call that drop rule d took.
func dropped(g *group, d resource.Drop) *call.Error {
	return &call.Error{
		Service: g.service,
		Reason:  call.Dropped,
		Code:    codes.Unavailable,
		Detail:  fmt.Sprintf("dropped by rule %q, which takes %g %% of the calls to %q", d.Category, float64(d.PerMillion)/million*100, g.name),
	}
}

// overLimit is the end of a call to a cluster with limit calls open.
func overLimit(g *group, limit uint32) *call.Error {
	return &call.Error{
		Service: g.service,
		Reason:  call.MaxRequests,
		Code:    codes.Unavailable,
		Detail:  fmt.Sprintf("max requests reached: this process has %d calls open to %q, its limit", limit, g.name),
		Try:     "raise the limit, or add instances of " + serviceOf(g.name),
	}
}

// unusable is the outage of a cluster whose configuration cannot be used.
func unusable(g *group) *outage {
	service, name, cause := g.service, g.name, g.config.Err
	return newOutage(false, func() *call.Error {
		return &call.Error{
			Service: service,
			Reason:  call.NoEndpoint,
			Code:    codes.Unavailable,
			Detail:  fmt.Sprintf("the cluster %q cannot be used", name),
			Try:     "xdsserver endpoints " + serviceOf(name),
			Cause:   cause,
		}
	})
}

// notReady is the outage of a cluster none of whose endpoints in use is ready.
func notReady(g *group) *outage {
	var known []sighting
	for _, p := range g.priorities {
		for e := range p.endpoints() {
			known = append(known, sighting{
				address: e.resolved.Addresses[0].Addr,
				handed:  e.handed,
				state:   e.state,
				picker:  e.picker,
				node:    g.nodes[e],
			})
		}
		for _, l := range p.localities {
			for _, address := range l.others {
				known = append(known, sighting{address: address, taken: true})
			}
		}
	}
	service, name := g.service, g.name
	return newOutage(g.current != nil && g.current.queues(), func() *call.Error {
		return &call.Error{
			Service: service,
			Reason:  call.NoEndpoint,
			Code:    codes.Unavailable,
			Detail:  fmt.Sprintf("no healthy endpoint for %q (%s)", name, describe(known)),
			Try:     "xdsserver endpoints " + serviceOf(name),
		}
	})
}

// serviceOf returns the service of a cluster, which may be one version of it.
func serviceOf(cluster string) string {
	service, _, _ := strings.Cut(cluster, "/")
	return service
}

// A sighting is an endpoint as it was when a picker was made.
type sighting struct {
	address string
	// taken is whether another cluster of the service expects somebody else there.
	taken  bool
	handed bool
	state  connectivity.State
	picker balancer.Picker
	node   *Node // may be nil
	// full is whether it has as many open calls as it may.
	full bool
}

// errTaken is why an endpoint is left out; see endpoint.expects.
var errTaken = errors.New("two clusters that calls are routed to expect different identities there")

// word says in one word what the endpoint is doing, and why if it failed.
func (s sighting) word() (string, error) {
	switch {
	case s.taken:
		return "expected to be another service's", errTaken
	case !s.handed:
		return "not tried", nil // of a priority that was not needed yet
	case s.state == connectivity.Ready && s.node != nil && s.node.out.Load():
		if s.node.ejected.Load() {
			return "ejected as outlier", nil
		}
		return "ejected by breaker", nil
	case s.state == connectivity.Ready && s.full:
		return "at its limit", nil
	case s.state == connectivity.Ready:
		return "ready", nil // of a priority that is not in use
	case s.state != connectivity.TransientFailure:
		return "connecting", nil
	}
	// The picker of a failed pick_first does nothing but return why it failed.
	_, err := s.picker.Pick(balancer.PickInfo{})
	if errors.Is(err, syscall.ECONNREFUSED) {
		return "refused", err
	}
	return "failed", err
}

// describe counts the endpoints by what they are doing, each kind of failure with
// its first endpoint: "3 known: 2 connecting, 1 refused 10.0.0.7:8080".
func describe(known []sighting) string {
	if len(known) == 0 {
		return "none known"
	}
	var words []string
	counts := make(map[string]int)
	examples := make(map[string]string)
	for _, s := range known {
		word, err := s.word()
		if counts[word] == 0 {
			words = append(words, word)
			if err != nil {
				examples[word] = " " + s.address + ": " + reason(err)
			}
		}
		counts[word]++
	}
	parts := make([]string, 0, len(words))
	for _, word := range words {
		part := fmt.Sprintf("%d %s", counts[word], word)
		if example := examples[word]; example != "" {
			if counts[word] > 1 {
				part += ", first"
			}
			part += example
		}
		parts = append(parts, part)
	}
	return fmt.Sprintf("%d known: %s", len(known), strings.Join(parts, ", "))
}

// reason returns what is beneath grpc-go's and the dialer's words, which repeat
// the address.
func reason(err error) string {
	var dial *net.OpError
	if errors.As(err, &dial) && dial.Err != nil {
		return dial.Err.Error()
	}
	if cause := errors.Unwrap(err); cause != nil {
		return cause.Error()
	}
	return err.Error()
}

// errPicker ends or holds every call for one reason: there is no configuration.
type errPicker struct{ outage *outage }

// Pick implements grpc-go's balancer.Picker.
func (p errPicker) Pick(info balancer.PickInfo) (balancer.PickResult, error) {
	return p.outage.fail(call.FromContext(info.Ctx))
}

func noConfig(service string, cause error) *outage {
	return newOutage(false, func() *call.Error {
		if failure := call.AsError(cause); failure != nil {
			return failure
		}
		return &call.Error{
			Service: service,
			Reason:  call.NoConfig,
			Code:    codes.Unavailable,
			Detail:  fmt.Sprintf("no configuration for %q", service),
			Cause:   cause,
		}
	})
}
