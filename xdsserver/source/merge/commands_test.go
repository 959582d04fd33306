package merge

import (
	"testing"
	"testing/synctest"

	"github.com/tulle-mesh/tulle/xdsserver/model"
	"github.com/tulle-mesh/tulle/xdsserver/source"
)

func TestCommandsAreThoseOfWhoGivesThemAndEndWithThem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := newFake("a"), newFake("b")
		r := start(t, a, b)
		web := model.ServiceName{Namespace: "default", Name: "web"}
		given := &model.Commands{Log: &model.LogCommand{Level: "debug"}}
		a.out <- source.Output{Generation: 1}
		b.out <- source.Output{Generation: 1, Commands: map[model.ServiceName]*model.Commands{web: given}}
		if set := (<-r.sets).set; set.Commands[web] != given || set.Services[web] != nil || set.Generations["b"] != 1 {
			t.Errorf("got %+v", set)
		}
		b.out <- source.Output{Generation: 2}
		if set := (<-r.sets).set; len(set.Commands) != 0 {
			t.Errorf("nobody gives commands any more: %v", set.Commands)
		}
	})
}
