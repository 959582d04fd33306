package admin

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"connectrpc.com/connect"

	adminv1 "github.com/tulle-mesh/tulle/mesh/api/admin/v1"
	"github.com/tulle-mesh/tulle/xdsserver/manifest"
	"github.com/tulle-mesh/tulle/xdsserver/model"
	"github.com/tulle-mesh/tulle/xdsserver/store"
)

// A change is an Apply in the making.
type change struct {
	objects  []model.Object  // of the request, in its order
	problems []model.Problem // of the request and of what it would lead to
	before   map[model.Ref][]byte
	after    map[model.Ref][]byte
}

// Apply implements the API.
func (s *Server) Apply(ctx context.Context, req *adminv1.ApplyRequest) (*adminv1.ApplyResponse, error) {
	answer, stored, err := s.store(ctx, req)
	if err != nil || !stored {
		return answer, err
	}
	if req.GetWait() != nil {
		wait, cancel := context.WithTimeout(ctx, req.GetWait().AsDuration())
		defer cancel()
		// Who has not acknowledged in time is counted, not an error: the
		// change is stored and will reach them.
		_ = s.config.Server.Await(wait, s.config.Store.Name(), s.config.Store.Generation(uint64(answer.GetRevision())))
		for _, stream := range s.config.Server.Ledger().Streams {
			answer.Clients++
			if stream.Current {
				answer.ClientsCurrent++
			}
		}
	}
	return answer, nil
}

// store finds out what a request would lead to, and stores it, unless that is a dry run
// or refused. One after another: of many who write at once, those whom another was faster
// than are told so without the work.
func (s *Server) store(ctx context.Context, req *adminv1.ApplyRequest) (answer *adminv1.ApplyResponse, stored bool, err error) {
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	case <-ctx.Done():
		return nil, false, connect.NewError(connect.CodeCanceled, ctx.Err())
	}
	if want, have := uint64(max(0, req.GetIfRevision())), s.config.Store.Revision(); want != 0 && want < have {
		return nil, false, storeError(&store.ConflictError{Want: want, Have: have})
	}
	c, err := s.plan(ctx, req)
	if err != nil {
		return nil, false, err
	}
	answer = c.answer()
	answer.Revision = int64(s.config.Store.Revision())
	if req.GetDryRun() || c.refused() {
		return answer, false, nil
	}
	changes := make([]store.Change, 0, len(c.objects))
	for _, o := range c.objects {
		changes = append(changes, store.Change{Ref: o.Ref(), YAML: c.after[o.Ref()]})
	}
	revision, err := s.config.Store.Apply(ctx, changes, intent(ctx, req.GetIfRevision()))
	if err != nil {
		return nil, false, storeError(err)
	}
	if int64(revision) != answer.GetRevision() {
		s.config.Logger.Info("configuration applied", "revision", revision, "objects", len(changes))
	}
	answer.Revision = int64(revision)
	return answer, true, nil
}

// plan reads a request and finds out what it would lead to.
func (s *Server) plan(ctx context.Context, req *adminv1.ApplyRequest) (*change, error) {
	c := &change{before: map[model.Ref][]byte{}, after: map[model.Ref][]byte{}}
	for _, m := range req.GetManifests() {
		objects, problems := manifest.Parse(m.GetOrigin(), []byte(m.GetYaml()))
		c.objects = append(c.objects, objects...)
		c.problems = append(c.problems, problems...)
	}
	if len(c.objects) == 0 && len(c.problems) == 0 {
		return nil, connect.NewError(connect.CodeInvalidArgument, noObject(req))
	}
	owners := s.owners()
	stored, _ := s.config.Store.Objects()
	for _, o := range stored {
		c.before[o.Ref] = o.YAML
	}
	first := map[model.Ref]string{} // where it is
	for _, o := range c.objects {
		r := o.Ref()
		if owner, taken := owners[r]; taken {
			c.refuse(o, fmt.Sprintf("belongs to %s: change it there", owner))
			continue
		}
		if at, again := first[r]; again {
			c.refuse(o, fmt.Sprintf("is in the input twice, first at %s: keep one", at))
			continue
		}
		first[r] = o.Origin()
		yaml, err := manifest.Marshal(o)
		if err != nil {
			return nil, connect.NewError(connect.CodeInternal, fmt.Errorf("write %s as YAML: %w", refString(r), err))
		}
		c.after[r] = yaml
	}
	if !c.refused() {
		set := s.config.Merger.Preview(s.config.Store.Name(), s.with(stored, c))
		for _, p := range append(slices.Clone(set.Problems), s.config.Check(ctx, set)...) {
			// What is wrong already elsewhere is no reason to refuse this.
			if _, ours := c.after[p.Object]; ours {
				c.problems = append(c.problems, p)
			}
		}
	}
	return c, nil
}

// owners says where objects are from that are not the store's.
func (s *Server) owners() map[model.Ref]string {
	owners := map[model.Ref]string{}
	for _, o := range s.config.Merger.Objects() {
		// What was deleted a moment ago is still among them, as the store's.
		if at := o.Origin(); at != store.Origin && !strings.HasPrefix(at, store.Origin+":") {
			owners[o.Ref()] = at
		}
	}
	return owners
}

// noObject is the error of a request without any.
func noObject(req *adminv1.ApplyRequest) error {
	where := "the input"
	if m := req.GetManifests(); len(m) == 1 && m[0].GetOrigin() != "" {
		where = m[0].GetOrigin()
	}
	return fmt.Errorf("%s holds no object: write at least one document with apiVersion, kind and metadata", where)
}

// with returns the stored objects as they would be after the change. Those of the
// request keep where they were read, so that problems name it.
func (s *Server) with(stored []store.Object, c *change) []model.Object {
	objects := slices.Clone(c.objects)
	for _, o := range s.readings.all(stored) {
		if _, replaced := c.after[o.Ref()]; !replaced {
			objects = append(objects, o)
		}
	}
	return objects
}

func (c *change) refuse(o model.Object, message string) {
	c.problems = append(c.problems, model.Problem{Object: o.Ref(), From: o.Origin(), Message: message})
}

func (c *change) refused() bool {
	return slices.ContainsFunc(c.problems, func(p model.Problem) bool { return !p.Warning })
}

// answer says what is, or would be, done with each object.
func (c *change) answer() *adminv1.ApplyResponse {
	answer := &adminv1.ApplyResponse{}
	results := map[model.Ref]*adminv1.ApplyResponse_Result{}
	add := func(r model.Ref) *adminv1.ApplyResponse_Result {
		if results[r] == nil {
			results[r] = &adminv1.ApplyResponse_Result{Ref: ref(r), Before: string(c.before[r]), After: string(c.after[r])}
			answer.Results = append(answer.Results, results[r])
		}
		return results[r]
	}
	for _, o := range c.objects {
		result := add(o.Ref())
		before, existed := c.before[o.Ref()]
		switch {
		case !existed:
			result.Action = adminv1.Action_ACTION_CREATED
		case bytes.Equal(before, c.after[o.Ref()]):
			result.Action = adminv1.Action_ACTION_UNCHANGED
		default:
			result.Action = adminv1.Action_ACTION_CONFIGURED
		}
	}
	for _, p := range c.problems {
		if p.Object == (model.Ref{}) {
			answer.Problems = append(answer.Problems, toProblem(p))
			continue
		}
		result := add(p.Object)
		result.Problems = append(result.Problems, toProblem(p))
		if !p.Warning {
			result.Action = adminv1.Action_ACTION_REFUSED
		}
	}
	return answer
}

// intent is what the store is told of a change beside it.
func intent(ctx context.Context, ifRevision int64) store.Intent {
	caller, _ := CallerFrom(ctx)
	return store.Intent{By: caller.Name, IfRevision: uint64(max(0, ifRevision))}
}

// Delete implements the API.
func (s *Server) Delete(ctx context.Context, req *adminv1.DeleteRequest) (*adminv1.DeleteResponse, error) {
	stored, _ := s.config.Store.Objects()
	known := map[model.Ref]bool{}
	for _, o := range stored {
		known[o.Ref] = true
	}
	var changes []store.Change
	answer := &adminv1.DeleteResponse{}
	for _, r := range req.GetRefs() {
		r := fromRef(r)
		if !known[r] {
			return nil, s.notStored(r)
		}
		changes = append(changes, store.Change{Ref: r})
		answer.Deleted = append(answer.Deleted, ref(r))
	}
	if err := s.orphans(stored, changes); err != nil {
		return nil, err
	}
	revision, err := s.config.Store.Apply(ctx, changes, intent(ctx, req.GetIfRevision()))
	if err != nil {
		return nil, storeError(err)
	}
	s.config.Logger.Info("configuration deleted", "revision", revision, "objects", len(changes))
	answer.Revision = int64(revision)
	return answer, nil
}

// orphans says which object would be left naming what is deleted.
func (s *Server) orphans(stored []store.Object, changes []store.Change) error {
	gone := map[model.Ref]bool{}
	for _, c := range changes {
		gone[c.Ref] = true
	}
	var left []model.Object
	for _, o := range s.readings.all(stored) {
		if !gone[o.Ref()] {
			left = append(left, o)
		}
	}
	set := s.config.Merger.Preview(s.config.Store.Name(), left)
	known := s.problems()
	for _, p := range set.Problems {
		if !p.Warning && !slices.ContainsFunc(known, func(k model.Problem) bool { return same(k, p) }) {
			return connect.NewError(connect.CodeFailedPrecondition,
				fmt.Errorf("%s names it at %s: delete or change that first; nothing was deleted", refString(p.Object), p.Field))
		}
	}
	return nil
}

// same reports whether two problems say the same. What stands for an object
// meanwhile is made anew each time.
func same(a, b model.Problem) bool {
	a.Instead, b.Instead = nil, nil
	return a == b
}

// notStored says why an object cannot be deleted here.
func (s *Server) notStored(r model.Ref) error {
	for _, o := range s.config.Merger.Objects() {
		if o.Ref() == r {
			return connect.NewError(connect.CodeFailedPrecondition, fmt.Errorf("%s belongs to %s: delete it there; nothing was deleted", refString(r), o.Origin()))
		}
	}
	return connect.NewError(connect.CodeNotFound, fmt.Errorf("%s does not exist; 'xdsserver get' lists what does; nothing was deleted", refString(r)))
}

func storeError(err error) error {
	if _, conflict := errors.AsType[*store.ConflictError](err); conflict {
		return connect.NewError(connect.CodeAborted, err)
	}
	return connect.NewError(connect.CodeUnavailable, err)
}
