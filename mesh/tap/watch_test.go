package tap

import (
	"context"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	tapv1 "github.com/tulle-mesh/tulle/mesh/api/tap/v1"
	"github.com/tulle-mesh/tulle/mesh/call"
	"github.com/tulle-mesh/tulle/mesh/resource"
)

func TestAnAttemptIsAnEvent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		taps := newTaps()
		set := open(taps, resource.Tap{Payload: true})
		start := time.Now()
		w := set.Match(Call{
			Side: Client, Peer: "voting", Method: "/voting.v1.Voting/Vote", Metadata: metadata.MD{"x-user": {"ada"}},
			Deadline: start.Add(time.Second),
		})
		w.Request(orderOf(t, `{"id":"a","pin":"SECRET"}`))
		w.End(Facts{
			Start: start, Took: 3 * time.Millisecond, Route: "r", Cluster: "voting/v2", Endpoint: "10.0.0.1:80", Why: "the only one",
			PeerID: "spiffe://tulle.local/ns/default/svc/voting", Security: "mtls", Err: status.Error(codes.Unavailable, "gone"),
			ResponseMetadata: metadata.MD{"grpc-retry-pushback-ms": {"5"}},
		})
		w.End(Facts{}) // said twice
		again := w.Again()
		again.Request(orderOf(t, `{"id":"a","pin":"SECRET"}`))
		again.Response(orderOf(t, `{"id":"b"}`))
		again.End(Facts{Start: start.Add(time.Millisecond), Took: time.Millisecond, Attempt: 1})

		request := &tapv1.Message{Request: true, Type: "shop.v1.Order", Size: uint32(5 + len(canary)), Json: `{"id":"a"}`}
		first := &tapv1.Event{
			Tap: "t", Side: "client", Call: 1, Start: timestamppb.New(start), Duration: durationpb.New(3 * time.Millisecond),
			Source: "web", Destination: "voting", Method: "/voting.v1.Voting/Vote", Route: "r", Cluster: "voting/v2",
			Endpoint: "10.0.0.1:80", Why: "the only one", Peer: "spiffe://tulle.local/ns/default/svc/voting", Security: "mtls",
			Status: "UNAVAILABLE", Message: "gone", Deadline: durationpb.New(time.Second), MessagesSent: 1,
			RequestMetadata:  []*tapv1.Metadata{{Key: "x-user", Value: "ada"}},
			ResponseMetadata: []*tapv1.Metadata{{Key: "grpc-retry-pushback-ms", Value: "5"}},
			Messages:         []*tapv1.Message{request},
		}
		second := &tapv1.Event{
			Tap: "t", Side: "client", Call: 1, Start: timestamppb.New(start.Add(time.Millisecond)), Duration: durationpb.New(time.Millisecond),
			Source: "web", Destination: "voting", Method: "/voting.v1.Voting/Vote", Attempt: 1, Status: "OK",
			Deadline: durationpb.New(time.Second - time.Millisecond), MessagesSent: 1, MessagesReceived: 1,
			RequestMetadata: first.GetRequestMetadata(),
			Messages:        []*tapv1.Message{request, {Type: "shop.v1.Order", Size: 3, Json: `{"id":"b"}`}},
		}
		if d := cmp.Diff([]*tapv1.Event{first, second}, events(taps), protocmp.Transform()); d != "" {
			t.Errorf("(-want +got)\n%s", d)
		}
	})
}

func TestAServersCallIsAnEvent(t *testing.T) {
	taps := newTaps()
	w := open(taps, resource.Tap{}).Match(Call{Side: Server, Peer: "frontend", Method: "/a.B/C", Stream: true})
	for range 3 {
		w.Request(&tapv1.Event{})
	}
	w.Response(&tapv1.Event{})
	w.End(Facts{Reason: "ACCESS_DENIED", Err: status.Error(codes.PermissionDenied, "no")})
	e := events(taps)[0]
	if e.GetSource() != "frontend" || e.GetDestination() != "web" || e.GetSide() != "server" || !e.GetStream() || len(e.GetMessages()) != 0 ||
		e.GetMessagesReceived() != 3 || e.GetMessagesSent() != 1 || e.GetReason() != "ACCESS_DENIED" || e.GetDeadline() != nil {
		t.Errorf("got %v", e)
	}
}

func TestHowCallsEnd(t *testing.T) {
	for name, test := range map[string]struct {
		err                   error
		status, message, mesh string
	}{
		"well":                   {nil, "OK", "", ""},
		"a stream, well":         {io.EOF, "OK", "", ""},
		"by a status":            {status.Error(codes.NotFound, "no such vote"), "NOT_FOUND", "no such vote", ""},
		"by its context":         {context.Canceled, "CANCELLED", "context canceled", ""},
		"by its deadline":        {context.DeadlineExceeded, "DEADLINE_EXCEEDED", "context deadline exceeded", ""},
		"by an error":            {errors.New("boom"), "UNKNOWN", "boom", ""},
		"by the mesh":            {&call.Error{Reason: call.NoEndpoint, Code: codes.Unavailable, Detail: "voting has no endpoint"}, "UNAVAILABLE", "mesh: voting has no endpoint", "NO_ENDPOINT"},
		"in what is no UTF-8":    {status.Error(codes.Internal, "a\xff"), "INTERNAL", "a\uFFFD", ""},
		"in more words than fit": {status.Error(codes.Internal, strings.Repeat("x", 5000)), "INTERNAL", strings.Repeat("x", maxMessage-3) + "...", ""},
	} {
		t.Run(name, func(t *testing.T) {
			taps := newTaps()
			open(taps, resource.Tap{}).Match(Call{}).End(Facts{Err: test.err})
			e := events(taps)[0]
			if e.GetStatus() != test.status || e.GetMessage() != test.message || e.GetReason() != test.mesh {
				t.Errorf("got %v", e)
			}
			if _, err := proto.Marshal(e); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestATapOfFailuresShowsThem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		taps := newTaps()
		set := open(taps, resource.Tap{Failures: true, MaxRPS: 2, Payload: true})
		captured := 0
		for i := range 1000 {
			w := set.Match(Call{})
			if w.Payload() {
				captured++
			}
			w.Request(orderOf(t, `{"id":"a"}`))
			var err error
			if i%100 == 0 {
				err = status.Error(codes.Internal, "boom")
			}
			w.End(Facts{Err: err})
		}
		got := events(taps)
		if len(got) != 2 || got[0].GetStatus() != "INTERNAL" || taps.takeDropped()["t"] != 8 {
			t.Errorf("%d events: %v", len(got), got)
		}
		// Whether a call fails is not known when its messages are read.
		if captured != capturesAtLeast {
			t.Errorf("messages of %d calls were read, want %d", captured, capturesAtLeast)
		}
	})
}

func TestEachTapIsToldWhatItAskedFor(t *testing.T) {
	taps := newTaps()
	set := open(taps, resource.Tap{ID: "plain"}, resource.Tap{ID: "full", Payload: true, Redact: []string{"id"}}, resource.Tap{ID: "other", To: "emoji"})
	w := set.Match(Call{Peer: "voting"})
	w.Request(orderOf(t, `{"id":"SECRET","labels":{"a":"b"}}`))
	w.End(Facts{})
	got := events(taps)
	if len(got) != 2 || got[0].GetTap() != "plain" || len(got[0].GetMessages()) != 0 || got[1].GetTap() != "full" || len(got[1].GetMessages()) != 1 ||
		got[1].GetMessages()[0].GetJson() != `{"labels":{"a":"b"}}` || got[0].GetCall() != got[1].GetCall() {
		t.Errorf("got %v", got)
	}
}

func TestTheFirstMessagesOfAStreamAreShown(t *testing.T) {
	taps := newTaps()
	w := open(taps, resource.Tap{Payload: true}).Match(Call{Side: Client, Stream: true})
	var wait sync.WaitGroup
	for range 4 { // both directions, side by side
		wait.Go(func() {
			for range 100 {
				w.Request(orderOf(t, `{"id":"q"}`))
			}
		})
		wait.Go(func() {
			for range 100 {
				w.Response(orderOf(t, `{"id":"a"}`))
			}
		})
	}
	wait.Wait()
	w.End(Facts{})
	w.Request(nil) // late
	e := events(taps)[0]
	if len(e.GetMessages()) != 2*maxMessages || e.GetMessagesSent() != 400 || e.GetMessagesReceived() != 400 {
		t.Errorf("%d messages of %d and %d", len(e.GetMessages()), e.GetMessagesSent(), e.GetMessagesReceived())
	}
}

// A secret in metadata, in a field that is debug_redact, in a configured one and in one
// with a secret's name.
func TestSecretsAreInNoEvent(t *testing.T) {
	taps := newTaps()
	set := open(taps, resource.Tap{ID: "a", Payload: true, Redact: []string{"shop.v1.Card.number", "x-iban"}}, resource.Tap{ID: "b", Failures: true, Payload: true})
	secrets := `{"id":"shown","pin":"SECRET","password":"SECRET","card":{"number":"SECRET","cvc":"SECRET"},"labels":{"x-session-id":"SECRET"},
		"more":{"@type":"x/shop.v1.Card","number":"SECRET"}}`
	for _, side := range []Side{Client, Server} {
		w := set.Match(Call{Side: side, Metadata: metadata.MD{"authorization": {canary}, "cookie": {canary}, "x-iban": {canary}, "x-a": {"shown"}}})
		w.Request(orderOf(t, secrets))
		w.Response(orderOf(t, secrets))
		w.End(Facts{Err: status.Error(codes.Internal, "boom"), ResponseMetadata: metadata.MD{"set-cookie": {canary}, "x-refresh-token": {canary}}})
	}
	got := events(taps)
	if len(got) != 4 {
		t.Fatalf("%d events", len(got))
	}
	for _, e := range got {
		text := e.String()
		if strings.Contains(text, canary) || strings.Count(text, "shown") != 3 {
			t.Errorf("told: %s", text)
		}
	}
}

func BenchmarkWatch(b *testing.B) {
	taps := newTaps()
	set := open(taps, resource.Tap{MaxRPS: 1000})
	b.ReportAllocs()
	for b.Loop() {
		set.open[0].tally.rate.tokens = 1
		w := set.Match(Call{Peer: "voting", Method: "/voting.v1.Voting/Vote", Metadata: metadata.MD{"x-user": {"ada"}}})
		w.Request(nil)
		w.Response(nil)
		w.End(Facts{Endpoint: "10.0.0.1:80"})
		taps.queue.clear()
	}
}
