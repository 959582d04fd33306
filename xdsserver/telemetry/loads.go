package telemetry

import (
	"time"

	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	"google.golang.org/grpc/codes"
)

const (
	// maxLoadClusters and maxLocalities bound what is counted of one load report.
	maxLoadClusters = 1_000
	maxLocalities   = 100
)

// A Load is a load report (LRS) of a client that is not ours: what it did since the
// one before.
type Load struct {
	// Service is the reporter's; empty for none. ID is its SPIFFE id.
	Service, ID string
	// Region and Zone are where it says it is; empty where it does not.
	Region, Zone string
	Clusters     []*endpointv3.ClusterStats
}

// Load counts a load report. It has counts only; that its calls are counted twice,
// where its client reports by OTLP also, queries see to.
func (s *Server) Load(l *Load, now time.Time) {
	if l.Service == "" {
		l.Service = Client
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sweep(now)
	slot := s.window.advance(now)
	for i, c := range l.Clusters {
		if i >= maxLoadClusters || !clustered(c.GetClusterName()) {
			s.stats.refused[reasonText]++
			continue
		}
		d := def{family: familyLoad, source: l.Service, peer: l.ID, cluster: c.GetClusterName()}
		d.destination, _ = cutVersion(d.cluster)
		for j, at := range c.GetUpstreamLocalityStats() {
			if j >= maxLocalities {
				break
			}
			where := at.GetLocality()
			d.local = l.Zone != "" && where.GetZone() == l.Zone && where.GetRegion() == l.Region
			s.countLoad(d, slot, at.GetTotalSuccessfulRequests(), at.GetTotalErrorRequests())
		}
	}
}

// countLoad counts calls that went well, and that did not.
func (s *Server) countLoad(d def, slot int64, good, failures uint64) {
	switch {
	case good > maxCount || failures > maxCount:
		s.stats.refused[reasonValue]++
		return
	case good == 0 && failures == 0:
		return
	}
	line := s.window.line(d)
	if line == nil {
		s.stats.refused[reasonRoom]++
		return
	}
	rec := &s.scratch.record
	rec.reset()
	rec.counts[codes.OK] = good
	rec.counts[codes.Unknown] = failures
	s.totals.of(d).add(rec, 0)
	s.window.record(line, slot, rec)
}
