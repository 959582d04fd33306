package telemetry

import (
	"context"
	"fmt"
	"log/slog"
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

func report(t *testing.T, s *Server, observations ...*accessv1.Observation) {
	t.Helper()
	if _, err := s.Report(t.Context(), &accessv1.ReportRequest{Observations: observations}); err != nil {
		t.Fatal(err)
	}
}

func TestReportsAddUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer("voting")
		report(t, s,
			&accessv1.Observation{Caller: web, Method: "/v/Vote", Allowed: 2, WouldDeny: 1, Policy: "voting"},
			&accessv1.Observation{Address: "10.0.0.7", Method: "/v/Vote", Allowed: 1})
		report(t, s,
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
		report(t, s, &accessv1.Observation{Address: "10.0.0.7", Method: "/v/Vote", Allowed: 1})
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
		if s.total != 0 {
			t.Errorf("%d rows are kept", s.total)
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
		report(t, s, observations...)
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
		report(t, s, observations...)
	}
	if n := len(s.Callers("voting")); n != 2*maxRows {
		t.Errorf("%d rows, want %d", n, 2*maxRows)
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
	s := newServer("voting")
	f.Fuzz(func(t *testing.T, b []byte) {
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
