package model

import "time"

// ClientService is the service of processes that only call.
var ClientService = ServiceName{Namespace: DefaultNamespace, Name: "client"}

// Commands are what the processes of one service are told to do for a while.
type Commands struct {
	Taps []Tap
	// Log is nil where processes log as they were started.
	Log *LogCommand
}

// A Tap asks processes for what they see of calls.
type Tap struct {
	// ID is unique among the taps of the mesh.
	ID string
	// Instance is the one that is asked; empty is all.
	Instance string
	// To chooses calls that processes make, From calls that they take, by the service on
	// the other side, where '*' stands for anything; both empty choose all of both.
	To, From string
	// Method is a full method, a bare name, or a pattern with '*'; empty is all.
	Method string
	// Metadata is what a call must have, each key with that value.
	Metadata map[string]string
	// Failures leaves out calls that end OK.
	Failures bool
	// MaxRPS is the most calls in a second, for each process.
	MaxRPS float64
	// Payload asks for messages.
	Payload bool
	// Until is when the tap is over.
	Until time.Time
}

// A LogCommand says what processes log of the mesh.
type LogCommand struct {
	// Instance is the one that is told; empty is all.
	Instance string
	// Level is "debug", "info", "warn" or "error"; empty leaves it to the process.
	Level string
	// Access is the share of calls that are logged, 0 to 1.
	Access float64
	// Until is when processes go back to what they were started with.
	Until time.Time
}
