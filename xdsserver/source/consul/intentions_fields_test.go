package consul

import (
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/consul/api"
)

// intentionPaths are the exported fields of a type that hold values.
func intentionPaths(at string, t reflect.Type) []string {
	switch {
	case t.Kind() == reflect.Pointer:
		return intentionPaths(at, t.Elem())
	case t.Kind() == reflect.Slice && t.Elem().Kind() != reflect.String:
		return intentionPaths(at+"[]", t.Elem())
	case t.Kind() != reflect.Struct, t == reflect.TypeFor[time.Time]():
		return []string{at}
	}
	var out []string
	for f := range t.Fields() {
		name := f.Name
		if at != "" {
			name = at + "." + name
		}
		if f.IsExported() {
			out = append(out, intentionPaths(name, f.Type)...)
		}
	}
	return out
}

func TestEveryFieldOfIntentionsIsHonouredOrRefused(t *testing.T) {
	want := intentionPaths("", reflect.TypeFor[api.ServiceIntentionsConfigEntry]())
	var got []string
	for _, f := range intentionFields {
		got = append(got, f.Path)
		if f.Entry != api.ServiceIntentions || f.Status != honoured && f.Status != refused || f.Status == refused && f.Note == "" {
			t.Errorf("%+v says too little", f)
		}
	}
	slices.Sort(want)
	slices.Sort(got)
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("-Consul's +ours:\n%s", d)
	}
}
