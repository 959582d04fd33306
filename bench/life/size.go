package life

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"

	"github.com/tulle-mesh/tulle/bench/proc"
	"github.com/tulle-mesh/tulle/bench/report"
)

// sizes measures the programs: stripped, and what is linked into them.
func (r *run) sizes(ctx context.Context) error {
	t := report.Table{
		Title: "Program of a service, stripped",
		Note: "The same echo service and client. The tag grpcnotrace leaves golang.org/x/net/trace out of grpc, and with it what keeps the linker " +
			"from dropping methods that nobody calls.",
		Columns: []report.Column{
			{Name: "size", Unit: "MB", Digits: 2},
			{Name: "over plain", Unit: "MB", Digits: 2},
			{Name: "grpcnotrace", Unit: "MB", Digits: 2},
			{Name: "over plain", Unit: "MB", Digits: 2},
			{Name: "modules"},
			{Name: "packages"},
			{Name: "not of Go"},
		},
	}
	c := report.Chart{File: "life-binary", Title: "Program of a service, stripped", Unit: "MB", Series: []report.Series{{Name: "size"}}}
	size, untraced := map[string]report.Sample{}, map[string]report.Sample{}
	for _, name := range programs {
		var err error
		if size[name], err = sizeOf(r.bed.programs[name]); err != nil {
			return err
		}
		if untraced[name], err = r.untraced(ctx, name); err != nil {
			return err
		}
		linked, err := r.bed.linked(ctx, name)
		if err != nil {
			return err
		}
		t.Add(names[name], size[name], size[name].Less(size[plain]), untraced[name], untraced[name].Less(untraced[plain]),
			linked.modules, linked.packages, linked.foreign)
		c.Labels = append(c.Labels, names[name])
		c.Series[0].Values = append(c.Series[0].Values, size[name][0])
	}
	r.out.Tables = append(r.out.Tables, t)
	r.out.Charts = append(r.out.Charts, c)
	r.figure("life.binary_mb", "stripped program over plain grpc-go", "MB", size[tulle].Less(size[plain]))
	return nil
}

// untraced is the size without tracing; with Quick it is not built.
func (r *run) untraced(ctx context.Context, name string) (report.Sample, error) {
	if r.Quick {
		return nil, nil
	}
	dir := file(r.Dir, "grpcnotrace")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	path, err := proc.Build(ctx, dir, "./bench/service/"+name, "-tags", "grpcnotrace")
	if err != nil {
		return nil, err
	}
	return sizeOf(path)
}

// sizeOf is in MB, of a million bytes.
func sizeOf(path string) (report.Sample, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	return report.Sample{float64(info.Size()) / 1e6}, nil
}

// links counts what a program links. Foreign are packages that are neither Go's own nor
// this repository's.
type links struct{ modules, packages, foreign report.Sample }

func (b *bed) linked(ctx context.Context, name string) (l links, err error) {
	info, err := output(ctx, "version", "-m", b.programs[name])
	if err != nil {
		return l, err
	}
	packages, err := output(ctx, "list", "-deps", "-f", "{{if .Standard}}standard{{else if .Module.Main}}own{{else}}foreign{{end}}", "./bench/service/"+name)
	if err != nil {
		return l, err
	}
	return links{
		modules:  report.Sample{float64(bytes.Count(info, []byte("\n\tdep\t")))},
		packages: report.Sample{float64(bytes.Count(packages, []byte("\n")))},
		foreign:  report.Sample{float64(bytes.Count(packages, []byte("foreign\n")))},
	}, nil
}

func output(ctx context.Context, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, "go", args...) //nolint:gosec // what it is told is in this file
	cmd.Env = append(cmd.Environ(), "CGO_ENABLED=0")
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go %s: %w", args[0], err)
	}
	return out, nil
}
