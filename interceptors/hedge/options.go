package hedge

import (
	"google.golang.org/grpc"
)

// targets are the options of one attempt, with what grpc writes through them. grpc
// writes as each attempt ends: into places of the attempt's own, so that attempts
// that end together do not write into one.
type targets struct {
	options []grpc.CallOption
	// copies hand on what grpc wrote, one for each option that was replaced.
	copies []func()
}

// split returns the options for one attempt. Those that have no target are shared,
// and where none has one the slice is.
func split(options []grpc.CallOption) targets {
	t := targets{options: options}
	for i, o := range options {
		own, commit := replace(o)
		if commit == nil {
			continue
		}
		if t.copies == nil {
			t.options = append([]grpc.CallOption(nil), options...)
		}
		t.options[i] = own
		t.copies = append(t.copies, commit)
	}
	return t
}

// commit writes what the attempt wrote where the application wants it, and tells its
// OnFinish, in the order of the options.
func (t *targets) commit() {
	for _, commit := range t.copies {
		commit()
	}
}

// replace returns an option with a target of its own, and what hands it on; nil for
// options without a target. The places begin with what is in the application's, which
// grpc leaves alone where an attempt gets no stream.
func replace(o grpc.CallOption) (grpc.CallOption, func()) {
	switch o := o.(type) {
	case grpc.HeaderCallOption:
		md := *o.HeaderAddr
		return grpc.Header(&md), func() { *o.HeaderAddr = md }
	case grpc.TrailerCallOption:
		md := *o.TrailerAddr
		return grpc.Trailer(&md), func() { *o.TrailerAddr = md }
	case grpc.PeerCallOption:
		p := *o.PeerAddr
		return grpc.Peer(&p), func() { *o.PeerAddr = p }
	case grpc.OnFinishCallOption:
		var finished bool
		var result error
		return grpc.OnFinish(func(err error) { finished, result = true, err }), func() {
			if finished {
				o.OnFinish(result)
			}
		}
	default:
		return nil, nil
	}
}
