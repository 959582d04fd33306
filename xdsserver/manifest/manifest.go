// Package manifest reads and writes the mesh's configuration as people write it:
// YAML documents of kind Service, GRPCRoute, AccessPolicy and Mesh.
//
// GRPCRoute has the shape of the Kubernetes Gateway API, so that its YAML loads
// unchanged, with extensions: version in backendRefs, and in rules timeouts,
// idleTimeout, retry, hedge, rateLimit and fault. What Kubernetes itself adds to a
// document (status, labels, annotations, resourceVersion and the like) has no meaning
// here and is skipped.
//
// Everything else is strict. A field nobody knows, a value of the wrong type, a
// key or document that is there twice: each is a [model.Problem] with file, line
// and column and with what to do. What other meshes have a field for and this one
// does not do (host names, filters of answers) is refused by name, so that nobody
// believes it is at work.
//
//	objects, problems := manifest.Parse("mesh.yaml", yaml)
//	for _, p := range problems {
//		fmt.Println(p.From, p.Field, p.Message) // mesh.yaml:7:13 spec.retry.attempts 9 is out of range ...
//	}
//	yaml, err := manifest.Marshal(objects[0])
//
// Input may come from anybody: it is bounded in size, depth and number, and
// anchors, aliases, tags and merge keys are refused before anything is built.
//
// The package checks single documents, and what the model says of the traffic in one
// ([model.CheckTraffic]) is told with its line. What needs more than one document, such
// as whether a backend exists, is model.Validate's business.
package manifest

import (
	"bytes"
	"fmt"
	"slices"
	"unicode/utf8"

	"github.com/tulle-mesh/tulle/xdsserver/model"
)

// The versions of the API a document may name.
const (
	// APIVersion is ours, for every kind.
	APIVersion = "tulle/v1"
	// GatewayAPIVersion is the Gateway API's, for GRPCRoute.
	GatewayAPIVersion = "gateway.networking.k8s.io/v1"
)

const (
	// MaxSize is how many bytes Parse reads at once; callers check it before
	// they read a file. 4 MiB hold 20,000 services.
	MaxSize = 4 << 20

	maxDocuments = 20_000
	maxDocument  = 512 << 10 // bytes; a service with 8,000 endpoints has 480 KB
	maxErrors    = 100       // of one Parse: nobody reads more at once
	maxWarnings  = 100
)

// Parse reads the documents in yaml. It returns the objects that are good, in
// order, and what is wrong with the others; warnings are about objects that are
// among the good ones. Of two documents for one object the first is kept. A
// problem of an AccessPolicy or a Mesh that cannot be read holds in Instead what
// stands for it, so that a slip does not leave open what was to be closed.
//
// origin names the input in problems ("origin:line:column") and in the objects'
// From ("origin:line").
func Parse(origin string, yaml []byte) ([]model.Object, []model.Problem) {
	if len(yaml) > MaxSize {
		return nil, []model.Problem{TooLarge(origin, int64(len(yaml)))}
	}
	yaml, problem := clean(origin, yaml)
	if problem != nil {
		return nil, []model.Problem{*problem}
	}
	var (
		objects []model.Object
		first   = make(map[model.Ref]model.Object)
		found   findings
	)
	stopped := false
	for n, d := range split(yaml) {
		at := fmt.Sprintf("%s:%d", origin, d.line)
		switch {
		case n == maxDocuments && !stopped:
			found.add(model.Problem{From: at, Message: fmt.Sprintf("is document %d, %d is the most: split the file", n+1, maxDocuments)})
			stopped = true
		case found.errors >= maxErrors && !stopped:
			found.add(model.Problem{From: at, Message: fmt.Sprintf("is not read any more after %d errors: correct those "+
				"first", found.errors)})
			stopped = true
		}
		if stopped && !closes(d.text) {
			continue
		}
		object, problems := parse(origin, d)
		if stopped {
			problems = slices.DeleteFunc(problems, func(p model.Problem) bool { return p.Instead == nil })
		}
		found.add(problems...)
		if object == nil {
			continue
		}
		if taken, ok := first[object.Ref()]; ok {
			found.add(model.Problem{
				Object: object.Ref(), From: object.Origin(), Field: "metadata.name",
				Message: fmt.Sprintf("%s is written twice, at %s and at %s: the first stays; remove one of them, or give it another name",
					object.Ref(), taken.Origin(), object.Origin()),
			})
			continue
		}
		first[object.Ref()] = object
		objects = append(objects, object)
	}
	if more := found.warnings - maxWarnings; more > 0 {
		found.problems = append(found.problems, model.Problem{
			From: origin, Message: fmt.Sprintf("has %d more warnings, which are not shown", more), Warning: true,
		})
	}
	return objects, found.problems
}

// findings are the problems of one Parse, bounded.
type findings struct {
	problems         []model.Problem
	errors, warnings int
}

func (f *findings) add(problems ...model.Problem) {
	for _, p := range problems {
		if !p.Warning {
			f.errors++
		} else if f.warnings++; f.warnings > maxWarnings {
			continue
		}
		f.problems = append(f.problems, p)
	}
}

// TooLarge is the problem of an input of size bytes, more than [MaxSize].
func TooLarge(origin string, size int64) model.Problem {
	return model.Problem{
		From:    origin,
		Message: fmt.Sprintf("is %.1f MiB, %d MiB is the most: split it into several files", float64(size)/(1<<20), MaxSize>>20),
	}
}

// clean refuses what is no text, and returns a copy with line ends in one form.
func clean(origin string, yaml []byte) ([]byte, *model.Problem) {
	yaml = bytes.TrimPrefix(yaml, []byte("\ufeff")) // a byte order mark
	line, column := 1, 1
	for rest := yaml; len(rest) > 0; column++ {
		r, size := utf8.DecodeRune(rest)
		bad := ""
		switch {
		case r == utf8.RuneError && size == 1:
			bad = "is not UTF-8: save the file in that encoding"
		case r < ' ' && r != '\t' && r != '\n' && r != '\r', r == 0x7f:
			bad = fmt.Sprintf("is the control character %U: remove it", r)
		}
		if bad != "" {
			return nil, &model.Problem{From: fmt.Sprintf("%s:%d:%d", origin, line, column), Message: bad}
		}
		if r == '\n' {
			line, column = line+1, 0
		}
		rest = rest[size:]
	}
	yaml = bytes.ReplaceAll(yaml, []byte("\r\n"), []byte("\n"))
	return bytes.ReplaceAll(yaml, []byte("\r"), []byte("\n")), nil
}
