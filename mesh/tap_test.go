package mesh_test

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"

	"github.com/tulle-mesh/tulle/mesh"
	tapv1 "github.com/tulle-mesh/tulle/mesh/api/tap/v1"
	"github.com/tulle-mesh/tulle/mesh/meshtest"
	"github.com/tulle-mesh/tulle/xdsserver/model"
	"github.com/tulle-mesh/tulle/xdsserver/tap"
)

func serviceName(name string) model.ServiceName {
	return model.ServiceName{Namespace: model.DefaultNamespace, Name: name}
}

// tapping waits until all processes that could do tap.
func tapping(t *testing.T, w *tap.Watch, of int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for {
		u, err := w.Next(ctx)
		if err != nil {
			t.Fatalf("not all of %d tap: %v", of, err)
		}
		if u.Tapping == of && u.Of == of {
			return
		}
	}
}

// told returns the events that come within so long.
func told(t *testing.T, w *tap.Watch, within time.Duration) (events []*tapv1.Event) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	for {
		u, err := w.Next(ctx)
		if err != nil {
			return events
		}
		if u.Event != nil {
			events = append(events, u.Event)
		}
	}
}

func TestCallsAreTappedOnBothSides(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := meshtest.New(t)
		failing := ways{takes: about(time.Millisecond), fails: .4, code: codes.Unavailable}
		one, two := newWorker("one", failing), newWorker("two", failing)
		m.Apply(service("voting", "  retry: {attempts: 5, idempotent: true}\n  retryBudget: {percent: 100}\n"))
		m.Serve("voting", one.register)
		m.Serve("voting", two.register)
		client := m.Join(mesh.Config{Service: "web", Instance: "w1"})
		conn, err := client.NewClient("mesh:///voting")
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		open := func(r tap.Request) *tap.Watch {
			t.Helper()
			w, err := m.Taps().Open(r)
			if err != nil {
				t.Fatal(err)
			}
			return w
		}
		ctx := metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer CANARY", "x-user", "ada")
		_, _ = do(ctx, conn) // it may fail, as any
		out := open(tap.Request{Service: serviceName("web"), To: "voting", Metadata: map[string]string{"x-user": "ada"}, Payload: true})
		in := open(tap.Request{Service: serviceName("voting"), From: "web"})
		tapping(t, out, 1)
		tapping(t, in, 2)
		const calls = 20
		for range calls {
			_, _ = do(ctx, conn)
		}
		_, _ = do(t.Context(), conn) // of nobody's user

		made, taken := told(t, out, 2*time.Second), told(t, in, time.Second)
		if len(taken) < calls+1 || len(made) < calls {
			t.Fatalf("%d attempts were made, and %d taken", len(made), len(taken))
		}
		ids := map[uint64]int{}
		for _, e := range made {
			ids[e.GetCall()]++
			text := e.String()
			if e.GetSide() != "client" || e.GetSource() != "web" || e.GetDestination() != "voting" || e.GetReporterInstance() != "w1" || e.GetMethod() != workMethod ||
				e.GetEndpoint() == "" || e.GetWhy() == "" || e.GetSecurity() != "mtls" || !strings.HasSuffix(e.GetPeer(), "/svc/voting") ||
				e.GetDeadline() == nil || e.GetDuration() == nil || len(e.GetMessages()) == 0 || strings.Contains(text, "CANARY") || !strings.Contains(text, "[redacted]") {
				t.Errorf("made: %s", text)
			}
			if (e.GetStatus() == "OK") != (len(e.GetMessages()) == 2) {
				t.Errorf("messages: %s", text)
			}
		}
		if len(ids) != calls {
			t.Errorf("%d attempts are of %d calls, want %d", len(made), len(ids), calls)
		}
		failed := 0
		for _, e := range taken {
			if e.GetStatus() == "UNAVAILABLE" {
				failed++
			}
			if e.GetSide() != "server" || e.GetSource() != "web" || e.GetDestination() != "voting" || e.GetSecurity() != "mtls" ||
				!strings.HasSuffix(e.GetPeer(), "/svc/web") || len(e.GetMessages()) != 0 || strings.Contains(e.String(), "CANARY") {
				t.Errorf("taken: %s", e)
			}
		}
		if failed == 0 || len(taken) == failed {
			t.Errorf("%d of %d failed where they were taken", failed, len(taken))
		}

		out.Close()
		in.Close()
		time.Sleep(time.Second)
		again := open(tap.Request{Service: serviceName("web"), To: "nobody"})
		tapping(t, again, 1)
		_, _ = do(ctx, conn)
		if e := told(t, again, time.Second); len(e) != 0 {
			t.Errorf("calls that nobody asked for: %v", e)
		}
	})
}

func TestCallsGoOnWhileXDSServerIsAwayFromATap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := meshtest.New(t)
		m.Serve("voting", newWorker("a", ways{takes: about(time.Millisecond)}).register)
		client := m.Join(mesh.Config{})
		conn, err := client.NewClient("mesh:///voting")
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := do(t.Context(), conn); err != nil {
			t.Fatal(err)
		}
		w, err := m.Taps().Open(tap.Request{Service: model.ClientService, Duration: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		tapping(t, w, 1)
		m.StopServer()
		for range 100 {
			if _, err := do(t.Context(), conn); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
		}
		m.StartServer()
		time.Sleep(30 * time.Second)
		// The new one knows nothing of it, and can be asked.
		w, err = m.Taps().Open(tap.Request{Service: model.ClientService})
		if err != nil {
			t.Fatal(err)
		}
		tapping(t, w, 1)
		if _, err := do(t.Context(), conn); err != nil {
			t.Fatal(err)
		}
		if e := told(t, w, time.Second); len(e) != 1 {
			t.Errorf("got %v, want one call", e)
		}
	})
}

func TestProcessesLogAsTheyAreToldForAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := meshtest.New(t)
		m.Serve("voting", newWorker("a", ways{takes: about(time.Millisecond)}).register)
		var logged lines
		client := m.Join(mesh.Config{Logger: slog.New(slog.NewTextHandler(&logged, &slog.HandlerOptions{Level: slog.LevelError}))})
		conn, err := client.NewClient("mesh:///voting")
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		call := func() int {
			t.Helper()
			before := logged.count(workMethod)
			if _, err := do(t.Context(), conn); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
			return logged.count(workMethod) - before
		}
		if n := call(); n != 0 {
			t.Errorf("%d lines before anybody asks", n)
		}
		if _, n, err := m.Taps().SetLog(tap.LogRequest{Service: model.ClientService, Level: "debug", Access: 1, Duration: time.Minute}); n != 1 || err != nil {
			t.Fatal(n, err)
		}
		time.Sleep(time.Second)
		if n := call(); n != 1 {
			t.Errorf("%d lines for a call, want 1", n)
		}
		m.StopServer() // it goes back by itself
		time.Sleep(time.Minute)
		if n := call(); n != 0 {
			t.Errorf("%d lines when it is over", n)
		}
	})
}

// lines are what was logged.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *lines) count(text string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.text.String(), text)
}
