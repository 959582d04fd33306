package serve

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"testing"
	"testing/synctest"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"
)

// A step is one thing that happens to a stream in the model.
type step struct {
	do    string // "publish", "subscribe", "unsubscribe", "answer", "refuse", "blame", "reconnect"
	kind  kind
	names []string
	text  string
}

var (
	modelNames = []string{"a", "b", "c", "d"}
	modelTexts = []string{"", "v1", "v2", "v3"} // "" takes the name away
)

func drawSteps(t *rapid.T) []step {
	one := rapid.Custom(func(t *rapid.T) step {
		return step{
			do:    rapid.SampledFrom([]string{"publish", "publish", "subscribe", "subscribe", "unsubscribe", "answer", "answer", "refuse", "blame", "reconnect"}).Draw(t, "do"),
			kind:  kind(rapid.IntRange(0, int(kinds)-1).Draw(t, "kind")),
			names: rapid.SliceOfNDistinct(rapid.SampledFrom(modelNames), 1, 3, rapid.ID[string]).Draw(t, "names"),
			text:  rapid.SampledFrom(modelTexts).Draw(t, "text"),
		}
	})
	return rapid.SliceOfN(one, 1, 40).Draw(t, "steps")
}

// A model is what a client believes, and what it must be told.
type model struct {
	delta bool
	world world
	// wants are the subscriptions, has the contents the client took.
	wants [kinds]map[string]bool
	has   [kinds]map[string]string
	// refused are contents the client rejected and has not asked for again;
	// earlier are names it has from an earlier stream only.
	refused [kinds]map[string]string
	earlier [kinds]map[string]bool
	owed    [kinds]*reply // not answered yet
	asked   [kinds]bool
	last    [kinds]string // nonce of the last response that was answered
	node    bool
}

// A reply is a response of either form.
type reply struct {
	nonce   string
	content map[string]string // "" is gone
	whole   bool
}

func newModel(delta bool) *model {
	m := &model{delta: delta, world: world{}}
	for k := range kinds {
		m.world[k.url()] = map[string]string{}
		m.wants[k], m.has[k] = map[string]bool{}, map[string]string{}
		m.refused[k], m.earlier[k] = map[string]string{}, map[string]bool{}
	}
	return m
}

// request encodes a request of either form.
func (m *model) request(k kind, add, drop []string, failure *status.Status) []byte {
	var node *corev3.Node
	if !m.node {
		node, m.node = &corev3.Node{Id: "model"}, true
	}
	var versions map[string]string
	var info string
	if !m.asked[k] && len(m.has[k]) > 0 { // comes back with what it has
		versions, info = make(map[string]string), "earlier"
		for n, text := range m.has[k] {
			versions[n] = version(k.url(), n, text)
		}
	}
	m.asked[k] = true
	var r proto.Message = &discoveryv3.DeltaDiscoveryRequest{
		Node: node, TypeUrl: k.url(), ResourceNamesSubscribe: add, ResourceNamesUnsubscribe: drop,
		ResponseNonce: m.last[k], ErrorDetail: failure, InitialResourceVersions: versions,
	}
	if !m.delta {
		r = &discoveryv3.DiscoveryRequest{
			Node: node, TypeUrl: k.url(), ResourceNames: slices.Sorted(maps.Keys(m.wants[k])),
			ResponseNonce: m.last[k], ErrorDetail: failure, VersionInfo: info,
		}
	}
	b, err := proto.Marshal(r)
	if err != nil {
		panic(err)
	}
	return b
}

// restart forgets what belongs to a stream.
func (m *model) restart() {
	m.node = false
	for k := range kinds {
		m.owed[k], m.last[k], m.asked[k] = nil, "", false
		clear(m.refused[k])
		clear(m.earlier[k])
		for n := range m.has[k] {
			m.earlier[k][n] = true
		}
	}
}

// take checks a response against what the client believes.
func (m *model) take(k kind, r *reply) error {
	if m.owed[k] != nil {
		return fmt.Errorf("%v: response %s while %s is not answered", k, r.nonce, m.owed[k].nonce)
	}
	for n, text := range r.content {
		switch bad, isBad := m.refused[k][n]; {
		case !m.wants[k][n]:
			return fmt.Errorf("%v: %s was not asked for", k, n)
		case isBad && bad == text && r.whole && m.earlier[k][n]:
			// Left out, it would be taken away, and the server does not have
			// what the client had before.
		case isBad && bad == text:
			return fmt.Errorf("%v: %s of %s was refused and came again", k, text, n)
		}
	}
	m.owed[k] = r
	return nil
}

// answer settles the response that is owed; what bad names is refused.
func (m *model) answer(k kind, bad func(name string) bool) {
	r := m.owed[k]
	m.owed[k], m.last[k] = nil, r.nonce
	if r.whole {
		for n := range m.has[k] {
			if _, there := r.content[n]; !there {
				delete(m.has[k], n)
			}
		}
	}
	for n, text := range r.content {
		switch {
		case !m.wants[k][n]: // dropped meanwhile
		case text == "":
			delete(m.has[k], n)
		case bad(n):
			if m.has[k][n] != text {
				m.refused[k][n] = text
			}
		default:
			m.has[k][n] = text
			delete(m.earlier[k], n)
		}
	}
}

// settled compares what the client has with what is served.
func (m *model) settled() error {
	for k := range kinds {
		for n := range m.wants[k] {
			got, want := m.has[k][n], m.world[k.url()][n]
			if bad, isBad := m.refused[k][n]; isBad && bad == want {
				continue
			}
			if want == "" && !m.delta && !k.full() {
				continue // there is no way to say so
			}
			if got != want {
				return fmt.Errorf("%v: the client has %q of %s, served is %q", k, got, n, want)
			}
		}
	}
	return nil
}

// replies turns responses into replies.
func sotwReply(r *discoveryv3.DiscoveryResponse) (string, *reply) {
	k, _ := kindOf([]byte(r.GetTypeUrl()))
	return r.GetTypeUrl(), &reply{nonce: r.GetNonce(), content: contents(r), whole: k.full()}
}

func deltaReply(r *discoveryv3.DeltaDiscoveryResponse) (string, *reply) {
	content := changes(r)
	for n, text := range content {
		if text == "removed" {
			content[n] = ""
		}
	}
	return r.GetTypeUrl(), &reply{nonce: r.GetNonce(), content: content}
}

// play runs steps against a stream and returns what is wrong.
func play[Resp proto.Message](steps []step, delta bool, empty func() Resp, read func(Resp) (string, *reply)) error {
	s := New(Config{Logger: slog.New(slog.DiscardHandler)})
	defer s.Close()
	m := newModel(delta)
	f := newFake(s, delta, empty)
	generation := uint64(0)
	publish := func() {
		generation++
		snap := m.world.snapshot(generation)
		s.Publish(snap)
	}
	drain := func() error {
		for _, r := range f.received() {
			u, reply := read(r)
			k, ok := kindOf([]byte(u))
			if !ok {
				return fmt.Errorf("a response of type %q", u)
			}
			if err := m.take(k, reply); err != nil {
				return err
			}
		}
		return nil
	}
	settle := func(k kind, bad func(string) bool, failure *status.Status) {
		m.answer(k, bad)
		f.send(m.request(k, nil, nil, failure))
	}
	reconnect := func() error {
		if err := f.end(); err != nil {
			return err
		}
		f = newFake(s, delta, empty)
		m.restart()
		for k := range kinds {
			if len(m.wants[k]) > 0 {
				f.send(m.request(k, slices.Sorted(maps.Keys(m.wants[k])), nil, nil))
			}
		}
		return nil
	}
	publish()
	for i, st := range steps {
		if st.do == "reconnect" {
			if err := reconnect(); err != nil {
				return err
			}
		} else if err := m.step(st, f.send, publish, settle); err != nil {
			return fmt.Errorf("step %d, %+v: %w", i, st, err)
		}
		if err := drain(); err != nil {
			return fmt.Errorf("step %d, %+v: %w", i, st, err)
		}
	}
	for range 10 { // until nothing is owed: an answer may bring what it held up
		for k := range kinds {
			if m.owed[k] != nil {
				settle(k, func(string) bool { return false }, nil)
			}
		}
		if err := drain(); err != nil {
			return err
		}
	}
	if err := m.settled(); err != nil {
		return err
	}
	over, cancel := context.WithCancel(context.Background())
	cancel()
	if err := s.Await(over, "test", generation); err != nil {
		return err
	}
	if err := f.end(); err != nil {
		return err
	}
	for k := range s.tables {
		for n, tp := range s.tables[k].topics {
			if tp.current == nil || len(tp.subscribers) > 0 {
				return fmt.Errorf("%v: %s is still known after the stream has ended", kind(k), n)
			}
		}
	}
	return nil
}

// step does one step.
func (m *model) step(st step, send func([]byte) bool, publish func(), settle func(kind, func(string) bool, *status.Status)) error {
	k := st.kind
	switch st.do {
	case "publish":
		for _, n := range st.names {
			m.world[k.url()][n] = st.text
			if st.text == "" {
				delete(m.world[k.url()], n)
			}
		}
		publish()
	case "subscribe":
		for _, n := range st.names {
			if m.delta || !m.wants[k][n] {
				delete(m.refused[k], n)
			}
			m.wants[k][n] = true
		}
		if !send(m.request(k, st.names, nil, nil)) {
			return fmt.Errorf("the stream has ended")
		}
	case "unsubscribe":
		if !m.asked[k] {
			return nil // as a first request it would ask for everything
		}
		for _, n := range st.names {
			delete(m.wants[k], n)
			delete(m.has[k], n)
			delete(m.refused[k], n)
			delete(m.earlier[k], n)
			if m.owed[k] != nil {
				delete(m.owed[k].content, n) // an answer to it speaks of the name no more
			}
		}
		send(m.request(k, nil, st.names, nil))
	case "answer":
		if m.owed[k] != nil {
			settle(k, func(string) bool { return false }, nil)
		}
	case "refuse":
		if m.owed[k] != nil {
			settle(k, func(string) bool { return true }, &status.Status{Message: "no"})
		}
	case "blame":
		if r := m.owed[k]; r != nil && r.content[st.names[0]] != "" {
			settle(k, func(n string) bool { return n == st.names[0] },
				&status.Status{Message: fmt.Sprintf("resource %q: no", st.names[0])})
		}
	}
	return nil
}

func TestAClientEndsUpWithWhatIsServed(t *testing.T) {
	check := func(t *testing.T, run func([]step) error) {
		rapid.Check(t, func(rt *rapid.T) {
			steps := drawSteps(rt)
			var err error
			synctest.Test(t, func(*testing.T) { err = run(steps) })
			if err != nil {
				rt.Fatal(err)
			}
		})
	}
	t.Run("state of the world", func(t *testing.T) {
		check(t, func(steps []step) error {
			return play(steps, false, func() *discoveryv3.DiscoveryResponse { return new(discoveryv3.DiscoveryResponse) }, sotwReply)
		})
	})
	t.Run("delta", func(t *testing.T) {
		check(t, func(steps []step) error {
			return play(steps, true, func() *discoveryv3.DeltaDiscoveryResponse { return new(discoveryv3.DeltaDiscoveryResponse) }, deltaReply)
		})
	})
}
