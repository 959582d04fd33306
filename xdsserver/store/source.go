package store

import (
	"bytes"
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
	var p Parser
	var last *State
	for {
		if st := s.state.Load(); st != last {
			last = st
			out := p.Parse(st)
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

// A Parser makes the output of a source of a State. It keeps what it parsed: an Apply
// changes few objects of many. Its zero value is ready; one goroutine uses it at a time.
type Parser struct {
	known map[model.Ref]parsed
}

type parsed struct {
	yaml     []byte
	objects  []model.Object
	problems []model.Problem
}

// Parse returns the objects of a State, and a problem for each that cannot be read. The
// Generation is the State's revision.
func (p *Parser) Parse(s *State) source.Output {
	out := source.Output{Generation: s.revision}
	next := make(map[model.Ref]parsed, len(s.objects))
	for _, o := range s.objects {
		result, ok := p.known[o.Ref]
		if !ok || !bytes.Equal(result.yaml, o.YAML) {
			result = parsed{yaml: o.YAML}
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
