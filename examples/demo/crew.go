package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"
)

// stopWithin bounds the time a process has to drain before it is killed.
const stopWithin = 15 * time.Second

// A crew is the processes that the tour started.
type crew struct {
	dir   string
	ended chan string // names of processes that ended before they were told to

	mu    sync.Mutex
	parts []*process
	seen  map[string][]call // by process: what it counted, as of its last report
}

type process struct {
	name  string
	cmd   *exec.Cmd
	stdin io.WriteCloser
	dead  bool          // it was killed on purpose
	done  chan struct{} // closed when the process has ended and been read out
	err   error         // valid when done is closed
}

// newCrew returns a crew without anybody, with a folder for what it leaves behind.
// done stops it and, where nothing failed, removes the folder.
func newCrew() (c *crew, done func(error) error, err error) {
	dir, err := os.MkdirTemp("", "tulle-demo-")
	if err != nil {
		return nil, nil, err
	}
	c = &crew{dir: dir, ended: make(chan string, 1), seen: map[string][]call{}}
	return c, func(err error) error {
		if err = errors.Join(err, c.stop()); err != nil {
			fmt.Fprintln(os.Stderr, "demo: what the processes said is in", dir)
			return err
		}
		return os.RemoveAll(dir)
	}, nil
}

// start runs this binary again in a role.
func (c *crew) start(name, role string, args []string, env ...string) error {
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	log, err := os.Create(filepath.Join(c.dir, name+".log"))
	if err != nil {
		return err
	}
	cmd := exec.Command(exe, args...) //nolint:gosec,noctx // it is this binary; stop ends it, in order
	p := &process{name: name, cmd: cmd, done: make(chan struct{})}
	p.cmd.Env = append(append(os.Environ(), roleVariable+"="+role), env...)
	p.cmd.Stderr = log
	// A group of its own: Ctrl-C reaches the tour alone, which then stops the
	// processes in order.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if p.stdin, err = p.cmd.StdinPipe(); err != nil {
		return err
	}
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := p.cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", name, err)
	}
	go func() { // waited for through done
		defer close(p.done)
		defer log.Close()
		c.read(name, stdout)
		p.err = p.cmd.Wait()
		c.mu.Lock()
		dead := p.dead
		c.mu.Unlock()
		if dead {
			p.err = nil
			return
		}
		select {
		case c.ended <- name:
		default:
		}
	}()
	c.mu.Lock()
	defer c.mu.Unlock()
	// One that is started again takes its old place in the order in which they end.
	if i := slices.IndexFunc(c.parts, func(old *process) bool { return old.name == name && old.dead }); i >= 0 {
		c.parts[i] = p
		return nil
	}
	c.parts = append(c.parts, p)
	return nil
}

// find returns the newest process of a name, nil where there is none.
func (c *crew) find(name string) *process {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range slices.Backward(c.parts) {
		if p.name == name {
			return p
		}
	}
	return nil
}

// tell gives a process an order; see obey.
func (c *crew) tell(name, order string) error {
	p := c.find(name)
	if p == nil {
		return fmt.Errorf("tell %s: there is none", name)
	}
	if _, err := fmt.Fprintln(p.stdin, order); err != nil {
		return fmt.Errorf("tell %s: %w", name, err)
	}
	return nil
}

// kill ends a process as a crash would, and waits until it has ended.
func (c *crew) kill(name string) error {
	p := c.find(name)
	if p == nil {
		return fmt.Errorf("kill %s: there is none", name)
	}
	c.mu.Lock()
	p.dead = true
	delete(c.seen, name)
	c.mu.Unlock()
	if err := p.cmd.Process.Kill(); err != nil {
		return fmt.Errorf("kill %s: %w", name, err)
	}
	<-p.done
	return nil
}

// read keeps the newest of the counts that a process reports.
func (c *crew) read(name string, stdout io.Reader) {
	lines := bufio.NewScanner(stdout)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var calls []call
		if json.Unmarshal(lines.Bytes(), &calls) == nil {
			c.mu.Lock()
			c.seen[name] = calls
			c.mu.Unlock()
		}
	}
}

// calls returns what all processes have counted.
func (c *crew) calls() []call {
	c.mu.Lock()
	defer c.mu.Unlock()
	var all []call
	for _, calls := range c.seen {
		all = append(all, calls...)
	}
	return all
}

// stop ends the processes in the order opposite to their start, so that callers
// end before those they call and xdsserver ends last. It is idempotent.
func (c *crew) stop() error {
	c.mu.Lock()
	parts := c.parts
	c.parts = nil
	c.mu.Unlock()
	var errs []error
	for len(parts) > 0 {
		// Instances of one service drain together.
		last := len(parts) - 1
		first := last
		for first > 0 && role(parts[first-1]) == role(parts[last]) {
			first--
		}
		for _, p := range parts[first:] {
			_ = p.cmd.Process.Signal(syscall.SIGTERM)
		}
		for _, p := range parts[first:] {
			errs = append(errs, p.wait())
		}
		parts = parts[:first]
	}
	return errors.Join(errs...)
}

func role(p *process) string {
	for i := range p.name {
		if p.name[i] == '-' {
			return p.name[:i]
		}
	}
	return p.name
}

// wait waits for a process that was told to stop.
func (p *process) wait() error {
	defer p.stdin.Close()
	timer := time.NewTimer(stopWithin)
	defer timer.Stop()
	select {
	case <-p.done:
	case <-timer.C:
		_ = p.cmd.Process.Kill()
		<-p.done
		return fmt.Errorf("%s did not stop within %v and was killed", p.name, stopWithin)
	}
	if p.err != nil {
		return fmt.Errorf("%s: %w", p.name, p.err)
	}
	return nil
}
