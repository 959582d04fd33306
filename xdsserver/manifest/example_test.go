package manifest_test

import (
	"fmt"

	"github.com/tulle-mesh/tulle/xdsserver/manifest"
)

func ExampleParse() {
	objects, problems := manifest.Parse("mesh.yaml", []byte(`
apiVersion: tulle/v1
kind: Service
metadata: {name: voting}
spec: {timeout: 2s}
---
apiVersion: tulle/v1
kind: Service
metadata: {name: emoji}
spec: {timeuot: 2s}
`))
	for _, o := range objects {
		fmt.Println(o.Ref(), "at", o.Origin())
	}
	for _, p := range problems {
		fmt.Println(p.From, p.Message)
	}
	// Output:
	// Service voting at mesh.yaml:2
	// mesh.yaml:10:8 unknown field "timeuot": did you mean timeout?
}

func ExampleMarshal() {
	objects, _ := manifest.Parse("mesh.yaml", []byte(
		`{apiVersion: tulle/v1, kind: Service, metadata: {name: voting, namespace: default}, spec: {timeout: 90s}}`))
	yaml, err := manifest.Marshal(objects[0])
	fmt.Printf("%s%v\n", yaml, err)
	// Output:
	// apiVersion: tulle/v1
	// kind: Service
	// metadata:
	//   name: voting
	// spec:
	//   timeout: 1m30s
	// <nil>
}
