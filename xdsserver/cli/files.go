package cli

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

const (
	// maxInput bounds one file, and maxInputs all of a command: the server takes
	// no more in one document and in one request.
	maxInput  = 4 << 20
	maxInputs = 15 << 20
)

// files is the -f flag, and what follows it: the shell writes "-f *.yaml" out as
// one -f and many names.
type files struct{ paths []string }

func addFiles(cmd *cobra.Command) *files {
	f := &files{}
	cmd.Flags().StringArrayVarP(&f.paths, "file", "f", nil, "`FILE` or directory of YAML, or - for standard input; may be repeated")
	return f
}

// moreFiles takes arguments as files after a -f only: a word without one is more
// likely to be a mistake.
func moreFiles(cmd *cobra.Command, args []string) error {
	if len(args) > 0 && !cmd.Flags().Changed("file") {
		return fmt.Errorf("name the input with -f: %s -f %s", cmd.CommandPath(), args[0])
	}
	return nil
}

// and returns the files of the flag and these.
func (f *files) and(paths []string) *files { return &files{paths: slices.Concat(f.paths, paths)} }

// A document is one input and the name messages give it.
type document struct{ origin, yaml string }

// read returns the inputs in order.
func (f *files) read(stdin io.Reader) ([]document, error) {
	if len(f.paths) == 0 {
		return nil, errors.New("no input: name a file, a directory or - with -f")
	}
	var docs []document
	for _, path := range f.paths {
		if path == "-" {
			doc, err := readAll("standard input", stdin)
			if err != nil {
				return nil, err
			}
			docs = append(docs, doc)
			continue
		}
		names, err := yamlFiles(path)
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			doc, err := readFile(name)
			if err != nil {
				return nil, err
			}
			docs = append(docs, doc)
		}
	}
	size := 0
	for _, d := range docs {
		if size += len(d.yaml); size > maxInputs {
			return nil, wrong(fmt.Errorf("the %d files are more than %d MiB together: send them in several commands", len(docs), maxInputs>>20))
		}
	}
	return docs, nil
}

func yamlFiles(path string) ([]string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, unreadable(err)
	}
	if !info.IsDir() {
		return []string{path}, nil
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		return nil, unreadable(err)
	}
	var names []string
	for _, e := range entries {
		if ext := filepath.Ext(e.Name()); (ext == ".yaml" || ext == ".yml") && !strings.HasPrefix(e.Name(), ".") {
			names = append(names, filepath.Join(path, e.Name()))
		}
	}
	if len(names) == 0 {
		return nil, wrong(fmt.Errorf("%s holds no .yaml or .yml file", path))
	}
	slices.Sort(names)
	return names, nil
}

func readFile(name string) (document, error) {
	file, err := os.Open(name)
	if err != nil {
		return document{}, unreadable(err)
	}
	defer file.Close()
	return readAll(name, file)
}

// unreadable leaves out the system call, which tells an operator nothing.
func unreadable(err error) error {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return wrong(fmt.Errorf("%s: %w", e.Path, e.Err))
	}
	return wrong(err)
}

func readAll(origin string, r io.Reader) (document, error) {
	b, err := io.ReadAll(io.LimitReader(r, maxInput+1))
	if err != nil {
		return document{}, wrong(fmt.Errorf("read %s: %w", origin, err))
	}
	if len(b) > maxInput {
		return document{}, wrong(fmt.Errorf("%s is larger than %d MiB: split it into several files", origin, maxInput>>20))
	}
	return document{origin: origin, yaml: string(b)}, nil
}
