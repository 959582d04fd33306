package serve

import (
	"cmp"
	"slices"
	"strings"
	"time"
)

// A Ledger is an account of all clients at one moment.
type Ledger struct {
	// Streams that have said who they are, in order of node and then of age.
	Streams []Stream
	// Rejections that stand, the newest first, at most 1,000. One stands until
	// its client accepts something else of that name, and for 15 minutes after
	// the client has gone.
	Rejections []Rejection
}

// A Stream is one open ADS stream. A client may have several: stock gRPC clients
// open one for each target.
type Stream struct {
	Node, Cluster string
	// Region and Zone are where it says it is; may be empty.
	Region, Zone string
	// Client is who its certificate says it is; empty where nobody is asked to
	// identify himself. Cluster is then its service, whatever the node says.
	Client Client
	// UserAgent is name and version: "gRPC Go 1.85.0", "tulle 0.1.0".
	UserAgent string
	// Peer is the address the stream comes from.
	Peer string
	// Delta is false for state of the world.
	Delta     bool
	Connected time.Time
	// Current says that it has all configuration, and has refused nothing of it. Commands
	// are none.
	Current bool
	// Resources counts those it has been sent and not refused, Refused those of
	// which it refuses the current version.
	Resources, Refused int
}

// Ledger returns the account. It looks at every stream: for people, not for hot
// paths.
func (s *Server) Ledger() Ledger {
	opened := s.opened()
	l := Ledger{Streams: make([]Stream, 0, len(opened))}
	for _, st := range opened {
		if info, ok := st.info(); ok {
			l.Streams = append(l.Streams, info)
		}
	}
	slices.SortFunc(l.Streams, compareStreams)
	l.Rejections = s.rejections.list()
	return l
}

func compareStreams(a, b Stream) int {
	return cmp.Or(strings.Compare(a.Node, b.Node), a.Connected.Compare(b.Connected))
}

// Subscribers returns how many open streams subscribe to a name.
func (s *Server) Subscribers(typeURL, name string) int {
	k, ok := kindOf([]byte(typeURL))
	if !ok {
		return 0
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	t := &s.tables[k]
	n := 0
	for st := range t.wild {
		if st.client.sees(s, name) {
			n++
		}
	}
	if tp := t.topics[name]; tp != nil {
		for st := range tp.open {
			if _, also := t.wild[st]; !also {
				n++
			}
		}
	}
	return n
}

// info accounts for one stream; false until it has said who it is.
func (st *stream) info() (Stream, bool) {
	st.server.mu.RLock() // for what is current
	defer st.server.mu.RUnlock()
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.account()
}

// account is info. Server.mu must be held for reading, and mu.
func (st *stream) account() (Stream, bool) {
	info := Stream{
		Node: st.node.id, Cluster: st.node.cluster, Region: st.node.region, Zone: st.node.zone, UserAgent: st.node.agent, Peer: st.peer,
		Client: st.client, Delta: st.delta, Connected: st.connected,
	}
	behind := st.since.Load() != 0
	for k := range st.subs {
		sn := &st.subs[k]
		counts := kind(k).bit()&configuration != 0
		behind = behind || counts && sn.inflight
		for i := range sn.names {
			sub := &sn.names[i]
			if sub.sent != nil {
				info.Resources++
			}
			if current := sub.topic.current; current != nil && sub.refused(current) {
				info.Refused++
				behind = behind || counts
			}
		}
	}
	info.Current = !behind
	return info, st.node.known && !st.ended
}

// opened returns the open streams, never nil.
func (s *Server) opened() []*stream {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.list()
}

// list returns the open streams, never nil. mu must be held.
func (s *Server) list() []*stream {
	list := make([]*stream, 0, len(s.streams))
	for st := range s.streams {
		list = append(list, st)
	}
	return list
}
