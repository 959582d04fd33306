package xdsclient

import (
	"fmt"
	"testing"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/protobuf/types/known/anypb"
	"pgregory.net/rapid"
)

// modelServer is the protocol as its text has it, without a network: requests
// wait until they are read, responses until they are delivered.
type modelServer struct {
	versions map[string]int // content of each name; zero is none
	sent     map[string]int // what the stream was sent of the names it tracks
	requests []*discoveryv3.DeltaDiscoveryRequest
	// responses in order, with the server's state at the time of each.
	responses []*discoveryv3.DeltaDiscoveryResponse
}

// read takes the oldest request and answers all it subscribes to, even what it
// believes the client has, unless the client says that it has it.
func (m *modelServer) read() {
	if len(m.requests) == 0 {
		return
	}
	req := m.requests[0]
	m.requests = m.requests[1:]
	var due []string
	for _, name := range req.GetResourceNamesSubscribe() {
		m.sent[name] = m.versions[name]
		if v, ok := req.GetInitialResourceVersions()[name]; !ok || v != fmt.Sprint(m.versions[name]) {
			due = append(due, name)
		}
	}
	for _, name := range req.GetResourceNamesUnsubscribe() {
		delete(m.sent, name)
	}
	m.answer(due)
}

// push sends what has changed among the names that are tracked.
func (m *modelServer) push() {
	var due []string
	for name, sent := range m.sent {
		if sent != m.versions[name] {
			m.sent[name] = m.versions[name]
			due = append(due, name)
		}
	}
	m.answer(due)
}

func (m *modelServer) answer(names []string) {
	if len(names) == 0 {
		return
	}
	resp := &discoveryv3.DeltaDiscoveryResponse{TypeUrl: typeA, Nonce: "n"}
	for _, name := range names {
		v := m.versions[name]
		if v == 0 {
			resp.RemovedResources = append(resp.RemovedResources, name)
			continue
		}
		resp.Resources = append(resp.Resources, &discoveryv3.Resource{
			Name: name, Version: fmt.Sprint(v),
			Resource: &anypb.Any{TypeUrl: typeA, Value: fmt.Appendf(nil, "%s=%d", name, v)},
		})
	}
	m.responses = append(m.responses, resp)
}

// TestSubscriptionsAgreeWithTheServer drives a client and a server through any
// order of subscribing, closing, changes, deliveries and broken streams, and
// then lets both come to rest: what the client holds must be what the server
// has, and the server must track what the client wants.
func TestSubscriptionsAgreeWithTheServer(t *testing.T) {
	names := []string{"a", "b"}
	rapid.Check(t, func(rt *rapid.T) {
		h := newClient(t, config(newNetwork(), "a"))
		m := &modelServer{versions: map[string]int{}}
		held := map[string][]*Subscription{}
		version := 0
		var s *session
		reconnect := func() {
			if s != nil {
				h.end(s, nil)
			}
			s = &session{target: "a", strange: map[string]bool{}, asked: make([]bool, 2), spoken: make([]bool, 2)}
			h.begin(s)
			m.sent, m.requests, m.responses = map[string]int{}, nil, nil
		}
		flush := func() {
			for _, r := range h.requests(s) {
				m.requests = append(m.requests, official(rt, r))
			}
		}
		deliver := func() {
			if len(m.responses) == 0 {
				return
			}
			answer := h.handle(s, wire(rt, m.responses[0]))
			if answer == nil || answer.GetErrorDetail() != nil {
				rt.Fatalf("%v was answered by %v", m.responses[0], answer)
			}
			m.responses = m.responses[1:]
		}
		reconnect()
		name := rapid.SampledFrom(names)
		rt.Repeat(map[string]func(*rapid.T){
			"subscribe": func(rt *rapid.T) {
				n := name.Draw(rt, "name")
				held[n] = append(held[n], h.Subscribe(typeA, n, nil))
			},
			"close": func(rt *rapid.T) {
				n := name.Draw(rt, "name")
				if subs := held[n]; len(subs) > 0 {
					subs[0].Close()
					held[n] = subs[1:]
				}
			},
			"change": func(rt *rapid.T) {
				version++
				m.versions[name.Draw(rt, "name")] = version
			},
			"remove":    func(rt *rapid.T) { delete(m.versions, name.Draw(rt, "name")) },
			"flush":     func(*rapid.T) { flush() },
			"read":      func(*rapid.T) { m.read() },
			"push":      func(*rapid.T) { m.push() },
			"deliver":   func(*rapid.T) { deliver() },
			"reconnect": func(*rapid.T) { reconnect() },
		})

		flush()
		for len(m.requests) > 0 {
			m.read()
		}
		m.push()
		for len(m.responses) > 0 {
			deliver()
		}
		for _, n := range names {
			_, tracked := m.sent[n]
			if wanted := len(held[n]) > 0; wanted != tracked {
				rt.Errorf("%s is wanted: %v, tracked by the server: %v", n, wanted, tracked)
			}
			for _, sub := range held[n] {
				st, has := sub.State(), m.versions[n] != 0
				if !st.Known || has && st.Value != fmt.Sprint(m.versions[n]) || !has && st.Err == nil && st.Ambient == nil {
					rt.Errorf("%s is %+v, the server has version %d", n, st, m.versions[n])
				}
				if has && st.Ambient != nil {
					rt.Errorf("%s has an error of the past: %v", n, st.Ambient)
				}
				sub.Close()
			}
		}
		flush()
		if len(h.tables[0]) != 0 || len(h.waiting) != 0 || h.count != 0 || h.held != 0 {
			rt.Errorf("left behind: %d resources, %d waiting, count %d, %d bytes", len(h.tables[0]), len(h.waiting), h.count, h.held)
		}
	})
}
