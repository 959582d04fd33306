package header_test

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/metadata"

	"github.com/tulle-mesh/tulle/interceptors/header"
	"github.com/tulle-mesh/tulle/mesh/call"
	"github.com/tulle-mesh/tulle/mesh/resource"
)

func TestApply(t *testing.T) {
	type values = []resource.HeaderValue
	none := func(ctx context.Context) context.Context { return ctx }
	given := func(ctx context.Context) context.Context {
		return metadata.NewOutgoingContext(ctx, metadata.MD{"a": {"1", "2"}, "b": {"1"}, "Mixed": {"1"}})
	}
	appended := func(ctx context.Context) context.Context {
		return metadata.AppendToOutgoingContext(ctx, "a", "1", "A", "2", "b", "1", "MIXED", "1")
	}
	both := func(ctx context.Context) context.Context {
		ctx = metadata.NewOutgoingContext(ctx, metadata.MD{"a": {"1"}, "b": {"1"}})
		return metadata.AppendToOutgoingContext(ctx, "a", "2", "mixed", "1")
	}
	for _, tt := range []struct {
		name    string
		headers *resource.Headers
		empty   metadata.MD // of a call without metadata
		full    metadata.MD // of one with a: 1, 2; b: 1; mixed: 1
	}{
		{
			"no headers change nothing", nil,
			nil,
			metadata.MD{"a": {"1", "2"}, "b": {"1"}, "mixed": {"1"}},
		},
		{
			"empty headers change nothing", &resource.Headers{},
			nil,
			metadata.MD{"a": {"1", "2"}, "b": {"1"}, "mixed": {"1"}},
		},
		{
			"what is removed goes with all its values", &resource.Headers{Remove: []string{"a", "mixed", "absent"}},
			metadata.MD{},
			metadata.MD{"b": {"1"}},
		},
		{
			"what is set replaces all values", &resource.Headers{Set: values{{Name: "a", Value: "3"}, {Name: "mixed", Value: "3"}, {Name: "c", Value: "3"}}},
			metadata.MD{"a": {"3"}, "mixed": {"3"}, "c": {"3"}},
			metadata.MD{"a": {"3"}, "b": {"1"}, "mixed": {"3"}, "c": {"3"}},
		},
		{
			"what is added stands behind", &resource.Headers{Add: values{{Name: "a", Value: "3"}, {Name: "mixed", Value: "3"}, {Name: "c", Value: "3"}}},
			metadata.MD{"a": {"3"}, "mixed": {"3"}, "c": {"3"}},
			metadata.MD{"a": {"1", "2", "3"}, "b": {"1"}, "mixed": {"1", "3"}, "c": {"3"}},
		},
		{
			"what is set and added has both values, and what was there is gone",
			&resource.Headers{Remove: []string{"b"}, Set: values{{Name: "a", Value: "3"}}, Add: values{{Name: "a", Value: "4"}, {Name: "b", Value: "4"}}},
			metadata.MD{"a": {"3", "4"}, "b": {"4"}},
			metadata.MD{"a": {"3", "4"}, "b": {"4"}, "mixed": {"1"}},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, form := range []struct {
				name string
				make func(context.Context) context.Context
				want metadata.MD
			}{
				{"none", none, tt.empty},
				{"given", given, tt.full},
				{"appended", appended, tt.full},
				{"given and appended", both, tt.full},
			} {
				ctx := form.make(t.Context())
				before, _ := metadata.FromOutgoingContext(ctx)
				// As the interceptor does, with the application's metadata beneath a Call.
				rpc := &call.Call{Context: ctx}
				rpc.Context = header.Apply(rpc.Context, tt.headers)
				got, _ := metadata.FromOutgoingContext(rpc)
				if d := cmp.Diff(form.want, got); d != "" {
					t.Errorf("metadata %s (-want +got):\n%s", form.name, d)
				}
				if after, _ := metadata.FromOutgoingContext(ctx); !cmp.Equal(before, after) {
					t.Errorf("metadata %s has changed from %v to %v", form.name, before, after)
				}
			}
		})
	}
}

// Two calls may be made in one context, and an application may keep the metadata that
// it made one from.
func TestCallsInOneContextDoNotMeet(t *testing.T) {
	own := metadata.MD{"a": append(make([]string, 0, 8), "1")}
	ctx := metadata.AppendToOutgoingContext(metadata.NewOutgoingContext(t.Context(), own), "b", "1")
	change := func(value string) *resource.Headers {
		return &resource.Headers{Set: []resource.HeaderValue{{Name: "c", Value: value}}, Add: []resource.HeaderValue{{Name: "a", Value: value}, {Name: "b", Value: value}}}
	}
	first, second := header.Apply(ctx, change("x")), header.Apply(ctx, change("y"))
	for _, tt := range []struct {
		ctx  context.Context
		want metadata.MD
	}{
		{ctx, metadata.MD{"a": {"1"}, "b": {"1"}}},
		{first, metadata.MD{"a": {"1", "x"}, "b": {"1", "x"}, "c": {"x"}}},
		{second, metadata.MD{"a": {"1", "y"}, "b": {"1", "y"}, "c": {"y"}}},
	} {
		if got, _ := metadata.FromOutgoingContext(tt.ctx); !cmp.Equal(got, tt.want) {
			t.Errorf("got %v, want %v", got, tt.want)
		}
	}
	if len(own) != 1 || len(own["a"]) != 1 {
		t.Errorf("the application's metadata is %v", own)
	}
}

func TestNoHeadersCostNothing(t *testing.T) {
	ctx := metadata.AppendToOutgoingContext(t.Context(), "a", "1")
	if got := testing.AllocsPerRun(100, func() {
		if header.Apply(ctx, nil) != ctx || header.Apply(ctx, &resource.Headers{}) != ctx {
			t.Error("the context is another")
		}
	}); got > 0 {
		t.Errorf("they cost %v allocations", got)
	}
}

func BenchmarkApply(b *testing.B) {
	ctx := metadata.AppendToOutgoingContext(b.Context(), "a", "1", "b", "2")
	one := []resource.HeaderValue{{Name: "c", Value: "3"}}
	for _, bb := range []struct {
		name    string
		headers *resource.Headers
	}{
		{"none", nil},
		{"add", &resource.Headers{Add: one}},
		{"set", &resource.Headers{Set: one}},
	} {
		b.Run(bb.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				header.Apply(ctx, bb.headers)
			}
		})
	}
}
