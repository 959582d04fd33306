package resource

import (
	"log/slog"
	"time"
)

// CommandsName returns the name of what the processes of service are told to do. It
// stands below the service's own Listener, so that no other service sees it.
func CommandsName(service string) string { return ServerListener(service) + "/commands" }

// Commands are what the processes of one service are told to do for a while. Each
// ends by itself at its Until, whether or not anybody says so again. Commands are
// immutable.
type Commands struct {
	Service string
	// Taps, at most 4, have different ids.
	Taps []Tap
	// Log is nil where processes log as they were started.
	Log *LogCommand
}

// A Tap asks a process for what it sees of calls.
type Tap struct {
	// ID is unique among the taps of a mesh.
	ID string
	// Instance is the one that is asked; empty is all.
	Instance string
	// To and From are services, or patterns with '*'. To chooses calls that the process
	// makes, From calls that it takes; both empty choose all of both.
	To, From string
	// Method is a full method, "/pkg.Service/*", a method's bare name in any service, or
	// a pattern with '*'; empty is all.
	Method string
	// Metadata is what a call must have, each key with that value.
	Metadata map[string]string
	// Failures leaves out calls that end OK.
	Failures bool
	// MaxRPS is the most calls in a second; more than 0, and at most 1000.
	MaxRPS float64
	// Payload asks for messages.
	Payload bool
	// Redact are fields and metadata keys that are left out beside those that always
	// are: full names, or bare ones, which stand for any field of that name.
	Redact []string
	// Until is when the tap is over.
	Until time.Time
}

// A LogCommand says what a process logs of the mesh.
type LogCommand struct {
	// Instance is the one that is told; empty is all.
	Instance string
	// Level is the least that is logged, where HasLevel is set.
	Level    slog.Level
	HasLevel bool
	// Access is the share of calls that are logged, 0 to 1; of those that fail, all are
	// where it is more than 0.
	Access float64
	// Until is when the process goes back to what it was started with.
	Until time.Time
}

// ResourceName implements [Resource].
func (c *Commands) ResourceName() string { return CommandsName(c.Service) }
