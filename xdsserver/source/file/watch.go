package file

import (
	"log/slog"
	"os"
	"path/filepath"

	"github.com/fsnotify/fsnotify"
)

// A notifier tells by its channels that something below the path changed.
type notifier struct {
	path   string
	logger *slog.Logger
	// watcher is nil where the operating system cannot tell; looking from time
	// to time must do then.
	watcher *fsnotify.Watcher
	events  <-chan fsnotify.Event
	errs    <-chan error
	// dir is what is watched, with its links resolved; empty when nothing is.
	dir string
}

// watch starts to watch the directory that path is, or that holds it: a file
// that is replaced is another file, and a watch on the old one would tell nothing.
func watch(path string, logger *slog.Logger) *notifier {
	n := &notifier{path: path, logger: logger}
	w, err := fsnotify.NewWatcher()
	if err != nil {
		logger.Warn("changes of configuration are noticed late, for want of notification", "path", path, "after", poll, "error", err)
		return n
	}
	n.watcher, n.events, n.errs = w, w.Events, w.Errors
	n.follow()
	return n
}

// follow watches anew where another directory has taken the place of the one
// that is watched.
func (n *notifier) follow() {
	if n.watcher == nil {
		return
	}
	dir := n.path
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		dir = filepath.Dir(dir)
	}
	resolved, err := filepath.EvalSymlinks(dir)
	if err != nil {
		resolved = "" // gone; poll until it is back
	}
	watched := len(n.watcher.WatchList()) > 0 // what is removed is dropped from the list
	if resolved == n.dir && (watched || resolved == "") {
		return
	}
	if watched {
		if err := n.watcher.Remove(n.dir); err != nil {
			n.logger.Debug("directory is still watched", "path", n.dir, "error", err)
		}
	}
	if n.dir = resolved; resolved == "" {
		return
	}
	if err := n.watcher.Add(resolved); err != nil {
		n.dir = ""
		n.logger.Debug("directory is not watched", "path", resolved, "error", err)
	}
}

func (n *notifier) close() {
	if n.watcher == nil {
		return
	}
	if err := n.watcher.Close(); err != nil {
		n.logger.Debug("notification of changes did not end well", "path", n.path, "error", err)
	}
}
