package file

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"reflect"
	"slices"
	"time"

	"github.com/tulle-mesh/tulle/xdsserver/manifest"
	"github.com/tulle-mesh/tulle/xdsserver/model"
	"github.com/tulle-mesh/tulle/xdsserver/source"
)

// state is what is known of the files. It is owned by Run's goroutine.
type state struct {
	root string
	// files by path, those that have just disappeared among them.
	files map[string]*file
	// err is why the root cannot be read, once that has settled; seen is what
	// the last look found, and since when.
	err   error
	seen  error
	since time.Time

	generation uint64
	// changed is since when there is something that no output holds; zero when
	// there is not. The first output is owed from the first look on.
	changed   time.Time
	unsettled bool
}

func newState(root string) *state { return &state{root: root, files: make(map[string]*file)} }

// A file is one of them.
type file struct {
	// seen is what the last look found, and since when; nil means not there.
	seen  fs.FileInfo
	since time.Time
	// read is what seen was when the content was read.
	read fs.FileInfo

	objects  []model.Object
	problems []model.Problem
}

// look compares the files with what is known of them, and reads those that have
// settled. It says whether some have not.
func (s *state) look(now time.Time) bool {
	if s.generation == 0 && s.changed.IsZero() {
		s.changed = now
	}
	s.unsettled = false
	infos, err := list(s.root)
	if err == nil && len(infos) == 0 && s.holds() {
		// A file system that is not mounted looks like this, too.
		err = fmt.Errorf("%s: no *.yaml or *.yml file is left; to remove all objects, leave an empty one", s.root)
	}
	if text(err) != text(s.seen) {
		s.seen, s.since = err, now
	}
	switch {
	case text(s.seen) == text(s.err):
	case now.Sub(s.since) < settle:
		s.unsettled = true // an editor may be replacing it
	default:
		s.err = s.seen
		s.touch(now)
	}
	if err == nil {
		s.compare(infos, now)
	}
	return s.unsettled
}

func (s *state) compare(infos map[string]fs.FileInfo, now time.Time) {
	for path := range infos {
		if s.files[path] == nil {
			s.files[path] = &file{}
		}
	}
	for path, f := range s.files {
		info := infos[path]
		switch {
		case !same(f.seen, info):
			f.seen, f.since = info, now
			s.unsettled = true
		case now.Sub(f.since) < settle:
			s.unsettled = true
		case info == nil:
			delete(s.files, path)
			if f.read != nil {
				s.touch(now)
			}
		case same(f.read, info):
		case f.load(path):
			s.touch(now)
		default:
			f.since = now // it changed while it was read
			s.unsettled = true
		}
	}
}

func (s *state) touch(now time.Time) {
	if s.changed.IsZero() {
		s.changed = now
	}
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// holds says whether anything was read from files.
func (s *state) holds() bool {
	for _, f := range s.files {
		if len(f.objects) > 0 {
			return true
		}
	}
	return false
}

// output returns the source's output if it has changed, and either all files
// have settled or it has been held back for long enough.
func (s *state) output(now time.Time) (source.Output, bool) {
	if s.changed.IsZero() || s.unsettled && now.Sub(s.changed) < hold {
		return source.Output{}, false
	}
	s.changed = time.Time{}
	s.generation++
	out := source.Output{Generation: s.generation, Err: s.err}
	for _, path := range slices.Sorted(maps.Keys(s.files)) {
		f := s.files[path]
		out.Objects = append(out.Objects, f.objects...)
		out.Problems = append(out.Problems, f.problems...)
	}
	return out, true
}

// same says whether nothing tells that the content differs.
func same(a, b fs.FileInfo) bool {
	if a == nil || b == nil {
		return a == nil && b == nil
	}
	return a.Size() == b.Size() && a.ModTime().Equal(b.ModTime()) && os.SameFile(a, b)
}

// load reads the file. It returns false when the file was written meanwhile.
func (f *file) load(path string) bool {
	text, err := f.content(path)
	if errors.Is(err, errChanged) {
		return false
	}
	f.read = f.seen
	var objects []model.Object
	var problems []model.Problem
	var large *tooLarge
	switch {
	case errors.As(err, &large):
		problems = []model.Problem{manifest.TooLarge(path, large.size)}
	case err != nil:
		problems = []model.Problem{{From: path, Message: fmt.Sprintf("cannot be read: %v; what was read before stays", err)}}
	default:
		objects, problems = manifest.Parse(path, text)
	}
	reuse(f.objects, objects)
	f.problems = problems
	if slices.ContainsFunc(problems, func(p model.Problem) bool { return !p.Warning }) {
		objects = append(objects, missing(f.objects, objects)...)
	}
	f.objects = objects
	return true
}

// reuse puts the objects of before in the place of those that are equal: who
// builds on objects sees by identity which have changed.
func reuse(before, now []model.Object) {
	there := make(map[model.Ref]model.Object, len(before))
	for _, o := range before {
		there[o.Ref()] = o
	}
	for i, o := range now {
		if old := there[o.Ref()]; reflect.DeepEqual(old, o) {
			now[i] = old
		}
	}
}

// missing are the objects of before that now does not hold.
func missing(before, now []model.Object) []model.Object {
	there := make(map[model.Ref]bool, len(now))
	for _, o := range now {
		there[o.Ref()] = true
	}
	return slices.DeleteFunc(slices.Clone(before), func(o model.Object) bool { return there[o.Ref()] })
}

var errChanged = errors.New("changed while it was read")

// tooLarge is a file beyond what manifest.Parse takes.
type tooLarge struct{ size int64 }

func (e *tooLarge) Error() string { return fmt.Sprintf("%d bytes are too many", e.size) }

// content reads a file of bounded size.
func (f *file) content(path string) ([]byte, error) {
	switch mode := f.seen.Mode(); {
	case mode.Type() == fs.ModeSymlink:
		return nil, errors.New("it is a link to nowhere")
	case !mode.IsRegular():
		return nil, errors.New("it is no regular file") // opening a pipe would wait for a writer
	}
	if f.seen.Size() > manifest.MaxSize {
		return nil, &tooLarge{size: f.seen.Size()}
	}
	opened, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer opened.Close()
	text, err := io.ReadAll(io.LimitReader(opened, manifest.MaxSize+1))
	if err != nil {
		return nil, err
	}
	if after, err := opened.Stat(); err != nil || !same(f.seen, after) {
		return nil, errChanged
	}
	return text, nil
}
