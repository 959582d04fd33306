package store

import (
	"context"
	"os"
	"strings"
	"testing"

	"github.com/tulle-mesh/tulle/xdsserver/source"
)

const votingYAML = "apiVersion: tulle/v1\nkind: Service\nmetadata:\n  name: voting\n"

// run starts s as a source; the returned channel yields what it emits.
func run(t *testing.T, s *Store) <-chan source.Output {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	outputs := make(chan source.Output)
	done := make(chan error, 1)
	go func() {
		done <- s.Run(ctx, func(o source.Output) {
			select {
			case outputs <- o:
			case <-ctx.Done():
			}
		})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return outputs
}

func TestSourceEmitsAtOnceAndAfterEachApply(t *testing.T) {
	s, _ := open(t, t.TempDir())
	outputs := run(t, s)
	if o := <-outputs; o.Generation != 0 || len(o.Objects) != 0 || len(o.Problems) != 0 {
		t.Errorf("empty store: got %+v", o)
	}
	apply(t, s, "voting", votingYAML)
	o := <-outputs
	if o.Generation != 1 || len(o.Objects) != 1 || len(o.Problems) != 0 {
		t.Fatalf("after apply: got %+v", o)
	}
	if got := o.Objects[0].Ref(); got != service("voting") {
		t.Errorf("object: got %+v", got)
	}
	if got := o.Objects[0].Origin(); !strings.HasPrefix(got, Origin) {
		t.Errorf("origin: got %q", got)
	}
	apply(t, s, "voting", "")
	if o := <-outputs; o.Generation != 2 || len(o.Objects) != 0 {
		t.Errorf("after removal: got %+v", o)
	}
}

func TestObjectThatDoesNotParseBecomesAProblem(t *testing.T) {
	s, _ := open(t, t.TempDir())
	apply(t, s, "emoji", "kind: nonsense\n", "voting", votingYAML)
	o := <-run(t, s)
	if len(o.Objects) != 1 || len(o.Problems) == 0 {
		t.Fatalf("got %+v", o)
	}
	if got := o.Problems[0].Object.Name; got == "" {
		t.Errorf("the problem names no object: %+v", o.Problems[0])
	}
}

func TestUsedCopyIsShownAsAProblem(t *testing.T) {
	dir := t.TempDir()
	s, _ := open(t, dir)
	apply(t, s, "voting", votingYAML)
	closeStore(t, s)
	if err := os.Truncate(s.path(mainFile), 5000); err != nil {
		t.Fatal(err)
	}
	again, _ := open(t, dir)
	o := <-run(t, again)
	if len(o.Objects) != 1 || len(o.Problems) != 1 {
		t.Fatalf("got %+v", o)
	}
	if p := o.Problems[0]; !p.Warning || !strings.Contains(p.Message, "its copy is used") {
		t.Errorf("got %+v", p)
	}
}
