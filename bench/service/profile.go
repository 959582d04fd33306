package service

import (
	"bytes"
	"errors"
	"os"
	"runtime/pprof"
)

// profiling is the profile that is being taken.
var profiling bytes.Buffer

// profile begins to take a profile, or writes the one that was begun to a file.
func profile(path string) (any, error) {
	if path == "" {
		profiling.Reset()
		return struct{}{}, pprof.StartCPUProfile(&profiling)
	}
	pprof.StopCPUProfile()
	if profiling.Len() == 0 {
		return nil, errors.New("no profile was begun")
	}
	return struct{}{}, os.WriteFile(path, profiling.Bytes(), 0o600)
}
