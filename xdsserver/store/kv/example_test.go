package kv_test

import (
	"context"
	"fmt"

	"github.com/tulle-mesh/tulle/xdsserver/consul"
	"github.com/tulle-mesh/tulle/xdsserver/model"
	"github.com/tulle-mesh/tulle/xdsserver/store"
	"github.com/tulle-mesh/tulle/xdsserver/store/kv"
)

func ExampleOpen() {
	client, err := consul.New(consul.FromEnv())
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close()
	s, err := kv.Open(context.Background(), kv.Config{Client: client, CacheFile: "consul.cache"})
	if err != nil {
		fmt.Println(err)
		return
	}
	voting := model.Ref{Kind: model.KindService, Namespace: model.DefaultNamespace, Name: "voting"}
	revision, err := s.Apply(context.Background(), []store.Change{{Ref: voting, YAML: []byte("kind: Service\n")}}, store.Intent{By: "ann"})
	fmt.Println(revision, err)
}
