package admin

import (
	"cmp"
	"context"
	"fmt"
	"strings"

	"connectrpc.com/connect"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/timestamppb"

	adminv1 "github.com/tulle-mesh/tulle/mesh/api/admin/v1"
	"github.com/tulle-mesh/tulle/mesh/resource"
	"github.com/tulle-mesh/tulle/xdsserver/model"
	"github.com/tulle-mesh/tulle/xdsserver/serve"
)

// ExplainCall implements the API.
func (s *Server) ExplainCall(_ context.Context, req *adminv1.ExplainCallRequest) (*adminv1.ExplainCallResponse, error) {
	p, name, err := s.known(req.GetService())
	if err != nil {
		return nil, err
	}
	q := &question{md: metadata.MD{}, authors: authorsOf(p.Set, name), set: p.Set}
	if q.method, err = parseMethod(req.GetMethod()); err != nil {
		return nil, connect.NewError(connect.CodeInvalidArgument, err)
	}
	for _, h := range req.GetHeaders() {
		q.md.Append(h.GetName(), h.GetValue())
	}
	q.inbound = func(service string) (*resource.Inbound, error) { return inbound(p.Snapshot, service) }

	var from holder = published{p.Snapshot}
	if req.GetInstance() != "" {
		held, note, err := s.instance(req.GetInstance(), name.String())
		if err != nil {
			return nil, err
		}
		from = process{held: held, snapshot: p.Snapshot}
		q.caller = callerOf(held, note)
	} else if q.caller, err = s.caller(req.GetFrom()); err != nil {
		return nil, connect.NewError(connect.CodeInvalidArgument, err)
	}

	e := assemble(name.String(), from)
	answer := walk(e, q)
	answer.Service = name.String()
	if req.GetInstance() == "" {
		answer.Holders = s.holders(e, name.String(), q.caller)
	}
	return answer, nil
}

// parseMethod reads "/package.Service/Method", with or without its first slash.
func parseMethod(text string) (string, error) {
	service, method, ok := strings.Cut(strings.TrimPrefix(text, "/"), "/")
	if !ok || service == "" || method == "" || strings.Contains(method, "/") {
		return "", fmt.Errorf("%q is no method, want /package.Service/Method", text)
	}
	return "/" + service + "/" + method, nil
}

// instance finds the stream of a process, by its node id or what is behind the slash
// in it. Of several it is the one that asked for the service: stock clients open one
// for each that they call.
func (s *Server) instance(id, service string) (held *serve.Held, note string, err error) {
	streams := s.config.Server.Held(func(st *serve.Stream) bool { return st.Node == id || strings.HasSuffix(st.Node, "/"+id) })
	asking := 0
	for _, h := range streams { // the newest last
		if _, ok := h.Holding(resource.ListenerType, service); ok {
			held = h
			asking++
		}
	}
	switch {
	case len(streams) == 0:
		return nil, "", connect.NewError(connect.CodeNotFound,
			fmt.Errorf("no connected process has the node id %q; 'xdsserver identity' lists them in column NODE", id))
	case held == nil:
		held = streams[len(streams)-1]
	case asking > 1:
		note = fmt.Sprintf("%d streams are open under this node id, and asked for the service: this is the newest", asking)
	}
	return held, note, nil
}

func callerOf(held *serve.Held, note string) *adminv1.ExplainedCaller {
	return &adminv1.ExplainedCaller{
		Service:   held.Cluster,
		Id:        held.Client.ID,
		Instance:  held.Node,
		UserAgent: held.UserAgent,
		Region:    held.Region,
		Zone:      held.Zone,
		Connected: timestamppb.New(held.Connected),
		Note:      note,
	}
}

// caller is who calls, as far as somebody says.
func (s *Server) caller(from string) (*adminv1.ExplainedCaller, error) {
	c := &adminv1.ExplainedCaller{}
	if from == "" {
		return c, nil
	}
	id, err := s.callerID(from)
	if err != nil {
		return nil, err
	}
	c.Id = id
	if name, err := model.ParseServiceName(from); err == nil {
		c.Service = name.String()
	}
	return c, nil
}

// holders counts those who asked for the service, of all clients or of one.
func (s *Server) holders(e *evidence, service string, of *adminv1.ExplainedCaller) *adminv1.Holders {
	out := &adminv1.Holders{}
	streams := s.config.Server.Held(func(st *serve.Stream) bool {
		return of.GetId() == "" || st.Client.ID == of.GetId() || of.GetService() != "" && cmp.Or(st.Client.Service, st.Cluster) == of.GetService()
	})
	for _, h := range streams {
		if _, asked := h.Holding(resource.ListenerType, service); !asked {
			continue
		}
		current, refused := e.held(h)
		out.Instances++
		if current {
			out.Current++
		}
		if refused {
			out.Refused++
		}
	}
	return out
}
