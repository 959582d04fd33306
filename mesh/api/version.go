// Package api is the root of the mesh's own protobuf packages, one folder for
// each package and version, with the generated code beside the source. It holds
// nothing but the version that the library and xdsserver tell each other.
package api

// Version is the version of this module, by semantic versioning.
const Version = "0.1.0-dev"
