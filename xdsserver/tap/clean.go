package tap

import (
	"bytes"
	"encoding/json"
	"strings"
	"time"
	"unicode"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	tapv1 "github.com/tulle-mesh/tulle/mesh/api/tap/v1"
	"github.com/tulle-mesh/tulle/mesh/resource"
)

// Bounds of what is taken of an event; those of tulle.tap.v1.Event, in bytes.
const (
	maxStatus   = 1 << 10 // of its message
	maxEntries  = 64
	maxKey      = 128
	maxValue    = 2 << 10
	maxMessages = 20
	maxJSON     = 16 << 10
	// aside is how far the clock of a process may be from ours before it is not
	// believed.
	aside = time.Hour
	// longest bounds durations: a stream may be open for long.
	longest = 30 * 24 * time.Hour
)

// redacted stands in the place of a secret, as processes write it.
const redacted = "[redacted]"

// clean makes a new event of what is fit to be shown. Whose it is, the certificate says:
// the reporter's own side of the call is its own service, and no other.
func clean(e *tapv1.Event, w *Watch, r *report) *tapv1.Event {
	out := &tapv1.Event{
		Tap: w.id, Side: "client", Call: e.GetCall(), Reporter: r.service, ReporterInstance: text(r.instance, maxText),
		Start: start(e.GetStart(), r.now), Duration: duration(e.GetDuration()), Deadline: duration(e.GetDeadline()),
		Source: r.service, Destination: text(e.GetDestination(), maxText), Method: text(e.GetMethod(), maxText),
		Route: text(e.GetRoute(), maxText), Cluster: text(e.GetCluster(), maxText), Attempt: e.GetAttempt(),
		Endpoint: text(e.GetEndpoint(), maxText), Why: text(e.GetWhy(), maxText), Peer: text(e.GetPeer(), maxText),
		Security: text(e.GetSecurity(), maxText), Status: text(e.GetStatus(), maxKey),
		Message: text(e.GetMessage(), maxStatus), Reason: text(e.GetReason(), maxKey),
		Stream: e.GetStream(), MessagesSent: e.GetMessagesSent(), MessagesReceived: e.GetMessagesReceived(),
		RequestMetadata: metadata(e.GetRequestMetadata()), ResponseMetadata: metadata(e.GetResponseMetadata()),
	}
	if e.GetSide() == "server" {
		out.Side, out.Source, out.Destination = "server", text(e.GetSource(), maxText), r.service
	}
	if w.request.Payload {
		out.Messages = messages(e.GetMessages())
	}
	return out
}

// text bounds text, and takes out of it what moves a terminal or turns a line around.
func text(s string, limit int) string {
	cut := len(s) > limit
	if cut {
		s = strings.ToValidUTF8(s[:limit-3], "")
	}
	s = strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '\uFFFD'
	}, s)
	if cut {
		s += "..."
	}
	return strings.Clone(s) // not the whole report with it
}

func start(t *timestamppb.Timestamp, now time.Time) *timestamppb.Timestamp {
	if t.CheckValid() != nil || t.AsTime().Sub(now).Abs() > aside {
		return timestamppb.New(now)
	}
	return timestamppb.New(t.AsTime())
}

func duration(d *durationpb.Duration) *durationpb.Duration {
	if d == nil || d.CheckValid() != nil {
		return nil
	}
	return durationpb.New(min(max(0, d.AsDuration()), longest))
}

// metadata leaves out what is a secret by its key, should a process not have done so.
func metadata(in []*tapv1.Metadata) []*tapv1.Metadata {
	in = in[:min(len(in), maxEntries)]
	out := make([]*tapv1.Metadata, 0, len(in))
	for _, m := range in {
		value := text(m.GetValue(), maxValue)
		if resource.SecretKey(m.GetKey()) {
			value = redacted
		}
		out = append(out, &tapv1.Metadata{Key: text(m.GetKey(), maxKey), Value: value})
	}
	return out
}

func messages(in []*tapv1.Message) []*tapv1.Message {
	in = in[:min(len(in), maxMessages)]
	out := make([]*tapv1.Message, 0, len(in))
	for _, m := range in {
		next := &tapv1.Message{Request: m.GetRequest(), Size: m.GetSize(), Cut: m.GetCut(), Type: text(m.GetType(), maxText)}
		var compact bytes.Buffer
		switch {
		case m.GetJson() == "":
		case len(m.GetJson()) > maxJSON || json.Compact(&compact, []byte(m.GetJson())) != nil:
			next.Cut = true // half a value would be read as another
		default:
			next.Json = text(compact.String(), maxJSON)
		}
		out = append(out, next)
	}
	return out
}
