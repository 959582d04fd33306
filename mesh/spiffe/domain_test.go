package spiffe

import "testing"

func TestDomainsWriteIdentitiesAsTheirAuthorityDoes(t *testing.T) {
	own, consul := Domain{Name: "example.org"}, Domain{Name: "1f0c.consul", Datacenter: "dc1"}
	for _, test := range []struct{ got, want string }{
		{own.ServiceID("voting"), "spiffe://example.org/ns/default/svc/voting"},
		{own.ServerID(), "spiffe://example.org/xdsserver"},
		{consul.ServiceID("voting"), "spiffe://1f0c.consul/ns/default/dc/dc1/svc/voting"},
		{consul.ServiceID("voting.shop"), "spiffe://1f0c.consul/ns/shop/dc/dc1/svc/voting"},
		{consul.ServerID(), "spiffe://1f0c.consul/ns/default/dc/dc1/svc/xdsserver"},
	} {
		if test.got != test.want {
			t.Errorf("got %s, want %s", test.got, test.want)
		}
	}
}

func TestIdentitiesOfConsulAreReadBack(t *testing.T) {
	for _, test := range []struct {
		id, service, datacenter string
		server                  bool
	}{
		{id: "spiffe://1f0c.consul/ns/default/dc/dc1/svc/voting", service: "voting", datacenter: "dc1"},
		{id: "spiffe://1f0c.consul/ns/shop/dc/dc1/svc/voting", service: "voting.shop", datacenter: "dc1"},
		{id: "spiffe://1f0c.consul/ns/default/dc/dc1/svc/xdsserver", datacenter: "dc1", server: true},
		{id: "spiffe://1f0c.consul/ns/shop/dc/dc1/svc/xdsserver", service: "xdsserver.shop", datacenter: "dc1"},
		{id: "spiffe://example.org/ns/default/svc/xdsserver", service: "xdsserver"},
		{id: "spiffe://1f0c.consul/ns/default/dc/DC1/svc/voting"},
		{id: "spiffe://1f0c.consul/ns/default/dc/dc1/voting"},
		{id: "spiffe://1f0c.consul/ns/default/dc/dc1/svc/voting/more"},
		{id: "spiffe://1f0c.consul/ap/one/ns/default/dc/dc1/svc/voting"},
		{id: "spiffe://1f0c.consul/agent/client/dc/dc1/id/node"},
		{id: "spiffe://1f0c.consul/dc/dc1/svc/voting"},
	} {
		id, err := ParseID(test.id)
		if err != nil {
			t.Errorf("%s: %v", test.id, err)
			continue
		}
		if id.Service != test.service || id.Datacenter != test.datacenter || id.IsServer() != test.server {
			t.Errorf("%s: got service %q, datacenter %q, server %v", test.id, id.Service, id.Datacenter, id.IsServer())
		}
		if id.Service != "" && id.Domain().ServiceID(id.Service) != test.id {
			t.Errorf("%s is written back as %s", test.id, id.Domain().ServiceID(id.Service))
		}
	}
}
