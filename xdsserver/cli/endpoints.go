package cli

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	adminv1 "github.com/tulle-mesh/tulle/mesh/api/admin/v1"
)

func newEndpoints() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "endpoints [SERVICE]",
		Short: "Show the endpoints of a service, or of all",
		Example: `  xdsserver endpoints voting
  xdsserver endpoints voting.shop -o json`,
		Args: arguments(0, 1, "one service at most"),
	}
	to, out := addAdmin(cmd), addOutput(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		request := &adminv1.ListEndpointsRequest{}
		if len(args) > 0 {
			request.Service = args[0]
		}
		client, err := to.client()
		if err != nil {
			return err
		}
		answer, err := client.ListEndpoints(cmd.Context(), request)
		if err != nil {
			return to.explain(err)
		}
		if out.json() {
			return writeJSON(cmd.OutOrStdout(), endpointsResult(answer))
		}
		if len(answer.GetEndpoints()) == 0 {
			fmt.Fprintln(cmd.ErrOrStderr(), "No endpoints: start an instance with TULLE_SERVICE set, or list static ones in a Service.")
			return nil
		}
		t := newTable(cmd.OutOrStdout(), "SERVICE", "INSTANCE", "VERSION", "ZONE", "ADDRESS", "STATE", "ORIGIN", "SINCE")
		for _, e := range answer.GetEndpoints() {
			t.row(qualified(e.GetService(), e.GetNamespace()), e.GetInstance(), e.GetVersion(), place(e),
				strings.Join(e.GetAddresses(), ","), e.GetState(), e.GetOrigin(), age(e.GetSince()))
		}
		if err := t.flush(); err != nil {
			return err
		}
		if request.GetService() != "" {
			fmt.Fprintf(cmd.ErrOrStderr(), "%s subscribed\n", count(int(answer.GetSubscribers()), "client"))
		}
		return nil
	}
	return cmd
}

func place(e *adminv1.Endpoint) string {
	if e.GetRegion() == "" {
		return e.GetZone()
	}
	return e.GetRegion() + "/" + e.GetZone()
}

type endpointsJSON struct {
	Endpoints   []endpointJSON `json:"endpoints"`
	Subscribers int32          `json:"subscribers"`
}

type endpointJSON struct {
	Service   string     `json:"service"`
	Namespace string     `json:"namespace"`
	Instance  string     `json:"instance"`
	Version   string     `json:"version"`
	Region    string     `json:"region"`
	Zone      string     `json:"zone"`
	Addresses []string   `json:"addresses"`
	Weight    uint32     `json:"weight"`
	State     string     `json:"state"`
	Origin    string     `json:"origin"`
	Since     *time.Time `json:"since,omitempty"`
}

func endpointsResult(answer *adminv1.ListEndpointsResponse) endpointsJSON {
	out := endpointsJSON{Endpoints: []endpointJSON{}, Subscribers: answer.GetSubscribers()}
	for _, e := range answer.GetEndpoints() {
		out.Endpoints = append(out.Endpoints, endpointJSON{
			Service:   e.GetService(),
			Namespace: e.GetNamespace(),
			Instance:  e.GetInstance(),
			Version:   e.GetVersion(),
			Region:    e.GetRegion(),
			Zone:      e.GetZone(),
			Addresses: e.GetAddresses(),
			Weight:    e.GetWeight(),
			State:     e.GetState(),
			Origin:    e.GetOrigin(),
			Since:     stamp(e.GetSince()),
		})
	}
	return out
}
