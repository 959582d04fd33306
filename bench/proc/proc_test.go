package proc

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

const childEnv = "TULLE_BENCH_PROC_TEST"

func TestMain(m *testing.M) {
	if os.Getenv(childEnv) == "" {
		os.Exit(m.Run())
	}
	fmt.Fprintln(os.Stderr, "here I am")
	err := Serve(Handlers{
		"double": func(with json.RawMessage) (any, error) {
			n := 0
			err := json.Unmarshal(with, &n)
			return 2 * n, err
		},
		"fail": func(json.RawMessage) (any, error) { return nil, errors.New("it cannot be done") },
		"end":  func(json.RawMessage) (any, error) { os.Exit(3); return nil, nil },
	})
	if err != nil {
		os.Exit(1)
	}
}

func child(t *testing.T) *Process {
	t.Helper()
	p, err := Start("child", os.Args[0], nil, childEnv+"=1")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() })
	return p
}

func TestAProcessDoesWhatItIsAsked(t *testing.T) {
	p := child(t)
	n := 0
	if err := p.Ask("double", 21, &n); err != nil || n != 42 {
		t.Errorf("got %d, %v", n, err)
	}
	var m Memory
	if err := p.Ask("memory", nil, &m); err != nil || m.Heap == 0 || m.Goroutines == 0 || m.Mallocs == 0 {
		t.Errorf("got %+v, %v", m, err)
	}
	u, err := UsageOf(p.PID())
	if err != nil && !errors.Is(err, ErrNoProc) {
		t.Fatal(err)
	}
	if err == nil && (u.RSS < 1<<20 || u.Private < 1<<18 || u.Private > u.RSS) {
		t.Errorf("got %+v", u)
	}
	if err := p.Close(); err != nil || p.Close() != nil {
		t.Errorf("it did not end by the end of its input: %v", err)
	}
}

func TestErrorsSayWhoAndWhat(t *testing.T) {
	p := child(t)
	for do, want := range map[string]string{
		"fail":  "child: fail: it cannot be done",
		"dance": `child: dance: cannot do "dance"`,
	} {
		if err := p.Ask(do, nil, nil); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	if err := p.Ask("end", nil, nil); err == nil || !strings.Contains(err.Error(), "EOF; it said: here I am") {
		t.Errorf("of a process that is gone: %v", err)
	}
	if _, err := Start("nobody", "./nowhere", nil); err == nil || !strings.HasPrefix(err.Error(), "nobody: ") {
		t.Errorf("got %v", err)
	}
}

func TestUsageCountsWhatIsBurnt(t *testing.T) {
	before, err := UsageOf(os.Getpid())
	if errors.Is(err, ErrNoProc) {
		t.Skip(err)
	}
	own, err2 := OwnCPU()
	for began := time.Now(); time.Since(began) < 100*time.Millisecond; {
	}
	after, err3 := UsageOf(os.Getpid())
	now, err4 := OwnCPU()
	if err := errors.Join(err, err2, err3, err4); err != nil {
		t.Fatal(err)
	}
	if burnt := now - own; burnt < 20*time.Millisecond || after.CPU-before.CPU < burnt-30*time.Millisecond || after.CPU-before.CPU > burnt+30*time.Millisecond {
		t.Errorf("the process says %v, the system %v", burnt, after.CPU-before.CPU)
	}
}
