package cli

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	adminv1 "github.com/tulle-mesh/tulle/mesh/api/admin/v1"
	"github.com/tulle-mesh/tulle/mesh/resource"
)

// bootstrap is the file that gRPC's own xDS clients start from (gRFC A27).
type bootstrap struct {
	Servers []bootstrapServer `json:"xds_servers"`
	Node    bootstrapNode     `json:"node"`
	// Providers are where certificates come from, by the names that resources give
	// them (gRFC A29).
	Providers map[string]bootstrapProvider `json:"certificate_providers"`
	// Listener is the name of a server's own Listener; %s is its address (gRFC A36).
	Listener string `json:"server_listener_resource_name_template,omitempty"`
}

type bootstrapProvider struct {
	Plugin string         `json:"plugin_name"`
	Config bootstrapFiles `json:"config"`
}

// bootstrapFiles are read again every Refresh (gRFC A29 and A65).
type bootstrapFiles struct {
	Certificate string `json:"certificate_file"`
	Key         string `json:"private_key_file"`
	CA          string `json:"ca_certificate_file"`
	Refresh     string `json:"refresh_interval"`
}

type bootstrapServer struct {
	URI      string           `json:"server_uri"`
	Creds    []bootstrapCreds `json:"channel_creds"`
	Features []string         `json:"server_features"`
}

type bootstrapCreds struct {
	Type   string         `json:"type"`
	Config bootstrapFiles `json:"config"`
}

type bootstrapNode struct {
	ID       string             `json:"id"`
	Cluster  string             `json:"cluster,omitempty"`
	Locality *bootstrapLocality `json:"locality,omitempty"`
}

type bootstrapLocality struct {
	Region string `json:"region,omitempty"`
	Zone   string `json:"zone"`
}

func newBootstrap() *cobra.Command {
	var server, node, service, zone, dir string
	cmd := &cobra.Command{
		Use:   "bootstrap",
		Short: "Print the bootstrap file for gRPC's own xDS clients, in any language",
		Long: `bootstrap prints the file with which an unmodified gRPC client, in any language
that has xDS built in, reaches the services of the mesh as xds:///NAME, and with
which an unmodified gRPC xDS server is one of them. Neither needs a line of this
project.

xdsserver and the services of the mesh speak mutual TLS only. The certificate, key
and roots are files in the identity directory; 'xdsserver identity fetch' writes
them and keeps them fresh, and gRPC reads them again every 30 seconds.`,
		Example: `  xdsserver identity fetch --service reports --out identity &
  xdsserver bootstrap --service reports --identity-dir identity > bootstrap.json
  GRPC_XDS_BOOTSTRAP=bootstrap.json ./reports`,
		Args: noArguments,
	}
	to, _ := addAdmin(cmd), addOutput(cmd)
	cmd.Flags().StringVar(&server, "server", "", "`ADDRESS` of the mesh port (default: what the server says)")
	cmd.Flags().StringVar(&node, "node", "", "`ID` of the client (default: the service and this host's name)")
	cmd.Flags().StringVar(&service, "service", "", "the process's own service, `NAME` or NAME.NAMESPACE (required)")
	cmd.Flags().StringVar(&dir, "identity-dir", "", "`DIR` of svid.pem, key.pem and bundle.pem (required)")
	cmd.Flags().StringVar(&zone, "zone", "", "the client's zone, `ZONE` or REGION/ZONE")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		locality, err := parseLocality(zone)
		switch {
		case err != nil:
			return err
		case service == "":
			return errors.New("--service names no service: say whose process it is for")
		case dir == "":
			return fmt.Errorf("--identity-dir names no directory: xdsserver speaks mutual TLS only; "+
				"'xdsserver identity fetch --service %s --out DIR' fills one", service)
		}
		identity, err := identityFiles(dir)
		if err != nil {
			return wrong(err)
		}
		if server == "" {
			found, err := meshAddress(cmd, to)
			if err != nil {
				return err
			}
			server = found
		}
		if node == "" {
			host, err := os.Hostname()
			if err != nil {
				host = "localhost"
			}
			node = strings.TrimPrefix(service+"/"+host, "/")
		}
		b := bootstrap{
			Servers: []bootstrapServer{{
				URI:   server,
				Creds: []bootstrapCreds{{Type: "tls", Config: identity}},
				// Deletion is by intent: what a server that lost its memory
				// does not know is no reason to forget it (gRFC A53).
				Features: []string{"xds_v3", "ignore_resource_deletion"},
			}},
			Node:      bootstrapNode{ID: node, Cluster: service, Locality: locality},
			Providers: map[string]bootstrapProvider{resource.CertificateProvider: {Plugin: "file_watcher", Config: identity}},
			Listener:  resource.ServerListener(service) + "/%s",
		}
		return writeJSON(cmd.OutOrStdout(), b)
	}
	return cmd
}

// identityFiles names the files of an identity directory. The paths are absolute:
// the process that reads the bootstrap has a directory of its own.
func identityFiles(dir string) (bootstrapFiles, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return bootstrapFiles{}, fmt.Errorf("--identity-dir: %w", err)
	}
	return bootstrapFiles{
		Certificate: filepath.Join(dir, certificateFile),
		Key:         filepath.Join(dir, keyFile),
		CA:          filepath.Join(dir, bundleFile),
		Refresh:     "30s",
	}, nil
}

// parseLocality reads a zone as TULLE_ZONE has it; no zone is no locality.
func parseLocality(s string) (*bootstrapLocality, error) {
	if s == "" {
		return nil, nil
	}
	region, zone, found := strings.Cut(s, "/")
	if !found {
		region, zone = "", s
	}
	if zone == "" || strings.Contains(zone, "/") {
		return nil, fmt.Errorf("--zone %q: want \"zone\" or \"region/zone\"", s)
	}
	return &bootstrapLocality{Region: region, Zone: zone}, nil
}

// meshAddress asks the server where its mesh port is.
func meshAddress(cmd *cobra.Command, to *admin) (string, error) {
	client, err := to.client()
	if err != nil {
		return "", err
	}
	status, err := client.GetStatus(cmd.Context(), &adminv1.GetStatusRequest{})
	if err != nil {
		return "", to.explain(err)
	}
	for _, l := range status.GetListeners() {
		if address, ok := strings.CutPrefix(l, "mesh "); ok {
			return address, nil
		}
	}
	return "", wrong(errors.New("the server listens on no mesh port: name one with --server"))
}
