package cli

import (
	"github.com/spf13/cobra"

	"github.com/tulle-mesh/tulle/xdsserver/consul"
	"github.com/tulle-mesh/tulle/xdsserver/daemon"
)

// consulFlags are what serve is told of Consul.
type consulFlags struct{ given consul.Config }

func (f *consulFlags) add(cmd *cobra.Command, c *daemon.Config) {
	g, flags := &f.given, cmd.Flags()
	flags.StringVar(&g.Address, "consul", "",
		"`ADDRESS` of a Consul agent, HOST:PORT, https://HOST:PORT or unix:///PATH: registry and store of many xdsservers (default: none)")
	flags.StringVar(&g.TokenFile, "consul-token-file", "",
		"`FILE` with the ACL token, read again when it changes (default: $CONSUL_HTTP_TOKEN_FILE, $CONSUL_HTTP_TOKEN)")
	flags.StringVar(&g.CAFile, "consul-ca", "", "roots that Consul is verified against, a PEM `FILE` (default: $CONSUL_CACERT, the system's)")
	flags.StringVar(&g.CertFile, "consul-cert", "", "certificate to show to Consul, a PEM `FILE` (default: $CONSUL_CLIENT_CERT)")
	flags.StringVar(&g.KeyFile, "consul-key", "", "key of --consul-cert, a PEM `FILE` (default: $CONSUL_CLIENT_KEY)")
	flags.StringVar(&g.ServerName, "consul-server-name", "", "`NAME` in Consul's certificate (default: $CONSUL_TLS_SERVER_NAME, the host of --consul)")
	flags.StringVar(&g.Datacenter, "consul-datacenter", "", "`NAME` of the datacenter (default: the agent's)")
	flags.StringVar(&g.Namespace, "consul-namespace", "", "`NAME` of the namespace, of Consul Enterprise (default: $CONSUL_NAMESPACE)")
	flags.StringVar(&g.Prefix, "consul-prefix", "", "`PREFIX` of the mesh's keys in Consul (default: "+consul.DefaultPrefix+")")
	flags.IntVar(&g.Connections, "consul-connections", 0, "how many queries may wait at Consul over HTTP/1.1, a `NUMBER` (default: 150)")
	flags.BoolVar(&g.ReadOnly, "consul-read-only", false, "read services, config entries and intentions from Consul, and write nothing to it")
	flags.StringVar(&c.ConsulGRPC, "consul-grpc", "",
		"`HOST:PORT` where a Consul server speaks gRPC, for --ca consul (default: the host of --consul, port 8502 or 8503)")
	flags.StringVar(&c.ConsulTag, "consul-tag", "", "take only instances in Consul that have this `TAG` (default: all)")
}

// config is what was given, and beside it what Consul's own variables say; nil without
// --consul.
func (f *consulFlags) config() *consul.Config {
	g := f.given
	if g.Address == "" {
		return nil
	}
	env := consul.FromEnv()
	if g.TokenFile == "" {
		g.TokenFile, g.Token = env.TokenFile, env.Token
	}
	if g.CertFile == "" && g.KeyFile == "" {
		g.CertFile, g.KeyFile = env.CertFile, env.KeyFile
	}
	for _, d := range []struct {
		field *string
		value string
	}{{&g.CAFile, env.CAFile}, {&g.ServerName, env.ServerName}, {&g.Namespace, env.Namespace}, {&g.Partition, env.Partition}} {
		if *d.field == "" {
			*d.field = d.value
		}
	}
	return &g
}
