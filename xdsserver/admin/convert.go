package admin

import (
	"cmp"

	"google.golang.org/protobuf/types/known/timestamppb"

	adminv1 "github.com/tulle-mesh/tulle/mesh/api/admin/v1"
	"github.com/tulle-mesh/tulle/xdsserver/model"
	"github.com/tulle-mesh/tulle/xdsserver/serve"
)

func ref(r model.Ref) *adminv1.Ref {
	return &adminv1.Ref{Kind: string(r.Kind), Namespace: r.Namespace, Name: r.Name}
}

func fromRef(r *adminv1.Ref) model.Ref {
	namespace := r.GetNamespace()
	if namespace == "" {
		namespace = model.DefaultNamespace
	}
	return model.Ref{Kind: model.Kind(r.GetKind()), Namespace: namespace, Name: r.GetName()}
}

func refString(r model.Ref) string {
	return string(r.Kind) + "/" + model.ServiceName{Namespace: r.Namespace, Name: r.Name}.String()
}

func compareRefs(a, b *adminv1.Ref) int {
	return cmp.Or(cmp.Compare(a.GetKind(), b.GetKind()), cmp.Compare(a.GetNamespace(), b.GetNamespace()), cmp.Compare(a.GetName(), b.GetName()))
}

func toProblem(p model.Problem) *adminv1.Problem {
	out := &adminv1.Problem{Origin: p.From, Field: p.Field, Message: p.Message, Warning: p.Warning}
	if p.Object != (model.Ref{}) {
		out.Object = ref(p.Object)
	}
	return out
}

// problemsOf keeps those of one object.
func problemsOf(problems []model.Problem, r model.Ref) []*adminv1.Problem {
	var out []*adminv1.Problem
	for _, p := range problems {
		if p.Object == r {
			out = append(out, toProblem(p))
		}
	}
	return out
}

// states are the words for an endpoint's health.
var states = map[model.Health]string{
	model.Healthy:    "healthy",
	model.NotServing: "not serving",
	model.Lost:       "lost",
	model.Leaving:    "leaving",
}

func endpoint(e model.Endpoint) *adminv1.Endpoint {
	out := &adminv1.Endpoint{
		Service:   e.Service.Name,
		Namespace: e.Service.Namespace,
		Instance:  e.Instance,
		Version:   e.Version,
		Region:    e.Region,
		Zone:      e.Zone,
		Addresses: e.Addresses,
		Weight:    max(1, e.Weight),
		State:     states[e.Health],
		Origin:    e.From,
	}
	if !e.Since.IsZero() {
		out.Since = timestamppb.New(e.Since)
	}
	return out
}

// clients adds the connected clients, and what they refused, to a status.
func clients(l serve.Ledger, answer *adminv1.GetStatusResponse) {
	for _, s := range l.Streams {
		answer.Clients = append(answer.Clients, &adminv1.Client{
			Node:      s.Node,
			Service:   s.Cluster,
			UserAgent: s.UserAgent,
			Peer:      peerText(s.Peer),
			Delta:     s.Delta,
			Current:   s.Current,
			Resources: int32(s.Resources),
			Connected: timestamppb.New(s.Connected),
		})
	}
	for _, r := range l.Rejections {
		answer.Rejections = append(answer.Rejections, &adminv1.Rejection{
			Node:     r.Node,
			Type:     r.Type,
			Resource: r.Name,
			Version:  r.Version,
			Reason:   r.Reason,
			At:       timestamppb.New(r.At),
		})
	}
}
