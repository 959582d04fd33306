package call

import (
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Unhandled reports whether an error says that a server of a service refused the call
// before its handler saw it, because the server has too much to do or no policy yet. Such
// a call may be made again, elsewhere, whatever it does.
//
// A handler may hand on what a service that it called in turn answered: that names the
// other service, and says nothing of what the handler did before.
func Unhandled(err error, service string) bool {
	st := status.Convert(err)
	if c := st.Code(); c != codes.ResourceExhausted && c != codes.Unavailable {
		return false
	}
	for _, detail := range st.Details() {
		info, ok := detail.(*errdetails.ErrorInfo)
		if !ok || info.GetDomain() != Domain || info.GetMetadata()["service"] != service {
			continue
		}
		switch Reason(info.GetReason()) {
		case Overloaded, RateLimited, NoPolicy:
			return true
		default:
			return false
		}
	}
	return false
}
