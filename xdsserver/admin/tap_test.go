package admin

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/types/known/durationpb"

	adminv1 "github.com/tulle-mesh/tulle/mesh/api/admin/v1"
	"github.com/tulle-mesh/tulle/mesh/api/admin/v1/adminv1connect"
	tapv1 "github.com/tulle-mesh/tulle/mesh/api/tap/v1"
	"github.com/tulle-mesh/tulle/xdsserver/enrol"
	"github.com/tulle-mesh/tulle/xdsserver/model"
	"github.com/tulle-mesh/tulle/xdsserver/serve"
	"github.com/tulle-mesh/tulle/xdsserver/source"
	"github.com/tulle-mesh/tulle/xdsserver/tap"
)

// A tapRig is a server of the API with a hub, and processes of the service client.
type tapRig struct {
	*Server

	hub   *tap.Hub
	audit string

	mu  sync.Mutex
	ids []string // of the taps that processes are told
}

func newTapRig(t *testing.T, mode TapMode) *tapRig {
	t.Helper()
	r := &tapRig{audit: filepath.Join(t.TempDir(), "audit.log")}
	audit, err := enrol.OpenAudit(r.audit)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = audit.Close() })
	logger := slog.New(slog.DiscardHandler)
	server := serve.New(serve.Config{Logger: logger})
	t.Cleanup(func() { _ = server.Close() })
	r.hub = tap.New(tap.Config{
		Identify:  func(context.Context) (service, id string, err error) { return "client", "spiffe://x/client", nil },
		Processes: func(string, string, uint64) (have, of int) { return 1, 1 },
		Logger:    logger,
	})
	ctx, cancel := context.WithCancel(context.Background())
	var wait sync.WaitGroup
	wait.Go(func() { _ = r.hub.Run(ctx, r.emit) })
	t.Cleanup(func() {
		cancel()
		wait.Wait()
	})
	r.Server = New(Config{
		Taps: r.hub, Tap: mode, Audit: audit, Server: server, Logger: logger, Published: func() *Publication { return nil },
	})
	return r
}

func (r *tapRig) emit(out source.Output) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ids = nil
	if c := out.Commands[model.ClientService]; c != nil {
		for _, t := range c.Taps {
			r.ids = append(r.ids, t.ID)
		}
	}
}

// open are the taps that processes know of, once all is quiet.
func (r *tapRig) open() []string {
	synctest.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.ids)
}

// entries are the events of the audit log, with who, whom and what.
func (r *tapRig) entries(t *testing.T) []string {
	t.Helper()
	b, err := os.ReadFile(r.audit)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for line := range strings.Lines(string(b)) {
		var e enrol.Entry
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatal(err)
		}
		all = append(all, fmt.Sprintf("%s %s of %s/%s: %s", e.Event, e.Peer, e.Identity, e.Instance, e.Reason))
	}
	return all
}

func TestWhoMayTap(t *testing.T) {
	tapper := Caller{Name: "dashboard 1", May: []Right{MayView, MayTap}}
	full := Caller{Name: "user 7", May: []Right{MayView, MayTap, MayPayload}}
	for name, test := range map[string]struct {
		mode    TapMode
		caller  *Caller
		payload bool
		refused string
	}{
		"calls, by who may":                    {TapMetadata, &tapper, false, ""},
		"calls, where nothing is said":         {"", &tapper, false, ""},
		"calls, where messages may be watched": {TapPayload, &tapper, false, ""},
		"messages, by who may":                 {TapPayload, &full, true, ""},
		"messages, by who may see calls only":  {TapPayload, &tapper, true, `the right "payload" is one of its own`},
		"messages, where none may be watched":  {TapMetadata, &full, true, "--tap payload would show them"},
		"messages, where nothing is said":      {"", &full, true, "--tap payload would show them"},
		"anything, where nothing is watched":   {TapOff, &full, false, "--tap off"},
		"calls, by who may only look":          {TapPayload, &Caller{Name: "x", May: []Right{MayView, MayApply, MayPayload}}, false, `the right "tap"`},
		"calls, by nobody":                     {TapPayload, nil, false, "nobody says who asks"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newTapRig(t, test.mode)
			ctx := t.Context()
			if test.caller != nil {
				ctx = WithCaller(ctx, *test.caller)
			}
			told := errors.New("told")
			err := r.WatchCalls(ctx, &adminv1.TapRequest{Service: "client", Payload: test.payload}, func(*adminv1.TapResponse) error { return told })
			if test.refused == "" {
				if !errors.Is(err, told) {
					t.Errorf("got %v", err)
				}
				return
			}
			if connect.CodeOf(err) != connect.CodePermissionDenied || !strings.Contains(err.Error(), test.refused) {
				t.Errorf("got %v, want %q", err, test.refused)
			}
			if len(r.hub.Commands()) != 0 || len(r.entries(t)) != 0 {
				t.Errorf("it was refused, and is %v, %v", r.hub.Commands(), r.entries(t))
			}
		})
	}
}

func TestNoMessagesAreShownWhileTheMeshCannotBeRead(t *testing.T) {
	r := newTapRig(t, TapPayload)
	mesh := (&model.Mesh{Name: model.DefaultMesh}).Close()
	r.config.Published = func() *Publication { return &Publication{Set: &model.Set{Mesh: mesh}} }
	told := errors.New("told")
	for payload, want := range map[bool]connect.Code{true: connect.CodePermissionDenied, false: connect.CodeUnknown} {
		req := &adminv1.TapRequest{Service: "client", Payload: payload}
		err := r.WatchCalls(WithCaller(t.Context(), localUser()), req, func(*adminv1.TapResponse) error { return told })
		if connect.CodeOf(err) != want {
			t.Errorf("messages %v: %v", payload, err)
		}
	}
}

func TestATapIsInTheAuditLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newTapRig(t, TapPayload)
		ctx, cancel := context.WithCancel(WithCaller(t.Context(), localUser()))
		var seen []*adminv1.TapResponse
		done := make(chan error, 1)
		go func() {
			done <- r.WatchCalls(ctx, &adminv1.TapRequest{Service: "client", Instance: "one", To: "voting", Payload: true, MaxRps: 10},
				func(m *adminv1.TapResponse) error {
					seen = append(seen, m)
					return nil
				})
		}()
		ids := r.open()
		if len(ids) != 1 {
			t.Fatalf("%d taps are open", len(ids))
		}
		for range 12 {
			if _, err := r.hub.Report(ctx, &tapv1.ReportRequest{Instance: "one", Events: []*tapv1.Event{{Tap: ids[0], Method: "/v.V/Vote"}}}); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(3 * time.Second)
		cancel()
		if err := <-done; err != nil {
			t.Errorf("who goes away is told %v", err)
		}
		if len(r.open()) != 0 {
			t.Error("processes tap on")
		}
		me := fmt.Sprintf("user %d", os.Getuid())
		want := []string{
			"tap.opened " + me + " of client/one: to voting, method *, messages, 10/s, until 2000-01-01T00:10:00Z",
			"tap.closed " + me + " of client/one: to voting, method *, messages, 10/s: 10 events told, 2 calls left out, in 3s",
		}
		if got := r.entries(t); !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
		events := 0
		for _, m := range seen {
			if m.GetEvent() != nil {
				events++
			}
		}
		if events != 10 || seen[0].GetEvent() != nil || seen[0].GetOf() != 1 || seen[0].GetUntil() == nil {
			t.Errorf("%d events, the first answer %v", events, seen[0])
		}
	})
}

func TestNobodyTapsWithoutTheAuditLog(t *testing.T) {
	r := newTapRig(t, TapMetadata)
	_ = r.config.Audit.Close()
	err := r.WatchCalls(WithCaller(t.Context(), localUser()), &adminv1.TapRequest{Service: "client"}, func(*adminv1.TapResponse) error {
		t.Error("he is told something")
		return nil
	})
	if connect.CodeOf(err) != connect.CodeUnavailable || len(r.hub.Commands()) != 0 {
		t.Errorf("got %v, %v", err, r.hub.Commands())
	}
}

func TestTapErrors(t *testing.T) {
	r := newTapRig(t, TapMetadata)
	ctx := WithCaller(t.Context(), localUser())
	tap := func(req *adminv1.TapRequest) connect.Code {
		return connect.CodeOf(r.WatchCalls(ctx, req, func(*adminv1.TapResponse) error { return nil }))
	}
	for name, test := range map[string]struct {
		req  *adminv1.TapRequest
		want connect.Code
	}{
		"no service":                {&adminv1.TapRequest{}, connect.CodeInvalidArgument},
		"a service nobody knows":    {&adminv1.TapRequest{Service: "nobody"}, connect.CodeNotFound},
		"a rate of too many":        {&adminv1.TapRequest{Service: "client", MaxRps: 1e6}, connect.CodeInvalidArgument},
		"a time that is too long":   {&adminv1.TapRequest{Service: "client", Duration: durationpb.New(100 * time.Hour)}, connect.CodeInvalidArgument},
		"a secret by its own value": {&adminv1.TapRequest{Service: "client", Metadata: map[string]string{"cookie": "x"}}, connect.CodeInvalidArgument},
	} {
		t.Run(name, func(t *testing.T) {
			if got := tap(test.req); got != test.want {
				t.Errorf("got %v, want %v", got, test.want)
			}
		})
	}
	if connect.CodeOf(New(Config{}).WatchCalls(ctx, &adminv1.TapRequest{}, nil)) != connect.CodeFailedPrecondition {
		t.Error("a server without taps taps")
	}
}

func TestLogsAreSetAndListed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newTapRig(t, TapMetadata)
		ctx := WithCaller(t.Context(), Caller{Name: "dashboard 1"})
		answer, err := r.SetLog(ctx, &adminv1.SetLogRequest{Service: "client", Level: "debug", Access: 0.5})
		if err != nil || answer.GetProcesses() != 1 || !answer.GetUntil().AsTime().Equal(time.Now().Add(10*time.Minute)) {
			t.Fatalf("%v, %v", answer, err)
		}
		list, err := r.ListCommands(ctx, &adminv1.ListCommandsRequest{})
		if err != nil || len(list.GetCommands()) != 1 || list.GetCommands()[0].GetBy() != "dashboard 1" || list.GetCommands()[0].GetWhat() != "level debug, access 0.5" {
			t.Errorf("%v, %v", list, err)
		}
		if _, err := r.SetLog(ctx, &adminv1.SetLogRequest{Service: "client", Duration: durationpb.New(0)}); err != nil {
			t.Fatal(err)
		}
		if list, err = r.ListCommands(ctx, nil); err != nil || len(list.GetCommands()) != 0 {
			t.Errorf("%v, %v", list, err)
		}
		if _, err := r.SetLog(ctx, &adminv1.SetLogRequest{Service: "client", Level: "loud"}); connect.CodeOf(err) != connect.CodeInvalidArgument {
			t.Errorf("got %v", err)
		}
		want := []string{
			`log.set dashboard 1 of client/: level "debug", access 0.5, until 2000-01-01T00:10:00Z`,
			"log.set dashboard 1 of client/: as before",
		}
		if got := r.entries(t); !slices.Equal(got, want) {
			t.Errorf("got %q", got)
		}
	})
}

// A program that asks for a tap and reads its answer no further than its first part.
func TestATapClientThatStopsReadingIsCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newTapRig(t, TapMetadata)
		lis := bufconn.Listen(4 << 10)
		srv := r.HTTPServer(nil)
		srv.Handler = http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			req = req.WithContext(WithCaller(req.Context(), localUser())) // there is no kernel to ask
			lasting(adminv1connect.AdminServiceTapProcedure, Methods(r.Server)).ServeHTTP(w, req)
		})
		var wait sync.WaitGroup
		wait.Go(func() { _ = srv.Serve(lis) })
		defer wait.Wait()
		defer srv.Close()

		conn, err := lis.Dial()
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		body := `{"service":"client","maxRps":1000,"duration":"3600s"}`
		envelope := "\x00\x00\x00\x00" + string(rune(len(body))) + body
		fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/connect+json\r\nConnect-Protocol-Version: 1\r\nContent-Length: %d\r\n\r\n%s",
			adminv1connect.AdminServiceTapProcedure, len(envelope), envelope)
		if line, err := bufio.NewReader(io.LimitReader(conn, 100)).ReadString('\n'); err != nil || !strings.Contains(line, "200 OK") {
			t.Fatalf("%q, %v", line, err)
		}
		ids := r.open()
		if len(ids) != 1 {
			t.Fatalf("%d taps are open", len(ids))
		}
		// While nothing happens there is nothing to read, and he is let be.
		time.Sleep(2 * time.Minute)
		if len(r.open()) != 1 {
			t.Fatal("an idle tap is cut")
		}
		for range 60 {
			req := &tapv1.ReportRequest{}
			for range 100 {
				req.Events = append(req.Events, &tapv1.Event{Tap: ids[0], Message: strings.Repeat("x", 1000)})
			}
			if _, err := r.hub.Report(t.Context(), req); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
		}
		if len(r.open()) != 0 {
			t.Error("processes tap for nobody")
		}
		if _, err := io.Copy(io.Discard, conn); err != nil && !errors.Is(err, net.ErrClosed) && !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Logf("his connection: %v", err)
		}
		if got := r.entries(t); len(got) != 2 || !strings.HasPrefix(got[1], "tap.closed") {
			t.Errorf("got %q", got)
		}
	})
}
