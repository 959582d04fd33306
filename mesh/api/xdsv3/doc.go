// Package xdsv3 holds the messages of xDS that the library reads, and those of the mesh's own
// policies that stand in them (Own...), as plain Go structs.
//
// The protobuf module's own types register every message of Envoy's API, with the
// descriptors of all that those mention: a process that links them has 3 MB more of heap,
// which its garbage collector walks again and again, and 5 MB more of program. Those here
// are read straight from the wire, hold what somebody reads, and register nothing, so that
// an application may link Envoy's own beside them.
//
// They are generated from Envoy's definitions, by internal/xdsgen, and look like what
// protoc-gen-go makes: a getter for each field that may be asked of a nil message, a type
// for each alternative of a oneof. What a message holds beyond that is known by name and
// can be asked for ([Message.Unaccepted]), so that nothing is passed over unseen.
package xdsv3

//go:generate go run ../../../internal/xdsgen
