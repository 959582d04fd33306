package translate_test

import (
	"fmt"

	"github.com/tulle-mesh/tulle/xdsserver/model"
	"github.com/tulle-mesh/tulle/xdsserver/translate"
)

func ExampleTranslate() {
	voting := model.ServiceName{Namespace: "default", Name: "voting"}
	set := &model.Set{
		Services: map[model.ServiceName]*model.Service{voting: {Name: voting}},
		Endpoints: map[model.ServiceName][]model.Endpoint{voting: {
			{Service: voting, Instance: "a", Addresses: []string{"127.0.0.1:7001"}},
		}},
	}
	for _, r := range translate.Translate(set) {
		fmt.Println(r.Message.ProtoReflect().Descriptor().Name(), r.Name)
	}
	// Output:
	// Cluster voting
	// ClusterLoadAssignment voting
	// Listener voting
	// RouteConfiguration voting
}
