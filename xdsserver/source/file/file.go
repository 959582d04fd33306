// Package file is the source that reads configuration from a file, or from the
// *.yaml and *.yml files of a directory, and follows their changes.
//
//	s, err := file.New(file.Config{Path: "/etc/tulle"})
//	if err != nil {
//		return err // the path is not there
//	}
//	err = s.Run(ctx, func(out source.Output) { publish(out) })
//
// Changes are noticed by the operating system's notification, and by looking
// every five seconds where it does not tell (network file systems, bind mounts). A
// file is read once it has not changed for 50 ms, so that one that is being
// written is not read by halves; editors that replace a file and Kubernetes'
// swapped symbolic links are followed.
//
// What cannot be read takes nothing away. A file with an error keeps those of
// its last good objects that it does not hold any more, since nobody can tell
// whether they were meant to go; a path that disappears keeps all. Removing a
// file from a directory, or a document from a file without errors, is how to
// remove objects on purpose.
//
// Directories below a directory and files whose names begin with a dot are not
// read. Objects are in order of file name, and of place in the file.
package file

import (
	"cmp"
	"context"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/tulle-mesh/tulle/xdsserver/source"
)

const (
	// settle is how long a file must not have changed before it is read. Lower
	// reads more files by halves, higher delays every change by as much.
	settle = 50 * time.Millisecond
	// poll is how often files are looked at without a notification.
	poll = 5 * time.Second
	// hold is how long a file that does not settle holds back the others. Those
	// that change together should be emitted together: an object that moves from
	// one to another would else be gone for a moment.
	hold = time.Second
	// pause is the least time between two looks: a directory with a thousand
	// files notifies a thousand times when it is written.
	pause = 10 * time.Millisecond
)

// Config says what to read.
type Config struct {
	// Path is a file or a directory. Required.
	Path string
	// Logger is told when files are read, and when the path disappears; nil
	// means slog.Default(). What is wrong with their content is in the Output.
	Logger *slog.Logger
}

// A Source reads a file or a directory. Run may be called once at a time.
type Source struct {
	path   string
	logger *slog.Logger
	// notify starts to watch the path; tests that have time of their own go without.
	notify func(path string, logger *slog.Logger) *notifier
}

var _ source.Source = (*Source)(nil)

// New returns a Source for a path that is there; it looks, but reads nothing.
func New(c Config) (*Source, error) {
	if c.Path == "" {
		return nil, fmt.Errorf("source file: no path: set Config.Path")
	}
	info, err := os.Stat(c.Path)
	if err != nil {
		return nil, fmt.Errorf("source file: %w; create it, or correct the path", err)
	}
	if !info.IsDir() && !info.Mode().IsRegular() {
		return nil, fmt.Errorf("source file: %s is neither a file nor a directory", c.Path)
	}
	return &Source{
		path:   filepath.Clean(c.Path),
		logger: cmp.Or(c.Logger, slog.Default()),
		notify: watch,
	}, nil
}

// Name is "file".
func (s *Source) Name() string { return "file" }

// Run emits what the files hold, 50 ms after it starts and after each change,
// until ctx ends. Files that change together are emitted together; one that never
// settles holds back the others for a second at most.
func (s *Source) Run(ctx context.Context, emit func(source.Output)) error {
	n := s.notify(s.path, s.logger)
	defer n.close()
	state := newState(s.path)
	timer := time.NewTimer(0)
	defer timer.Stop()
	looked := time.Time{}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-n.events:
			timer.Reset(time.Until(looked.Add(pause)))
			continue
		case err := <-n.errs:
			// Most often that events were lost, so it is time to look.
			s.logger.DebugContext(ctx, "notification of changes failed", "path", s.path, "error", err)
			timer.Reset(time.Until(looked.Add(pause)))
			continue
		case <-timer.C:
		}
		looked = time.Now()
		next := poll
		if state.look(looked) {
			next = settle
		}
		if out, ok := state.output(looked); ok {
			s.log(ctx, state, out)
			emit(out)
		}
		n.follow()
		timer.Reset(next)
	}
}

func (s *Source) log(ctx context.Context, st *state, out source.Output) {
	if out.Err != nil {
		s.logger.WarnContext(ctx, "configuration is not there, its last good form stays", "path", s.path, "error", out.Err)
		return
	}
	s.logger.InfoContext(ctx, "configuration read", "path", s.path, "files", len(st.files),
		"objects", len(out.Objects), "problems", len(out.Problems))
}

// list returns what the file system says of each file to read.
func list(root string) (map[string]fs.FileInfo, error) {
	info, err := os.Stat(root)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		return map[string]fs.FileInfo{root: info}, nil
	}
	entries, err := os.ReadDir(root)
	if err != nil {
		return nil, err
	}
	infos := make(map[string]fs.FileInfo, len(entries))
	for _, e := range entries {
		if !wanted(e.Name()) {
			continue
		}
		path := filepath.Join(root, e.Name())
		info, err := os.Stat(path) // what a symbolic link leads to is what counts
		if err != nil {
			info, err = e.Info() // a link to nowhere is still there
		}
		if err == nil && !info.IsDir() {
			infos[path] = info
		}
	}
	return infos, nil
}

func wanted(name string) bool {
	ext := filepath.Ext(name)
	return name[0] != '.' && (ext == ".yaml" || ext == ".yml")
}
