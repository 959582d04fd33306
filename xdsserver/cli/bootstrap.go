package cli

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	adminv1 "github.com/tulle-mesh/tulle/mesh/api/admin/v1"
)

// bootstrap is the file that gRPC's own xDS clients start from (gRFC A27).
type bootstrap struct {
	Servers []bootstrapServer `json:"xds_servers"`
	Node    bootstrapNode     `json:"node"`
}

type bootstrapServer struct {
	URI      string           `json:"server_uri"`
	Creds    []bootstrapCreds `json:"channel_creds"`
	Features []string         `json:"server_features"`
}

type bootstrapCreds struct {
	Type string `json:"type"`
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
	var server, node, service, zone string
	cmd := &cobra.Command{
		Use:   "bootstrap",
		Short: "Print the bootstrap file for gRPC's own xDS clients, in any language",
		Long: `bootstrap prints the file with which an unmodified gRPC client, in any language
that has xDS built in, reaches the services of the mesh as xds:///NAME. It needs
no line of this project.`,
		Example: `  xdsserver bootstrap > bootstrap.json
  GRPC_XDS_BOOTSTRAP=bootstrap.json ./client xds:///voting`,
		Args: noArguments,
	}
	to, _ := addAdmin(cmd), addOutput(cmd)
	cmd.Flags().StringVar(&server, "server", "", "`ADDRESS` of the mesh port (default: what the server says)")
	cmd.Flags().StringVar(&node, "node", "", "`ID` of the client (default: the service and this host's name)")
	cmd.Flags().StringVar(&service, "service", "", "the client's own service, `NAME` or NAME.NAMESPACE, shown to operators")
	cmd.Flags().StringVar(&zone, "zone", "", "the client's zone, `ZONE` or REGION/ZONE")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		locality, err := parseLocality(zone)
		if err != nil {
			return err
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
				Creds: []bootstrapCreds{{Type: "insecure"}},
				// Deletion is by intent: what a server that lost its memory
				// does not know is no reason to forget it (gRFC A53).
				Features: []string{"xds_v3", "ignore_resource_deletion"},
			}},
			Node: bootstrapNode{ID: node, Cluster: service, Locality: locality},
		}
		return writeJSON(cmd.OutOrStdout(), b)
	}
	return cmd
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
