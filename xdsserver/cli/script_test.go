package cli_test

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/tulle-mesh/tulle/mesh"
	"github.com/tulle-mesh/tulle/xdsserver/cli"
)

var update = flag.Bool("update", false, "rewrite the expected output in testdata")

// runner is what testscript runs between its own set-up and clean-up.
type runner func() int

// Run implements testscript.TestingM.
func (r runner) Run() int { return r() }

// TestMain makes this binary the xdsserver that the scripts run.
func TestMain(m *testing.M) {
	tests := func() (code int) {
		goleak.VerifyTestMain(m, goleak.Cleanup(func(c int) { code = c }))
		return code
	}
	testscript.Main(runner(tests), map[string]func(){
		"xdsserver": func() {
			os.Exit(untilStopped(func(ctx context.Context) int { return cli.Main(ctx, os.Args[1:], cli.Stdio()) }))
		},
		"member":    func() { os.Exit(untilStopped(member)) },
		"fakeadmin": func() { os.Exit(untilStopped(fakeAdmin)) },
	})
}

// untilStopped runs a program until it ends or is asked to.
func untilStopped(run func(context.Context) int) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	return run(ctx)
}

// member is a process of the mesh that dials services: member voting &member&. What else
// it is its environment says. With CALLS it makes so many to each service, and without
// services it is one, which answers them.
func member(ctx context.Context) int {
	err := func() error {
		calls, _ := strconv.Atoi(os.Getenv("CALLS")) // none where it is not said
		for _, service := range os.Args[1:] {
			conn, err := mesh.NewClient("mesh:///" + service)
			if err != nil {
				return err
			}
			defer conn.Close()
			conn.Connect()
			for range calls {
				if _, err := healthpb.NewHealthClient(conn).Check(ctx, &healthpb.HealthCheckRequest{}, grpc.WaitForReady(true)); err != nil {
					return err
				}
			}
		}
		if len(os.Args) == 1 {
			return serveMember(ctx)
		}
		<-ctx.Done()
		m, err := mesh.Default()
		if err != nil {
			return err
		}
		return m.Close()
	}()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// serveMember serves health, as every server of the mesh does, until ctx ends.
func serveMember(ctx context.Context) error {
	lis, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	server := mesh.NewServer()
	stop := context.AfterFunc(ctx, server.GracefulStop)
	defer stop()
	return server.Serve(lis)
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
			env.Setenv("VERSION", mesh.Version)
			// Each script has its own default socket.
			env.Setenv("XDG_RUNTIME_DIR", filepath.Join(env.WorkDir, "run"))
			// With -race every command would wait a second before it ends.
			env.Setenv("GORACE", "atexit_sleep_ms=0")
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"ready":   ready,
			"code":    code,
			"retry":   retry,
			"ids":     ids,
			"loosen":  loosen,
			"modes":   modes,
			"secrets": secrets,
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

// retry runs a command until it succeeds: retry xdsserver check. Two words are
// tests of their own: retry grepout PATTERN command..., retry differ FILE FILE.
func retry(ts *testscript.TestScript, _ bool, args []string) {
	attempt := func() error { return ts.Exec(args[0], args[1:]...) }
	switch args[0] {
	case "grepout":
		pattern := regexp.MustCompile("(?m)" + args[1])
		attempt = func() error {
			_ = ts.Exec(args[2], args[3:]...)
			if out := ts.ReadFile("stdout"); !pattern.MatchString(out) {
				return fmt.Errorf("no %s in %s", pattern, out)
			}
			return nil
		}
	case "differ":
		attempt = func() error {
			if ts.ReadFile(args[1]) == ts.ReadFile(args[2]) {
				return fmt.Errorf("%s and %s are the same", args[1], args[2])
			}
			return nil
		}
	}
	timeout := time.NewTimer(20 * time.Second)
	defer timeout.Stop()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := attempt()
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

// ids puts the id in the JSON that was printed last into ID_name.
func ids(ts *testscript.TestScript, _ bool, args []string) {
	found := regexp.MustCompile(`"id": "([^"]+)"`).FindStringSubmatch(ts.ReadFile("stdout"))
	if found == nil {
		ts.Fatalf("no id was printed")
	}
	ts.Setenv("ID_"+args[0], found[1])
}

// loosen makes the private keys of a directory readable for everybody.
func loosen(ts *testscript.TestScript, _ bool, args []string) {
	keys, err := filepath.Glob(filepath.Join(ts.MkAbs(args[0]), "*.key"))
	ts.Check(err)
	if len(keys) == 0 {
		ts.Fatalf("%s holds no key", args[0])
	}
	for _, key := range keys {
		ts.Check(os.Chmod(key, 0o644))
	}
}

// modes checks modes of files: modes FILE 600 FILE 644.
func modes(ts *testscript.TestScript, _ bool, args []string) {
	for i := 0; i+1 < len(args); i += 2 {
		info, err := os.Stat(ts.MkAbs(args[i]))
		ts.Check(err)
		if got := fmt.Sprintf("%o", info.Mode().Perm()); got != args[i+1] {
			ts.Fatalf("%s has mode %s, want %s", args[i], got, args[i+1])
		}
	}
}

// secrets checks that the secret of a token is in no file of a directory.
func secrets(ts *testscript.TestScript, _ bool, args []string) {
	secret := strings.Split(ts.ReadFile(args[0]), ".")[2]
	ts.Check(filepath.WalkDir(ts.MkAbs(args[1]), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		if err == nil && bytes.Contains(b, []byte(secret)) {
			err = fmt.Errorf("%s holds the secret of a token", path)
		}
		return err
	}))
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
	// Error: unknown kind "nonsense", want service, grpcroute, accesspolicy or mesh
	// Run 'xdsserver get --help' for usage.
	// exit code 2
}
