package cli

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	adminv1 "github.com/tulle-mesh/tulle/mesh/api/admin/v1"
	"github.com/tulle-mesh/tulle/mesh/api/admin/v1/adminv1connect"
)

// kinds maps what people type to the kind's name.
var kinds = map[string]string{
	"service": "Service", "services": "Service", "svc": "Service",
	"grpcroute": "GRPCRoute", "grpcroutes": "GRPCRoute", "route": "GRPCRoute", "routes": "GRPCRoute",
	"accesspolicy": "AccessPolicy", "accesspolicies": "AccessPolicy", "policy": "AccessPolicy", "policies": "AccessPolicy",
	"mesh": "Mesh",
}

func parseKind(s string) (string, error) {
	if k, ok := kinds[strings.ToLower(s)]; ok {
		return k, nil
	}
	return "", fmt.Errorf("unknown kind %q, want service, grpcroute, accesspolicy or mesh", s)
}

// dotted are the kinds whose names may hold dots of their own.
var dotted = map[string]bool{"GRPCRoute": true, "AccessPolicy": true}

// resolve reads a name as tables show it. A route named "web.canary" and a route
// "web" in namespace canary are shown alike: the first is meant where it exists,
// the other can be named by -n.
func resolve(
	ctx context.Context, to *admin, client adminv1connect.AdminServiceClient, kind, name, namespace string,
) (*adminv1.Ref, error) {
	if !dotted[kind] || !strings.Contains(name, ".") {
		return parseRef(kind, name, namespace)
	}
	whole := &adminv1.Ref{Kind: kind, Namespace: namespace, Name: name}
	if namespace != "" {
		return whole, nil
	}
	whole.Namespace = "default"
	answer, err := client.List(ctx, &adminv1.ListRequest{Kind: kind, Namespace: whole.GetNamespace(), Name: name})
	if err != nil || len(answer.GetObjects()) > 0 {
		return whole, to.explain(err)
	}
	last := strings.LastIndexByte(name, '.')
	return &adminv1.Ref{Kind: kind, Namespace: name[last+1:], Name: name[:last]}, nil
}

// parseRef reads a name as tables show it, "voting" or "voting.shop". namespace is
// that of a name without one; empty leaves it open.
func parseRef(kind, name, namespace string) (*adminv1.Ref, error) {
	short, own, found := strings.Cut(name, ".")
	switch {
	case short == "" || found && own == "":
		return nil, fmt.Errorf("%q is no name, want NAME or NAME.NAMESPACE", name)
	case found && namespace != "" && namespace != own:
		return nil, fmt.Errorf("%s is in namespace %s, and -n says %s: leave one out", name, own, namespace)
	case found:
		namespace = own
	}
	return &adminv1.Ref{Kind: kind, Namespace: namespace, Name: short}, nil
}

// addRevision adds the --if-revision flag.
func addRevision(cmd *cobra.Command, revision *int64) {
	cmd.Flags().Int64Var(revision, "if-revision", 0, "refuse unless the store is at this `REVISION`; 0 is any")
	inner := cmd.PreRunE
	cmd.PreRunE = func(cmd *cobra.Command, args []string) error {
		if *revision < 0 {
			return fmt.Errorf("--if-revision %d: want a revision as 'xdsserver get -o json' shows it", *revision)
		}
		if inner != nil {
			return inner(cmd, args)
		}
		return nil
	}
}

func completeKind(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return []string{"service", "grpcroute", "accesspolicy", "mesh"}, cobra.ShellCompDirectiveNoFileComp
}

func newGet() *cobra.Command {
	var namespace string
	cmd := &cobra.Command{
		Use:   "get [KIND [NAME]]",
		Short: "Show configuration objects and what is wrong with them",
		Example: `  xdsserver get
  xdsserver get routes
  xdsserver get policies
  xdsserver get service voting.shop -o yaml`,
		Args:              arguments(0, 2, "a kind and a name at most"),
		ValidArgsFunction: completeKind,
	}
	to, out := addAdmin(cmd), addOutput(cmd, "yaml")
	cmd.Flags().StringVarP(&namespace, "namespace", "n", "", "only this `NAMESPACE`")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		request := &adminv1.ListRequest{Namespace: namespace}
		if len(args) > 0 {
			kind, err := parseKind(args[0])
			if err != nil {
				return err
			}
			request.Kind = kind
		}
		client, err := to.client()
		if err != nil {
			return err
		}
		if len(args) > 1 {
			ref, err := resolve(cmd.Context(), to, client, request.GetKind(), args[1], namespace)
			if err != nil {
				return err
			}
			request.Name, request.Namespace = ref.GetName(), ref.GetNamespace()
		}
		answer, err := client.List(cmd.Context(), request)
		if err != nil {
			return to.explain(err)
		}
		if request.GetName() != "" && len(answer.GetObjects()) == 0 {
			return wrong(fmt.Errorf("no %s is named %q; 'xdsserver get %s' lists them", request.GetKind(), args[1], args[0]))
		}
		return printObjects(cmd, out, answer)
	}
	return cmd
}

func printObjects(cmd *cobra.Command, out *output, answer *adminv1.ListResponse) error {
	w := cmd.OutOrStdout()
	switch out.format {
	case "json":
		return writeJSON(w, objectsResult(answer))
	case "yaml":
		for i, o := range answer.GetObjects() {
			if i > 0 {
				fmt.Fprintln(w, "---")
			}
			fmt.Fprint(w, o.GetYaml())
		}
		return nil
	}
	if len(answer.GetObjects()) == 0 {
		fmt.Fprintln(cmd.ErrOrStderr(), "No objects: services that registered themselves need none. 'xdsserver apply -f FILE' adds some.")
		return nil
	}
	t := newTable(w, "KIND", "NAME", "STATUS", "REVISION", "ORIGIN", "AGE")
	for _, o := range answer.GetObjects() {
		revision := ""
		if o.GetRevision() > 0 {
			revision = fmt.Sprint(o.GetRevision())
		}
		t.row(o.GetRef().GetKind(), qualified(o.GetRef().GetName(), o.GetRef().GetNamespace()), objectStatus(o), revision, o.GetOrigin(), age(o.GetChanged()))
	}
	if err := t.flush(); err != nil {
		return err
	}
	for _, o := range answer.GetObjects() {
		for _, p := range o.GetProblems() {
			fmt.Fprintln(cmd.ErrOrStderr(), problemLine(p))
		}
	}
	return nil
}

func objectStatus(o *adminv1.Object) string {
	switch {
	case len(o.GetProblems()) == 0:
		return "good"
	case slices.ContainsFunc(o.GetProblems(), func(p *adminv1.Problem) bool { return !p.GetWarning() }):
		return "set aside"
	}
	return "warning"
}

type objectsJSON struct {
	Revision int64        `json:"revision"`
	Objects  []objectJSON `json:"objects"`
}

type objectJSON struct {
	Kind      string        `json:"kind"`
	Namespace string        `json:"namespace"`
	Name      string        `json:"name"`
	Status    string        `json:"status"`
	Revision  int64         `json:"revision"`
	Origin    string        `json:"origin"`
	Changed   *time.Time    `json:"changed,omitempty"`
	YAML      string        `json:"yaml"`
	Problems  []problemJSON `json:"problems"`
}

func objectsResult(answer *adminv1.ListResponse) objectsJSON {
	out := objectsJSON{Revision: answer.GetRevision(), Objects: []objectJSON{}}
	for _, o := range answer.GetObjects() {
		out.Objects = append(out.Objects, objectJSON{
			Kind:      o.GetRef().GetKind(),
			Namespace: o.GetRef().GetNamespace(),
			Name:      o.GetRef().GetName(),
			Status:    objectStatus(o),
			Revision:  o.GetRevision(),
			Origin:    o.GetOrigin(),
			Changed:   stamp(o.GetChanged()),
			YAML:      o.GetYaml(),
			Problems:  problemsJSON(o.GetProblems()),
		})
	}
	return out
}

func newDelete() *cobra.Command {
	var namespace string
	var revision int64
	cmd := &cobra.Command{
		Use:   "delete KIND NAME...",
		Short: "Remove applied objects",
		Example: `  xdsserver delete route split
  xdsserver delete service voting.shop emoji.shop`,
		Args:              arguments(2, math.MaxInt, "a kind and the names to delete"),
		ValidArgsFunction: completeKind,
	}
	to, out := addAdmin(cmd), addOutput(cmd)
	cmd.Flags().StringVarP(&namespace, "namespace", "n", "", "`NAMESPACE` of names that come without one; default when left out")
	addRevision(cmd, &revision)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		kind, err := parseKind(args[0])
		if err != nil {
			return err
		}
		client, err := to.client()
		if err != nil {
			return err
		}
		request := &adminv1.DeleteRequest{IfRevision: revision}
		for _, name := range args[1:] {
			ref, err := resolve(cmd.Context(), to, client, kind, name, namespace)
			if err != nil {
				return err
			}
			request.Refs = append(request.Refs, ref)
		}
		answer, err := client.Delete(cmd.Context(), request)
		if err != nil {
			return to.explain(err)
		}
		if out.json() {
			deleted := []resultJSON{}
			for _, r := range answer.GetDeleted() {
				deleted = append(deleted, resultJSON{Kind: r.GetKind(), Namespace: r.GetNamespace(), Name: r.GetName(), Action: "deleted", Problems: []problemJSON{}})
			}
			return writeJSON(cmd.OutOrStdout(), applyJSON{Revision: answer.GetRevision(), Results: deleted, Problems: []problemJSON{}})
		}
		for _, r := range answer.GetDeleted() {
			fmt.Fprintf(cmd.OutOrStdout(), "%s deleted\n", refString(r))
		}
		return nil
	}
	return cmd
}
