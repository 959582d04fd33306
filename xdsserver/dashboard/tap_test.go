package dashboard

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"connectrpc.com/connect"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/durationpb"

	adminv1 "github.com/tulle-mesh/tulle/mesh/api/admin/v1"
	"github.com/tulle-mesh/tulle/xdsserver/admin"
)

func TestATapIsAStreamOfEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := inMemory(t)
		var asked *adminv1.TapRequest
		var by admin.Caller
		s.mesh.tap = func(ctx context.Context, r *adminv1.TapRequest, send func(*adminv1.TapResponse) error) error {
			asked = r
			by, _ = admin.CallerFrom(ctx)
			for i := range int32(3) {
				if err := send(&adminv1.TapResponse{Processes: i, Of: 3}); err != nil {
					return err
				}
				time.Sleep(time.Second)
			}
			return nil
		}
		s.enter(t, admin.MayTap, admin.MayPayload)
		began := time.Now()
		next, end := s.events(t, "/api/tap?service=web&instance=web-1&to=voting&from=x&method=*&metadata=a%3Db%3Dc&metadata=d%3D&failures=1&maxRps=50&payload=1&duration=5m")
		defer end()
		var got []string
		for {
			e, ok := next()
			if !ok {
				break
			}
			if e.name == "tap" && len(got) == 0 && time.Since(began) > 0 {
				t.Errorf("the first came after %v", time.Since(began))
			}
			got = append(got, e.name+" "+strings.ReplaceAll(e.data, " ", ""))
		}
		want := []string{`tap {"of":3}`, `tap {"processes":1,"of":3}`, `tap {"processes":2,"of":3}`, `error {"code":"deadline_exceeded","message":"thetapisover:itstimewasup"}`}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		wanted := &adminv1.TapRequest{
			Service: "web", Instance: "web-1", To: "voting", From: "x", Method: "*", Metadata: map[string]string{"a": "b=c", "d": ""},
			Failures: true, MaxRps: 50, Payload: true, Duration: durationpb.New(5 * time.Minute),
		}
		if diff := cmp.Diff(wanted, asked, protocmp.Transform()); diff != "" {
			t.Errorf("request (-want +got):\n%s", diff)
		}
		if !strings.HasPrefix(by.Name, "dashboard ") || !by.Can(admin.MayPayload) || by.Can(admin.MayApply) {
			t.Errorf("it is asked by %+v", by)
		}
	})
}

func TestATapThatCannotBeSaysWhy(t *testing.T) {
	for name, test := range map[string]struct {
		may   []admin.Right
		query string
		err   error
		want  string
	}{
		"the session may not":       {[]admin.Right{admin.MayView}, "service=web", nil, "permission_denied"},
		"there is no such service":  {nil, "service=web", connect.NewError(connect.CodeNotFound, errors.New("no service")), `{"code":"not_found","message":"no service"}`},
		"metadata that is none":     {nil, "service=web&metadata=x", nil, "is not name=value"},
		"a rate that is none":       {nil, "service=web&maxRps=NaN", nil, "is no number"},
		"a rate below zero":         {nil, "service=web&maxRps=-1", nil, "is no number"},
		"a duration that is none":   {nil, "service=web&duration=x", nil, "duration"},
		"a duration below zero":     {nil, "service=web&duration=-1s", nil, "duration"},
		"a handler that goes wrong": {nil, "service=panics", nil, "Internal Server Error"},
	} {
		t.Run(name, func(t *testing.T) {
			s := open(t)
			s.mesh.tap = func(_ context.Context, r *adminv1.TapRequest, _ func(*adminv1.TapResponse) error) error {
				if r.GetService() == "panics" {
					panic("on purpose")
				}
				return test.err
			}
			s.enter(t, test.may...)
			next, end := s.events(t, "/api/tap?"+test.query)
			defer end()
			if e, ok := next(); !ok || e.name != "error" || !strings.Contains(e.data, test.want) {
				t.Errorf("got %v, want an error with %s", e, test.want)
			}
			if e, ok := next(); ok {
				t.Errorf("then came %v", e)
			}
		})
	}
}

// A tap ends with whoever watches it, in every way that can go.
func TestATapEndsWithItsReader(t *testing.T) {
	for name, leave := range map[string]func(t *testing.T, s *site, end func()){
		"who closes the page":    func(_ *testing.T, _ *site, end func()) { end() },
		"who logs out":           func(t *testing.T, s *site, _ func()) { s.do(t, post(t, s.url+"/api/logout", "")) },
		"whose session is over":  func(_ *testing.T, _ *site, _ func()) { time.Sleep(time.Hour) },
		"who stops reading":      func(_ *testing.T, _ *site, _ func()) { time.Sleep(readWithin + 2*time.Second) },
		"who is told no more":    func(_ *testing.T, s *site, _ func()) { s.client.CloseIdleConnections(); time.Sleep(time.Hour) },
		"who reads a little bit": func(_ *testing.T, _ *site, _ func()) { time.Sleep(20 * time.Second) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := inMemory(t)
				var open atomic.Bool
				s.mesh.tap = func(ctx context.Context, _ *adminv1.TapRequest, send func(*adminv1.TapResponse) error) error {
					open.Store(true)
					defer open.Store(false)
					for {
						if err := send(&adminv1.TapResponse{Of: 1}); err != nil {
							return err
						}
						select {
						case <-ctx.Done():
							return ctx.Err()
						case <-time.After(time.Second / 10):
						}
					}
				}
				s.enter(t)
				next, end := s.events(t, "/api/tap?service=web")
				defer end()
				next()
				synctest.Wait()
				if !open.Load() || s.streams() != 1 {
					t.Fatal("it is not open")
				}
				leave(t, s, end)
				time.Sleep(time.Second)
				synctest.Wait()
				if open.Load() || s.streams() != 0 {
					t.Errorf("it is open: %v, %d streams", open.Load(), s.streams())
				}
			})
		})
	}
}

func TestInsideGivesUpOnAHandlerThatSaysNothing(t *testing.T) {
	ended := make(chan struct{})
	c := http.Client{Transport: inside{handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		<-r.Context().Done()
		close(ended)
	})}}
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://inside/x", io.NopCloser(strings.NewReader("x")))
	if err != nil {
		t.Fatal(err)
	}
	if answer, err := c.Do(r); !errors.Is(err, context.DeadlineExceeded) {
		_ = answer.Body.Close()
		t.Errorf("got %v, want that its time is over", err)
	}
	<-ended
}

func FuzzParseTap(f *testing.F) {
	f.Add("service=web&metadata=a%3Db&maxRps=5&duration=1m")
	f.Add("maxRps=1e309&metadata==&duration=99999999h")
	f.Fuzz(func(t *testing.T, text string) {
		query, err := url.ParseQuery(text)
		if err != nil {
			return
		}
		request, err := parseTap(query)
		if err != nil {
			return
		}
		if d := request.GetDuration(); request.GetMaxRps() < 0 || d != nil && d.AsDuration() <= 0 {
			t.Errorf("%q becomes %v", text, request)
		}
	})
}
