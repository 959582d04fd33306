package proc

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
)

// Handlers are what a process can be asked to do. Each gets the parameters as JSON, and
// returns what is told to who asked.
type Handlers map[string]func(with json.RawMessage) (any, error)

// Serve takes commands from standard input until that ends. Every process can be asked for
// its "memory", a [Memory], beside what handlers say. It is the last thing that main does.
func Serve(handlers Handlers) error {
	in, out := json.NewDecoder(os.Stdin), json.NewEncoder(os.Stdout)
	for {
		var q question
		if err := in.Decode(&q); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		var r reply
		value, err := handlers.answer(q)
		if err == nil {
			r.Value, err = json.Marshal(value)
		}
		if err != nil {
			r.Error = err.Error()
		}
		if err := out.Encode(r); err != nil {
			return err
		}
	}
}

func (h Handlers) answer(q question) (any, error) {
	if f := h[q.Do]; f != nil {
		return f(q.With)
	}
	if q.Do == "memory" {
		return readMemory(), nil
	}
	return nil, fmt.Errorf("cannot do %q", q.Do)
}

// Memory is what a Go process holds after a collection, in bytes.
type Memory struct {
	Heap       uint64 `json:"heap"`
	Stack      uint64 `json:"stack"`
	Goroutines int    `json:"goroutines"`
	// Mallocs counts allocations since the process began.
	Mallocs uint64 `json:"mallocs"`
	// Bytes counts what they were of.
	Bytes uint64 `json:"bytes"`
}

func readMemory() Memory {
	// What the first collection frees of pools goes with the second.
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return Memory{Heap: m.HeapAlloc, Stack: m.StackInuse, Goroutines: runtime.NumGoroutine(), Mallocs: m.Mallocs, Bytes: m.TotalAlloc}
}
