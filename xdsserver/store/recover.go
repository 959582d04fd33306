package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"
)

// The files of a store. A new one is written beside its target and renamed.
const (
	mainFile  = "tulle.db"
	copyFile  = "tulle.db.bak"
	lockFile  = "tulle.lock"
	newSuffix = ".new"
)

// recover fills the contents from the database or from its copy, whichever is
// sound and newer.
//
// The copy is written after the database, so it is the newer one only when the
// database lost what it had acknowledged: bbolt falls back to its older meta page
// in silence when the newer is damaged. An operator who put an older database in
// place on purpose looks the same; the log tells them what was done and how to
// have it their way.
func (s *Store) recover() error {
	main, lost, mainErr := read(s.path(mainFile))
	kept, _, copyErr := read(s.path(copyFile))
	_, mainIsDamaged := errors.AsType[*damageError](mainErr)
	_, copyIsDamaged := errors.AsType[*damageError](copyErr)
	mainIsMissing, copyIsMissing := errors.Is(mainErr, fs.ErrNotExist), errors.Is(copyErr, fs.ErrNotExist)
	switch {
	case mainErr != nil && !mainIsDamaged && !mainIsMissing:
		return mainErr
	case copyErr != nil && !copyIsDamaged && !copyIsMissing:
		return copyErr
	case mainIsMissing && copyIsMissing:
		s.held = contents{state: new(State), endpoints: make(map[string][]byte), tokens: make(map[string][]byte)}
		return nil
	case mainIsDamaged && copyIsDamaged:
		return fmt.Errorf("store: %w, and its copy %s is damaged too: %s", mainErr, s.path(copyFile), s.startOver(mainFile, copyFile))
	case mainIsDamaged && copyIsMissing:
		return fmt.Errorf("store: %w, and there is no copy %s: %s", mainErr, s.path(copyFile), s.startOver(mainFile))
	case mainIsMissing && copyIsDamaged:
		return fmt.Errorf("store: %s is gone and its copy is damaged: %w: %s", s.path(mainFile), copyErr, s.startOver(copyFile))
	case mainErr == nil && (copyErr != nil || main.state.revision >= kept.state.revision && main.tokenChange >= kept.tokenChange):
		s.held = main
		s.copied = copyErr == nil && main.tokenChange == kept.tokenChange
		if copyIsDamaged {
			s.logger.Warn("copy of the database is damaged; the next apply writes it anew", "file", s.path(copyFile), "error", copyErr)
		}
		s.recoverHistory(copyErr == nil, kept)
		if lost > 0 {
			s.logger.Warn("endpoints last known are damaged; they come back as they register", "file", s.path(mainFile), "lost", lost)
		}
		return nil
	}
	s.held, s.copied = kept, true
	return s.useCopy(main, mainErr, kept)
}

// recoverHistory takes from the copy the history that the database has lost. The copy of
// another revision has a gap.
func (s *Store) recoverHistory(copied bool, kept contents) {
	if s.held.historyWhole {
		return
	}
	if copied && kept.historyWhole && kept.state.revision == s.held.state.revision {
		whole := *s.held.state
		whole.history = kept.state.history
		s.held.state = &whole
		s.logger.Warn("history of changes is damaged; that of the copy is used", "file", s.path(mainFile))
		return
	}
	s.logger.Warn("history of changes is damaged; what is left of it is kept", "file", s.path(mainFile), "revisions", len(s.held.state.history))
}

// startOver is what an operator without a good file can do.
func (s *Store) startOver(bad ...string) string {
	aside := make([]string, 0, len(bad))
	for _, file := range bad {
		aside = append(aside, fmt.Sprintf("mv %s %s.corrupt", s.path(file), s.path(file)))
	}
	return "put a backup in place, or start with no applied objects: " + strings.Join(aside, " && ")
}

// useCopy moves the database aside, puts its copy in place, and says so.
func (s *Store) useCopy(main contents, mainErr error, kept contents) error {
	why, aside := "is gone", ""
	if !errors.Is(mainErr, fs.ErrNotExist) {
		why, aside = "is damaged", "corrupt"
		if mainErr == nil {
			why, aside = fmt.Sprintf("went back to revision %d", main.state.revision), "older"
			if main.state.revision == kept.state.revision {
				why = "went back: it lacks changes of join tokens"
			}
		}
		aside = fmt.Sprintf("%s.%s-%s", s.path(mainFile), aside, time.Now().UTC().Format("20060102T150405.000Z"))
		if err := os.Rename(s.path(mainFile), aside); err != nil {
			return fmt.Errorf("store: %s %s and cannot be moved aside: %w", s.path(mainFile), why, err)
		}
	}
	s.recovered = fmt.Sprintf("database %s %s; its copy is used, with %d objects at revision %d",
		s.path(mainFile), why, len(kept.state.objects), kept.state.revision)
	if aside != "" {
		s.recovered += fmt.Sprintf("; the file is kept as %s: if it was meant, stop xdsserver, remove %s and move it back",
			aside, s.path(copyFile))
	}
	s.logger.Error("database was replaced by its copy", "file", s.path(mainFile), "why", why, "error", mainErr,
		"kept_as", aside, "revision", kept.state.revision, "objects", len(kept.state.objects))
	if _, err := s.writer(); err != nil {
		s.logger.Warn("database cannot be written yet; it is served from memory", "error", err)
	}
	return nil
}
