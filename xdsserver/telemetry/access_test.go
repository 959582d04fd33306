package telemetry

import (
	"bytes"
	"fmt"
	"log/slog"
	"math"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

const web = "spiffe://tulle.local/ns/default/svc/web"

func newServer() *Server { return New(Config{Identify: identify, Logger: quiet}) }

// maxObservations is how many callers are observed at a time.
const maxObservations = 1000

// seen counts calls that are alike.
type seen struct {
	Caller, Address, Method    string
	Allowed, Denied, WouldDeny uint64 // WouldDeny of Allowed
	Policy                     string
}

func observe(t *testing.T, s *Server, all ...*seen) {
	t.Helper()
	observeOf(s, "voting", all...)
}

func observeOf(s *Server, service string, all ...*seen) {
	s.mu.Lock()
	s.sweep(time.Now())
	for _, o := range all {
		k := key{caller: o.Caller, address: o.Address, method: o.Method}
		for verdict, n := range map[string]uint64{"allowed": o.Allowed - o.WouldDeny, verdictDenied: o.Denied, verdictWouldDeny: o.WouldDeny} {
			if n > 0 {
				s.access(service, &observation{key: k, verdict: verdict, policy: o.Policy}, n, time.Now())
			}
		}
	}
	s.mu.Unlock()
	s.tellDropped(web, time.Now())
}

func TestReportsAddUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer()
		observe(t, s,
			&seen{Caller: web, Method: "/v/Vote", Allowed: 2, WouldDeny: 1, Policy: "voting"},
			&seen{Address: "10.0.0.7", Method: "/v/Vote", Allowed: 1})
		observe(t, s,
			&seen{Caller: web, Method: "/v/Vote", Allowed: 3, Denied: 4},
			&seen{Address: "10.0.0.7", Method: "/v/List", Denied: 1})
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
		s := newServer()
		observe(t, s, &seen{Address: "10.0.0.7", Method: "/v/Vote", Allowed: 1})
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
	s := newServer()
	for i := range 50 {
		observations := make([]*seen, maxObservations)
		for j := range observations {
			observations[j] = &seen{Caller: web, Method: fmt.Sprintf("/v/M%d", i*maxObservations+j), Allowed: 1}
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
		observations := make([]*seen, maxObservations)
		for j := range observations {
			observations[j] = &seen{Address: fmt.Sprint(i, "-", j), Method: "/v/Vote", Allowed: 1}
		}
		observe(t, s, observations...)
	}
	if n := len(s.Callers("voting")); n != 2*maxRows {
		t.Errorf("%d rows, want %d", n, 2*maxRows)
	}
}

func TestAllServicesTogetherCannotFillTheMemory(t *testing.T) {
	s := newServer()
	observations := make([]*seen, maxObservations)
	for i := range 50 * maxRows / maxObservations {
		service := fmt.Sprint("s", i/10)
		for j := range observations {
			observations[j] = &seen{Address: fmt.Sprint(i, "-", j), Method: "/v/Vote", Allowed: 1}
		}
		observeOf(s, service, observations...)
	}
	if s.total.rows != 2*maxTotal {
		t.Errorf("%d rows, want %d", s.total.rows, 2*maxTotal)
	}
	// Those who were there first are counted as before.
	observeOf(s, "s0", &seen{Address: "0-0", Method: "/v/Vote", Allowed: 1})
	if c := s.Callers("s0"); len(c) != maxRows || c[0].Allowed != 2 {
		t.Errorf("%d rows, the first %+v", len(c), c[0])
	}
}

func TestLongTextsCannotFillTheMemory(t *testing.T) {
	s := newServer()
	long := strings.Repeat("x", maxText-10)
	for i := range 10 {
		observations := make([]*seen, maxObservations)
		for j := range observations {
			unique := fmt.Sprint(i, "-", j, "-")
			observations[j] = &seen{Caller: unique + long[:3000], Method: unique + long[:3000], Allowed: 1, Policy: long}
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
		observe(t, s, &seen{Caller: c.ID, Method: c.Method, Allowed: 1, Policy: long + "12345678"})
	}
	if s.total.bytes > max(before, 2*maxBytes)+maxText {
		t.Errorf("%d bytes became %d", before, s.total.bytes)
	}
}

func TestDroppedCallsAreToldOnceAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var logged bytes.Buffer
		s := newServer()
		s.config.Logger = slog.New(slog.NewTextHandler(&logged, nil))
		s.total.rows = 2 * maxTotal
		for range 10 {
			observe(t, s, &seen{Address: "a", Method: "/v/Vote", Allowed: 1})
		}
		time.Sleep(logEvery)
		observe(t, s, &seen{Address: "a", Method: "/v/Vote", Allowed: 1})
		if lines := strings.Count(logged.String(), "\n"); lines != 2 || !strings.Contains(logged.String(), "dropped=10") {
			t.Errorf("logged:\n%s", logged.String())
		}
	})
}

func TestCountsDoNotWrapAround(t *testing.T) {
	s := newServer()
	for range 2 {
		observe(t, s, &seen{Address: "a", Method: "/v/Vote", Allowed: math.MaxUint64 - 1, Denied: 7})
	}
	c, p := s.Callers("voting"), s.Plaintext()["voting"]
	if len(c) != 1 || c[0].Allowed != math.MaxUint64 || c[0].Denied != 14 || len(p) != 1 || p[0].Calls != math.MaxUint64 {
		t.Errorf("got %+v and %+v", c, p)
	}
}

// Who has a certificate is known by it, wherever he calls from.
func TestAddressOfACallerWithACertificateIsNotKept(t *testing.T) {
	s := newServer()
	for i := range 3 {
		observe(t, s, &seen{Caller: web, Address: fmt.Sprint("10.0.0.", i), Method: "/v/Vote", Allowed: 1})
	}
	if c := s.Callers("voting"); len(c) != 1 || c[0].Allowed != 3 || c[0].Address != "" || len(s.Plaintext()) != 0 {
		t.Errorf("got %+v and %v", c, s.Plaintext())
	}
}
