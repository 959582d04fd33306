package admin

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	adminv1 "github.com/tulle-mesh/tulle/mesh/api/admin/v1"
	"github.com/tulle-mesh/tulle/xdsserver/model"
	"github.com/tulle-mesh/tulle/xdsserver/serve"
)

const (
	// defaultWindow, minWindow and maxWindow are how far back statistics look.
	defaultWindow = time.Minute
	minWindow     = 15 * time.Second
	maxWindow     = time.Hour
	// reportedWithin is how old a process's last report may be for it to count as meshed.
	reportedWithin = 90 * time.Second
)

// window reads how far back a request looks.
func window(d *durationpb.Duration) (time.Duration, error) {
	if d == nil {
		return defaultWindow, nil
	}
	w := d.AsDuration()
	if !d.IsValid() || w < minWindow || w > maxWindow {
		return 0, connect.NewError(connect.CodeInvalidArgument, fmt.Errorf("a window of %v: want one from %v to %v", w, minWindow, maxWindow))
	}
	return w, nil
}

var errNoTelemetry = connect.NewError(connect.CodeUnavailable, errors.New("this xdsserver takes no reports"))

// GetGraph implements the API.
func (s *Server) GetGraph(_ context.Context, req *adminv1.GetGraphRequest) (*adminv1.GetGraphResponse, error) {
	w, err := window(req.GetWindow())
	if err != nil {
		return nil, err
	}
	if s.config.Callers == nil {
		return nil, errNoTelemetry
	}
	graph := s.config.Callers.Graph(w, time.Now())
	published := s.config.Published()
	if published == nil {
		return graph, nil
	}
	seen := map[string]*adminv1.ServiceStat{}
	for _, stat := range graph.GetServices() {
		seen[stat.GetService()] = stat
		locate(stat, nil)
	}
	for _, name := range sorted(published.Set) {
		stat := seen[name.String()]
		if stat == nil {
			stat = &adminv1.ServiceStat{Service: name.String()}
			graph.Services = append(graph.Services, stat)
		}
		locate(stat, published.Set.Endpoints[name])
	}
	slices.SortFunc(graph.GetServices(), func(a, b *adminv1.ServiceStat) int { return cmp.Compare(a.GetService(), b.GetService()) })
	return graph, nil
}

// locate says where a service is, which calls do not tell.
func locate(stat *adminv1.ServiceStat, endpoints []model.Endpoint) {
	if len(endpoints) == 0 {
		// Who only calls has no endpoints: its processes stand for them.
		stat.Instances, stat.Healthy = stat.GetMeshed(), stat.GetMeshed()
		return
	}
	stat.Instances, stat.Healthy, stat.Zones = 0, 0, nil
	versions := map[string]*adminv1.VersionStat{}
	for _, v := range stat.GetVersions() {
		v.Instances, v.Healthy = 0, 0
		versions[v.GetVersion()] = v
	}
	for i := range endpoints {
		e := &endpoints[i]
		v := versions[e.Version]
		if v == nil {
			v = &adminv1.VersionStat{Version: e.Version}
			versions[e.Version] = v
			stat.Versions = append(stat.Versions, v)
		}
		stat.Instances++
		v.Instances++
		if e.Health == model.Healthy || e.Health == model.Lost {
			stat.Healthy++
			v.Healthy++
		}
		if zone := zoneOf(e); zone != "" && !slices.Contains(stat.GetZones(), zone) {
			stat.Zones = append(stat.Zones, zone)
		}
	}
	stat.Meshed = min(stat.GetMeshed(), stat.GetInstances())
	slices.Sort(stat.GetZones())
	slices.SortFunc(stat.GetVersions(), func(a, b *adminv1.VersionStat) int { return cmp.Compare(a.GetVersion(), b.GetVersion()) })
}

func zoneOf(e *model.Endpoint) string {
	if e.Region == "" {
		return e.Zone
	}
	return e.Region + "/" + e.Zone
}

// GetServiceStats implements the API.
func (s *Server) GetServiceStats(_ context.Context, req *adminv1.GetServiceStatsRequest) (*adminv1.GetServiceStatsResponse, error) {
	w, err := window(req.GetWindow())
	if err != nil {
		return nil, err
	}
	name, err := model.ParseServiceName(req.GetService())
	if err != nil {
		return nil, connect.NewError(connect.CodeInvalidArgument, err)
	}
	if s.config.Callers == nil {
		return nil, errNoTelemetry
	}
	now := time.Now()
	answer := s.config.Callers.Service(name.String(), w, now)
	published := s.config.Published()
	known := published != nil && published.Set.Services[name] != nil
	if !known && !reported(answer) {
		return nil, s.noService(req.GetService())
	}
	if answer.GetService() == nil {
		answer.Service = &adminv1.ServiceStat{Service: name.String()}
	}
	var endpoints []model.Endpoint
	if published != nil {
		endpoints = published.Set.Endpoints[name]
	}
	locate(answer.GetService(), endpoints)
	settle(answer, name, endpoints, s.config.Server.Ledger(), now)
	return answer, nil
}

// noService says so of a name, and which was meant, perhaps.
func (s *Server) noService(name string) error {
	if p := s.config.Published(); p != nil {
		names := sorted(p.Set)
		known := make([]string, len(names))
		for i, n := range names {
			known[i] = n.String()
		}
		if near := model.Nearest(name, known); near != "" {
			return connect.NewError(connect.CodeNotFound, fmt.Errorf("no service is named %q; did you mean %q?", name, near))
		}
	}
	return connect.NewError(connect.CodeNotFound, fmt.Errorf("no service is named %q; 'xdsserver endpoints' lists all", name))
}

// reported is whether anything is known of a service but its name.
func reported(answer *adminv1.GetServiceStatsResponse) bool {
	return len(answer.GetInstances())+len(answer.GetCallers())+len(answer.GetCallees()) > 0
}

// settle joins what processes reported with what is known of them by their registrations,
// streams and certificates.
func settle(answer *adminv1.GetServiceStatsResponse, name model.ServiceName, endpoints []model.Endpoint, ledger serve.Ledger, now time.Time) {
	byName := map[string]*adminv1.InstanceStat{}
	for _, in := range answer.GetInstances() {
		in.State = "client" // until it is found among the endpoints
		byName[in.GetInstance()] = in
	}
	addresses := map[string]string{}
	for i := range endpoints {
		e := &endpoints[i]
		in := byName[e.Instance]
		if in == nil {
			in = &adminv1.InstanceStat{Instance: e.Instance}
			byName[e.Instance] = in
			answer.Instances = append(answer.Instances, in)
		}
		in.Version, in.Zone, in.Addresses, in.State = e.Version, zoneOf(e), e.Addresses, states[e.Health]
		for _, a := range e.Addresses {
			addresses[a] = e.Instance
		}
	}
	for _, stream := range ledger.Streams {
		instance, ok := instanceOf(&stream, name)
		if in := byName[instance]; ok && in != nil {
			in.Current = stream.Current
			in.Configured = timestamppb.New(stream.Connected)
			in.CertificateExpires = moment(stream.Client.NotAfter)
			in.Rejection = rejectionOf(ledger.Rejections, stream.Node)
		}
	}
	// Who has gone, and is no endpoint, says nothing any more.
	answer.Instances = slices.DeleteFunc(answer.GetInstances(), func(in *adminv1.InstanceStat) bool {
		return in.GetState() == "client" && in.GetConfigured() == nil && now.Sub(in.GetReported().AsTime()) > reportedWithin
	})
	slices.SortFunc(answer.GetInstances(), func(a, b *adminv1.InstanceStat) int { return cmp.Compare(a.GetInstance(), b.GetInstance()) })
	for _, e := range answer.GetEndpoints() {
		if e.GetInstance() == "" {
			e.Instance = addresses[e.GetAddress()]
		}
	}
}

// instanceOf is the instance that a stream is of, by the name of its node.
func instanceOf(stream *serve.Stream, name model.ServiceName) (string, bool) {
	if stream.Cluster != name.String() {
		return "", false
	}
	return strings.CutPrefix(stream.Node, stream.Cluster+"/")
}

func rejectionOf(rejections []serve.Rejection, node string) string {
	for _, r := range rejections {
		if r.Node == node {
			return r.Reason
		}
	}
	return ""
}
