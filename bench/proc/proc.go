// Package proc starts the processes that a benchmark measures, tells them what to do, and
// reads what they use.
//
// A process that is part of the benchmark takes commands on its standard input, one line
// of JSON each, and answers each with one on its standard output; see [Serve]. It ends
// when its input does, so that none outlives the benchmark.
package proc

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"time"
)

// A Process is one that the benchmark started. One goroutine at a time asks it.
type Process struct {
	Name string

	cmd    *exec.Cmd
	in     io.WriteCloser
	out    *json.Decoder
	stderr tail
}

// Start starts a program with environment variables beside the benchmark's own. Who
// starts it closes it.
func Start(name, path string, args []string, env ...string) (*Process, error) {
	p := &Process{Name: name, cmd: exec.Command(path, args...)} //nolint:gosec,noctx // who benchmarks says which, and ends it
	p.cmd.Env = append(os.Environ(), env...)
	p.cmd.Stderr = &p.stderr
	var err error
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	p.out = json.NewDecoder(bufio.NewReader(out))
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return p, nil
}

// PID is that of the process.
func (p *Process) PID() int { return p.cmd.Process.Pid }

type question struct {
	Do   string          `json:"do"`
	With json.RawMessage `json:"with,omitempty"`
}

type reply struct {
	Error string          `json:"error,omitempty"`
	Value json.RawMessage `json:"value,omitempty"`
}

// Ask has the process do something and waits for the answer, which value points to, or
// nil. An error has what the process said last.
func (p *Process) Ask(do string, with, value any) error {
	var r reply
	err := func() error {
		params, err := json.Marshal(with)
		if err != nil {
			return err
		}
		line, err := json.Marshal(question{Do: do, With: params})
		if err != nil {
			return err
		}
		if _, err := p.in.Write(append(line, '\n')); err != nil {
			return err
		}
		if err := p.out.Decode(&r); err != nil {
			return err
		}
		if r.Error != "" {
			return errors.New(r.Error)
		}
		if value == nil {
			return nil
		}
		return json.Unmarshal(r.Value, value)
	}()
	if err != nil {
		return fmt.Errorf("%s: %s: %w; it said: %s", p.Name, do, err, p.stderr.String())
	}
	return nil
}

// Said returns the end of what the process wrote to its standard error.
func (p *Process) Said() string { return p.stderr.String() }

// Close ends the process: by the end of its input, and by a signal if that is not enough.
// It may be called again.
func (p *Process) Close() error {
	if p.cmd.ProcessState != nil {
		return nil
	}
	_ = p.in.Close()
	timer := time.AfterFunc(3*time.Second, func() { _ = p.cmd.Process.Kill() })
	defer timer.Stop()
	return p.cmd.Wait()
}

// Kill ends the process at once.
func (p *Process) Kill() {
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait()
}

// A tail keeps the last bytes written to it.
type tail struct {
	mu sync.Mutex
	b  []byte
}

const maxTail = 4 << 10

func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.b = append(t.b, b...)
	t.b = t.b[max(0, len(t.b)-maxTail):]
	return len(b), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.b)
}
