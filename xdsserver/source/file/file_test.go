package file

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestNewRefusesAPathThatIsNotThere(t *testing.T) {
	for path, want := range map[string]string{
		"":                                 "source file: no path: set Config.Path",
		filepath.Join(t.TempDir(), "none"): "no such file or directory; create it, or correct the path",
		os.DevNull:                         "is neither a file nor a directory",
	} {
		if _, err := New(Config{Path: path}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %s", path, err, want)
		}
	}
}

func TestDirectoryIsReadInOrderOfNames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		write(t, filepath.Join(dir, "b.yaml"), service("b1", "1s")+service("b2", "1s"))
		write(t, filepath.Join(dir, "a.yml"), "# first\n"+service("a", "1s"))
		write(t, filepath.Join(dir, ".hidden.yaml"), service("hidden", "1s"))
		write(t, filepath.Join(dir, "a.yaml~"), service("backup", "1s"))
		write(t, filepath.Join(dir, "notes.txt"), "notes")
		must(t, os.Mkdir(filepath.Join(dir, "below.yaml"), 0o700))
		write(t, filepath.Join(dir, "below.yaml", "c.yaml"), service("c", "1s"))
		f := follow(t, dir)
		o := f.next()
		f.want(o, "[a=1s b1=1s b2=1s]")
		if o.Generation != 1 {
			t.Errorf("generation %d, want 1", o.Generation)
		}
		if got, want := o.Objects[0].Origin(), filepath.Join(dir, "a.yml")+":3"; got != want {
			t.Errorf("origin %s, want %s", got, want)
		}
		f.none(time.Minute)
	})
}

func TestNothingIsAnOutputToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := follow(t, t.TempDir())
		f.want(f.next(), "[]")
		f.none(time.Minute)
	})
}

func TestChangeIsFoundWithoutNotification(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "mesh.yaml")
		write(t, path, service("a", "1s"))
		f := follow(t, path)
		f.want(f.next(), "[a=1s]")
		write(t, path, service("a", "2s"))
		started := time.Now()
		f.want(<-f.out, "[a=2s]")
		if took := time.Since(started); took > poll+settle {
			t.Errorf("took %v", took)
		}
	})
}

func TestFileIsReadOnceItHasSettled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "mesh.yaml")
		write(t, path, service("a", "1s"))
		f := follow(t, path)
		f.next()

		// Half a file is not read, however long the other half takes.
		whole := service("a", "2s") + service("b", "2s")
		for i := range 5 {
			write(t, path, whole[:len(whole)/2+i])
			f.tell()
			f.none(settle - time.Millisecond)
		}
		write(t, path, whole)
		f.tell()
		written := time.Now()
		f.want(f.next(), "[a=2s b=2s]")
		if took := time.Since(written); took < settle || took > settle+2*pause {
			t.Errorf("read after %v, want %v", took, settle)
		}
	})
}

func TestObjectThatMovesBetweenFilesIsNeverGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		a, b := filepath.Join(dir, "a.yaml"), filepath.Join(dir, "b.yaml")
		write(t, a, service("x", "1s")+service("y", "1s"))
		f := follow(t, dir)
		f.next()
		write(t, a, service("x", "1s"))
		f.tell()
		time.Sleep(settle / 2)
		write(t, b, service("y", "1s"))
		f.tell()
		f.want(f.next(), "[x=1s y=1s]")
		f.none(time.Minute)
	})
}

func TestFileThatNeverSettlesDoesNotHoldBackTheOthersForLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		a, b := filepath.Join(dir, "a.yaml"), filepath.Join(dir, "b.yaml")
		write(t, a, service("a", "1s"))
		f := follow(t, dir)
		f.next()
		write(t, a, service("a", "2s"))
		changed := time.Now()
		for i := 0; len(f.out) == 0 && i < 100; i++ {
			write(t, b, "# "+strings.Repeat("x", i))
			f.tell()
			time.Sleep(settle / 2)
		}
		f.want(f.next(), "[a=2s]")
		if took := time.Since(changed); took > hold+3*settle {
			t.Errorf("held back for %v", took)
		}
	})
}

func TestBadFileKeepsItsLastGoodObjects(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		a, b := filepath.Join(dir, "a.yaml"), filepath.Join(dir, "b.yaml")
		write(t, a, service("x", "1s")+service("y", "1s"))
		write(t, b, service("z", "1s"))
		f := follow(t, dir)
		f.next()

		// What can be read is, what cannot stays as it was; other files go on.
		write(t, a, service("x", "soon")+service("y", "2s"))
		write(t, b, service("z", "2s"))
		f.tell()
		f.want(f.next(), `[y=2s x=1s z=2s] problem a.yaml:5:17 "soon" is no duration`)

		// Nobody can tell what a file with a syntax error still holds.
		write(t, a, "{ oops")
		f.tell()
		f.want(f.next(), "[y=2s x=1s z=2s] problem a.yaml:1:")

		// In a file without errors, what is not there is meant to be gone.
		write(t, a, service("x", "3s"))
		f.tell()
		f.want(f.next(), "[x=3s z=2s]")
		must(t, os.Remove(a))
		f.tell()
		f.want(f.next(), "[z=2s]")
	})
}

func TestObjectsThatDidNotChangeAreTheSame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "mesh.yaml")
		write(t, path, service("a", "1s")+service("b", "1s"))
		f := follow(t, path)
		before := f.next().Objects
		write(t, path, service("a", "1s")+service("b", "2s"))
		f.tell()
		after := f.next().Objects
		if before[0] != after[0] || before[1] == after[1] {
			t.Errorf("a is the same: %v, b is: %v; want true, false", before[0] == after[0], before[1] == after[1])
		}
	})
}

func TestWarningsDoNotKeepWhatIsGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "mesh.yaml")
		write(t, path, service("x", "1s")+service("y", "1s"))
		f := follow(t, path)
		f.next()
		write(t, path, strings.ReplaceAll(service("x", "1s"), "{name", "{annotations: {retry.linkerd.io/grpc: internal}, name"))
		f.tell()
		o := f.next()
		f.want(o, "[x=1s] problem")
		if !o.Problems[0].Warning {
			t.Errorf("got %+v, want a warning", o.Problems[0])
		}
	})
}

func TestFileThatIsTooLargeIsNotRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		path := filepath.Join(dir, "mesh.yaml")
		write(t, path, service("x", "1s"))
		f := follow(t, dir)
		f.next()
		must(t, os.Truncate(path, 50_000_000))
		f.tell()
		f.want(f.next(), "[x=1s] problem mesh.yaml is 47.7 MiB, 4 MiB is the most: split it")
	})
}

func TestWhatIsNoFileIsAProblem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		good := filepath.Join(dir, "a.yaml")
		write(t, good, service("a", "1s"))
		must(t, os.Symlink(filepath.Join(dir, "nowhere"), filepath.Join(dir, "b.yaml")))
		must(t, os.Symlink(os.DevNull, filepath.Join(dir, "c.yaml")))
		f := follow(t, dir)
		f.want(f.next(), "[a=1s] problem b.yaml cannot be read: it is a link to nowhere; what was read before stays "+
			"problem c.yaml cannot be read: it is no regular file")
	})
}

func TestPathThatDisappearsTakesNothingAway(t *testing.T) {
	for _, kind := range []string{"file", "directory"} {
		t.Run(kind, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				dir := filepath.Join(t.TempDir(), "conf")
				must(t, os.Mkdir(dir, 0o700))
				path := filepath.Join(dir, "mesh.yaml")
				write(t, path, service("a", "1s"))
				root := path
				if kind == "directory" {
					root = dir
				}
				f := follow(t, root)
				f.next()
				must(t, os.Rename(dir, dir+".gone"))
				o := <-f.out
				f.want(o, "[a=1s] error")
				if o.Err == nil || o.Generation != 2 {
					t.Errorf("got generation %d, error %v", o.Generation, o.Err)
				}
				f.none(time.Minute)
				must(t, os.Rename(dir+".gone", dir))
				o = <-f.out
				f.want(o, "[a=1s]")
				if o.Err != nil {
					t.Errorf("got error %v", o.Err)
				}
			})
		})
	}
}

func TestDirectoryThatIsSuddenlyEmptyTakesNothingAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		path := filepath.Join(dir, "mesh.yaml")
		write(t, path, service("a", "1s"))
		f := follow(t, dir)
		f.next()
		must(t, os.Remove(path))
		f.tell()
		o := f.next()
		f.want(o, "[a=1s] error")
		if want := "no *.yaml or *.yml file is left; to remove all objects, leave an empty " +
			"one"; !strings.Contains(fmt.Sprint(o.Err), want) {
			t.Errorf("got %v, want %s", o.Err, want)
		}
		write(t, path, "# nothing any more\n")
		f.tell()
		f.want(f.next(), "[]")
		must(t, os.Remove(path))
		f.tell()
		f.want(f.next(), "[]")
	})
}

func TestFileThatIsReplacedForAMomentIsNotMissed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "mesh.yaml")
		write(t, path, service("a", "1s"))
		f := follow(t, path)
		f.next()
		must(t, os.Remove(path))
		f.tell()
		time.Sleep(settle / 2)
		write(t, path, service("a", "2s"))
		f.tell()
		o := f.next()
		f.want(o, "[a=2s]")
		if o.Err != nil {
			t.Errorf("got error %v", o.Err)
		}
	})
}
