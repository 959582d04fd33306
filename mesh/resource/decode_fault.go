package resource

import (
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/tulle-mesh/tulle/mesh/api/xdsv3"
)

// decodeNamedFault reads the configuration of the filter called name.
func decodeNamedFault(name string, config *anypb.Any) (*Fault, error) {
	if name != FaultFilter {
		return nil, bad("", "%q: the fault filter must be named %q", name, FaultFilter)
	}
	var m xdsv3.HTTPFault
	if err := unmarshal(config.GetValue(), &m); err != nil {
		return nil, bad("", "%q: %v", name, err)
	}
	return decodeFault(&m)
}

// decodeFault never returns a nil Fault without an error: one without shares
// overrides those of the places above it.
func decodeFault(m *xdsv3.HTTPFault) (*Fault, error) {
	if err := known(m); err != nil {
		return nil, err
	}
	f := &Fault{MaxActive: m.GetMaxActiveFaults().GetValue()}
	if err := f.delay(m.GetDelay()); err != nil {
		return nil, under("delay", err)
	}
	if err := f.abort(m.GetAbort()); err != nil {
		return nil, under("abort", err)
	}
	if m.GetMaxActiveFaults() != nil && f.MaxActive == 0 {
		return &Fault{}, nil // not one fault may be active
	}
	return f, nil
}

func (f *Fault) delay(m *xdsv3.FaultDelay) error {
	if m == nil {
		return nil
	}
	if err := known(m); err != nil {
		return err
	}
	share, unit, err := perMillion(m.GetPercentage())
	if err != nil {
		return under("percentage", err)
	}
	switch m.GetFaultDelaySecifier().(type) {
	case *xdsv3.FaultDelay_FixedDelay:
		if f.Delay, err = duration(m.GetFixedDelay()); err != nil {
			return under("fixed_delay", err)
		}
		if f.Delay > 0 {
			f.DelayPerMillion = share
		}
	case *xdsv3.FaultDelay_HeaderDelay_:
		f.DelayByHeader, f.DelayPerMillion, f.DelayUnit = true, share, unit
	}
	return nil
}

func (f *Fault) abort(m *xdsv3.FaultAbort) error {
	if m == nil {
		return nil
	}
	if err := known(m); err != nil {
		return err
	}
	share, unit, err := perMillion(m.GetPercentage())
	if err != nil {
		return under("percentage", err)
	}
	switch kind := m.GetErrorType().(type) {
	case *xdsv3.FaultAbort_HttpStatus:
		// Bounds of Envoy's own message; grpc-go would inject nothing.
		if kind.HttpStatus < 200 || kind.HttpStatus > 599 {
			return bad("http_status", "%d is no HTTP status", kind.HttpStatus)
		}
		f.AbortPerMillion, f.AbortCode = share, codeFromHTTP(kind.HttpStatus)
	case *xdsv3.FaultAbort_GrpcStatus:
		f.AbortPerMillion, f.AbortCode = share, codes.Code(kind.GrpcStatus)
		if f.AbortCode > codes.Unauthenticated {
			f.AbortCode = codes.Unknown
		}
	case *xdsv3.FaultAbort_HeaderAbort_:
		f.AbortByHeader, f.AbortPerMillion, f.AbortUnit = true, share, unit
	}
	return nil
}

// codeFromHTTP is how a gRPC client reads an HTTP status that came without a
// gRPC one (grpc/doc/http-grpc-status-mapping.md); so 200 is UNKNOWN as well.
func codeFromHTTP(status uint32) codes.Code {
	switch status {
	case 400:
		return codes.Internal
	case 401:
		return codes.Unauthenticated
	case 403:
		return codes.PermissionDenied
	case 404:
		return codes.Unimplemented
	case 429, 502, 503, 504:
		return codes.Unavailable
	default:
		return codes.Unknown
	}
}
