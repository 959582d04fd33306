package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tulle-mesh/tulle/bench/control"
	"github.com/tulle-mesh/tulle/bench/data"
	"github.com/tulle-mesh/tulle/bench/life"
	"github.com/tulle-mesh/tulle/bench/report"
)

// budgetsFile is where budgets stand, from the root of the repository.
const budgetsFile = "bench/budgets.json"

// A settings is what all commands share.
type settings struct {
	quick       bool
	rounds      int
	only        []string
	output      string
	charts, dir string
	profiles    string
	full        bool
}

// A logger is told of progress.
type logger = func(format string, args ...any)

// A part is one of the three things that are measured.
type part struct {
	name, short string
	run         func(ctx context.Context, s *settings, log logger, r *report.Report) error
}

var parts = []part{
	{"data", "Measure the data path: a call by each way to a server", func(ctx context.Context, s *settings, log logger, r *report.Report) error {
		return data.Run(ctx, data.Config{Quick: s.quick, Rounds: s.rounds, Only: s.only, Profiles: s.profiles, Dir: s.dir, Log: log}, r)
	}},
	{"control", "Measure the control plane: what a change costs, by how many listen", func(ctx context.Context, s *settings, log logger, r *report.Report) error {
		return control.Run(ctx, control.Config{Quick: s.quick, Full: s.full, Profiles: s.profiles, Dir: s.dir, Log: log}, r)
	}},
	{"life", "Measure the life cycle: starts, memory, size, certificates", func(ctx context.Context, s *settings, log logger, r *report.Report) error {
		return life.Run(ctx, life.Config{Quick: s.quick, Dir: s.dir, Log: log}, r)
	}},
}

func newCommand() *cobra.Command {
	s := &settings{}
	root := &cobra.Command{
		Use:   "bench",
		Short: "Measure what the mesh costs",
		Long: `bench measures what the mesh costs: beside plain grpc-go, grpc-go's own xDS and real
sidecars, in one run whose parts take turns, so that ratios hold on a busy machine.

Run it from the root of the repository; it builds what it measures.`,
		Example: `  go run ./bench                          # everything, under five minutes
  go run ./bench --quick                  # the main figures, under a minute
  go run ./bench data --only Tulle        # one way to a server beside the baseline
  go run ./bench -o json > run.json       # for programs
  go run ./bench --charts docs/images     # draw SVG charts, too`,
		Args: cobra.NoArgs, SilenceUsage: true, SilenceErrors: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := s.measure(cmd, parts)
			return err
		},
	}
	flags := root.PersistentFlags()
	flags.BoolVar(&s.quick, "quick", false, "measure the main figures alone, in under a minute")
	flags.IntVar(&s.rounds, "rounds", 0, "`N` rounds of each table of the data path (default: as many as fit)")
	flags.StringVarP(&s.output, "output", "o", "table", "`FORMAT` of the result: table or json")
	flags.StringVar(&s.charts, "charts", "", "`DIR` to draw SVG charts into")
	flags.StringVar(&s.dir, "dir", "", "`DIR` for programs and scratch (default: tulle-bench in the user's cache)")
	for _, p := range parts {
		cmd := &cobra.Command{Use: p.name, Short: p.short, Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := s.measure(cmd, []part{p})
			return err
		}}
		if p.name == "data" {
			cmd.Flags().StringSliceVar(&s.only, "only", nil, "`MODE`s to measure beside the baseline, by their names in the table")
		}
		if p.name == "control" {
			cmd.Flags().BoolVar(&s.full, "full", false, "measure 10,000 streams, and changes for 30 seconds, too")
		}
		if p.name != "life" {
			cmd.Flags().StringVar(&s.profiles, "profiles", "", "`DIR` for profiles of the processes that are measured")
		}
		root.AddCommand(cmd)
	}
	root.AddCommand(newCheck(s))
	return root
}

// newCheck is the regression guard.
func newCheck(s *settings) *cobra.Command {
	return &cobra.Command{
		Use:   "check",
		Short: "Measure, and fail where a figure is outside of its budget",
		Long: `check measures and compares the figures, which are ratios within the run, with the
guards in bench/budgets.json. A guard is wider than its budget by what a busy machine
does to a short run.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			r, err := s.measure(cmd, parts)
			if err != nil {
				return err
			}
			budgets, err := report.ReadBudgets(budgetsFile)
			if err != nil {
				return err
			}
			// What sidecars cost is known where they can be had.
			return budgets.Check(r.Figures, func(key string) bool {
				return !strings.HasPrefix(key, "data.envoy") && !strings.HasPrefix(key, "data.haproxy")
			})
		},
	}
}

// measure runs parts and shows what came of it.
func (s *settings) measure(cmd *cobra.Command, parts []part) (*report.Report, error) {
	if s.output != "table" && s.output != "json" {
		return nil, fmt.Errorf("-o %s: want table or json", s.output)
	}
	budgets, err := report.ReadBudgets(budgetsFile)
	if err != nil {
		return nil, fmt.Errorf("%w: run it from the root of the repository", err)
	}
	if err := s.prepare(); err != nil {
		return nil, err
	}
	began := time.Now()
	r := &report.Report{Command: strings.Join(append([]string{"go run ./bench"}, os.Args[1:]...), " "), Machine: report.ThisMachine(), Began: began.UTC()}
	log := func(format string, args ...any) {
		fmt.Fprintf(cmd.ErrOrStderr(), "%5.0f s  "+format+"\n", append([]any{time.Since(began).Seconds()}, args...)...)
	}
	for _, p := range parts {
		if err := p.run(cmd.Context(), s, log, r); err != nil {
			return nil, fmt.Errorf("%s: %w", p.name, err)
		}
	}
	r.Seconds = time.Since(began).Seconds()
	return r, errors.Join(s.draw(r), s.show(cmd.OutOrStdout(), r, budgets))
}

func (s *settings) prepare() error {
	if s.dir == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			return fmt.Errorf("no place for programs: %w: say one with --dir", err)
		}
		s.dir = filepath.Join(cache, "tulle-bench")
	}
	return os.MkdirAll(s.dir, 0o700)
}

func (s *settings) show(w io.Writer, r *report.Report, budgets report.Budgets) error {
	if s.output == "table" {
		return r.Write(w, budgets)
	}
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(r)
}

func (s *settings) draw(r *report.Report) error {
	if s.charts == "" {
		return nil
	}
	if err := os.MkdirAll(s.charts, 0o750); err != nil {
		return err
	}
	for i := range r.Charts {
		f, err := os.Create(filepath.Join(s.charts, r.Charts[i].File+".svg"))
		if err != nil {
			return err
		}
		if err := errors.Join(r.Charts[i].WriteSVG(f), f.Close()); err != nil {
			return err
		}
	}
	return nil
}
