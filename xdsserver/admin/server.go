// Package admin is the operator's API: what the command line and the dashboard
// ask and tell a running xdsserver.
//
//	s := admin.New(admin.Config{Store: store, Merger: merger, Check: builder.Check, Published: published.Load, Server: server})
//	srv := s.HTTPServer(nil)
//	err := srv.Serve(lis) // a loopback listener
//
// One protobuf definition (mesh/api/admin/v1) is served as Connect, gRPC-Web and
// JSON, so that a program, a browser and curl need no translation between them.
// The package decides nothing about the mesh: it checks and stores what it is
// told, and reports what the other packages know.
package admin

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tulle-mesh/tulle/mesh/api"
	adminv1 "github.com/tulle-mesh/tulle/mesh/api/admin/v1"
	"github.com/tulle-mesh/tulle/mesh/api/admin/v1/adminv1connect"
	"github.com/tulle-mesh/tulle/mesh/resource"
	"github.com/tulle-mesh/tulle/xdsserver/enrol"
	"github.com/tulle-mesh/tulle/xdsserver/identity"
	"github.com/tulle-mesh/tulle/xdsserver/manifest"
	"github.com/tulle-mesh/tulle/xdsserver/model"
	"github.com/tulle-mesh/tulle/xdsserver/serve"
	"github.com/tulle-mesh/tulle/xdsserver/snapshot"
	"github.com/tulle-mesh/tulle/xdsserver/source/merge"
	"github.com/tulle-mesh/tulle/xdsserver/store"
	"github.com/tulle-mesh/tulle/xdsserver/tap"
	"github.com/tulle-mesh/tulle/xdsserver/telemetry"
)

// Config is what the API reports on and changes. Every field but Authority, Tokens,
// Callers and Logger is required; what a missing one is for is refused.
type Config struct {
	Store  Store
	Merger *merge.Merger
	// Check says what of a set could not be published, without publishing it.
	Check func(context.Context, *model.Set) []model.Problem
	// Published is what is served now, nil before the first publication.
	Published func() *Publication
	Server    *serve.Server
	// Authority signs identities, Tokens makes join tokens, Callers knows who calls
	// whom.
	Authority identity.Authority
	Tokens    *enrol.Server
	Callers   *telemetry.Server
	// Logins makes an address that opens the dashboard once; nil when there is none.
	Logins func(LoginRequest) (Login, error)
	// Taps tell processes what to do for a while; nil is none. Tap is what may be tapped.
	Taps *tap.Hub
	Tap  TapMode
	// Audit is told what operators do to the authority, and whose calls they watch; nil is
	// told nothing.
	Audit *enrol.Audit
	// Enrolment are the ways to join, for operators.
	Enrolment []string
	// Address is the host:port of join tokens that name no other; empty when there
	// is none that another machine could use.
	Address string
	// DataDir and Listeners are shown to operators.
	DataDir   string
	Listeners []string
	// WarmUntil ends the time that processes have to come back after a start.
	WarmUntil time.Time
	Logger    *slog.Logger
}

// A Publication is a set and what became of it. It is immutable.
type Publication struct {
	Set      *model.Set
	Snapshot *snapshot.Snapshot
	// Problems are those of the set and those found when it was published.
	Problems []model.Problem
}

// A Server implements the API. It is safe for concurrent use.
type Server struct {
	config   Config
	started  time.Time
	readings readings
	turn     chan struct{} // has room for one: who applies
}

var _ adminv1connect.AdminServiceHandler = (*Server)(nil)

// New returns a server of the API.
func New(config Config) *Server {
	if config.Logger == nil {
		config.Logger = slog.Default()
	}
	return &Server{config: config, started: time.Now(), turn: make(chan struct{}, 1)}
}

// List implements the API.
func (s *Server) List(_ context.Context, req *adminv1.ListRequest) (*adminv1.ListResponse, error) {
	applied, revision := s.config.Store.Objects()
	answer := &adminv1.ListResponse{Revision: int64(revision)}
	problems := s.problems()
	stored := map[model.Ref]bool{}
	for _, o := range applied {
		stored[o.Ref] = true
		answer.Objects = append(answer.Objects, &adminv1.Object{
			Ref:      ref(o.Ref),
			Revision: int64(o.Revision),
			Origin:   store.Origin,
			Yaml:     string(o.YAML),
			Problems: problemsOf(problems, o.Ref),
			Changed:  timestamppb.New(o.Changed),
		})
	}
	for _, o := range s.config.Merger.Objects() {
		if stored[o.Ref()] {
			continue
		}
		yaml, err := manifest.Marshal(o)
		if err != nil {
			return nil, connect.NewError(connect.CodeInternal, fmt.Errorf("write %s as YAML: %w", refString(o.Ref()), err))
		}
		answer.Objects = append(answer.Objects, &adminv1.Object{
			Ref:      ref(o.Ref()),
			Origin:   o.Origin(),
			Yaml:     string(yaml),
			Problems: problemsOf(problems, o.Ref()),
		})
	}
	answer.Objects = slices.DeleteFunc(answer.GetObjects(), func(o *adminv1.Object) bool {
		r := o.GetRef()
		return (req.GetKind() != "" && req.GetKind() != r.GetKind()) ||
			(req.GetNamespace() != "" && req.GetNamespace() != r.GetNamespace()) ||
			(req.GetName() != "" && req.GetName() != r.GetName())
	})
	slices.SortStableFunc(answer.GetObjects(), func(a, b *adminv1.Object) int { return compareRefs(a.GetRef(), b.GetRef()) })
	return answer, nil
}

// ListEndpoints implements the API.
func (s *Server) ListEndpoints(_ context.Context, req *adminv1.ListEndpointsRequest) (*adminv1.ListEndpointsResponse, error) {
	answer := &adminv1.ListEndpointsResponse{}
	published := s.config.Published()
	if published == nil {
		return answer, nil
	}
	set := published.Set
	services := make([]model.ServiceName, 0, len(set.Endpoints))
	if req.GetService() == "" {
		for name := range set.Endpoints {
			services = append(services, name)
		}
		slices.SortFunc(services, model.ServiceName.Compare)
	} else {
		name, err := model.ParseServiceName(req.GetService())
		if err != nil {
			return nil, connect.NewError(connect.CodeInvalidArgument, err)
		}
		if set.Services[name] == nil {
			return nil, s.noService(req.GetService())
		}
		services = append(services, name)
		answer.Subscribers = int32(s.config.Server.Subscribers(resource.EndpointsType, name.String()))
	}
	for _, name := range services {
		for _, e := range set.Endpoints[name] {
			answer.Endpoints = append(answer.Endpoints, endpoint(e))
		}
	}
	return answer, nil
}

// GetStatus implements the API.
func (s *Server) GetStatus(context.Context, *adminv1.GetStatusRequest) (*adminv1.GetStatusResponse, error) {
	answer := &adminv1.GetStatusResponse{
		Version:       api.Version,
		Started:       timestamppb.New(s.started),
		DataDir:       s.config.DataDir,
		Warming:       time.Now().Before(s.config.WarmUntil),
		StoreRevision: int64(s.config.Store.Revision()),
		Listeners:     s.config.Listeners,
	}
	for _, src := range s.config.Merger.Status() {
		status := &adminv1.SourceStatus{Name: src.Name}
		if src.Err != nil {
			status.Error = src.Err.Error()
		}
		if !src.Updated.IsZero() {
			status.Updated = timestamppb.New(src.Updated)
		}
		answer.Sources = append(answer.Sources, status)
	}
	if p := s.config.Published(); p != nil {
		answer.Snapshot = fmt.Sprint(p.Snapshot.Revision)
		answer.Published = timestamppb.New(p.Snapshot.Built)
		answer.Services = int32(len(p.Set.Services))
		answer.Routes = int32(len(p.Set.Routes))
		for _, endpoints := range p.Set.Endpoints {
			answer.Endpoints += int32(len(endpoints))
		}
		for _, problem := range p.Problems {
			answer.Problems = append(answer.Problems, toProblem(problem))
		}
	}
	ledger := s.config.Server.Ledger()
	clients(ledger, answer)
	answer.Security = s.security(ledger)
	answer.Store, answer.Telemetry = s.storeStatus(), s.telemetryStatus(time.Now())
	return answer, nil
}

func (s *Server) storeStatus() *adminv1.StoreStatus {
	status := s.config.Store.Status()
	// In steps, so that the dashboard is not told of every write.
	return &adminv1.StoreStatus{Problem: status.Problem, FreeBytes: max(status.FreeBytes&^(16<<20-1), min(status.FreeBytes, 1))}
}

func (s *Server) telemetryStatus(now time.Time) *adminv1.TelemetryStatus {
	if s.config.Callers == nil {
		return nil
	}
	status := s.config.Callers.Status(now)
	return &adminv1.TelemetryStatus{
		Processes: int32(status.Processes), Refused: status.Refused, Folded: status.Folded, Evicted: status.Evicted,
		Collector: status.Collector, CollectorProblem: status.CollectorProblem, CollectorDropped: status.CollectorDropped,
	}
}

// problems are all that are known now.
func (s *Server) problems() []model.Problem {
	if p := s.config.Published(); p != nil {
		return p.Problems
	}
	return nil
}
