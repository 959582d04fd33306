package serve

import (
	"bytes"
	"slices"
	"strconv"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// receive takes in one request. An error ends the stream.
func (st *stream) receive(req *request) error {
	if req.size > maxRequest {
		return status.Errorf(codes.ResourceExhausted,
			"ads: a request of %d bytes; at most %d: subscribe to fewer names on one stream", req.size, maxRequest)
	}
	l := &sotwLayout
	if st.delta {
		l = &deltaLayout
	}
	if err := req.parse(l); err != nil {
		return status.Errorf(codes.InvalidArgument, "ads: %v", err)
	}
	if err := st.identify(req); err != nil {
		return err
	}
	k, ok := kindOf(req.typeURL)
	switch {
	case !ok:
		return status.Errorf(codes.InvalidArgument, "ads: type %s is not served; %s, %s, %s, %s, %s and %s are",
			quote(req.typeURL), listeners.url(), routes.url(), clusters.url(), endpoints.url(), bundles.url(), commands.url())
	case req.locators:
		return status.Errorf(codes.InvalidArgument,
			"ads: resource_locators are not served; ask for %s resources by name", k)
	}
	var err error
	if st.delta {
		err = st.receiveDelta(k, req)
	} else {
		err = st.receiveSotW(k, req)
	}
	if st.dirty.Load() != 0 {
		st.poke()
	}
	return err
}

// receiveSotW takes in a request of the state-of-the-world form: an answer to
// the response its nonce names, and the whole list of names.
func (st *stream) receiveSotW(k kind, req *request) error {
	st.mu.Lock()
	st.heard = time.Now()
	sn := &st.subs[k]
	var news []*refusal
	switch {
	case sn.nonce == 0 || len(req.nonce) == 0:
		// Nothing was sent on this stream, so that this answers nothing.
	case isNonce(req.nonce, sn.nonce):
		news = st.settle(k, req)
	case !sn.inflight:
		// Stale, and no response is under way that it could have crossed.
		st.mu.Unlock()
		return nil
	default:
		// Stale: it crossed our last response. It says nothing of that one, but
		// its names are taken: a name that is dropped here, and is back when
		// the client answers, must be answered again.
	}
	first := !sn.asked
	same := !first && sn.hash == req.names
	st.mu.Unlock()
	st.report(news)
	if same {
		return nil
	}

	names, all, err := st.names(req, &sotwLayout, false, k)
	if err != nil {
		return err
	}
	s := st.server
	s.mu.Lock()
	defer s.mu.Unlock()
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.ended {
		return nil
	}
	sn.hash, sn.asked = req.names, true
	if len(names) > 0 || all {
		sn.named = true
	}
	st.setWild(k, all || k.full() && !sn.named)
	if added := st.replace(k, names, first && len(req.version) > 0); added || first || sn.wild {
		st.mark(k, s.revision)
	}
	return nil
}

// receiveDelta takes in a request of the delta form: an answer, if its nonce
// names a response, and names that come and go.
func (st *stream) receiveDelta(k kind, req *request) error {
	st.mu.Lock()
	st.heard = time.Now()
	sn := &st.subs[k]
	var news []*refusal
	if sn.nonce != 0 && isNonce(req.nonce, sn.nonce) {
		news = st.settle(k, req)
	}
	first := !sn.asked
	st.mu.Unlock()
	st.report(news)

	add, all, err := st.names(req, &deltaLayout, false, k)
	if err != nil {
		return err
	}
	drop, none, err := st.names(req, &deltaLayout, true, k)
	if err != nil {
		return err
	}
	if !first && len(add)+len(drop) == 0 && !all && !none {
		return nil
	}
	s := st.server
	s.mu.Lock()
	defer s.mu.Unlock()
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.ended {
		return nil
	}
	sn.asked = true
	if len(add) > 0 || all {
		sn.named = true
	}
	switch {
	case all || first && k.full() && !sn.named:
		st.setWild(k, true)
	case none:
		st.setWild(k, false)
	}
	answer := st.subtract(k, drop)
	if err := st.add(k, add); err != nil {
		return err
	}
	if first {
		if err := st.resume(k, req); err != nil {
			return err
		}
	}
	if answer || all || len(add) > 0 || first {
		st.mark(k, s.revision)
	}
	return nil
}

// resume takes in the versions a delta client comes back with.
func (st *stream) resume(k kind, req *request) error {
	sn := &st.subs[k]
	st.widen(k)
	var lost []subscribed
	err := req.each(deltaLayout.initial, func(value []byte) error {
		name, version, err := pair(value)
		if err != nil {
			return status.Errorf(codes.InvalidArgument, "ads: initial_resource_versions: %v", err)
		}
		i, ok := sn.find(name)
		if !ok {
			// Not subscribed to, so that nothing is owed; but who wants
			// everything must hear what became of what it had.
			if sn.wild && !badName(name) && len(lost) < st.server.config.MaxNames {
				lost = append(lost, subscribed{topic: &topic{name: string(name)}, held: true})
			}
			return nil
		}
		sub := &sn.names[i]
		sub.held = true
		if current := sub.topic.current; current != nil && current.version == string(version) {
			sub.sent, sub.acked, sub.told, sub.at = current, current, true, stamp()
		}
		return nil
	})
	byName := func(a, b subscribed) int { return strings.Compare(a.topic.name, b.topic.name) }
	slices.SortFunc(lost, byName)
	lost = slices.CompactFunc(lost, func(a, b subscribed) bool { return a.topic.name == b.topic.name })
	sn.names = append(sn.names, lost...)
	slices.SortFunc(sn.names, byName)
	return err
}

// identify takes in the node, which the first request must name and no other may
// change.
func (st *stream) identify(req *request) error {
	if req.node == nil {
		if !st.node.known { // only this goroutine writes it
			return status.Error(codes.InvalidArgument,
				"ads: the first request names no node; set node.id in the client's bootstrap")
		}
		return nil
	}
	var n corev3.Node
	if err := proto.Unmarshal(req.node, &n); err != nil {
		return status.Errorf(codes.InvalidArgument, "ads: node: %v", err)
	}
	claimed := clip(n.GetCluster())
	named := node{
		known: true, id: clip(n.GetId()), cluster: claimed, claimed: claimed, agent: clip(agent(&n)),
		region: clip(n.GetLocality().GetRegion()), zone: clip(n.GetLocality().GetZone()),
	}
	if named.id == "" {
		return status.Error(codes.InvalidArgument, "ads: the node has no id; set node.id in the client's bootstrap")
	}
	if st.node.known {
		if named.id != st.node.id || claimed != st.node.claimed {
			return status.Errorf(codes.InvalidArgument,
				"ads: the node changed from %q to %q; open a stream for each", st.node.id, named.id)
		}
		return nil
	}
	if st.server.config.Identify != nil {
		named.cluster = st.client.Service
	}
	st.mu.Lock()
	st.node = named
	st.mu.Unlock()
	return nil
}

// agent says what software a node runs.
func agent(n *corev3.Node) string {
	version := n.GetUserAgentVersion()
	if v := n.GetUserAgentBuildVersion().GetVersion(); version == "" && v != nil {
		version = strconv.FormatUint(uint64(v.GetMajorNumber()), 10) + "." +
			strconv.FormatUint(uint64(v.GetMinorNumber()), 10) + "." +
			strconv.FormatUint(uint64(v.GetPatch()), 10)
	}
	return strings.TrimSpace(n.GetUserAgentName() + " " + version)
}

// clip bounds a string that is kept as long as a stream, and frees it from the
// message it came in.
func clip(s string) string {
	if len(s) > maxName {
		s = strings.ToValidUTF8(s[:maxName], "")
	}
	return strings.Clone(s)
}

// quote shows bytes of a client in an error.
func quote(b []byte) string {
	if len(b) > maxName {
		b = b[:maxName]
	}
	return strconv.Quote(string(b))
}

// isNonce reports whether a client's nonce is ours.
func isNonce(nonce []byte, of uint64) bool {
	var digits [20]byte
	return bytes.Equal(nonce, strconv.AppendUint(digits[:0], of, 10))
}
