package store

import (
	"context"

	"github.com/tulle-mesh/tulle/xdsserver/manifest"
	"github.com/tulle-mesh/tulle/xdsserver/model"
	"github.com/tulle-mesh/tulle/xdsserver/source"
)

var _ source.Source = (*Store)(nil)

// Origin is where applied objects say they are written.
const Origin = "applied"

// Name is the source's name.
const Name = "store"

// Name returns [Name].
func (s *Store) Name() string { return Name }

// Run emits the applied objects, parsed, now and after each Apply; the output's
// Generation is the store's revision. It may run once at a time. Objects that do
// not parse any more (an older xdsserver reads a newer one's) become problems.
func (s *Store) Run(ctx context.Context, emit func(source.Output)) error {
	p := parser{known: make(map[model.Ref]parsed)}
	var last *state
	for {
		if st := s.state.Load(); st != last {
			last = st
			out := p.parse(st)
			if s.recovered != "" {
				out.Problems = append(out.Problems, model.Problem{From: s.path(mainFile), Message: s.recovered, Warning: true})
			}
			emit(out)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-s.wake:
		}
	}
}

// parser keeps what it parsed by revision: an Apply changes few objects of many.
type parser struct {
	known map[model.Ref]parsed
}

type parsed struct {
	revision uint64
	objects  []model.Object
	problems []model.Problem
}

func (p *parser) parse(st *state) source.Output {
	out := source.Output{Generation: st.revision}
	next := make(map[model.Ref]parsed, len(st.objects))
	for _, o := range st.objects {
		result, ok := p.known[o.Ref]
		if !ok || result.revision != o.Revision {
			result = parsed{revision: o.Revision}
			result.objects, result.problems = manifest.Parse(Origin, o.YAML)
			for i := range result.problems {
				if result.problems[i].Object == (model.Ref{}) {
					result.problems[i].Object = o.Ref
				}
			}
		}
		next[o.Ref] = result
		out.Objects = append(out.Objects, result.objects...)
		out.Problems = append(out.Problems, result.problems...)
	}
	p.known = next
	return out
}
