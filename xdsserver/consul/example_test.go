package consul_test

import (
	"context"
	"fmt"
	"log"

	"github.com/hashicorp/consul/api"

	"github.com/tulle-mesh/tulle/xdsserver/consul"
)

func ExampleNew() {
	c, err := consul.New(consul.Config{Address: "https://consul.example", Token: "5c1f0d8e"})
	if err != nil {
		log.Fatal(err) // says which setting cannot work
	}
	defer c.Close()
	fmt.Println(c) // and never the token
	// Output: consul at https://consul.example:8501
}

func ExampleFollow() {
	c, err := consul.New(consul.FromEnv())
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	_ = consul.Follow(context.Background(), c, consul.Watch[[]*api.ServiceEntry]{
		What: "service voting",
		Fetch: func(q *api.QueryOptions) ([]*api.ServiceEntry, *api.QueryMeta, error) {
			return c.API().Health().Service("voting", "", false, q)
		},
		Emit: func(a consul.Answer[[]*api.ServiceEntry]) {
			switch {
			case a.Err != nil:
				fmt.Println("what was known last still counts:", a.Err)
			case a.Filtered:
				fmt.Println("there may be more than", len(a.Value))
			default:
				fmt.Println(len(a.Value), "instances")
			}
		},
	})
}
