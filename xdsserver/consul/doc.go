// Package consul is xdsserver's connection to Consul: one client for everything that
// runs over it, with the rules that a mesh needs beside those of Consul's own.
//
//	c, err := consul.New(consul.Config{Address: "127.0.0.1:8500", TokenFile: "/run/consul/token"})
//	if err != nil {
//		return err // says which setting cannot work
//	}
//	err = consul.Follow(ctx, c, consul.Watch[[]*api.ServiceEntry]{
//		What: "service voting",
//		Fetch: func(q *api.QueryOptions) ([]*api.ServiceEntry, *api.QueryMeta, error) {
//			return c.API().Health().Service("voting", "", false, q)
//		},
//		Emit: func(a consul.Answer[[]*api.ServiceEntry]) { use(a) },
//	})
//
// It knows how to ask and how to write; it does not know what services, objects or
// certificates are. Who uses it says that.
package consul
