package telemetry

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	_ "google.golang.org/grpc/encoding/gzip" // senders may compress; grpc bounds what comes out
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/types/known/emptypb"
)

// ExportMethod is the method by which OTLP metrics come.
const ExportMethod = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export"

// metricsService is OTLP's MetricsService. The package that has it generated stands
// on grpc-gateway, which is larger than all of xdsserver's own.
var metricsService = grpc.ServiceDesc{
	ServiceName: "opentelemetry.proto.collector.metrics.v1.MetricsService",
	HandlerType: (*exporter)(nil),
	Methods:     []grpc.MethodDesc{{MethodName: "Export", Handler: handleExport}},
	Metadata:    "opentelemetry/proto/collector/metrics/v1/metrics_service.proto",
}

type exporter interface {
	export(ctx context.Context, decode func(any) error) (*emptypb.Empty, error)
}

var _ exporter = (*Server)(nil)

// Register adds OTLP's MetricsService to a grpc.Server, whose bound on messages is
// that of a report.
func (s *Server) Register(r grpc.ServiceRegistrar) { r.RegisterService(&metricsService, s) }

// handleExport has interceptors judge the caller before anything is decoded.
func handleExport(srv any, ctx context.Context, decode func(any) error, interceptor grpc.UnaryServerInterceptor) (any, error) { //nolint:revive // grpc's order
	handler := func(ctx context.Context, _ any) (any, error) { return srv.(exporter).export(ctx, decode) }
	if interceptor == nil {
		return handler(ctx, nil)
	}
	return interceptor(ctx, &emptypb.Empty{}, &grpc.UnaryServerInfo{Server: srv, FullMethod: ExportMethod}, handler)
}

var reports = sync.Pool{New: func() any { return new(report) }}

// export takes one report. What is wrong with single points is told in the answer, as
// OTLP has it; nothing that is sent again would become better.
func (s *Server) export(ctx context.Context, decode func(any) error) (*emptypb.Empty, error) {
	service, id, err := s.config.Identify(ctx)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	if service == "" {
		service = Client
	}
	quota := s.limits.of(id, now)
	if err := quota.admit(now); err != nil {
		s.mu.Lock()
		s.stats.limited++
		s.mu.Unlock()
		return nil, err
	}
	// As an empty message, a report is a slice of bytes that nobody looked into.
	var message emptypb.Empty
	err = decode(&message)
	raw := []byte(message.ProtoReflect().GetUnknown())
	quota.charge(len(raw), now)
	if err != nil {
		return nil, status.Errorf(codes.InvalidArgument, "telemetry: %v", err)
	}
	select {
	case s.limits.reading <- struct{}{}:
		defer func() { <-s.limits.reading }()
	case <-ctx.Done():
		return nil, status.FromContextError(ctx.Err()).Err()
	}
	r := reports.Get().(*report)
	defer reports.Put(r)
	r.reset()
	if err := r.read(raw); err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	address := ""
	if p, ok := peer.FromContext(ctx); ok && p.Addr != nil {
		address = p.Addr.String()
	}
	s.take(service, id, address, r, now)
	s.tellDropped(id, now)
	if s.forward != nil {
		s.forward.put(rewrite(raw, service, id))
	}
	return partial(r), nil
}

// partial is the answer to a report: empty, or an ExportMetricsPartialSuccess that
// says how many points were refused, and why.
func partial(r *report) *emptypb.Empty {
	var n uint64
	var why strings.Builder
	for i, refused := range r.refused {
		if refused == 0 {
			continue
		}
		if n += refused; why.Len() > 0 {
			why.WriteString("; ")
		}
		fmt.Fprintf(&why, "%d refused: %s", refused, reason(i).advice())
	}
	answer := &emptypb.Empty{}
	if n == 0 {
		return answer
	}
	var inner []byte
	inner = protowire.AppendVarint(protowire.AppendTag(inner, 1, protowire.VarintType), n)
	inner = protowire.AppendString(protowire.AppendTag(inner, 2, protowire.BytesType), "telemetry: "+why.String())
	answer.ProtoReflect().SetUnknown(protowire.AppendBytes(protowire.AppendTag(nil, 1, protowire.BytesType), inner))
	return answer
}

// tellDropped logs, once a minute, that callers found no room.
func (s *Server) tellDropped(reporter string, now time.Time) {
	s.mu.Lock()
	dropped, rows := s.dropped, s.total.rows
	if dropped == 0 || now.Sub(s.logged) < logEvery {
		s.mu.Unlock()
		return
	}
	s.dropped, s.logged = 0, now
	s.mu.Unlock()
	s.config.Logger.Warn("observed calls dropped, too many callers are known", "reporter", reporter, "dropped", dropped, "rows", rows)
}
