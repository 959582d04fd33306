package tap

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	tapv1 "github.com/tulle-mesh/tulle/mesh/api/tap/v1"
)

func TestAReportReachesItsReader(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		w := r.open(Request{Payload: true})
		event := &tapv1.Event{
			Tap: w.id, Side: "client", Call: 7, Start: timestamppb.Now(), Duration: durationpb.New(time.Millisecond),
			Source: "web", Destination: "voting", Method: "/v.V/Vote", Route: "r", Cluster: "voting/v2", Attempt: 1, Endpoint: "10.0.0.1:80",
			Why: "the only one", Peer: "spiffe://x", Security: "mtls", Status: "OK", Deadline: durationpb.New(time.Second),
			Stream: true, MessagesSent: 1, MessagesReceived: 2,
			RequestMetadata:  []*tapv1.Metadata{{Key: "x-user", Value: "ada"}},
			ResponseMetadata: []*tapv1.Metadata{{Key: "x-y", Value: "z"}},
			Messages:         []*tapv1.Message{{Request: true, Json: `{"a":"b"}`, Size: 3, Type: "v.Vote"}},
		}
		answer := r.report(&tapv1.ReportRequest{Instance: "one", Events: []*tapv1.Event{event}})
		want := proto.CloneOf(event)
		want.Reporter, want.ReporterInstance = "web", "one"
		if d := cmp.Diff(want, ask(t, w).Event, protocmp.Transform()); d != "" || len(answer.GetOver()) != 0 {
			t.Errorf("%v (-want +got)\n%s", answer, d)
		}
	})
}

func TestAReportIsOfWhoTheCertificateNames(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		w, one := r.open(Request{}), r.open(Request{Instance: "one"})
		// Another service guesses the id: it is told that there is no such tap.
		r.set(func() { r.service = "voting" })
		answer := r.report(&tapv1.ReportRequest{Events: []*tapv1.Event{{Tap: w.id, Source: "web"}}, Dropped: map[string]uint64{w.id: 9}})
		if u := ask(t, w); u.Event != nil || u.Dropped != 0 || !slices.Equal(answer.GetOver(), []string{w.id}) {
			t.Errorf("a forged report: %+v, %v", u, answer)
		}
		r.set(func() { r.service = "web" })
		answer = r.report(&tapv1.ReportRequest{Instance: "two", Events: []*tapv1.Event{{Tap: one.id}, {Tap: "no such"}}})
		if u := ask(t, one); u.Event != nil || len(answer.GetOver()) != 2 {
			t.Errorf("of another instance: %+v, %v", u, answer)
		}
		r.report(&tapv1.ReportRequest{Instance: "one", Events: []*tapv1.Event{{Tap: one.id}}})
		if u := ask(t, one); u.Event == nil {
			t.Error("of the instance itself: nothing")
		}
		// What a process says of its own side is not taken from it.
		r.report(&tapv1.ReportRequest{Events: []*tapv1.Event{
			{Tap: w.id, Side: "client", Source: "bank", Destination: "voting", Reporter: "bank"},
			{Tap: w.id, Side: "server", Source: "client", Destination: "bank"},
			{Tap: w.id, Side: "judge", Source: "bank"},
		}})
		for _, want := range []string{"client web voting", "server client web", "client web "} {
			e := ask(t, w).Event
			if got := fmt.Sprint(e.GetSide(), " ", e.GetSource(), " ", e.GetDestination()); got != want || e.GetReporter() != "web" {
				t.Errorf("got %q of %q, want %q", got, e.GetReporter(), want)
			}
		}
	})
}

func TestReportsAreRefused(t *testing.T) {
	huge := &tapv1.Event{Message: strings.Repeat("x", 2<<20)}
	counts := map[string]uint64{}
	for i := range maxMentions + 1 {
		counts[fmt.Sprint(i)] = 1
	}
	for name, test := range map[string]struct {
		service string
		err     error
		req     *tapv1.ReportRequest
		code    codes.Code
	}{
		"of nobody":                    {"", status.Error(codes.Unauthenticated, "nobody"), &tapv1.ReportRequest{}, codes.Unauthenticated},
		"of who is no service":         {"", nil, &tapv1.ReportRequest{}, codes.PermissionDenied},
		"too many events":              {"web", nil, &tapv1.ReportRequest{Events: make([]*tapv1.Event, maxEvents+1)}, codes.InvalidArgument},
		"too many counts":              {"web", nil, &tapv1.ReportRequest{Dropped: counts}, codes.InvalidArgument},
		"too large":                    {"web", nil, &tapv1.ReportRequest{Events: []*tapv1.Event{huge}}, codes.ResourceExhausted},
		"an instance that moves":       {"web", nil, &tapv1.ReportRequest{Instance: "\x1b[2J"}, codes.InvalidArgument},
		"an instance of too much text": {"web", nil, &tapv1.ReportRequest{Instance: strings.Repeat("x", 300)}, codes.InvalidArgument},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.service, r.err = test.service, test.err
			if _, err := r.Report(t.Context(), test.req); status.Code(err) != test.code {
				t.Errorf("got %v, want %v", err, test.code)
			}
		})
	}
}

// hostile is what a process could send that wants to do harm.
func hostile(id string) *tapv1.Event {
	long, moves := strings.Repeat("x", 5000), "\x1b[2J\x07\u202egnp\r\n\u2028"
	e := &tapv1.Event{
		Tap: id, Start: &timestamppb.Timestamp{Seconds: math.MaxInt64}, Duration: &durationpb.Duration{Seconds: -5},
		Destination: moves, Method: moves + long, Route: moves, Cluster: long, Endpoint: moves, Why: long, Peer: moves, Security: moves,
		Status: long, Message: moves + long, Reason: moves, Deadline: &durationpb.Duration{Seconds: math.MaxInt64, Nanos: -1},
	}
	for range 1000 {
		e.RequestMetadata = append(e.RequestMetadata, &tapv1.Metadata{Key: moves, Value: moves})
	}
	e.ResponseMetadata = []*tapv1.Metadata{{Key: "authorization", Value: "CANARY"}, {Key: long, Value: long}}
	for range 100 {
		e.Messages = append(e.Messages, &tapv1.Message{Json: `{"a": "` + "\u202e" + `"}`, Type: moves})
	}
	e.Messages[1] = &tapv1.Message{Json: `{"a":`, Type: long}
	e.Messages[2] = &tapv1.Message{Json: `"` + strings.Repeat("x", maxJSON) + `"`}
	e.Messages[3] = &tapv1.Message{Json: "{\"a\"\n:\t1}"}
	return e
}

func TestHostileEventsAreMadePlain(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		w := r.open(Request{Payload: true})
		r.report(&tapv1.ReportRequest{Events: []*tapv1.Event{hostile(w.id)}})
		e := ask(t, w).Event
		checkPlain(t, e)
		if !e.GetStart().AsTime().Equal(time.Now()) || e.GetDuration().AsDuration() != 0 || e.GetDeadline() != nil {
			t.Errorf("times: %v, %v, %v", e.GetStart(), e.GetDuration(), e.GetDeadline())
		}
		if len(e.GetRequestMetadata()) != maxEntries || e.GetResponseMetadata()[0].GetValue() != redacted || strings.Contains(e.String(), "CANARY") {
			t.Errorf("metadata: %d, %v", len(e.GetRequestMetadata()), e.GetResponseMetadata())
		}
		m := e.GetMessages()
		if len(m) != maxMessages || m[0].GetJson() != "{\"a\":\"\uFFFD\"}" || m[1].GetJson() != "" || !m[1].GetCut() || m[2].GetJson() != "" || m[3].GetJson() != `{"a":1}` {
			t.Errorf("messages: %d, %.500v", len(m), m[:4])
		}
		// Nobody asked for messages here.
		plain := r.open(Request{})
		r.report(&tapv1.ReportRequest{Events: []*tapv1.Event{hostile(plain.id)}})
		if e := ask(t, plain).Event; e == nil || len(e.GetMessages()) != 0 {
			t.Errorf("messages that nobody asked for: %v", e.GetMessages())
		}
	})
}

// checkPlain checks that an event is fit to be shown.
func checkPlain(t *testing.T, e *tapv1.Event) {
	t.Helper()
	texts := []string{
		e.GetSource(), e.GetDestination(), e.GetMethod(), e.GetRoute(), e.GetCluster(), e.GetEndpoint(), e.GetWhy(), e.GetPeer(),
		e.GetSecurity(), e.GetStatus(), e.GetMessage(), e.GetReason(), e.GetReporter(), e.GetReporterInstance(),
	}
	for _, m := range slices.Concat(e.GetRequestMetadata(), e.GetResponseMetadata()) {
		texts = append(texts, m.GetKey(), m.GetValue())
	}
	for _, m := range e.GetMessages() {
		texts = append(texts, m.GetType())
		if strings.ContainsFunc(m.GetJson(), func(r rune) bool { return !unicode.IsPrint(r) }) || len(m.GetJson()) > 3*maxJSON {
			t.Errorf("a message of %d bytes: %.100q", len(m.GetJson()), m.GetJson())
		}
	}
	for _, text := range texts {
		if strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) || len(text) > 3*maxValue {
			t.Errorf("%d bytes: %.100q", len(text), text)
		}
	}
	if e.GetStart().CheckValid() != nil || e.GetDuration() != nil && e.GetDuration().CheckValid() != nil || e.GetDeadline() != nil && e.GetDeadline().CheckValid() != nil {
		t.Errorf("times: %v, %v, %v", e.GetStart(), e.GetDuration(), e.GetDeadline())
	}
}

// Whatever a reporter sends, what is handed on is fit to be shown, and bounded.
func FuzzReport(f *testing.F) {
	for _, events := range [][]*tapv1.Event{{{Method: "/v.V/Vote", Status: "OK"}}, {hostile("t")}} {
		seed, err := proto.Marshal(&tapv1.ReportRequest{Events: events, Instance: "one"})
		if err != nil {
			f.Fatal(err)
		}
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r := newRig(t)
		w := r.open(Request{MaxRPS: MaxRPS, Payload: true})
		var req tapv1.ReportRequest
		if proto.Unmarshal(b, &req) != nil {
			return
		}
		for _, e := range req.GetEvents() {
			e.Tap = w.id
		}
		_, err := r.Report(t.Context(), &req)
		if _, ok := status.FromError(err); !ok && !errors.Is(err, nil) {
			t.Errorf("got %v", err)
		}
		for _, e := range w.events {
			checkPlain(t, e.event)
		}
		if len(w.events) > maxWaiting || w.bytes > maxWaitingBytes {
			t.Errorf("%d events of %d bytes", len(w.events), w.bytes)
		}
	})
}

func BenchmarkReport(b *testing.B) {
	r := &rig{service: "web", processes: 1}
	r.Hub = New(Config{Identify: r.identify, Processes: r.count})
	w, err := r.Open(Request{Service: web, MaxRPS: MaxRPS})
	if err != nil {
		b.Fatal(err)
	}
	req := &tapv1.ReportRequest{Instance: "one"}
	for range 100 {
		req.Events = append(req.Events, &tapv1.Event{
			Tap: w.id, Side: "client", Start: timestamppb.Now(), Duration: durationpb.New(time.Millisecond), Destination: "voting",
			Method: "/v.V/Vote", Status: "OK", Endpoint: "10.0.0.1:80", RequestMetadata: []*tapv1.Metadata{{Key: "x-user", Value: "ada"}},
		})
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := r.Report(b.Context(), req); err != nil {
			b.Fatal(err)
		}
		w.events, w.bytes = nil, 0
	}
}
