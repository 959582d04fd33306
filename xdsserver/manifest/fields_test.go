package manifest

import (
	"testing"

	"github.com/tulle-mesh/tulle/xdsserver/model"
	"github.com/tulle-mesh/tulle/xdsserver/model/modeltest"
)

const (
	besides   = "where it comes from is said beside the YAML"
	notStatic = "endpoints that are written have none"
)

// unsaid are fields that need not be written.
var unsaid = map[string]string{
	"Service.From":         besides,
	"Route.From":           besides,
	"AccessPolicy.From":    besides,
	"Mesh.From":            besides,
	"Endpoint.From":        besides,
	"Route.Vouches":        "it changes what is warned of, and nothing that is served",
	"Endpoint.Service":     "it is that whose endpoints they are",
	"Endpoint.Subsets":     notStatic,
	"Endpoint.Health":      notStatic,
	"Endpoint.Since":       notStatic,
	"AccessRules.HasAllow": "it goes without saying where there is a rule, as there is here",
}

func TestMarshalWritesEveryField(t *testing.T) {
	t.Run("Service", func(t *testing.T) { everyField(t, &model.Service{}) })
	t.Run("Route", func(t *testing.T) { everyField(t, &model.Route{}) })
	t.Run("AccessPolicy", func(t *testing.T) { everyField(t, &model.AccessPolicy{}) })
	t.Run("Mesh", func(t *testing.T) { everyField(t, &model.Mesh{}) })
}

func everyField[T any](t *testing.T, o *T) {
	t.Helper()
	modeltest.EveryField(t, o, func(o *T) string {
		text, err := Marshal(any(o).(model.Object))
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}, unsaid)
}
