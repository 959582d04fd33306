package tap

import (
	"errors"
	"io"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	tapv1 "github.com/tulle-mesh/tulle/mesh/api/tap/v1"
	"github.com/tulle-mesh/tulle/mesh/call"
)

// Bounds of what an event holds, in bytes.
const (
	maxText    = 512
	maxMessage = 1 << 10 // of the status
)

// Facts are what is known once an attempt is over. Fields that are not known are left
// out.
type Facts struct {
	// Start is when it began; zero is when it was matched, or [Watch.Again] called.
	Start time.Time
	Took  time.Duration
	// Route names the route that was taken, Cluster the cluster.
	Route, Cluster string
	// Attempt counts from zero.
	Attempt uint32
	// Endpoint is the address on the other side, Why why it was chosen.
	Endpoint, Why string
	// PeerID is the SPIFFE id on the other side.
	PeerID string
	// Security is "mtls", or why not.
	Security string
	// Err is how it ended, nil or io.EOF for OK.
	Err error
	// Reason is what the mesh itself ended the call for, a call.Reason; empty where it
	// did not. It is found in Err where that is a *call.Error.
	Reason string
	// RequestMetadata replaces that of the Call where it is not nil; ResponseMetadata is
	// headers and trailers, joined.
	RequestMetadata, ResponseMetadata metadata.MD
}

func (f *Facts) ok() bool {
	return f.Err == nil || errors.Is(f.Err, io.EOF) || status.Code(f.Err) == codes.OK
}

// ended is how a call ended, as gRPC has it.
func (f *Facts) ended() (code, message, reason string) {
	if f.ok() {
		return call.CodeName(codes.OK), "", f.Reason
	}
	s, isStatus := status.FromError(f.Err)
	if !isStatus {
		s = status.FromContextError(f.Err)
	}
	reason = f.Reason
	if own, ok := errors.AsType[*call.Error](f.Err); ok && reason == "" {
		reason = string(own.Reason)
	}
	return call.CodeName(s.Code()), clip(s.Message(), maxMessage), reason
}

// event says what is known of an attempt, but for the tap that asks for it.
func (w *Watch) event(f *Facts) *tapv1.Event {
	own := w.set.taps.config.Service
	e := &tapv1.Event{
		Side:        w.call.Side.String(),
		Call:        w.id,
		Source:      own,
		Destination: clip(w.call.Peer, maxText),
		Method:      clip(w.call.Method, maxText),
		Route:       clip(f.Route, maxText),
		Cluster:     clip(f.Cluster, maxText),
		Attempt:     f.Attempt,
		Endpoint:    clip(f.Endpoint, maxText),
		Why:         clip(f.Why, maxText),
		Peer:        clip(f.PeerID, maxText),
		Security:    clip(f.Security, maxText),
		Stream:      w.call.Stream,
	}
	if w.call.Side == Server {
		e.Source, e.Destination = e.GetDestination(), own
	}
	start := f.Start
	if start.IsZero() {
		start = w.began
	}
	e.Start, e.Duration = timestamppb.New(start), durationpb.New(max(0, f.Took))
	if !w.call.Deadline.IsZero() {
		e.Deadline = durationpb.New(max(0, w.call.Deadline.Sub(start)))
	}
	e.Status, e.Message, e.Reason = f.ended()
	md := f.RequestMetadata
	if md == nil {
		md = w.call.Metadata
	}
	e.RequestMetadata = w.set.redaction.metadata(md)
	e.ResponseMetadata = w.set.redaction.metadata(f.ResponseMetadata)
	return e
}

// copyOf is for another tap. What both point at does not change any more.
func copyOf(e *tapv1.Event) *tapv1.Event {
	return &tapv1.Event{
		Side: e.GetSide(), Call: e.GetCall(), Start: e.GetStart(), Duration: e.GetDuration(),
		Source: e.GetSource(), Destination: e.GetDestination(), Method: e.GetMethod(),
		Route: e.GetRoute(), Cluster: e.GetCluster(), Attempt: e.GetAttempt(),
		Endpoint: e.GetEndpoint(), Why: e.GetWhy(), Peer: e.GetPeer(), Security: e.GetSecurity(),
		Status: e.GetStatus(), Message: e.GetMessage(), Reason: e.GetReason(), Deadline: e.GetDeadline(),
		Stream: e.GetStream(), MessagesSent: e.GetMessagesSent(), MessagesReceived: e.GetMessagesReceived(),
		RequestMetadata: e.GetRequestMetadata(), ResponseMetadata: e.GetResponseMetadata(),
	}
}

// clip bounds text, and makes it what protobuf can carry.
func clip(s string, limit int) string {
	if len(s) > limit {
		s = s[:limit-3] + "..."
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}
