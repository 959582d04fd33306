package store_test

import (
	"context"
	"fmt"
	"os"

	"github.com/tulle-mesh/tulle/xdsserver/model"
	"github.com/tulle-mesh/tulle/xdsserver/store"
)

func ExampleOpen() {
	dir, err := os.MkdirTemp("", "tulle")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	s, err := store.Open(store.Config{Dir: dir})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer s.Close()

	voting := model.Ref{Kind: model.KindService, Namespace: model.DefaultNamespace, Name: "voting"}
	revision, err := s.Apply(context.Background(), []store.Change{{Ref: voting, YAML: []byte("kind: Service\n")}}, store.Intent{})
	fmt.Println(revision, err)
	_, err = s.Apply(context.Background(), []store.Change{{Ref: voting}}, store.Intent{IfRevision: 7})
	fmt.Println(err)
	// Output:
	// 1 <nil>
	// store: revision is 1, the change was made for 7: read the objects again and repeat
}
