// Package source defines where configuration comes from. Each driver is a
// package of its own below it; merge folds what they emit into one model.Set.
package source

import (
	"context"

	"github.com/tulle-mesh/tulle/xdsserver/model"
)

// A Source is one origin of configuration or endpoints.
type Source interface {
	// Name is short and stable: "file", "store", "registry".
	Name() string
	// Run emits the source's full output, never a delta: once when it is first
	// known, even when empty, and again after each change, until ctx ends. On
	// failure it emits its last good output with Err set, and goes on. It
	// returns nil only when ctx has ended.
	Run(ctx context.Context, emit func(Output)) error
}

// An Output is everything a source knows at one moment. It is immutable.
type Output struct {
	// Generation grows with each change of the output.
	Generation uint64
	Objects    []model.Object
	Endpoints  []model.Endpoint
	// Problems of what the source could not read, beside Objects that it could.
	Problems []model.Problem
	// Trust is whom certificates are verified against; nil from a source that does
	// not know.
	Trust *model.Trust
	// Commands are what processes are told to do for a while. Values that did not change
	// are the same as in the output before.
	Commands map[model.ServiceName]*model.Commands
	// Err is why Objects may be old; nil when the source is up to date.
	Err error
}
