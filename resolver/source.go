package resolver

import (
	"github.com/tulle-mesh/tulle/mesh/resource"
	"github.com/tulle-mesh/tulle/mesh/xdsclient"
)

// Types are the kinds of resources that a process subscribes to, for the Config
// of its *xdsclient.Client, in the order that makes before it breaks: what peers
// are verified against comes before them, and what routes lead to before the
// routes.
var Types = []xdsclient.Type{
	{URL: resource.TrustBundleType, Decode: decoder(resource.DecodeTrustBundle)},
	{URL: resource.ClusterType, Decode: decoder(resource.DecodeCluster)},
	{URL: resource.EndpointsType, Decode: decoder(resource.DecodeEndpoints)},
	{URL: resource.ListenerType, Decode: decoder(resource.DecodeListener)},
	{URL: resource.RouteType, Decode: decoder(resource.DecodeRouteConfiguration)},
	{URL: resource.CommandsType, Decode: decoder(resource.DecodeCommands)},
}

func decoder[R resource.Resource](decode func([]byte) (R, error)) func([]byte) (string, any, error) {
	return func(b []byte) (string, any, error) {
		r, err := decode(b)
		if err != nil {
			return "", nil, err
		}
		return r.ResourceName(), r, nil
	}
}

// A source is where resources come from: an xdsclient.Client, or a fake.
type source interface {
	// subscribe is interest in one resource. notify is called after each change,
	// with no lock held; it does not block.
	subscribe(typeURL, name string, notify func()) subscription
}

type subscription interface {
	State() xdsclient.State
	Close()
}

type clientSource struct{ client *xdsclient.Client }

func (s clientSource) subscribe(typeURL, name string, notify func()) subscription {
	return s.client.Subscribe(typeURL, name, notify)
}

// A watch is a subscription to a resource whose values are of type T.
type watch[T any] struct {
	name string
	sub  subscription
}

func newWatch[T any](src source, typeURL, name string, notify func()) *watch[T] {
	return &watch[T]{name: name, sub: src.subscribe(typeURL, name, notify)}
}

// A view is one resource at one moment: usable when value is not nil, unusable
// when that is so for good, and otherwise not yet known.
type view[T any] struct {
	value *T
	// err is why there is no value; where unusable is false, why it takes long,
	// if that is known.
	err      error
	unusable bool
	stale    bool
}

// look loads the state once.
func (w *watch[T]) look() view[T] {
	state := w.sub.State()
	if value, ok := state.Value.(*T); ok {
		return view[T]{value: value, stale: state.Stale}
	}
	return view[T]{err: state.Err, unusable: state.Known && state.Err != nil}
}

// sameError compares what errors say: the sources make them anew.
func sameError(a, b error) bool {
	if a == nil || b == nil {
		return a == nil && b == nil
	}
	return a.Error() == b.Error()
}
