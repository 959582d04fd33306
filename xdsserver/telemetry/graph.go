package telemetry

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	adminv1 "github.com/tulle-mesh/tulle/mesh/api/admin/v1"
	"github.com/tulle-mesh/tulle/mesh/spiffe"
)

// Graph is the mesh in a window of 15 s to one hour that ends now; zero is one minute.
// It has what telemetry knows: of a service its calls, its versions as callers name
// them, connections, and how many processes report. The message is the caller's.
//
// What a service takes is what its servers say; where they say nothing, what its
// callers do. Edges are what callers say; where they say nothing, what load reports
// and servers do.
func (s *Server) Graph(window time.Duration, now time.Time) *adminv1.GetGraphResponse {
	w := s.spare.Swap(nil)
	if w == nil {
		w = new(workspace)
	}
	s.mu.Lock()
	f := s.frame(window, now)
	views := s.views(w, f, func(*def) bool { return true })
	states := s.states(now)
	s.mu.Unlock()

	g := newGraph(w, f, views, states)
	answer := &adminv1.GetGraphResponse{At: timestamppb.New(now), Window: durationpb.New(f.window)}
	for name := range states {
		g.node(name)
	}
	for _, name := range slices.Sorted(maps.Keys(g.nodes)) {
		answer.Services = append(answer.Services, g.service(name, states[name]))
	}
	answer.Edges = g.list(func(edgeKey) bool { return true })
	g.release()
	w.reset()
	s.spare.Store(w)
	return answer
}

// A state is what the processes of a service reported last.
type state struct {
	processes, connections int32
	open, ejected          map[string]bool
	zones                  map[string]bool
}

// states are those of all services; mu is held. Who has not reported of late is left
// out.
func (s *Server) states(now time.Time) map[string]*state {
	states := map[string]*state{}
	of := func(service string) *state {
		st := states[service]
		if st == nil {
			st = &state{open: map[string]bool{}, ejected: map[string]bool{}, zones: map[string]bool{}}
			states[service] = st
		}
		return st
	}
	for _, r := range s.reporters {
		if !r.here(now) {
			continue
		}
		st := of(r.service)
		st.processes++
		st.connections += r.connections[sideServer]
		if r.zone != "" {
			st.zones[r.zone] = true
		}
		for _, e := range r.endpoints {
			if e.breaker == breakerOpen || e.ejected {
				to := of(e.key.destination)
				if e.breaker == breakerOpen {
					to.open[e.key.address] = true
				}
				if e.ejected {
					to.ejected[e.key.address] = true
				}
			}
		}
	}
	return states
}

type edgeKey struct{ source, destination string }

// An edge is summed up from lines.
type edge struct {
	calls, attempts, served, load, counts record
	local, distant                        uint64
	secured                               [4]uint64 // attempts by security
	servedSecured                         [4]uint64
	clientID                              string
	versions                              map[string]*record
}

// A node is a service, summed up from lines.
type node struct {
	served   record // taken, as its servers say
	callers  record // and as its callers do
	out      record
	outLoad  record
	versions map[string]*record
}

// A graph is summed up from views, in a workspace.
type graph struct {
	in    *workspace
	frame frame
	nodes map[string]*node
	edges map[edgeKey]*edge
	// over is the time that the calls of a service took place in, in seconds, where that
	// is known.
	over map[string]float64
}

func newGraph(w *workspace, f frame, views []view, states map[string]*state) *graph {
	g := &graph{in: w, frame: f, nodes: map[string]*node{}, edges: map[edgeKey]*edge{}, over: map[string]float64{}}
	var one, r record
	for i := range views {
		views[i].sumUp(f, &one, &r)
		switch d := views[i].def; {
		case r.empty():
		case d.family != familyHeard:
			g.add(d, &r)
		case states[d.source] != nil:
			g.over[d.source] = f.over(r.counts[0], states[d.source].processes)
		}
	}
	for k, e := range g.edges {
		g.sum(&g.node(k.destination).callers, e.of(e.best()))
	}
	return g
}

// release gives the memory of all records back to the workspace. Nothing is read from
// the graph after.
func (g *graph) release() {
	for _, e := range g.edges {
		g.give(e.versions, &e.calls, &e.attempts, &e.served, &e.load, &e.counts)
	}
	for _, n := range g.nodes {
		g.give(n.versions, &n.served, &n.callers, &n.out, &n.outLoad)
	}
}

func (g *graph) give(versions map[string]*record, others ...*record) {
	for _, r := range others {
		g.in.release(r.times)
	}
	for _, r := range versions {
		g.in.release(r.times)
	}
}

// sum adds a record to one of the graph.
func (g *graph) sum(to, r *record) { to.addIn(g.in, r) }

// golden are the golden metrics of what processes of a service counted.
func (g *graph) golden(by string, r *record) *adminv1.Golden {
	if over := g.over[by]; over > 0 {
		return golden(r, over)
	}
	return golden(r, g.frame.seconds)
}

// best is the family that knows best what a caller asked of its server.
func (e *edge) best() family {
	switch {
	case !e.attempts.empty():
		return familyAttempt
	case !e.calls.empty():
		return familyCall
	}
	return familyLoad
}

func (e *edge) of(f family) *record {
	switch f {
	case familyAttempt:
		return &e.attempts
	case familyCall:
		return &e.calls
	default:
		return &e.load
	}
}

func (g *graph) node(name string) *node {
	n := g.nodes[name]
	if n == nil {
		n = &node{versions: map[string]*record{}}
		g.nodes[name] = n
	}
	return n
}

func (g *graph) edge(d *def) *edge {
	k := edgeKey{d.source, d.destination}
	e := g.edges[k]
	if e == nil {
		e = &edge{versions: map[string]*record{}}
		g.edges[k] = e
	}
	// Of several, as those of processes that are no service, the first by name.
	if d.peer != "" && (e.clientID == "" || d.peer < e.clientID) {
		e.clientID = d.peer
	}
	return e
}

// add counts a record of a line.
func (g *graph) add(d *def, r *record) {
	if d.destination == "" {
		return
	}
	e, to := g.edge(d), g.node(d.destination)
	if d.source != "" {
		g.node(d.source)
	}
	n := r.calls()
	switch d.family {
	case familyCall:
		g.sum(&e.calls, r)
		g.sum(&g.node(d.source).out, r)
	case familyAttempt:
		g.sum(&e.attempts, r)
		e.secured[d.security] += n
		if d.local {
			e.local += n
		} else {
			e.distant += n
		}
		if v := version(d.cluster); v != "" {
			g.addTo(e.versions, v, r)
			g.addTo(to.versions, v, r)
		}
	case familyServed:
		g.sum(&e.served, r)
		g.sum(&to.served, r)
		e.servedSecured[d.security] += n
	case familyCount:
		g.sum(&e.counts, r)
	case familyLoad:
		g.sum(&e.load, r)
		if d.local {
			e.local += n
		} else {
			e.distant += n
		}
		g.sum(&g.node(d.source).outLoad, r)
		if v := version(d.cluster); v != "" {
			g.addTo(e.versions, v, r)
			g.addTo(to.versions, v, r)
		}
	case familyIn, familyOut, familyHeard:
	}
}

func (g *graph) addTo(m map[string]*record, key string, r *record) {
	to := m[key]
	if to == nil {
		to = &record{}
		m[key] = to
	}
	g.sum(to, r)
}

// inbound is what a service takes, by who knows best.
func (n *node) inbound() *record {
	if !n.served.empty() {
		return &n.served
	}
	return &n.callers
}

// by is who counted that: of several callers, each in their own time, nobody.
func (n *node) by(name string) string {
	if n.served.empty() {
		return nobody
	}
	return name
}

// nobody is the name of no service.
const nobody = "\x00"

// service is a node as the API has it.
func (g *graph) service(name string, st *state) *adminv1.ServiceStat {
	n := g.node(name)
	out := &n.out
	if out.empty() {
		out = &n.outLoad
	}
	stat := &adminv1.ServiceStat{
		Service:  name,
		Inbound:  g.golden(n.by(name), n.inbound()),
		Outbound: g.golden(name, out),
		Versions: g.versions(nobody, n.versions),
	}
	if st != nil {
		stat.Meshed = st.processes
		stat.Connections = st.connections
		stat.BreakersOpen = int32(len(st.open))
		stat.Ejected = int32(len(st.ejected))
		stat.Zones = slices.Sorted(maps.Keys(st.zones))
	}
	return stat
}

func (g *graph) versions(by string, m map[string]*record) []*adminv1.VersionStat {
	out := make([]*adminv1.VersionStat, 0, len(m))
	for _, v := range slices.Sorted(maps.Keys(m)) {
		out = append(out, &adminv1.VersionStat{Version: v, Golden: g.golden(by, m[v])})
	}
	return out
}

// list are the edges that are wanted, in order.
func (g *graph) list(wanted func(edgeKey) bool) []*adminv1.EdgeStat {
	var out []*adminv1.EdgeStat
	keys := slices.SortedFunc(maps.Keys(g.edges), func(a, b edgeKey) int {
		return cmp.Or(cmp.Compare(a.source, b.source), cmp.Compare(a.destination, b.destination))
	})
	for _, k := range keys {
		if wanted(k) {
			if e := g.stat(k, g.edges[k]); e != nil {
				e.Versions = g.versions(k.source, g.edges[k].versions)
				out = append(out, e)
			}
		}
	}
	return out
}

// stat is an edge as the API has it; nil where nothing went over it.
func (g *graph) stat(k edgeKey, e *edge) *adminv1.EdgeStat {
	stat := &adminv1.EdgeStat{
		Source: k.source, Destination: k.destination,
		Retries: e.counts.counts[countRetries], Hedges: e.counts.counts[countHedges],
		Denied: e.counts.counts[countDenied], Refused: e.counts.counts[countRefused],
		ClientId: e.clientID,
	}
	secured := e.secured
	switch {
	case !e.calls.empty() || !e.attempts.empty() || !e.counts.empty():
		stat.Calls = g.golden(k.source, &e.calls)
		stat.Attempts = g.golden(k.source, &e.attempts)
		if e.attempts.empty() {
			secured = e.servedSecured
		}
	case !e.load.empty():
		stat.Calls = g.golden(nobody, &e.load)
		stat.Attempts = g.golden(nobody, &e.load)
		stat.Stock = true
		secured = e.servedSecured
		if !e.served.empty() { // servers measured what stock clients do not
			stat.Attempts = g.golden(k.destination, &e.served)
		}
	case !e.served.empty():
		stat.Calls = g.golden(k.destination, &e.served)
		stat.Attempts = g.golden(k.destination, &e.served)
		secured = e.servedSecured
	default:
		return nil
	}
	if all := e.local + e.distant; all > 0 {
		stat.Local = float64(e.local) / float64(all)
	}
	stat.Security = securityOf(secured).String()
	if stat.GetSecurity() == securityMTLS.String() {
		stat.ServerId = serverID(e.clientID, k.destination)
	}
	return stat
}

// securityOf is what to show of attempts that differ: one in plaintext is a warning,
// and one that never came to a connection says nothing.
func securityOf(n [4]uint64) security {
	switch {
	case n[securityPlaintext] > 0:
		return securityPlaintext
	case n[securityMTLS] > 0:
		return securityMTLS
	}
	return securityUnknown
}

// serverID is the identity of a service, which its caller verified, in the trust
// domain of the caller.
func serverID(caller, service string) string {
	id, err := spiffe.ParseID(caller)
	if err != nil {
		return ""
	}
	return id.Domain().ServiceID(service)
}
