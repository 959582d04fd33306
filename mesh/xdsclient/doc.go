// Package xdsclient speaks the xDS transport protocol, client side: the
// protocol and nothing else. It knows no resource's meaning.
//
// A process needs one configuration stream, not one for each service it calls:
// a [Client] keeps one delta ADS stream on one connection, counts who is
// interested in which resource, acknowledges what can be used and says exactly
// why the rest cannot. It keeps the last good value of every resource in memory
// and on disk, so that the process goes on, and starts again, without a server.
//
//	client, err := xdsclient.New(xdsclient.Config{
//		Servers: []string{"127.0.0.1:18000"},
//		Node:    &corev3.Node{Id: "web/1", Cluster: "web"},
//		Types:   []xdsclient.Type{{URL: resource.ClusterType, Decode: decodeCluster}},
//	})
//	go client.Run(ctx) // by the caller's errgroup
//	sub := client.Subscribe(resource.ClusterType, "voting", wake)
//	defer sub.Close()
//	state := sub.State() // never blocks
//
// What a subscriber sees:
//
//   - A resource that cannot be used never replaces a good one: the good value
//     stays, with the reason beside it ([State].Ambient). Only where there is no
//     good value the reason is an error ([State].Err); gRFCs A46 and A88.
//   - A resource that the server stops having is kept, too: things are deleted
//     by intent, which is for the resources' meaning to express.
//   - Values that no server confirms are marked ([State].Stale).
//
// Servers are replicas of one control plane: a version means the same content
// on each of them. The most preferred one that answers is used.
//
// The package does not ask for wildcards, does not speak the state of the world
// protocol, and does not honour the time to live of a resource.
package xdsclient
