package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/timestamppb"

	adminv1 "github.com/tulle-mesh/tulle/mesh/api/admin/v1"
)

// output is the -o flag.
type output struct {
	format  string
	formats []string
}

func addOutput(cmd *cobra.Command, formats ...string) *output {
	o := &output{formats: append([]string{"table", "json"}, formats...)}
	cmd.Flags().StringVarP(&o.format, "output", "o", "table", "output `FORMAT`: "+strings.Join(o.formats, ", "))
	_ = cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(o.formats, cobra.ShellCompDirectiveNoFileComp))
	inner := cmd.PreRunE
	cmd.PreRunE = func(cmd *cobra.Command, args []string) error {
		if !slices.Contains(o.formats, o.format) {
			return fmt.Errorf("unknown output format %q, want one of %s", o.format, strings.Join(o.formats, ", "))
		}
		if inner != nil {
			return inner(cmd, args)
		}
		return nil
	}
	return o
}

func (o *output) json() bool { return o.format == "json" }

// writeJSON prints v as one indented JSON value.
func writeJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

// A table lines up its cells, three spaces apart.
type table struct{ w *tabwriter.Writer }

func newTable(w io.Writer, header ...string) *table {
	t := &table{tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)}
	t.row(header...)
	return t
}

func (t *table) row(cells ...string) {
	for i, c := range cells {
		cells[i] = orDash(printable(c))
	}
	fmt.Fprintln(t.w, strings.Join(cells, "\t"))
}

func (t *table) flush() error { return t.w.Flush() }

// orEmpty is [] for programs where nil would be null.
func orEmpty(s []string) []string {
	if s == nil {
		return []string{}
	}
	return s
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// printable keeps what came from elsewhere from steering the terminal: neither control
// characters, nor those that turn the direction of writing or are not seen (Cf), nor
// separators of lines.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp) {
			return '?'
		}
		return r
	}, s)
}

// age is how long ago t was, in one or two units.
func age(t *timestamppb.Timestamp) string {
	if t == nil {
		return ""
	}
	return units(time.Since(t.AsTime()))
}

// left is how long it is until t; "expired" after it.
func left(t *timestamppb.Timestamp) string {
	if t == nil {
		return ""
	}
	d := time.Until(t.AsTime()).Round(time.Second)
	if d <= 0 {
		return "expired"
	}
	return units(d)
}

// units writes a duration in one or two units.
func units(d time.Duration) string {
	d = max(0, d)
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm%ds", int(d.Minutes()), int(d.Seconds())%60)
	case d < 24*time.Hour:
		return fmt.Sprintf("%dh%dm", int(d.Hours()), int(d.Minutes())%60)
	}
	return fmt.Sprintf("%dd%dh", int(d.Hours())/24, int(d.Hours())%24)
}

// stamp is t for programs; nil is left out.
func stamp(t *timestamppb.Timestamp) *time.Time {
	if t == nil {
		return nil
	}
	at := t.AsTime()
	return &at
}

// problemJSON is a problem for programs.
type problemJSON struct {
	Kind      string `json:"kind,omitempty"`
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name,omitempty"`
	Origin    string `json:"origin,omitempty"`
	Field     string `json:"field,omitempty"`
	Message   string `json:"message"`
	Warning   bool   `json:"warning"`
}

func problemsJSON(problems []*adminv1.Problem) []problemJSON {
	out := make([]problemJSON, 0, len(problems))
	for _, p := range problems {
		out = append(out, problemJSON{
			Kind:      p.GetObject().GetKind(),
			Namespace: p.GetObject().GetNamespace(),
			Name:      p.GetObject().GetName(),
			Origin:    p.GetOrigin(),
			Field:     p.GetField(),
			Message:   p.GetMessage(),
			Warning:   p.GetWarning(),
		})
	}
	return out
}

// problemLine is a problem for people: where, what, in one line.
func problemLine(p *adminv1.Problem) string {
	var b strings.Builder
	if p.GetWarning() {
		b.WriteString("warning: ")
	}
	for _, part := range []string{p.GetOrigin(), refString(p.GetObject()), p.GetField()} {
		if part != "" {
			b.WriteString(printable(part))
			b.WriteString(": ")
		}
	}
	b.WriteString(printable(p.GetMessage()))
	return b.String()
}

// refString is "Service/voting", or "Service/voting.shop" outside the default namespace.
func refString(r *adminv1.Ref) string {
	if r.GetKind() == "" && r.GetName() == "" {
		return ""
	}
	return r.GetKind() + "/" + qualified(r.GetName(), r.GetNamespace())
}

func qualified(name, namespace string) string {
	if namespace == "" || namespace == "default" {
		return name
	}
	return name + "." + namespace
}
