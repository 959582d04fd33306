package admin

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"connectrpc.com/connect"
	"github.com/google/go-cmp/cmp"

	adminv1 "github.com/tulle-mesh/tulle/mesh/api/admin/v1"
	"github.com/tulle-mesh/tulle/xdsserver/manifest"
	"github.com/tulle-mesh/tulle/xdsserver/model"
	"github.com/tulle-mesh/tulle/xdsserver/source"
	"github.com/tulle-mesh/tulle/xdsserver/source/merge"
	"github.com/tulle-mesh/tulle/xdsserver/store"
)

// folder is a source of objects that never change.
type folder []model.Object

func (folder) Name() string { return "file" }

func (f folder) Run(ctx context.Context, emit func(source.Output)) error {
	emit(source.Output{Objects: f})
	<-ctx.Done()
	return nil
}

// kept is an API over a store, with the objects of a file beside it. It is not running:
// what the file has is merged, and nothing after it.
func kept(t *testing.T, file string) *Server {
	t.Helper()
	st, err := store.Open(store.Config{Dir: t.TempDir(), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = st.Close() })
	objects, problems := manifest.Parse("mesh.yaml", []byte(file))
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	merger := merge.New([]source.Source{folder(objects), st}, slog.New(slog.DiscardHandler))
	var published *Publication
	ctx, cancel := context.WithCancel(t.Context())
	if err := merger.Run(ctx, func(set *model.Set) {
		published = &Publication{Set: set, Problems: set.Problems}
		cancel()
	}); err != nil {
		t.Fatal(err)
	}
	return New(Config{
		Store:     st,
		Merger:    merger,
		Check:     func(context.Context, *model.Set) []model.Problem { return nil },
		Published: func() *Publication { return published },
		Logger:    slog.New(slog.DiscardHandler),
	})
}

func by(ctx context.Context, name string) context.Context {
	return WithCaller(ctx, Caller{Name: name, May: []Right{MayApply}})
}

func applied(t *testing.T, s *Server, who, yaml string) {
	t.Helper()
	answer, err := s.Apply(by(t.Context(), who), &adminv1.ApplyRequest{Manifests: []*adminv1.Manifest{{Origin: "x.yaml", Yaml: yaml}}})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range answer.GetResults() {
		if len(r.GetProblems()) > 0 {
			t.Fatal(r.GetProblems())
		}
	}
}

const (
	voting1 = "{apiVersion: tulle/v1, kind: Service, metadata: {name: voting}, spec: {timeout: 1s}}"
	voting2 = "{apiVersion: tulle/v1, kind: Service, metadata: {name: voting}, spec: {timeout: 2s}}"
	emoji   = "{apiVersion: tulle/v1, kind: Service, metadata: {name: emoji}}"
	split   = "{apiVersion: tulle/v1, kind: GRPCRoute, metadata: {name: split}, spec: {parentRefs: [{kind: Service, name: voting}], " +
		"rules: [{backendRefs: [{kind: Service, name: emoji}]}]}}"
)

// lines are changes, one a line.
func lines(changes []*adminv1.Revision_Change) []string {
	out := make([]string, 0, len(changes))
	for _, c := range changes {
		out = append(out, fmt.Sprint(c.GetRef().GetName(), " ", strings.ToLower(strings.TrimPrefix(c.GetAction().String(), "ACTION_"))))
	}
	return out
}

func TestHistorySaysWhoDidWhat(t *testing.T) {
	s := kept(t, emoji)
	applied(t, s, "user 1000", voting1)
	applied(t, s, "dashboard 3f2a", voting2)
	if _, err := s.Delete(by(t.Context(), "root"), &adminv1.DeleteRequest{Refs: []*adminv1.Ref{{Kind: "Service", Name: "voting"}}}); err != nil {
		t.Fatal(err)
	}
	answer, err := s.ListHistory(t.Context(), &adminv1.ListHistoryRequest{})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, r := range answer.GetRevisions() {
		got = append(got, fmt.Sprint(r.GetRevision(), " ", r.GetBy(), ": ", lines(r.GetChanges())))
	}
	want := []string{"3 root: [voting deleted]", "2 dashboard 3f2a: [voting configured]", "1 user 1000: [voting created]"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	c := answer.GetRevisions()[1].GetChanges()[0]
	if !strings.Contains(c.GetBefore(), "1s") || !strings.Contains(c.GetAfter(), "2s") {
		t.Errorf("it does not say what it was, and became: %v", c)
	}
	if one, err := s.ListHistory(t.Context(), &adminv1.ListHistoryRequest{Limit: 1}); err != nil || len(one.GetRevisions()) != 1 {
		t.Errorf("one is asked for: %v, %v", one, err)
	}
	if _, err := s.ListHistory(t.Context(), &adminv1.ListHistoryRequest{Limit: -1}); connect.CodeOf(err) != connect.CodeInvalidArgument {
		t.Errorf("less than none is asked for: %v", err)
	}
}

func TestRollBack(t *testing.T) {
	for name, test := range map[string]struct {
		do       func(t *testing.T, s *Server)
		request  *adminv1.RollBackRequest
		changes  []string
		revision int64
		problem  string
		code     connect.Code
	}{
		"to the revision before": {
			func(t *testing.T, s *Server) { applied(t, s, "a", voting1); applied(t, s, "b", voting2) },
			&adminv1.RollBackRequest{Revision: 1},
			[]string{"voting configured"},
			3, "", 0,
		},
		"on trial": {
			func(t *testing.T, s *Server) { applied(t, s, "a", voting1); applied(t, s, "b", voting2) },
			&adminv1.RollBackRequest{Revision: 1, DryRun: true},
			[]string{"voting configured"},
			2, "", 0,
		},
		"to before everything": {
			func(t *testing.T, s *Server) { applied(t, s, "a", voting1) },
			&adminv1.RollBackRequest{},
			[]string{"voting deleted"},
			2, "", 0,
		},
		"to where it is": {
			func(t *testing.T, s *Server) { applied(t, s, "a", voting1) },
			&adminv1.RollBackRequest{Revision: 1}, nil, 1, "", 0,
		},
		"what was deleted a moment ago comes back": {
			func(t *testing.T, s *Server) {
				applied(t, s, "a", voting1)
				if _, err := s.Delete(t.Context(), &adminv1.DeleteRequest{Refs: []*adminv1.Ref{{Kind: "Service", Name: "voting"}}}); err != nil {
					t.Fatal(err)
				}
			},
			&adminv1.RollBackRequest{Revision: 1},
			[]string{"voting created"},
			3, "", 0,
		},
		"what names what goes, goes too": {
			func(t *testing.T, s *Server) { applied(t, s, "a", voting1); applied(t, s, "b", emoji+"\n---\n"+split) },
			&adminv1.RollBackRequest{Revision: 1},
			[]string{"split deleted", "emoji deleted"},
			3, "", 0,
		},
		"to a revision that is yet to come": {
			func(t *testing.T, s *Server) { applied(t, s, "a", voting1) },
			&adminv1.RollBackRequest{Revision: 2}, nil, 0, "", connect.CodeNotFound,
		},
		"to one that cannot be": {
			func(*testing.T, *Server) {}, &adminv1.RollBackRequest{Revision: -1}, nil, 0, "", connect.CodeInvalidArgument,
		},
		"for another revision": {
			func(t *testing.T, s *Server) { applied(t, s, "a", voting1); applied(t, s, "b", voting2) },
			&adminv1.RollBackRequest{Revision: 1, IfRevision: 1}, nil, 0, "", connect.CodeAborted,
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := kept(t, "")
			test.do(t, s)
			before, revision := s.config.Store.Objects()
			answer, err := s.RollBack(by(t.Context(), "ann"), test.request)
			if test.code != 0 {
				if connect.CodeOf(err) != test.code {
					t.Errorf("got %v, want %v", err, test.code)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.changes, lines(answer.GetChanges())); diff != "" && len(test.changes)+len(answer.GetChanges()) > 0 {
				t.Errorf("changes (-want +got):\n%s", diff)
			}
			if answer.GetRevision() != test.revision || len(answer.GetProblems()) > 0 {
				t.Errorf("got revision %d, want %d; problems %v", answer.GetRevision(), test.revision, answer.GetProblems())
			}
			if after, now := s.config.Store.Objects(); test.revision == int64(revision) && (now != revision || len(after) != len(before)) {
				t.Errorf("it changed something: %v, then %v", before, after)
			} else if now > revision && s.config.Store.History()[0].By != "ann" {
				t.Errorf("it does not say by whom: %+v", s.config.Store.History()[0])
			}
		})
	}
}

func TestRollBackIsRefusedAsApplyIs(t *testing.T) {
	voting := model.Ref{Kind: model.KindService, Namespace: model.DefaultNamespace, Name: "voting"}
	for name, test := range map[string]struct {
		file string
		ref  model.Ref
		then []byte // what the object was at revision 1; it is gone or there at 2
		now  []byte
		want string
	}{
		"an object of a file would lose what it names": {
			split + "\n---\n" + voting1, model.Ref{Kind: model.KindService, Namespace: model.DefaultNamespace, Name: "emoji"}, nil, []byte(emoji), "emoji",
		},
		"a file has the object by now":              {voting1, voting, []byte(voting2), nil, "belongs to mesh.yaml"},
		"this version does not read what it was":    {"", voting, []byte("kind: ["), nil, "is no YAML"},
		"this version does not know what was there": {"", voting, []byte(strings.Replace(voting1, "timeout", "timeouts", 1)), nil, "timeouts"},
	} {
		t.Run(name, func(t *testing.T) {
			s := kept(t, test.file)
			filler := store.Change{Ref: model.Ref{Kind: model.KindService, Namespace: model.DefaultNamespace, Name: "web"}, YAML: []byte(strings.Replace(emoji, "emoji", "web", 1))}
			for _, changes := range [][]store.Change{{{Ref: test.ref, YAML: test.then}, filler}, {{Ref: test.ref, YAML: test.now}}} {
				if _, err := s.config.Store.Apply(t.Context(), changes, store.Intent{}); err != nil {
					t.Fatal(err)
				}
			}
			// What the file names is there, as far as anybody knows.
			published := &Publication{Set: s.config.Published().Set}
			s.config.Published = func() *Publication { return published }
			answer, err := s.RollBack(t.Context(), &adminv1.RollBackRequest{Revision: 1})
			if err != nil || len(answer.GetProblems()) == 0 || !strings.Contains(fmt.Sprint(answer.GetProblems()), test.want) {
				t.Errorf("got %v, %v, want a problem with %s", answer, err, test.want)
			}
			if got := s.config.Store.Revision(); got != 2 || answer.GetRevision() != 2 {
				t.Errorf("something was changed: revision %d", got)
			}
		})
	}
}
