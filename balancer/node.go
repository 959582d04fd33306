package balancer

// A Node is what calls have taught about one endpoint: how long they take, how many
// are open, whether they fail. There is one per endpoint of a connection, and it
// outlives the pickers, which change whenever any endpoint comes or goes. It is safe
// for concurrent use.
type Node struct {
	// Address is the endpoint's first.
	Address string
}

// NewNode returns the Node of an endpoint that no call was made to yet.
func NewNode(address string) *Node { return &Node{Address: address} }
