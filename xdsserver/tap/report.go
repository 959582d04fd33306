package tap

import (
	"context"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	tapv1 "github.com/tulle-mesh/tulle/mesh/api/tap/v1"
)

// Bounds of one report; see tulle.tap.v1.ReportRequest.
const (
	maxEvents   = 1_000
	maxReport   = 1<<20 + 64<<10
	maxMentions = 64 // of taps
	maxInstance = 256
)

// Report implements tulle.tap.v1.TapService.
func (h *Hub) Report(ctx context.Context, req *tapv1.ReportRequest) (*tapv1.ReportResponse, error) {
	service, _, err := h.config.Identify(ctx)
	if err != nil {
		return nil, err
	}
	switch {
	case service == "":
		return nil, status.Error(codes.PermissionDenied, "tap: the caller is no service of the mesh, and reports nothing")
	case len(req.GetEvents()) > maxEvents:
		return nil, status.Errorf(codes.InvalidArgument, "tap: %d events in one report, %d are the most", len(req.GetEvents()), maxEvents)
	case len(req.GetDropped()) > maxMentions:
		return nil, status.Errorf(codes.InvalidArgument, "tap: counts of %d taps in one report, %d are the most", len(req.GetDropped()), maxMentions)
	case len(req.GetInstance()) > maxInstance || bad(req.GetInstance()):
		return nil, status.Error(codes.InvalidArgument, "tap: the instance is no text that can be shown")
	case proto.Size(req) > maxReport:
		return nil, status.Errorf(codes.ResourceExhausted, "tap: a report of %d bytes, %d are the most", proto.Size(req), maxReport)
	}
	r := report{hub: h, service: service, instance: req.GetInstance(), now: time.Now(), watches: map[string]*Watch{}}
	for _, e := range req.GetEvents() {
		if w := r.watch(e.GetTap()); w != nil {
			w.take(clean(e, w, &r), r.now)
		}
	}
	for id, n := range req.GetDropped() {
		if w := r.watch(id); w != nil {
			w.lost(n)
		}
	}
	slices.Sort(r.over)
	return &tapv1.ReportResponse{Over: r.over}, nil
}

// A report is being taken in.
type report struct {
	hub               *Hub
	service, instance string
	now               time.Time
	watches           map[string]*Watch // nil for taps that are over
	over              []string
}

// watch is the open tap of an id, if it asks the reporter: nil where it does not, as if
// it were over.
func (r *report) watch(id string) *Watch {
	w, known := r.watches[id]
	if known || len(r.watches) >= maxMentions {
		return w
	}
	r.hub.mu.Lock()
	w = r.hub.taps[id]
	r.hub.mu.Unlock()
	if w != nil && (w.service.String() != r.service || !asks(w.request.Instance, r.instance)) {
		w = nil
	}
	r.watches[id] = w
	if w == nil && len(id) <= maxText {
		r.over = append(r.over, id)
	}
	return w
}

// Asks reports whether a tap of an instance asks the process with an xDS node id, which
// is "service/instance". Empty asks all.
func Asks(instance, node string) bool {
	_, process, _ := strings.Cut(node, "/")
	return asks(instance, process)
}

// asks reports whether a tap of an instance asks the process that calls itself so. One
// with several endpoints has names for the others, made from its own.
func asks(want, process string) bool {
	return want == "" || want == process || process != "" && strings.HasPrefix(want, process+"-")
}
