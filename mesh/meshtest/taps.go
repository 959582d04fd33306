package meshtest

import (
	"github.com/tulle-mesh/tulle/mesh/resource"
	"github.com/tulle-mesh/tulle/xdsserver/serve"
	"github.com/tulle-mesh/tulle/xdsserver/tap"
)

// Taps returns what watches calls of members, and has them log, as `xdsserver tap` and
// `xdsserver log` do, of whoever asks. It is another one after each StartServer.
func (m *Mesh) Taps() *tap.Hub {
	m.tb.Helper()
	if m.control == nil {
		m.tb.Fatal("meshtest: the control plane is stopped, and watches nothing")
	}
	return m.control.taps
}

// obeying counts the members that take commands, and those that have them.
func (c *control) obeying(service, instance string, generation uint64) (have, of int) {
	for _, s := range c.servers() {
		h, n := s.ads.Having(resource.CommandsType, resource.CommandsName(service), c.taps.Name(), generation,
			func(s *serve.Stream) bool { return tap.Asks(instance, s.Node) })
		have, of = have+h, of+n
	}
	return have, of
}
