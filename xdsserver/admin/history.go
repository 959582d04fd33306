package admin

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	adminv1 "github.com/tulle-mesh/tulle/mesh/api/admin/v1"
	"github.com/tulle-mesh/tulle/xdsserver/manifest"
	"github.com/tulle-mesh/tulle/xdsserver/model"
	"github.com/tulle-mesh/tulle/xdsserver/store"
)

// defaultHistory is how many revisions are listed unless told otherwise.
const defaultHistory = 50

// ListHistory implements the API.
func (s *Server) ListHistory(_ context.Context, req *adminv1.ListHistoryRequest) (*adminv1.ListHistoryResponse, error) {
	limit := int(req.GetLimit())
	if limit < 0 {
		return nil, connect.NewError(connect.CodeInvalidArgument, fmt.Errorf("a limit of %d cannot be: want at least 1", limit))
	}
	if limit == 0 {
		limit = defaultHistory
	}
	answer := &adminv1.ListHistoryResponse{}
	history := s.config.Store.History()
	for _, r := range history[:min(limit, len(history))] {
		out := &adminv1.Revision{Revision: int64(r.Revision), At: timestamppb.New(r.At), By: r.By}
		for _, c := range r.Changes {
			out.Changes = append(out.Changes, pastChange(c))
		}
		answer.Revisions = append(answer.Revisions, out)
	}
	return answer, nil
}

func pastChange(c store.Past) *adminv1.Revision_Change {
	out := &adminv1.Revision_Change{
		Ref: ref(c.Ref), Action: adminv1.Action_ACTION_CONFIGURED, Before: string(c.Before), After: string(c.After),
	}
	switch {
	case c.Before == nil:
		out.Action = adminv1.Action_ACTION_CREATED
	case c.After == nil:
		out.Action = adminv1.Action_ACTION_DELETED
	}
	return out
}

// RollBack implements the API.
func (s *Server) RollBack(ctx context.Context, req *adminv1.RollBackRequest) (*adminv1.RollBackResponse, error) {
	if req.GetRevision() < 0 {
		return nil, connect.NewError(connect.CodeInvalidArgument, fmt.Errorf("%d is no revision", req.GetRevision()))
	}
	changes, from, ok := s.config.Store.Back(uint64(req.GetRevision()))
	if !ok {
		return nil, connect.NewError(connect.CodeNotFound, s.notKept(req.GetRevision(), from))
	}
	if want := req.GetIfRevision(); want > 0 && uint64(want) != from {
		return nil, storeError(&store.ConflictError{Want: uint64(want), Have: from})
	}
	stored, revision := s.config.Store.Objects()
	if revision != from {
		return nil, storeError(&store.ConflictError{Want: from, Have: revision})
	}
	answer := &adminv1.RollBackResponse{Revision: int64(from)}
	before := map[model.Ref][]byte{}
	for _, o := range stored {
		before[o.Ref] = o.YAML
	}
	for _, c := range changes {
		answer.Changes = append(answer.Changes, pastChange(store.Past{Ref: c.Ref, Before: before[c.Ref], After: c.YAML}))
	}
	problems := s.wouldLead(ctx, stored, changes)
	for _, p := range problems {
		answer.Problems = append(answer.Problems, toProblem(p))
		for _, c := range answer.GetChanges() {
			if fromRef(c.GetRef()) == p.Object && !p.Warning {
				c.Action = adminv1.Action_ACTION_REFUSED
			}
		}
	}
	refused := slices.ContainsFunc(problems, func(p model.Problem) bool { return !p.Warning })
	if req.GetDryRun() || refused || len(changes) == 0 {
		return answer, nil
	}
	// What was looked at is what is changed: another change in between is a conflict.
	now, err := s.config.Store.Apply(ctx, changes, intent(ctx, int64(from)))
	if err != nil {
		return nil, storeError(err)
	}
	s.config.Logger.Info("configuration rolled back", "revision", now, "to", req.GetRevision(), "objects", len(changes))
	answer.Revision = int64(now)
	return answer, nil
}

// notKept says why objects cannot become what they were at a revision.
func (s *Server) notKept(revision int64, now uint64) error {
	if uint64(revision) > now {
		return fmt.Errorf("revision %d is yet to come, the store is at %d", revision, now)
	}
	history := s.config.Store.History()
	if len(history) == 0 {
		return errors.New("no history is kept yet: it begins with the next change")
	}
	return fmt.Errorf("revision %d is not kept any more, the oldest to go back to is %d: 'xdsserver history' lists them",
		revision, history[len(history)-1].Revision-1)
}

// wouldLead says what is wrong with the objects as they would be after changes. What is
// wrong already elsewhere is no reason to refuse them.
func (s *Server) wouldLead(ctx context.Context, stored []store.Object, changes []store.Change) []model.Problem {
	var problems []model.Problem
	changed := make(map[model.Ref][]byte, len(changes))
	owners := s.owners()
	after := make([]store.Object, 0, len(stored)+len(changes))
	for _, c := range changes {
		changed[c.Ref] = c.YAML
		if c.YAML == nil {
			continue
		}
		after = append(after, store.Object{Ref: c.Ref, YAML: c.YAML})
		if owner, taken := owners[c.Ref]; taken {
			problems = append(problems, model.Problem{Object: c.Ref, From: store.Origin, Message: fmt.Sprintf("belongs to %s by now: change it there", owner)})
		}
	}
	for _, o := range stored {
		if _, replaced := changed[o.Ref]; !replaced {
			after = append(after, o)
		}
	}
	objects := make([]model.Object, 0, len(after))
	for _, o := range after {
		parsed, unread := manifest.Parse(store.Origin, o.YAML)
		objects = append(objects, parsed...)
		if _, ours := changed[o.Ref]; ours {
			for _, p := range unread { // an earlier version could read it
				p.Object = o.Ref
				problems = append(problems, p)
			}
		}
	}
	set := s.config.Merger.Preview(s.config.Store.Name(), objects)
	known := s.problems()
	for _, p := range append(slices.Clone(set.Problems), s.config.Check(ctx, set)...) {
		_, ours := changed[p.Object]
		if ours || !p.Warning && !slices.ContainsFunc(known, func(k model.Problem) bool { return same(k, p) }) {
			problems = append(problems, p)
		}
	}
	return problems
}
