package main

import (
	"fmt"
	"path/filepath"
)

// A stage is a mesh with the instances that play on it.
type stage struct {
	crew   *crew
	server *server
	// instances by name: "voting-3" is the fourth of all.
	instances map[string]instance
}

func newStage(crew *crew, server *server, instances []instance) *stage {
	s := &stage{crew: crew, server: server, instances: make(map[string]instance, len(instances))}
	for i, in := range instances {
		s.instances[fmt.Sprintf("%s-%d", in.service, i)] = in
	}
	return s
}

// start starts an instance, the first time or again.
func (s *stage) start(name string) error {
	in := s.instances[name]
	return s.crew.start(name, in.service, nil,
		"TULLE_SERVICE="+in.service, "TULLE_VERSION="+in.version, "TULLE_ZONE="+in.zone, "TULLE_INSTANCE="+name,
		"TULLE_SERVER="+s.server.mesh, "TULLE_STATE_DIR="+filepath.Join(s.crew.dir, "state-"+name))
}
