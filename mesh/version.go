package mesh

import "github.com/tulle-mesh/tulle/mesh/api"

// Version is the library's version, told to xdsserver with each stream.
const Version = api.Version
