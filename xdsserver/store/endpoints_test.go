package store

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tulle-mesh/tulle/xdsserver/model"
)

func endpoint(name, instance string) model.Endpoint {
	return model.Endpoint{
		Service:   model.ServiceName{Namespace: model.DefaultNamespace, Name: name},
		Instance:  instance,
		Version:   "v2",
		Region:    "eu",
		Zone:      "eu-1",
		Addresses: []string{"10.0.0.1:8080", "[::1]:8080"},
		Weight:    3,
		Health:    model.NotServing,
		From:      "registered",
		Since:     time.Date(2026, 11, 23, 4, 0, 0, 0, time.UTC),
	}
}

func TestEndpointsComeBackAsTheyWereSaved(t *testing.T) {
	s, _ := open(t, t.TempDir())
	want := []model.Endpoint{endpoint("emoji", "b"), endpoint("voting", "a"), endpoint("voting", "b")}
	if err := s.SaveEndpoints([]model.Endpoint{want[2], want[0], endpoint("gone", "a"), want[1]}); err != nil {
		t.Fatal(err)
	}
	if err := s.SaveEndpoints(want); err != nil {
		t.Fatal(err)
	}
	apply(t, s, "voting", "v1")
	again, _ := open(t, crash(t, s))
	got, err := again.LoadEndpoints()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestSavingTheSameEndpointsWritesNothing(t *testing.T) {
	s, _ := open(t, t.TempDir())
	endpoints := []model.Endpoint{endpoint("voting", "a")}
	if err := s.SaveEndpoints(endpoints); err != nil {
		t.Fatal(err)
	}
	before := s.db.Stats().TxStats
	if err := s.SaveEndpoints(endpoints); err != nil {
		t.Fatal(err)
	}
	if after := s.db.Stats().TxStats; after.GetWrite() != before.GetWrite() {
		t.Errorf("pages written: got %d, want %d", after.GetWrite(), before.GetWrite())
	}
}

func TestStoreWithoutEndpointsLoadsNone(t *testing.T) {
	s, _ := open(t, t.TempDir())
	if got, err := s.LoadEndpoints(); len(got) != 0 || err != nil {
		t.Errorf("got %v, %v", got, err)
	}
}
