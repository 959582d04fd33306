package translate_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"

	"github.com/tulle-mesh/tulle/mesh/resource"
	"github.com/tulle-mesh/tulle/xdsserver/model"
	"github.com/tulle-mesh/tulle/xdsserver/translate"
)

func TestCommandsAreWhatProcessesDecode(t *testing.T) {
	until := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	name := model.ServiceName{Namespace: "shop", Name: "web"}
	c := &model.Commands{
		Taps: []model.Tap{{
			ID: "t1", Instance: "a1", To: "voting", From: "*", Method: "Vote", Metadata: map[string]string{"x-user": "ada"},
			Failures: true, MaxRPS: 50, Payload: true, Until: until,
		}},
		Log: &model.LogCommand{Instance: "a2", Level: "warn", Access: 0.1, Until: until},
	}
	for what, test := range map[string]struct {
		commands *model.Commands
		mesh     *model.Mesh
		want     *resource.Commands
	}{
		"nothing": {nil, nil, &resource.Commands{Service: "web.shop"}},
		"all there is": {c, &model.Mesh{TapRedact: []string{"number"}}, &resource.Commands{
			Service: "web.shop",
			Taps: []resource.Tap{{
				ID: "t1", Instance: "a1", To: "voting", From: "*", Method: "Vote", Metadata: map[string]string{"x-user": "ada"},
				Failures: true, MaxRPS: 50, Payload: true, Redact: []string{"number"}, Until: until,
			}},
			Log: &resource.LogCommand{Instance: "a2", Level: 4, HasLevel: true, Access: 0.1, Until: until},
		}},
		"messages, while nobody knows what to leave out": {
			&model.Commands{Taps: []model.Tap{{ID: "t1", MaxRPS: 1, Payload: true, Until: until}}}, (&model.Mesh{}).Close(),
			&resource.Commands{Service: "web.shop", Taps: []resource.Tap{{ID: "t1", MaxRPS: 1, Until: until}}},
		},
	} {
		t.Run(what, func(t *testing.T) {
			r := translate.Commands(name, test.commands, test.mesh)
			b, err := proto.Marshal(r.Message)
			if err != nil {
				t.Fatal(err)
			}
			got, err := resource.Decode(r.TypeURL, b)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(resource.Resource(test.want), got); d != "" || got.ResourceName() != r.Name {
				t.Errorf("%s (-want +got)\n%s", r.Name, d)
			}
		})
	}
}
