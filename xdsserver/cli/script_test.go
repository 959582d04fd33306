package cli_test

import (
	"context"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/tulle-mesh/tulle/xdsserver/cli"
)

var update = flag.Bool("update", false, "rewrite the expected output in testdata")

// TestMain makes this binary the xdsserver that the scripts run.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"xdsserver": func() {
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		code := cli.Main(ctx, os.Args[1:], cli.Stdio())
		stop()
		os.Exit(code)
	}})
}

// TestScripts runs the commands of testdata/*.txtar as an operator would, against
// servers that the scripts start themselves.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:           "testdata",
		UpdateScripts: *update,
		Setup: func(env *testscript.Env) error {
			for _, name := range []string{"MESH", "ADMIN"} {
				lis, err := net.Listen("tcp", "127.0.0.1:0")
				if err != nil {
					return err
				}
				env.Setenv(name, lis.Addr().String())
				if err := lis.Close(); err != nil {
					return err
				}
			}
			env.Setenv("TULLE_ADMIN", "http://"+env.Getenv("ADMIN"))
			// With -race every command would wait a second before it ends.
			env.Setenv("GORACE", "atexit_sleep_ms=0")
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"ready": ready,
			"code":  code,
			"retry": retry,
		},
	})
}

// ready waits until the server of the script answers.
func ready(ts *testscript.TestScript, _ bool, _ []string) {
	url := ts.Getenv("TULLE_ADMIN") + "/readyz"
	timeout := time.NewTimer(20 * time.Second)
	defer timeout.Stop()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if answer, err := http.Get(url); err == nil {
			_ = answer.Body.Close()
			if answer.StatusCode == http.StatusOK {
				return
			}
		}
		select {
		case <-tick.C:
		case <-timeout.C:
			ts.Fatalf("xdsserver is not ready at %s", url)
		}
	}
}

// retry runs a command until it succeeds.
func retry(ts *testscript.TestScript, _ bool, args []string) {
	timeout := time.NewTimer(20 * time.Second)
	defer timeout.Stop()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := ts.Exec(args[0], args[1:]...)
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-timeout.C:
			ts.Fatalf("%v: %v", args, err)
		}
	}
}

// code runs a command and checks its exit code: code 2 xdsserver get nothing.
func code(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) < 2 {
		ts.Fatalf("usage: code N command...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	got := 0
	if exit := (&exec.ExitError{}); err != nil {
		if !asExit(err, &exit) {
			ts.Fatalf("%v", err)
		}
		got = exit.ExitCode()
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

func asExit(err error, exit **exec.ExitError) bool {
	e, ok := err.(*exec.ExitError) //nolint:errorlint // testscript returns it as it is
	if ok {
		*exit = e
	}
	return ok
}

func ExampleMain() {
	code := cli.Main(context.Background(), []string{"get", "nonsense"}, cli.IO{In: os.Stdin, Out: os.Stdout, Err: os.Stdout})
	fmt.Println("exit code", code)
	// Output:
	// Error: unknown kind "nonsense", want service or grpcroute
	// Run 'xdsserver get --help' for usage.
	// exit code 2
}
