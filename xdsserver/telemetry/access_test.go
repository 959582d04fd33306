package telemetry

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"math"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	accessv1 "github.com/tulle-mesh/tulle/mesh/api/access/v1"
)

const web = "spiffe://tulle.local/ns/default/svc/web"

func newServer(service string) *Server {
	return New(Config{
		Identify: func(context.Context) (string, string, error) {
			return service, "spiffe://tulle.local/ns/default/svc/" + service, nil
		},
		Logger: slog.New(slog.DiscardHandler),
	})
}

func observe(t *testing.T, s *Server, observations ...*accessv1.Observation) {
	t.Helper()
	if _, err := s.Report(t.Context(), &accessv1.ReportRequest{Observations: observations}); err != nil {
		t.Fatal(err)
	}
}

func TestReportsAddUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer("voting")
		observe(t, s,
			&accessv1.Observation{Caller: web, Method: "/v/Vote", Allowed: 2, WouldDeny: 1, Policy: "voting"},
			&accessv1.Observation{Address: "10.0.0.7", Method: "/v/Vote", Allowed: 1})
		observe(t, s,
			&accessv1.Observation{Caller: web, Method: "/v/Vote", Allowed: 3, Denied: 4},
			&accessv1.Observation{Address: "10.0.0.7", Method: "/v/List", Denied: 1})
		want := []Caller{
			{Address: "10.0.0.7", Method: "/v/List", Denied: 1, Seen: time.Now()},
			{Address: "10.0.0.7", Method: "/v/Vote", Allowed: 1, Seen: time.Now()},
			{ID: web, Method: "/v/Vote", Allowed: 5, Denied: 4, WouldDeny: 1, Policy: "voting", Seen: time.Now()},
		}
		if diff := cmp.Diff(want, s.Callers("voting")); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		plain := map[string][]Plain{"voting": {{Address: "10.0.0.7", Calls: 2, Seen: time.Now()}}}
		if diff := cmp.Diff(plain, s.Plaintext()); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}

func TestRowsLeaveAfterAnHourWithoutAReport(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer("voting")
		observe(t, s, &accessv1.Observation{Address: "10.0.0.7", Method: "/v/Vote", Allowed: 1})
		time.Sleep(Idle - time.Second)
		if len(s.Callers("voting")) != 1 || len(s.Plaintext()) != 1 {
			t.Error("gone within the hour")
		}
		time.Sleep(time.Second)
		if len(s.Callers("voting")) != 0 || len(s.Plaintext()) != 0 {
			t.Error("still there after the hour")
		}
		time.Sleep(sweepEvery)
		s.Callers("")
		if s.total != (size{}) || len(s.services) != 0 {
			t.Errorf("%+v and %d services are kept", s.total, len(s.services))
		}
	})
}

func TestOneServiceCannotFillTheMemory(t *testing.T) {
	s := newServer("voting")
	for i := range 50 {
		observations := make([]*accessv1.Observation, maxObservations)
		for j := range observations {
			observations[j] = &accessv1.Observation{Caller: web, Method: fmt.Sprintf("/v/M%d", i*maxObservations+j), Allowed: 1}
		}
		observe(t, s, observations...)
	}
	callers := s.Callers("voting")
	var sum, other uint64
	for _, c := range callers {
		sum += c.Allowed
		if c.Method == Other {
			other += c.Allowed
		}
	}
	if len(callers) != maxRows+1 || sum != 50*maxObservations || other != sum-maxRows {
		t.Errorf("%d rows, %d calls, %d of them other; want %d rows and every call", len(callers), sum, other, maxRows+1)
	}
	// With as many callers as methods even Other has an end.
	for i := range 20 {
		observations := make([]*accessv1.Observation, maxObservations)
		for j := range observations {
			observations[j] = &accessv1.Observation{Address: fmt.Sprint(i, "-", j), Method: "/v/Vote", Allowed: 1}
		}
		observe(t, s, observations...)
	}
	if n := len(s.Callers("voting")); n != 2*maxRows {
		t.Errorf("%d rows, want %d", n, 2*maxRows)
	}
}

func TestAllServicesTogetherCannotFillTheMemory(t *testing.T) {
	service := ""
	s := New(Config{
		Identify: func(context.Context) (string, string, error) { return service, "spiffe://tulle.local/x", nil },
		Logger:   slog.New(slog.DiscardHandler),
	})
	observations := make([]*accessv1.Observation, maxObservations)
	for i := range 50 * maxRows / maxObservations {
		service = fmt.Sprint("s", i/10)
		for j := range observations {
			observations[j] = &accessv1.Observation{Address: fmt.Sprint(i, "-", j), Method: "/v/Vote", Allowed: 1}
		}
		observe(t, s, observations...)
	}
	if s.total.rows != 2*maxTotal {
		t.Errorf("%d rows, want %d", s.total.rows, 2*maxTotal)
	}
	service = "s0" // those who were there first are counted as before
	observe(t, s, &accessv1.Observation{Address: "0-0", Method: "/v/Vote", Allowed: 1})
	if c := s.Callers("s0"); len(c) != maxRows || c[0].Allowed != 2 {
		t.Errorf("%d rows, the first %+v", len(c), c[0])
	}
}

func TestLongTextsCannotFillTheMemory(t *testing.T) {
	s := newServer("voting")
	long := strings.Repeat("x", maxText-10)
	for i := range 10 {
		observations := make([]*accessv1.Observation, maxObservations)
		for j := range observations {
			unique := fmt.Sprint(i, "-", j, "-")
			observations[j] = &accessv1.Observation{Caller: unique + long[:3000], Method: unique + long[:3000], Policy: long}
		}
		observe(t, s, observations...)
	}
	kept := 0
	for _, c := range s.Callers("voting") {
		kept += rowBytes + len(c.ID) + len(c.Address) + len(c.Method) + len(c.Policy)
	}
	if limit := 2*maxBytes + 4*maxText; kept > limit || kept != s.total.bytes || kept != s.services["voting"].size.bytes {
		t.Errorf("%d bytes, want at most %d, and as many as are counted, %+v", kept, limit, s.total)
	}
	// A row that is there already takes a long policy only where there is room.
	before := s.total.bytes
	for _, c := range s.Callers("voting") {
		observe(t, s, &accessv1.Observation{Caller: c.ID, Method: c.Method, Policy: long + "12345678"})
	}
	if s.total.bytes > max(before, 2*maxBytes)+maxText {
		t.Errorf("%d bytes became %d", before, s.total.bytes)
	}
}

func TestDroppedCallsAreToldOnceAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var logged bytes.Buffer
		s := newServer("voting")
		s.config.Logger = slog.New(slog.NewTextHandler(&logged, nil))
		s.total.rows = 2 * maxTotal
		for range 10 {
			observe(t, s, &accessv1.Observation{Address: "a", Method: "/v/Vote"})
		}
		time.Sleep(logEvery)
		observe(t, s, &accessv1.Observation{Address: "a", Method: "/v/Vote"})
		if lines := strings.Count(logged.String(), "\n"); lines != 2 || !strings.Contains(logged.String(), "dropped=10") {
			t.Errorf("logged:\n%s", logged.String())
		}
	})
}

func TestCountsDoNotWrapAround(t *testing.T) {
	s := newServer("voting")
	for range 2 {
		observe(t, s, &accessv1.Observation{Address: "a", Method: "/v/Vote", Allowed: math.MaxUint64 - 1, Denied: 7})
	}
	c, p := s.Callers("voting"), s.Plaintext()["voting"]
	if len(c) != 1 || c[0].Allowed != math.MaxUint64 || c[0].Denied != 14 || len(p) != 1 || p[0].Calls != math.MaxUint64 {
		t.Errorf("got %+v and %+v", c, p)
	}
}

// Who has a certificate is known by it, wherever he calls from.
func TestAddressOfACallerWithACertificateIsNotKept(t *testing.T) {
	s := newServer("voting")
	for i := range 3 {
		observe(t, s, &accessv1.Observation{Caller: web, Address: fmt.Sprint("10.0.0.", i), Method: "/v/Vote", Allowed: 1})
	}
	if c := s.Callers("voting"); len(c) != 1 || c[0].Allowed != 3 || c[0].Address != "" || len(s.Plaintext()) != 0 {
		t.Errorf("got %+v and %v", c, s.Plaintext())
	}
}

func TestReportRefuses(t *testing.T) {
	for name, test := range map[string]struct {
		service string
		req     *accessv1.ReportRequest
		code    codes.Code
		want    string
	}{
		"who is no service":     {"", &accessv1.ReportRequest{}, codes.PermissionDenied, "no service of the mesh"},
		"too many observations": {"voting", &accessv1.ReportRequest{Observations: make([]*accessv1.Observation, 1001)}, codes.InvalidArgument, "1000 are the most"},
		"a long text": {
			"voting", &accessv1.ReportRequest{Observations: []*accessv1.Observation{{Method: strings.Repeat("m", 5000)}}},
			codes.InvalidArgument, "longer than 4 KiB",
		},
		"a text that moves the cursor": {
			"voting", &accessv1.ReportRequest{Observations: []*accessv1.Observation{{Method: "/v/\x1b[2J"}}},
			codes.InvalidArgument, "no text",
		},
		"a text that turns the line around": {
			"voting", &accessv1.ReportRequest{Observations: []*accessv1.Observation{{Caller: web + "\u202e", Method: "/v/Vote"}}},
			codes.InvalidArgument, "no text",
		},
		"no method":   {"voting", &accessv1.ReportRequest{Observations: []*accessv1.Observation{{Caller: web}}}, codes.InvalidArgument, "no method"},
		"an instance": {"voting", &accessv1.ReportRequest{Instance: "a\nb"}, codes.InvalidArgument, "instance"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := newServer(test.service).Report(t.Context(), test.req)
			if status.Code(err) != test.code || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %v with %q", err, test.code, test.want)
			}
		})
	}
}

func TestReportIsOfWhoIsIdentified(t *testing.T) {
	refused := status.Error(codes.Unauthenticated, "nobody")
	s := New(Config{Identify: func(context.Context) (string, string, error) { return "", "", refused }})
	if _, err := s.Report(t.Context(), &accessv1.ReportRequest{}); status.Code(err) != codes.Unauthenticated {
		t.Errorf("got %v, want %v", err, refused)
	}
}

// Whatever a reporter sends, what is kept can be shown and stays in bounds.
func FuzzReport(f *testing.F) {
	seed, err := proto.Marshal(&accessv1.ReportRequest{Observations: []*accessv1.Observation{{Caller: web, Method: "/v/Vote", Allowed: 1}}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(seed)
	f.Fuzz(func(t *testing.T, b []byte) {
		s := newServer("voting")
		var req accessv1.ReportRequest
		if proto.Unmarshal(b, &req) != nil {
			return
		}
		_, _ = s.Report(t.Context(), &req)
		for _, c := range s.Callers("voting") {
			if c.Method == "" || bad(c.ID) || bad(c.Method) || bad(c.Policy) || bad(c.Address) {
				t.Errorf("kept %+v", c)
			}
		}
		if s.total.rows > maxObservations || s.total.bytes > len(b)+maxObservations*rowBytes {
			t.Errorf("%+v of %d bytes", s.total, len(b))
		}
	})
}

func ExampleServer() {
	s := newServer("voting")
	_, err := s.Report(context.Background(), &accessv1.ReportRequest{
		Observations: []*accessv1.Observation{{Caller: web, Method: "/vote.v1.Votes/Cast", Allowed: 3}},
	})
	for _, c := range s.Callers("voting") {
		fmt.Println(c.ID, c.Method, c.Allowed, err)
	}
	// Output: spiffe://tulle.local/ns/default/svc/web /vote.v1.Votes/Cast 3 <nil>
}
