package house

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// breaksModelPurity lists imports of the model from outside the standard library.
func breaksModelPurity(t *tree) []string {
	var broken []string
	for _, f := range t.goFiles() {
		if !under(f.dir(), "xdsserver/model") || f.isTest() {
			continue
		}
		for _, spec := range f.imports() {
			if first, _, _ := strings.Cut(spec.path, "/"); strings.Contains(first, ".") {
				broken = append(broken, fmt.Sprintf(
					"%s imports %s: the model imports only the standard library, so that no format and no protocol leaks into it",
					t.at(spec.node), spec.path))
			}
		}
	}
	return broken
}

func TestTheModelImportsOnlyTheStandardLibrary(t *testing.T) {
	report(t, breaksModelPurity(repository(t)))
}

func TestTheRuleOfTheModelBites(t *testing.T) {
	bites(t, breaksModelPurity, []bite{
		{
			name:  "the standard library is free",
			files: map[string]string{"xdsserver/model/a.go": "package model\n\nimport _ \"net/netip\"\n"},
		},
		{
			name:  "a module is not",
			files: map[string]string{"xdsserver/model/a.go": "package model\n\nimport _ \"google.golang.org/grpc/codes\"\n"},
			want:  []string{"xdsserver/model/a.go:3 imports google.golang.org/grpc/codes"},
		},
	})
}

// grpcXDS is grpc-go's own xDS: what it costs is in docs/RATIONALE.md.
const grpcXDS = "google.golang.org/grpc/xds"

// xdsRooms are where it is the best there is. The end-to-end tests bring a
// client of their own that knows nothing else, and the benchmark compares with it.
var xdsRooms = []string{"resolver/stock", "xdsserver/snapshot", "xdsserver/e2e", "bench/service/grpcxds"}

// breaksXDSRooms lists imports of grpc-go's xDS in other rooms.
func breaksXDSRooms(t *tree) []string {
	var broken []string
	for _, f := range t.goFiles() {
		if f.isTest() || slices.ContainsFunc(xdsRooms, func(r string) bool { return under(f.dir(), r) }) {
			continue
		}
		for _, spec := range f.imports() {
			if under(spec.path, grpcXDS) {
				broken = append(broken, fmt.Sprintf(
					"%s imports %s: only %s may (and tests), for it adds 16 MB to a binary and 11 goroutines to a target",
					t.at(spec.node), spec.path, strings.Join(xdsRooms, ", ")))
			}
		}
	}
	return broken
}

func TestOnlyTheJudgeAndStockTargetsImportTheXDSOfGRPC(t *testing.T) {
	report(t, breaksXDSRooms(repository(t)))
}

func TestTheRuleOfGRPCXDSBites(t *testing.T) {
	src := "package p\n\nimport _ \"google.golang.org/grpc/xds/csds\"\n"
	bites(t, breaksXDSRooms, []bite{{
		name: "two rooms and tests may, others may not",
		files: map[string]string{
			"resolver/stock/a.go":              src,
			"xdsserver/snapshot/judge/a.go":    src,
			"mesh/resource/oracle_test.go":     src,
			"resolver/stocktaking/a.go":        src,
			"xdsserver/serve/introspection.go": src,
		},
		want: []string{"resolver/stocktaking/a.go:3 imports", "xdsserver/serve/introspection.go:3 imports"},
	}})
}
