package interceptors

import (
	"slices"
	"time"

	"google.golang.org/grpc"

	"github.com/tulle-mesh/tulle/mesh/call"
)

// wishes are what the application asks for by the options of one call. Of two options
// of a kind the last counts, as with grpc's own.
type wishes struct {
	opts                    []grpc.CallOption
	waitForReady            bool
	retry                   call.Retry
	hedge                   time.Duration // zero is none, where hedged
	hashKey                 string
	retried, hedged, hashed bool // whether they were asked for
	// finishes is whether it wants to be told of the call's end, and ownCodec whether
	// its messages may be what only it can read.
	finishes, ownCodec bool
}

// read reads them from the options of the call. w is zero before.
func (w *wishes) read(opts []grpc.CallOption) {
	w.opts = opts
	for _, o := range opts {
		switch o := o.(type) {
		case grpc.FailFastCallOption:
			w.waitForReady = !o.FailFast
		case call.RetryOption:
			w.retry, w.retried = o.Retry, true
		case call.HedgeOption:
			w.hedge, w.hedged = o.Delay, true
		case call.HashKeyOption:
			w.hashKey, w.hashed = o.Key, true
		case grpc.OnFinishCallOption:
			w.finishes = true
		case grpc.ForceCodecCallOption, grpc.ForceCodecV2CallOption, grpc.CustomCodecCallOption, grpc.ContentSubtypeCallOption:
			w.ownCodec = true
		}
	}
}

// unfinished returns the options without OnFinish: grpc would call it for each of a
// call's attempts. The slice is the application's and stays as it is.
func unfinished(opts []grpc.CallOption) []grpc.CallOption {
	return slices.DeleteFunc(slices.Clone(opts), func(o grpc.CallOption) bool {
		_, ok := o.(grpc.OnFinishCallOption)
		return ok
	})
}

// finish tells the application of the call's end, in place of grpc.
func finish(opts []grpc.CallOption, err error) {
	for _, o := range opts {
		if o, ok := o.(grpc.OnFinishCallOption); ok {
			o.OnFinish(err)
		}
	}
}
