package resource

import (
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/tulle-mesh/tulle/mesh/api/xdsv3"
)

// Decode decodes and validates value, the bytes of a resource of type typeURL.
// The error is a *[DecodeError].
func Decode(typeURL string, value []byte) (Resource, error) {
	var r Resource
	var err error
	switch typeURL {
	case ListenerType:
		r, err = DecodeListener(value)
	case RouteType:
		r, err = DecodeRouteConfiguration(value)
	case ClusterType:
		r, err = DecodeCluster(value)
	case EndpointsType:
		r, err = DecodeEndpoints(value)
	case TrustBundleType:
		r, err = DecodeTrustBundle(value)
	case CommandsType:
		r, err = DecodeCommands(value)
	default:
		return nil, &DecodeError{Type: typeURL, Reason: "is no type of resource this client uses"}
	}
	if err != nil {
		return nil, err // not r, which holds a nil pointer
	}
	return r, nil
}

// unmarshal parses value into m. Unknown fields are dropped: they are of a
// newer control plane.
func unmarshal(value []byte, m xdsv3.Message) error {
	if err := sized(value); err != nil {
		return err
	}
	return m.Unmarshal(value)
}

// unmarshalOwn is unmarshal for the mesh's own messages.
func unmarshalOwn(value []byte, m proto.Message) error {
	if err := sized(value); err != nil {
		return err
	}
	return proto.UnmarshalOptions{DiscardUnknown: true}.Unmarshal(value, m)
}

func sized(value []byte) error {
	if len(value) > maxSize {
		return fmt.Errorf("has %d bytes, at most %d are accepted", len(value), maxSize)
	}
	return nil
}

// holds reports whether an Any is of the type of m.
func holds(config *anypb.Any, m xdsv3.Message) bool {
	return string(config.MessageName()) == m.FullName()
}

// own checks that c points back at the server the resource came from: ads and
// self are the same for a client with one stream (gRFC A30, A37).
func own(c *xdsv3.ConfigSource) error {
	if c.GetAds() == nil && c.GetSelf() == nil {
		return bad("", "must be ads or self")
	}
	return known(c)
}

// duration reads a duration that may not be negative. nil is zero.
func duration(d *durationpb.Duration) (time.Duration, error) {
	if d == nil {
		return 0, nil
	}
	if err := d.CheckValid(); err != nil {
		return 0, bad("", "is no valid duration")
	}
	v := d.AsDuration()
	if v < 0 {
		return 0, bad("", "is negative: %v", v)
	}
	return v, nil
}

const million = 1_000_000

// perMillion reads a share. It returns the share, at most a million, and what
// one of its numerator is worth. nil is a share of nothing in hundreds.
//
// grpc-go takes an unknown denominator for a million in routes and for a
// hundred in faults; a share that means two things is refused.
func perMillion(p *xdsv3.FractionalPercent) (share, unit uint32, err error) {
	switch p.GetDenominator() {
	case xdsv3.FractionalPercent_HUNDRED:
		unit = million / 100
	case xdsv3.FractionalPercent_TEN_THOUSAND:
		unit = million / 10_000
	case xdsv3.FractionalPercent_MILLION:
		unit = 1
	default:
		return 0, 0, bad("denominator", "%d is unknown", p.GetDenominator())
	}
	// 64 bits: grpc-go multiplies in 32 and wraps round above 429,496 %.
	return uint32(min(uint64(p.GetNumerator())*uint64(unit), million)), unit, nil
}
