package cli

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/tulle-mesh/tulle/mesh/api"
)

func checkAnswers(f *facts, l *resultLine) {
	l.Description += " at " + f.url
	if f.unreachable != nil {
		l.fail(f.unreachable.Error())
	}
}

func checkVersion(f *facts, l *resultLine) {
	l.Description += ", " + api.Version
	if f.status.GetVersion() != api.Version {
		l.warn("it is " + f.status.GetVersion())
	}
}

func checkWarm(f *facts, l *resultLine) {
	if f.status.GetWarming() {
		l.warn("it started " + age(f.status.GetStarted()) + " ago and removes nobody yet")
	}
}

func checkWrites(f *facts, l *resultLine) {
	l.about(f.status.GetDataDir())
	if p := f.status.GetStore().GetProblem(); p != "" {
		l.fail(p)
	}
}

// What is left is little when a database of the largest size could not be written anew
// beside the old one, and too little when a small one could not.
const (
	littleRoom    = 256 << 20
	tooLittleRoom = 32 << 20
)

func checkRoom(f *facts, l *resultLine) {
	l.about(f.status.GetDataDir())
	free := f.status.GetStore().GetFreeBytes()
	switch detail := fmt.Sprintf("%d MiB are free at %s", free>>20, f.status.GetDataDir()); {
	case free == 0: // the system does not say
	case free < tooLittleRoom:
		l.fail(detail)
	case free < littleRoom:
		l.warn(detail)
	}
}

func checkSources(f *facts, l *resultLine) {
	for _, src := range f.status.GetSources() {
		if src.GetError() != "" {
			l.fail(src.GetName() + ": " + src.GetError())
		}
	}
}

func checkObjects(f *facts, l *resultLine) {
	for _, p := range f.status.GetProblems() {
		if p.GetWarning() {
			l.warn(problemLine(p))
		} else {
			l.fail(problemLine(p))
		}
	}
	if l.Result == warning {
		l.Hint = "what is warned of is served, and may not do what was meant"
	}
}

func checkPublished(f *facts, l *resultLine) {
	if f.status.GetSnapshot() == "" {
		l.fail("nothing has been published yet")
	}
}

// slowClient is how long a client may take to acknowledge before it is worth a word.
const slowClient = 10 * time.Second

func checkAccepted(f *facts, l *resultLine) {
	for _, r := range f.status.GetRejections() {
		l.fail(fmt.Sprintf("%s refused %s %q %s ago: %s",
			r.GetNode(), shortType(r.GetType()), r.GetResource(), age(r.GetAt()), r.GetReason()))
	}
}

func checkCurrent(f *facts, l *resultLine) {
	for _, c := range f.status.GetClients() {
		if !c.GetCurrent() && time.Since(f.status.GetPublished().AsTime()) > slowClient {
			l.warn(c.GetNode() + " at " + c.GetPeer() + " has not")
			l.about(c.GetService())
		}
	}
	if l.Result == success {
		l.Description += fmt.Sprintf(" (%s)", count(len(f.status.GetClients()), "client"))
	}
}

// ours is how clients that are built with the library begin to say what they are.
const ours = "tulle "

func checkLibraries(f *facts, l *resultLine) {
	byVersion := map[string][]string{}
	for _, c := range f.status.GetClients() {
		if v, ok := strings.CutPrefix(c.GetUserAgent(), ours); ok && v != f.status.GetVersion() {
			byVersion[v] = append(byVersion[v], c.GetNode())
		}
	}
	for _, v := range slices.Sorted(maps.Keys(byVersion)) {
		l.warn(fmt.Sprintf("%s with %s: %s", count(len(byVersion[v]), "client"), v, few(byVersion[v])))
	}
	l.about(f.status.GetVersion())
	l.Description += ", " + f.status.GetVersion()
}

// shortType is the message's name in a type URL.
func shortType(url string) string { return url[strings.LastIndexByte(url, '.')+1:] }

// few are some names of many.
func few(names []string) string {
	const most = 5
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
}
