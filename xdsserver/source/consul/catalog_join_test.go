package consul

import (
	"errors"
	"fmt"
	"testing"
)

func TestAPartIsEmittedWhenAllOfItIsKnown(t *testing.T) {
	answered := &view{known: true}
	failed := &view{err: errors.New("service b: refused")}
	away := errors.New("services: refused")
	for _, tt := range []struct {
		name     string
		catalog  *catalog
		views    []*view // nil has not answered
		emitted  bool
		known    bool
		err      string
		problems int
	}{
		{name: "nothing before the list", catalog: &catalog{}},
		{name: "nothing before every service answered", catalog: &catalog{listed: true}, views: []*view{answered, nil}},
		{name: "all when they have", catalog: &catalog{listed: true}, views: []*view{answered, answered}, emitted: true, known: true},
		{name: "all of an empty catalog", catalog: &catalog{listed: true}, emitted: true, known: true},
		{name: "an error of the list at once", catalog: &catalog{err: away}, emitted: true, err: "services: refused"},
		{name: "an error of one when the others answered", catalog: &catalog{listed: true}, views: []*view{answered, failed, nil}},
		{
			name: "and what the others say with it", catalog: &catalog{listed: true}, views: []*view{answered, failed, failed},
			emitted: true, err: "service b: refused",
		},
		{
			name: "a service that is new does not make the others unknown", catalog: &catalog{listed: true, complete: true},
			views: []*view{answered, nil}, emitted: true, known: true,
		},
		{
			name: "one error for all", catalog: &catalog{listed: true, complete: true, err: away}, views: []*view{answered, failed},
			emitted: true, known: true, err: "services: refused",
		},
		{name: "services beyond the most", catalog: &catalog{listed: true, beyond: 3}, emitted: true, known: true, problems: 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, v := range tt.views {
				tt.catalog.services = append(tt.catalog.services, &watched{listed: true, view: v})
			}
			w := tt.catalog.whole()
			if (w != nil) != tt.emitted {
				t.Fatalf("got %+v, want it emitted: %v", w, tt.emitted)
			}
			if w == nil {
				return
			}
			if !w.same(tt.catalog.whole()) {
				t.Error("it differs from itself, and would be emitted for ever")
			}
			p := w.part()
			if p.known != tt.known || len(p.problems) != tt.problems || p.err == nil && tt.err != "" || p.err != nil && p.err.Error() != tt.err {
				t.Errorf("got known %v, error %v, problems %v", p.known, p.err, p.problems)
			}
		})
	}
}

func TestServicesAreChosenByTheTagAndTheMost(t *testing.T) {
	list := map[string][]string{itself: {"mesh"}, "": {"mesh"}, "voting": {"v1", "MESH"}, "emoji": {"v1"}}
	for tag, want := range map[string]string{"": "[emoji voting]", "mesh": "[voting]", "other": "[]"} {
		if got := fmt.Sprint((&catalog{tag: tag}).choose(list)); got != want {
			t.Errorf("%q: got %s, want %s", tag, got, want)
		}
	}
	for i := range maxServices {
		list[fmt.Sprintf("s%05d", i)] = nil
	}
	c := &catalog{}
	if got := c.choose(list); len(got) != maxServices || got[0] != "emoji" || c.beyond != 2 {
		t.Errorf("got %d services from %s, and %d beyond", len(got), got[0], c.beyond)
	}
}
