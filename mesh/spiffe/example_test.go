package spiffe_test

import (
	"fmt"

	"github.com/tulle-mesh/tulle/mesh/spiffe"
)

func ExampleParseID() {
	id, err := spiffe.ParseID("spiffe://tulle.local/ns/shop/svc/voting")
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(id.TrustDomain, id.Service, id.Namespace())
	// Output: tulle.local voting.shop shop
}
