package snapshot_test

import (
	"context"
	"fmt"

	"github.com/tulle-mesh/tulle/mesh/resource"
	"github.com/tulle-mesh/tulle/xdsserver/model"
	"github.com/tulle-mesh/tulle/xdsserver/snapshot"
)

func ExampleNewBuilder() {
	b := snapshot.NewBuilder(snapshot.Config{Judge: true})
	defer b.Close()

	voting := model.ServiceName{Namespace: model.DefaultNamespace, Name: "voting"}
	snap, problems := b.Build(context.Background(), &model.Set{
		Services: map[model.ServiceName]*model.Service{voting: {Name: voting}},
	})
	fmt.Println(snap.Revision, len(problems), snap.Resource(resource.ClusterType, "voting").Name)
	// Output: 1 0 voting
}
