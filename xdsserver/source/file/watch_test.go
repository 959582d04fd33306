package file

import (
	"os"
	"path/filepath"
	"testing"
)

// The tests here have real files, real notification and real time: an output
// that does not come well before the poll counts as missing.

func TestEditorsAreFollowed(t *testing.T) {
	t.Parallel()
	for name, save := range map[string]func(t *testing.T, path, text string){
		"in place": write,
		"by replacing": func(t *testing.T, path, text string) {
			t.Helper()
			write(t, path+".tmp", text)
			must(t, os.Rename(path+".tmp", path))
		},
		"as vi does": func(t *testing.T, path, text string) {
			t.Helper()
			must(t, os.Rename(path, path+"~"))
			write(t, path, text)
			must(t, os.Remove(path+"~"))
		},
		"by removing first": func(t *testing.T, path, text string) {
			t.Helper()
			must(t, os.Remove(path))
			write(t, path, text)
		},
	} {
		for _, kind := range []string{"file", "directory"} {
			t.Run(name+" of a "+kind, func(t *testing.T) {
				t.Parallel()
				dir := t.TempDir()
				path := filepath.Join(dir, "mesh.yaml")
				write(t, path, service("a", "1s"))
				root := path
				if kind == "directory" {
					root = dir
				}
				f := followForReal(t, root)
				f.want(f.next(), "[a=1s]")
				for _, timeout := range []string{"2s", "3s"} {
					save(t, path, service("a", timeout))
					f.want(f.next(), "[a="+timeout+"]")
				}
			})
		}
	}
}

// TestKubernetesIsFollowed mounts as the kubelet does: files are links into
// ..data, which is a link to a directory of each version, and is swapped.
func TestKubernetesIsFollowed(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"file", "directory"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			publish := func(version, text string) {
				must(t, os.Mkdir(filepath.Join(dir, "..", version), 0o700))
				write(t, filepath.Join(dir, "..", version, "mesh.yaml"), text)
				must(t, os.Symlink(filepath.Join("..", version), filepath.Join(dir, "..data_tmp")))
				must(t, os.Rename(filepath.Join(dir, "..data_tmp"), filepath.Join(dir, "..data")))
			}
			publish("v1", service("a", "1s"))
			path := filepath.Join(dir, "mesh.yaml")
			must(t, os.Symlink(filepath.Join("..data", "mesh.yaml"), path))
			root := path
			if kind == "directory" {
				root = dir
			}
			f := followForReal(t, root)
			f.want(f.next(), "[a=1s]")
			publish("v2", service("a", "2s"))
			f.want(f.next(), "[a=2s]")
		})
	}
}

func TestDirectoryThatIsReplacedIsFollowed(t *testing.T) {
	t.Parallel()
	parent := t.TempDir()
	for _, version := range []string{"v1", "v2"} {
		must(t, os.Mkdir(filepath.Join(parent, version), 0o700))
	}
	write(t, filepath.Join(parent, "v1", "mesh.yaml"), service("a", "1s"))
	write(t, filepath.Join(parent, "v2", "mesh.yaml"), service("a", "2s"))
	current := filepath.Join(parent, "current")
	must(t, os.Symlink("v1", current))
	f := followForReal(t, current)
	f.want(f.next(), "[a=1s]")
	must(t, os.Symlink("v2", current+".tmp"))
	must(t, os.Rename(current+".tmp", current))
	f.want(<-f.out, "[a=2s]") // by the poll: nothing in the old directory changed
	write(t, filepath.Join(parent, "v2", "mesh.yaml"), service("a", "3s"))
	f.want(f.next(), "[a=3s]") // by notification from the new one
}
