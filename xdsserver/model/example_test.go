package model_test

import (
	"fmt"

	"github.com/tulle-mesh/tulle/xdsserver/model"
)

func ExampleValidate() {
	voting := model.ServiceName{Namespace: "default", Name: "voting"}
	set := model.Validate([]model.Object{
		&model.Service{Name: voting, From: "mesh.yaml:1"},
		&model.Route{
			Namespace: "default", Name: "canary", From: "mesh.yaml:5",
			Parents: []model.ServiceName{voting},
			Rules:   []model.Rule{{Backends: []model.Backend{{Service: voting, Weight: 0}}}},
		},
	}, nil, nil)
	for _, p := range set.Problems {
		fmt.Println(p.From, p.Field, p.Message)
	}
	// Output:
	// mesh.yaml:5 spec.rules[0].backendRefs weights sum to zero, so no call could be sent: give one of them a weight above zero
}
