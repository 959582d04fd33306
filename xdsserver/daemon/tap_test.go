package daemon

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"

	adminv1 "github.com/tulle-mesh/tulle/mesh/api/admin/v1"
	tapv1 "github.com/tulle-mesh/tulle/mesh/api/tap/v1"
	"github.com/tulle-mesh/tulle/xdsserver/model"
	"github.com/tulle-mesh/tulle/xdsserver/tap"
)

// reports reports events of a tap over a connection.
func reports(t *testing.T, conn grpc.ClientConnInterface, id string) (*tapv1.ReportResponse, error) {
	t.Helper()
	return tapv1.NewTapServiceClient(conn).Report(t.Context(), &tapv1.ReportRequest{
		Events: []*tapv1.Event{{Tap: id, Method: "/a.B/C", Source: "web", Reporter: "web"}},
	}, grpc.WaitForReady(true))
}

func TestAReportIsOfWhoHasTheCertificate(t *testing.T) {
	d := run(t, config(t))
	web := model.ServiceName{Namespace: "default", Name: "web"}
	w, err := d.taps.Open(tap.Request{Service: web})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	id := ""
	await(t, func() error {
		if p := d.published.Load(); p != nil && p.Set.Commands[web] != nil {
			id = p.Set.Commands[web].Taps[0].ID
			return nil
		}
		return errors.New("the tap is not published")
	})
	if _, err := reports(t, as(t, d, credentials.NewTLS(stranger(d))), id); status.Code(err) != codes.Unauthenticated {
		t.Errorf("who has no certificate: %v, want UNAUTHENTICATED", err)
	}
	answer, err := reports(t, as(t, d, member(t, d, "voting")), id)
	if err != nil || len(answer.GetOver()) != 1 {
		t.Errorf("of another service: %v, %v", answer, err)
	}
	answer, err = reports(t, as(t, d, member(t, d, "web")), id)
	if err != nil || len(answer.GetOver()) != 0 {
		t.Errorf("of the service itself: %v, %v", answer, err)
	}
	told := 0
	for range 2 { // how it stands, and the event
		if u, err := w.Next(t.Context()); err == nil && u.Event.GetReporter() == "web" {
			told++
		}
	}
	if told != 1 {
		t.Errorf("%d events were told, want the service's own", told)
	}
}

// A tap and its end go to the processes of its service, and to who asked.
func TestATapOverTheAdminAPI(t *testing.T) {
	c := config(t)
	d := run(t, c)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	stream, err := operator(d).Tap(ctx, &adminv1.TapRequest{Service: "client"})
	if err != nil {
		t.Fatal(err)
	}
	if !stream.Receive() || stream.Msg().GetUntil() == nil || stream.Msg().GetOf() != 0 {
		t.Errorf("the first answer: %v, %v", stream.Msg(), stream.Err())
	}
	if n := len(d.taps.Commands()); n != 1 {
		t.Errorf("%d taps are open", n)
	}
	cancel()
	for stream.Receive() {
	}
	_ = stream.Close()
	await(t, func() error {
		if n := len(d.taps.Commands()); n != 0 {
			return fmt.Errorf("%d taps are open", n)
		}
		return nil
	})
	payload, err := operator(d).Tap(t.Context(), &adminv1.TapRequest{Service: "client", Payload: true})
	if err == nil {
		payload.Receive()
		err = payload.Err()
		_ = payload.Close()
	}
	if connect.CodeOf(err) != connect.CodePermissionDenied {
		t.Errorf("messages, of a server that shows none: %v", err)
	}
}
