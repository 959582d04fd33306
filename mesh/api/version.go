// Package api is the root of the mesh's own protobuf packages, one folder for
// each package and version, with the generated code beside the source. It holds
// what the library and xdsserver must agree on beside it: the version, the text of a
// join token, the path of the socket.
package api

// Version is the version of this module, by semantic versioning.
const Version = "0.1.0-dev"
