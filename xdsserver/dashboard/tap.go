package dashboard

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/durationpb"

	adminv1 "github.com/tulle-mesh/tulle/mesh/api/admin/v1"
	"github.com/tulle-mesh/tulle/xdsserver/admin"
)

// serveTap is the admin API's Tap as server-sent events. What goes wrong is one, too: a
// browser tells a page nothing of an answer that is no stream.
func (s *Server) serveTap(w http.ResponseWriter, r *http.Request, in *session) {
	request, err := parseTap(r.URL.Query())
	if err != nil {
		_ = push(w).send(failed(connect.NewError(connect.CodeInvalidArgument, err)))
		return
	}
	release, err := s.sessions.stream(in)
	if err != nil {
		_ = push(w).send(failed(connect.NewError(connect.CodeResourceExhausted, err)))
		return
	}
	defer release()
	ctx, cancel := context.WithDeadline(admin.WithCaller(r.Context(), in.caller()), in.expires)
	// The session may end before its time, and the server before that.
	var wg sync.WaitGroup
	wg.Go(func() {
		select {
		case <-in.done:
		case <-s.feed.done:
		case <-ctx.Done():
		}
		cancel()
	})
	defer wg.Wait()
	defer cancel()
	out := push(w)
	if err = s.tap(ctx, out, request); err != nil && ctx.Err() == nil {
		_ = out.send(failed(err))
	}
}

// tap copies a tap to a stream. Its error is one to tell the page; that the page is gone,
// or reads no more, is none.
func (s *Server) tap(ctx context.Context, out *pusher, request *adminv1.TapRequest) error {
	calls, err := s.client.Tap(ctx, request)
	if err != nil {
		return err
	}
	defer func() { _ = calls.Close() }() // it was read to its end, or nobody wants the rest
	for calls.Receive() {
		text, err := protojson.Marshal(calls.Msg())
		if err != nil {
			return err
		}
		if out.send(newFrame("tap", text)) != nil {
			return nil
		}
	}
	if err := calls.Err(); err != nil {
		return err
	}
	return connect.NewError(connect.CodeDeadlineExceeded, errors.New("the tap is over: its time was up"))
}

// failed is an error as an event.
func failed(err error) []byte {
	f := failure{Code: connect.CodeOf(err).String(), Message: err.Error()}
	if known, ok := errors.AsType[*connect.Error](err); ok {
		f.Message = known.Message()
	}
	text, err := json.Marshal(f)
	if err != nil { // two strings can be written
		text = []byte("{}")
	}
	return newFrame("error", text)
}

// parseTap reads what to tap from a query.
func parseTap(query url.Values) (*adminv1.TapRequest, error) {
	request := &adminv1.TapRequest{
		Service:  query.Get("service"),
		Instance: query.Get("instance"),
		To:       query.Get("to"),
		From:     query.Get("from"),
		Method:   query.Get("method"),
		Failures: isSet(query.Get("failures")),
		Payload:  isSet(query.Get("payload")),
	}
	for _, pair := range query["metadata"] {
		name, value, ok := strings.Cut(pair, "=")
		if !ok || name == "" {
			return nil, fmt.Errorf("metadata %.50q is not name=value", pair)
		}
		if request.Metadata == nil {
			request.Metadata = map[string]string{}
		}
		request.Metadata[name] = value
	}
	if text := query.Get("maxRps"); text != "" {
		rps, err := strconv.ParseFloat(text, 64)
		if err != nil || math.IsNaN(rps) || math.IsInf(rps, 0) || rps < 0 {
			return nil, fmt.Errorf("maxRps %.20q is no number of calls", text)
		}
		request.MaxRps = rps
	}
	if text := query.Get("duration"); text != "" {
		d, err := time.ParseDuration(text)
		if err != nil || d <= 0 {
			return nil, fmt.Errorf("duration %.20q is none, want for example 10m", text)
		}
		request.Duration = durationpb.New(d)
	}
	return request, nil
}

func isSet(text string) bool { return text == "1" || text == "true" }
